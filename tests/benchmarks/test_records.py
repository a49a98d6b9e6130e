"""Rows of published lists, and the images that they hold."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from erragree_utils.benchmarks import BenchmarkError, ImageError
from erragree_utils.benchmarks.records import image_file, places, read_rows, saved
from tests.benchmarks.serving import jpeg

COLUMNS = {"Question_Type": ("Question_Type",), "answer": ("answer", "label")}
ROWS = [{"Question_Type": "yes_no", "answer": "Yes"}, {"Question_Type": "yes_no", "answer": "No"}]


def write(path: Path, rows: list[dict]) -> Path:
    if path.suffix == ".parquet":
        pd.DataFrame(rows).to_parquet(path)
    elif path.suffix == ".jsonl":
        # Not all that Python takes for the end of a line is one: here a line separator.
        path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n\n")
    else:
        path.write_text(json.dumps(rows if path.stem == "list" else dict(enumerate(rows))))
    return path


@pytest.mark.parametrize("name", ["a.parquet", "a.jsonl", "list.json", "by-number.json"])
def test_all_layouts_give_the_same_rows(tmp_path: Path, name):
    rows = [*ROWS, {"Question_Type": "a\u2028b", "answer": "Yes", "more": 1}]
    path = write(tmp_path / name, rows)
    found = read_rows(path, COLUMNS)
    assert [fields for _, fields in found] == [{k: row[k] for k in COLUMNS} for row in rows]
    assert found[1][0] == f"{path}, row 2"


def test_columns_are_found_by_their_words():
    assert places([" question type", "LABEL"], COLUMNS, "x") == {"Question_Type": 0, "answer": 1}


@pytest.mark.parametrize("name", ["a.parquet", "a.jsonl", "list.json"])
def test_a_missing_column_is_named_with_those_that_are_there(tmp_path: Path, name):
    path = write(tmp_path / name, [{"Question_Type": "yes_no", "other": 1}])
    with pytest.raises(BenchmarkError, match="no column 'answer': it has 'Question_Type', 'other'"):
        read_rows(path, COLUMNS)


@pytest.mark.parametrize("text", ["", "[]", "7", "[1, 2]", "{", '{"error": "gone"}'])
def test_what_is_no_list_of_objects_is_refused_by_name(tmp_path: Path, text):
    path = tmp_path / "list.json"
    path.write_text(text)
    with pytest.raises(BenchmarkError, match=r"list\.json"):
        read_rows(path, COLUMNS)


def test_an_image_is_kept_once_under_a_name_of_its_content(tmp_path: Path):
    first = saved({"bytes": jpeg(), "path": "x"}, "row 1", tmp_path / "images")
    assert first == saved(jpeg(), "row 2", tmp_path / "images")
    assert first.read_bytes() == jpeg() and first.suffix == ".jpeg"
    assert list((tmp_path / "images").iterdir()) == [first]


def test_what_is_no_image_is_named_by_its_row(tmp_path: Path):
    with pytest.raises(ImageError, match="row 3: the image cannot be decoded"):
        saved(b"no image", "row 3", tmp_path)
    with pytest.raises(BenchmarkError, match="row 3: the image cell holds no bytes but None"):
        saved(None, "row 3", tmp_path)


@pytest.mark.parametrize("name", ["/etc/passwd", "../secret.jpg", "a\\b.jpg", ""])
def test_a_name_that_leads_out_of_the_folder_is_refused(tmp_path: Path, name):
    with pytest.raises(BenchmarkError, match="row 1: .* names no image below"):
        image_file(name, "row 1", tmp_path, tmp_path)
