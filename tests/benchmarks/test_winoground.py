"""Winoground, on stand-ins in both published layouts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from erragree_utils.benchmarks import BenchmarkError, load_benchmark
from tests.benchmarks.test_mmvp import grey, jpeg, picture

ROWS = [
    {
        "id": k, "caption_0": f"a {a} over a {b}", "caption_1": f"a {b} over a {a}",
        "tag": "Noun Phrase", "secondary_tag": "", "num_main_preds": 1, "collapsed_tag": kind,
    }
    for k, (a, b, kind) in enumerate([("cup", "dog", "Object"), ("hat", "cat", "Both")])
]  # fmt: skip


@pytest.fixture
def table(tmp_path: Path, cache: Path) -> Path:
    """Images are greys 1 to 4, in order."""
    root = tmp_path / "table"
    (root / "data").mkdir(parents=True)
    cells = [{"bytes": jpeg(i), "path": None} for i in range(1, 5)]
    rows = [
        row | {"image_0": cells[2 * k], "image_1": cells[2 * k + 1]} for k, row in enumerate(ROWS)
    ]
    pd.DataFrame(rows).to_parquet(root / "data" / "test-00000-of-00001.parquet")
    return root


@pytest.fixture
def folder(tmp_path: Path, cache: Path) -> Path:
    """The same with the images as files."""
    root = tmp_path / "winoground"
    (root / "data" / "images").mkdir(parents=True)
    lines = []
    for k, row in enumerate(ROWS):
        for i in (0, 1):
            picture(2 * k + i + 1).save(root / "data" / "images" / f"ex_{k}_img_{i}.png")
        lines.append(json.dumps(row | {f"image_{i}": f"ex_{k}_img_{i}" for i in (0, 1)}))
    (root / "data" / "examples.jsonl").write_text("\n".join(lines))
    return root


@pytest.mark.parametrize("layout", ["table", "folder"])
def test_each_image_has_its_own_caption(request, layout):
    bench = load_benchmark("winoground", folder=request.getfixturevalue(layout))
    assert bench[0].captions == ("a cup over a dog", "a dog over a cup")
    assert bench.relations == ("Object", "Both")
    shades = [grey(image) for pair in bench for image in pair.images]
    assert shades == [grey(picture(i)) for i in range(1, 5)]


def test_the_local_copy_is_only_read(table: Path):
    before = sorted(table.rglob("*"))
    load_benchmark("winoground", folder=table)
    assert sorted(table.rglob("*")) == before


def test_a_folder_without_it_says_how_access_is_granted(tmp_path: Path):
    with pytest.raises(
        BenchmarkError, match=r"(?s)test-\*\.parquet.*gated: log in at .*auth login"
    ):
        load_benchmark("winoground", folder=tmp_path)


def test_equal_captions_are_refused(folder: Path):
    path = folder / "data" / "examples.jsonl"
    row = json.loads(path.read_text().splitlines()[0])
    path.write_text(json.dumps(row | {"caption_1": row["caption_0"]}))
    with pytest.raises(BenchmarkError, match="row 1: both captions are 'a cup over a dog'"):
        load_benchmark("winoground", folder=folder)


def test_a_missing_image_is_an_error_or_left_out(folder: Path):
    path = folder / "data" / "images" / "ex_1_img_0.png"
    path.unlink()
    with pytest.raises(BenchmarkError, match=r"(?s)1 of 2 pairs.*ex_1_img_0\.png is missing"):
        load_benchmark("winoground", folder=folder)
    with pytest.warns(UserWarning, match="left out 1 of 2 pairs"):
        assert len(load_benchmark("winoground", folder=folder, skip_incomplete=True)) == 1


def test_what_was_fetched_as_a_zip_is_unpacked(folder: Path, cache: Path):
    images = folder / "data" / "images"
    shutil.make_archive(str(images), "zip", images.parent, "images")
    shutil.rmtree(images)
    folder.rename(cache.parent / "moved")
    cache.mkdir(exist_ok=True)
    (cache.parent / "moved").rename(cache / "winoground")
    with pytest.warns(UserWarning, match="has 2 entries, winoground as published has 400"):
        bench = load_benchmark("winoground", download=False)
    assert all(isinstance(image, Image.Image) for pair in bench for image in pair.images)
