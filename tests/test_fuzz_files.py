"""Damaged lists of benchmarks end in pairs, or in an error of the package that names the file."""

from __future__ import annotations

import importlib.util
import json

import pytest

from erragree_utils.benchmarks import BenchmarkError, load_benchmark


@pytest.fixture(scope="module")
def fuzz_files(root):
    spec = importlib.util.spec_from_file_location("fuzz_files", root / "tools" / "fuzz_files.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_lists_that_are_damaged_are_read_when_they_are_whole(fuzz_files, tmp_path):
    pairs = {"mmvp": 4, "mmvp-vlm": 4, "whatsup-a": 4, "coco-spatial": 2}
    for name, path in fuzz_files.write_lists(tmp_path).items():
        options = {"objects": "one"} if name == "coco-spatial" else {}
        assert len(load_benchmark(name, folder=path.parent, **options)) == pairs[name]


def test_200_damaged_lists_are_read_or_refused_by_name(fuzz_files, tmp_path):
    counts = fuzz_files.damage_lists(tmp_path, 200, seed=0)
    assert counts.total() == 200
    for name in ("mmvp", "mmvp-vlm", "whatsup-a", "coco-spatial"):
        assert any(what.startswith(name) and what.endswith("refused") for what in counts)


def test_a_list_of_brackets_alone_is_named(fuzz_files, tmp_path):
    path = fuzz_files.write_lists(tmp_path)["whatsup-a"]
    path.write_text("[" * 100_000 + "]" * 100_000)
    with pytest.raises(BenchmarkError, match=rf"{path.name} cannot be read as JSON \(.*recursion"):
        load_benchmark("whatsup-a", folder=path.parent)


@pytest.mark.parametrize("name", ["mmvp-vlm", "whatsup-a", "coco-spatial"])
def test_a_name_that_no_file_system_takes_is_an_image_that_is_missing(fuzz_files, tmp_path, name):
    path = fuzz_files.write_lists(tmp_path)[name]
    if name == "mmvp-vlm":
        text = path.read_text().replace("8,Color", f"{'9' * 300}8,Color")
    else:
        entries = json.loads(path.read_text())
        if name == "whatsup-a":
            entries[0]["image_path"] = entries[0]["image_path"].replace("mug", "mug" * 100)
        else:
            entries[0][0] = 10**300
        text = json.dumps(entries)
    path.write_text(text)
    with pytest.raises(BenchmarkError, match=r"(is missing|no row with|no entry for)"):
        load_benchmark(name, folder=path.parent, **({"objects": "one"} if "coco" in name else {}))
