"""CV-Bench's spatial part, on stand-ins in both published layouts."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from erragree_utils.benchmarks import BenchmarkError, load_benchmark
from tests.benchmarks.test_mmvp import grey, jpeg, picture

ROWS = [
    {"task": "Relation", "choices": ["left", "right"], "answer": "(B)", "type": "2D"},
    {"task": "Count", "choices": ["1", "2", "3", "4"], "answer": "(C)", "type": "2D"},
    {"task": "Depth", "choices": ["cup", "dog"], "answer": "(A)", "type": "3D"},
]


def write(root: Path, layout: str, rows: list[dict] = ROWS) -> Path:
    rows = [row | {"idx": k, "question": f"Which of {k}?"} for k, row in enumerate(rows)]
    if layout == "parquet":
        for k, row in enumerate(rows):
            row["image"] = {"bytes": jpeg(k + 1), "path": None}
        table = pd.DataFrame(rows)
        table.to_parquet(root / "test.parquet")
        table[table["type"] == "2D"].to_parquet(root / "test_2d.parquet")
        return root
    for k, row in enumerate(rows):
        row["filename"] = f"img/{row['type']}/{k}.png"
        path = root / row["filename"]
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(k + 1).save(path)
    for kind in ("2D", "3D"):
        lines = (json.dumps(row) for row in rows if row["type"] == kind)
        (root / f"test_{kind.lower()}.jsonl").write_text("\n".join(lines))
    return root


@pytest.mark.parametrize("layout", ["parquet", "jsonl"])
def test_the_first_option_is_right_and_choices_keep_their_letters(tmp_path, cache, layout):
    bench = load_benchmark("cv-bench", folder=write(tmp_path, layout))
    assert [pair.options for pair in bench] == [("right", "left"), ("cup", "dog")]
    assert [pair.prompt for pair in bench] == [
        "Which of 0? (a) left (b) right", "Which of 2? (a) cup (b) dog",
    ]  # fmt: skip
    assert [grey(pair.images[0]) for pair in bench] == [grey(picture(1)), grey(picture(3))]


def test_counting_is_left_out_and_tasks_can_be_chosen(tmp_path, cache):
    write(tmp_path, "parquet")
    assert load_benchmark("cv-bench", folder=tmp_path).relations == ("Relation", "Depth")
    assert load_benchmark("cv-bench", folder=tmp_path, task="Depth").relations == ("Depth",)
    with pytest.raises(BenchmarkError, match="no rows of the task Distance"):
        load_benchmark("cv-bench", folder=tmp_path, task="Distance")
    with pytest.raises(ValueError, match="choose one of all, Relation, Depth, Distance"):
        load_benchmark("cv-bench", folder=tmp_path, task="Count")


@pytest.mark.parametrize("changes", [{"answer": "(C)"}, {"choices": ["a", "b", "c"]}])
def test_a_wrong_row_is_named(tmp_path, cache, changes):
    write(tmp_path, "parquet", [ROWS[0] | changes])
    with pytest.raises(BenchmarkError, match=r"row 1: expected two choices and an answer"):
        load_benchmark("cv-bench", folder=tmp_path)
