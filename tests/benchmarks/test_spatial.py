"""COCO-spatial and GQA-spatial, on stand-ins in the published format."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from erragree_utils.benchmarks import BenchmarkError, load_benchmark
from erragree_utils.benchmarks.spatial import true_relation

COCO = {
    "one": [
        [139, "A photo of a dog on the left", "A photo of a dog on the right"],
        [285, "A photo of a bear on the top", "A photo of a bear on the bottom"],
    ],
    "two": [
        [139, "A photo of a cup above a dog", "A photo of a cup below a dog"],
        [632, "A photo of a bed to the right of a cat", "A photo of a bed to the left of a cat"],
    ],
}
GQA = {
    "one": [["2317538", "A photo of a lamp on the right", "A photo of a lamp on the left"]],
    "two": [[498, "A photo of a car in front of a wall", "A photo of a car behind a wall"]],
}


def write(root: Path, items: dict, prefix: str, images: str, digits: int) -> Path:
    (root / images).mkdir(parents=True, exist_ok=True)
    for part, entries in items.items():
        (root / f"{prefix}_qa_{part}_obj.json").write_text(json.dumps(entries))
        for image_id, *_ in entries:
            Image.new("RGB", (9, 7)).save(root / images / f"{str(image_id).zfill(digits)}.jpg")
    return root


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    return write(tmp_path, COCO, "coco", "val2017", 12)


@pytest.fixture
def gqa(tmp_path: Path) -> Path:
    return write(tmp_path, GQA, "vg", "vg_images", 0)


def test_every_entry_has_one_image_and_is_its_own_set(coco: Path):
    bench = load_benchmark("coco-spatial", folder=coco)
    assert len(bench) == 4
    assert [len(pair.images) for pair in bench] == [1, 1, 1, 1]
    assert len({pair.set_id for pair in bench}) == 4


def test_photographs_keep_their_pixels_and_one_warning_tells_of_their_tags(gqa: Path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (9, 7)).save(gqa / "vg_images" / "498.jpg", exif=exif)
    with pytest.warns(UserWarning, match=r"gqa-spatial: 1 of 2 images.*498\.jpg \(6\)") as w:
        bench = load_benchmark("gqa-spatial", folder=gqa)
    assert len(w) == 1
    assert [pair.images[0].size for pair in bench] == [(9, 7)] * 2


def test_the_true_caption_comes_first_and_names_the_relation(coco: Path):
    bench = load_benchmark("coco-spatial", folder=coco)
    assert [pair.relation for pair in bench] == ["left", "top", "above", "right"]
    assert bench[0].captions == (COCO["one"][0][1], COCO["one"][0][2])
    assert bench.select("above")[0].sources == (coco / "val2017" / "000000000139.jpg",)


def test_gqa_images_are_named_by_their_plain_id(gqa: Path):
    bench = load_benchmark("gqa-spatial", folder=gqa)
    assert [pair.sources[0].name for pair in bench] == ["2317538.jpg", "498.jpg"]
    assert [pair.relation for pair in bench] == ["right", "front"]


def test_entries_about_one_or_two_objects_can_be_chosen(coco: Path):
    one = load_benchmark("coco-spatial", folder=coco, objects="one")
    assert [pair.relation for pair in one] == ["left", "top"]
    (coco / "coco_qa_one_obj.json").unlink()  # not needed for the others
    assert len(load_benchmark("coco-spatial", folder=coco, objects="two")) == 2
    with pytest.raises(ValueError, match="'all', 'one', 'two'"):
        load_benchmark("coco-spatial", folder=coco, objects="three")


def test_a_missing_image_is_an_error_or_left_out(coco: Path):
    (coco / "val2017" / "000000000285.jpg").unlink()
    with pytest.raises(BenchmarkError, match=r"(?s)1 of 4 entries.*000000000285\.jpg is missing"):
        load_benchmark("coco-spatial", folder=coco)
    with pytest.warns(UserWarning, match="left out 1 of 4 entries"):
        bench = load_benchmark("coco-spatial", folder=coco, skip_incomplete=True)
    assert [pair.pair_id for pair in bench] == ["one-0000", "two-0000", "two-0001"]


@pytest.mark.parametrize(
    "entry",
    [
        {"image_path": "x"},
        [1, "only one caption"],
        ["../../etc/passwd", "on the left", "on the right"],
        [1, "the same", "the same"],
        [1, 2, 3],
    ],
    ids=str,
)
def test_a_wrong_entry_is_named_by_file_and_number(coco: Path, entry):
    (coco / "coco_qa_two_obj.json").write_text(json.dumps([*COCO["two"], entry]))
    with pytest.raises(BenchmarkError, match=r"coco_qa_two_obj\.json, entry 2"):
        load_benchmark("coco-spatial", folder=coco)


def test_a_wrong_folder_says_which_files_go_where(tmp_path: Path):
    with pytest.raises(BenchmarkError) as error:
        load_benchmark("gqa-spatial", folder=tmp_path)
    for needed in ("vg_qa_one_obj.json", "vg_qa_two_obj.json", "vg_images.tar.gz", "whatsup_vlms"):
        assert needed in str(error.value)


@pytest.mark.parametrize(
    ("true", "false", "relation"),
    [
        ("A left shoe on the right", "A left shoe on the left", "right"),
        ("A lamp on top of a desk", "A lamp below a desk", "top"),
        ("A lamp on a desk", "A lamp under a desk", "on"),
        ("A cat left of a dog", "A dog left of a cat", "left"),
        ("A cat near a dog", "A cat far from a dog", "near"),
    ],
)
def test_true_relation_is_what_the_false_caption_does_not_say(true, false, relation):
    assert true_relation(true, false) == relation
