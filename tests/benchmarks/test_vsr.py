"""VSR, on stand-ins in the published format."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from erragree_utils.benchmarks import BenchmarkError, load_benchmark

ROWS = [
    {
        "image": f"00000000000{k}.jpg", "image_link": "http://images.cocodataset.org/x",
        "caption": f"The cup is {relation} the dog.", "label": k, "relation": relation,
        "annotator_id": 3, "vote_true_validator_id": "[2]", "reference_frame": None,
    }
    for k, relation in enumerate(["left of", "on top of"])
]  # fmt: skip


def write(root: Path, rows: list[dict], split: str = "random") -> Path:
    (root / "images").mkdir(exist_ok=True)
    for row in ROWS:
        Image.new("RGB", (9, 7)).save(root / "images" / row["image"])
    (root / f"{split}-test.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    return root


def test_the_first_option_is_right_and_yes_is_listed_first(tmp_path: Path):
    bench = load_benchmark("vsr", folder=write(tmp_path, ROWS))
    assert [pair.options for pair in bench] == [("No", "Yes"), ("Yes", "No")]
    assert [pair.listed for pair in bench] == [("Yes", "No")] * 2
    assert bench.relations == ("left of", "on top of")
    assert "The cup is left of the dog." in bench[0].prompt
    assert [len(pair.images) for pair in bench] == [1, 1]


def test_a_split_needs_its_own_list(tmp_path: Path):
    write(tmp_path, ROWS, "zeroshot")
    assert len(load_benchmark("vsr", folder=tmp_path, split="zeroshot")) == 2
    with pytest.raises(BenchmarkError, match=r"(?s)lacks:.*random-test\.jsonl"):
        load_benchmark("vsr", folder=tmp_path)
    with pytest.raises(ValueError, match="choose one of random, zeroshot"):
        load_benchmark("vsr", folder=tmp_path, split="dev")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": 2}, "label is 2, expected 0 or 1"),
        ({"image": "a/b.jpg"}, "is no name of an image"),
        ({"caption": ""}, "caption is '', not a text"),
    ],
)
def test_a_wrong_entry_is_named(tmp_path: Path, changes, message):
    with pytest.raises(BenchmarkError, match=rf"random-test\.jsonl, row 2: .*{message}"):
        load_benchmark("vsr", folder=write(tmp_path, [ROWS[0], ROWS[1] | changes]))
