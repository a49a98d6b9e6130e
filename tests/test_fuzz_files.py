"""Damaged files: lists end in pairs or in an error that names the file, stores lose no more."""

from __future__ import annotations

import json

import fuzz_files
import pytest

from erragree_utils.benchmarks import BenchmarkError, load_benchmark


def test_the_lists_that_are_damaged_are_read_when_they_are_whole(tmp_path):
    pairs = {"mmvp": 4, "mmvp-vlm": 4, "whatsup-a": 4, "coco-spatial": 2}
    for name, path in fuzz_files.write_lists(tmp_path).items():
        options = {"objects": "one"} if name == "coco-spatial" else {}
        assert len(load_benchmark(name, folder=path.parent, **options)) == pairs[name]


def test_200_damaged_lists_are_read_or_refused_by_name(tmp_path):
    counts = fuzz_files.damage_lists(tmp_path, 200, seed=0)
    assert counts.total() == 200
    for name in ("mmvp", "mmvp-vlm", "whatsup-a", "coco-spatial"):
        assert any(what.startswith(name) and what.endswith("refused") for what in counts)


def test_a_list_of_brackets_alone_is_named(tmp_path):
    path = fuzz_files.write_lists(tmp_path)["whatsup-a"]
    path.write_text("[" * 100_000 + "]" * 100_000)
    with pytest.raises(BenchmarkError, match=rf"{path.name} cannot be read as JSON \(.*recursion"):
        load_benchmark("whatsup-a", folder=path.parent)


@pytest.mark.parametrize("name", ["mmvp-vlm", "whatsup-a", "coco-spatial"])
def test_a_name_that_no_file_system_takes_is_an_image_that_is_missing(tmp_path, name):
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


def test_after_any_flipped_bit_in_a_store_what_is_not_damaged_is_unchanged(tmp_path):
    counts = fuzz_files.flip_bits(tmp_path, n_flips=25, seed=0)
    assert counts.total() == 25 and counts["named"] > 0
