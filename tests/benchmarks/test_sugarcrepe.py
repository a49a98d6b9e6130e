"""SugarCrepe, on stand-ins in the published format."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from erragree_utils.benchmarks import BenchmarkError, load_benchmark
from erragree_utils.benchmarks.sugarcrepe import N_ITEMS

ITEM = {"filename": "000000000139.jpg", "caption": "A dog by a cup", "negative_caption": "A cat"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "val2017").mkdir()
    Image.new("RGB", (9, 7)).save(tmp_path / "val2017" / ITEM["filename"])
    for category in N_ITEMS:
        (tmp_path / f"{category}.json").write_text(json.dumps({"0": ITEM, "3": ITEM}))
    return tmp_path


def test_every_entry_has_one_image_a_true_and_a_false_caption(folder: Path):
    bench = load_benchmark("sugarcrepe", folder=folder)
    assert (len(bench), bench.relations) == (14, tuple(N_ITEMS))
    assert bench[0].captions == (ITEM["caption"], ITEM["negative_caption"])
    assert [len(pair.images) for pair in bench] == [1] * 14


def test_one_category_needs_its_own_list_alone(folder: Path):
    (folder / "add_att.json").unlink()
    assert len(load_benchmark("sugarcrepe", folder=folder, category="swap_obj")) == 2
    with pytest.raises(BenchmarkError, match=r"(?s)lacks:.*add_att\.json"):
        load_benchmark("sugarcrepe", folder=folder)
    with pytest.raises(ValueError, match="category is 'swap'; choose one of all, add_att"):
        load_benchmark("sugarcrepe", folder=folder, category="swap")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"filename": "../139.jpg"}, "name of an image"),
        ({"negative_caption": ITEM["caption"]}, "both captions are"),
        ({"caption": 7}, "caption is 7, not a text"),
    ],
)
def test_a_wrong_entry_is_named(folder: Path, changes, message):
    (folder / "swap_obj.json").write_text(json.dumps({"0": ITEM, "1": ITEM | changes}))
    with pytest.raises(BenchmarkError, match=rf"swap_obj\.json, row 2: .*{message}"):
        load_benchmark("sugarcrepe", folder=folder, category="swap_obj")


def test_a_missing_image_is_an_error_or_left_out(folder: Path):
    other = ITEM | {"filename": "000000000285.jpg"}
    (folder / "swap_obj.json").write_text(json.dumps({"0": ITEM, "1": other}))
    with pytest.raises(BenchmarkError, match=r"(?s)1 of 2 entries.*000000000285\.jpg is missing"):
        load_benchmark("sugarcrepe", folder=folder, category="swap_obj")
    with pytest.warns(UserWarning, match="left out 1 of 2 entries"):
        load_benchmark("sugarcrepe", folder=folder, category="swap_obj", skip_incomplete=True)
