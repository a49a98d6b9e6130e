"""NaturalBench, on stand-ins in the published format."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from erragree_utils.benchmarks import BenchmarkError, load_benchmark
from tests.benchmarks.test_mmvp import grey, jpeg, picture

ROW = {
    "Index": 7, "Question_0": "Is the cup red?", "Question_1": "Is the cup blue?",
    "Image_0_Question_0": "Yes", "Image_1_Question_0": "No", "Image_0_Question_1": "No",
    "Image_1_Question_1": "Yes", "Question_Type": "yes_no", "Source": "x",
}  # fmt: skip
CHOICE = ROW | {
    "Index": 8, "Question_0": "What is it?\nOption: A: a cup; B: a dog;",
    "Image_0_Question_0": "A", "Image_1_Question_0": "B", "Image_0_Question_1": "B",
    "Image_1_Question_1": "A", "Question_Type": "multiple_choice",
}  # fmt: skip


@pytest.fixture
def write(tmp_path: Path, cache: Path):
    def write(*rows: dict) -> Path:
        rows = rows or (ROW, CHOICE)
        images = [
            {f"Image_{i}": {"bytes": jpeg(2 * k + i + 1)} for i in (0, 1)} for k in range(len(rows))
        ]
        (tmp_path / "data").mkdir(exist_ok=True)
        pd.DataFrame([a | b for a, b in zip(rows, images, strict=True)]).to_parquet(
            tmp_path / "data" / "train-00000-of-00001.parquet"
        )
        return tmp_path

    return write


def test_two_questions_about_the_same_images_are_a_set(write):
    bench = load_benchmark("naturalbench", folder=write())
    assert (len(bench), bench.n_sets) == (4, 2)
    first, second = bench[0], bench[1]
    assert first.set_id == second.set_id and first.sources == second.sources
    assert [grey(image) for image in bench[2].images] == [grey(picture(i)) for i in (3, 4)]


def test_an_option_belongs_to_the_image_whose_answer_it_is(write):
    bench = load_benchmark("naturalbench", folder=write())
    assert [pair.options for pair in bench] == [
        ("Yes", "No"), ("No", "Yes"), ("A", "B"), ("B", "A"),
    ]  # fmt: skip
    assert {pair.listed for pair in bench} == {("Yes", "No"), ("A", "B")}


def test_questions_are_asked_with_the_publishers_suffix(write):
    bench = load_benchmark("naturalbench", folder=write())
    assert bench[0].prompt == "Is the cup red? Please answer Yes or No."
    assert bench[2].prompt.endswith("B: a dog; Please output the letter corresponding to the "
                                    "correct option.")  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"Image_1_Question_0": "Yes"}, "answers to question 0 are 'Yes' and 'Yes'"),
        ({"Image_1_Question_1": "blue"}, "answers to question 1 are 'No' and 'blue'"),
        ({"Question_Type": "open"}, "Question_Type is 'open', not one of yes_no, multiple_choice"),
        ({"Question_1": " "}, "Question_1 is ' ', not a text"),
    ],
)
def test_a_wrong_row_is_named(write, changes, message):
    with pytest.raises(BenchmarkError, match=rf"train-00000.*row 1: .*{message}"):
        load_benchmark("naturalbench", folder=write(ROW | changes))


def test_a_missing_column_is_named(write):
    with pytest.raises(BenchmarkError, match="no column 'Question_1'"):
        load_benchmark("naturalbench", folder=write({k: v for k, v in ROW.items()
                                                     if k != "Question_1"}))  # fmt: skip
