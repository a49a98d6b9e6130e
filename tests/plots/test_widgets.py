"""The explorers: what their menus do, and what they leave where widgets cannot run."""

from __future__ import annotations

import io

import matplotlib
import nbformat
import numpy as np
import pandas as pd
import pytest
from nbclient import NotebookClient
from PIL import Image

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from erragree_utils import load_benchmark, load_mllm
from erragree_utils.benchmarks import Benchmark, ImagePair
from erragree_utils.decoding import TextContrast
from erragree_utils.plots import widgets
from erragree_utils.plots.widgets import DecodingExplorer, PairExplorer

LEFT, RIGHT = "A red mug to the left of a table", "A red mug to the right of a table"
VIEW = "application/vnd.jupyter.widget-view+json"


@pytest.fixture
def bench() -> Benchmark:
    def pair(i: int) -> ImagePair:
        images = tuple(Image.new("RGB", (80, 80), (80 * k, 60 * i, 0)) for k in range(2))
        return ImagePair(f"p{i}", f"s{i}", "left/right", (LEFT, RIGHT), images)

    return Benchmark("four", tuple(pair(i) for i in range(4)))


def predictions(*correct: tuple[bool, bool]) -> pd.DataFrame:
    rows = [
        (f"p{i}", f"s{i}", "left/right", k, 2, 0.5, 0.5 - (right - 0.5) / 10, right)
        for i, both in enumerate(correct)
        for k, right in enumerate(both)
    ]
    names = ["pair_id", "set_id", "relation", "image_index", "n_options"]
    return pd.DataFrame(rows, columns=[*names, "score_own", "score_other", "correct"])


@pytest.fixture
def readers() -> dict[str, pd.DataFrame]:
    right, half, wrong = (True, True), (True, False), (False, False)
    return {
        "CLIP": predictions(half, half, right, wrong),
        "LLaVA": predictions(right, right, right, half),
    }


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


def test_all_pairs_are_offered_at_first_and_the_chosen_one_is_shown(bench, readers):
    explorer = PairExplorer(bench, readers, start=2)
    assert [value for _, value in explorer.choice.options] == [0, 1, 2, 3]
    assert explorer.choice.value == 2
    assert pixels(explorer.picture.value).shape[2] == 4  # with transparency


def test_another_pair_is_another_picture(bench, readers):
    explorer = PairExplorer(bench, readers)
    first = explorer.picture.value
    explorer.choice.value = 3
    assert explorer.picture.value != first
    explorer.choice.value = 0
    np.testing.assert_array_equal(pixels(explorer.picture.value), pixels(first))


def test_pairs_can_be_narrowed_by_who_matched_both_images(bench, readers):
    explorer = PairExplorer(bench, readers)
    groups = dict(explorer.outcome.options)
    assert groups == {
        "all pairs (4)": "all pairs",
        "matched by LLaVA only (2)": "matched by LLaVA only",
        "matched by all (1)": "matched by all",
        "matched by none (1)": "matched by none",
    }
    before = explorer.picture.value
    explorer.outcome.value = "matched by none"
    assert [value for _, value in explorer.choice.options] == [3]
    assert explorer.choice.value == 3 and explorer.picture.value != before


def test_one_reader_needs_no_comparison(bench, readers):
    explorer = PairExplorer(bench, {"CLIP": readers["CLIP"]})
    assert [label for label, _ in explorer.outcome.options] == [
        "all pairs (4)",
        "matched by none (3)",
        "matched (1)",
    ]


def test_a_pair_can_be_named(bench, readers):
    assert PairExplorer(bench, readers, start="p3").choice.value == 3
    assert PairExplorer(bench, readers, start=-1).choice.value == 3
    for start, message in (("p9", "no pair 'p9'"), (4, "has 4 pairs"), (-5, "has 4 pairs")):
        with pytest.raises(ValueError, match=message):
            PairExplorer(bench, readers, start=start)


def test_no_figure_is_left_open_to_be_shown_twice(bench, readers):
    plt.close("all")
    PairExplorer(bench, readers).choice.value = 1
    assert plt.get_fignums() == []


def test_what_it_cannot_show_is_refused(bench, readers):
    with pytest.raises(ValueError, match="four has 0 pairs"):
        PairExplorer(bench[:0], readers)
    with pytest.raises(ValueError, match="at least one reader"):
        PairExplorer(bench, {})
    with pytest.raises(ValueError, match="CLIP has no predictions for pair 'p3'"):
        PairExplorer(bench, {"CLIP": readers["CLIP"].query("pair_id != 'p3'")})
    with pytest.raises(ValueError, match="CLIP has several predictions"):
        PairExplorer(bench, {"CLIP": pd.concat([readers["CLIP"]] * 2)})


def test_beside_the_widget_stands_the_picture_of_what_is_chosen(bench, readers):
    explorer = PairExplorer(bench, readers)
    explorer.choice.value = 1
    bundle = explorer._repr_mimebundle_()
    assert VIEW in bundle
    assert "<svg" in bundle["image/svg+xml"]
    assert LEFT in bundle["text/plain"]


def test_an_executed_notebook_holds_the_picture_without_a_front_end(tmp_path, root, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(root))
    source = """
import pandas as pd
from PIL import Image
from erragree_utils import load_benchmark, load_mllm
from erragree_utils.benchmarks import Benchmark, ImagePair
from erragree_utils.decoding import TextContrast
from erragree_utils.plots import widgets
from erragree_utils.plots.widgets import PairExplorer
images = (Image.new("RGB", (8, 8)), Image.new("RGB", (8, 8), "red"))
bench = Benchmark("one", (ImagePair("p", "s", "left/right", ("left", "right"), images),))
table = pd.DataFrame({"pair_id": "p", "image_index": [0, 1], "n_options": 2,
                      "score_own": 0.2, "score_other": 0.1, "correct": True})
PairExplorer(bench, {"reader": table})
"""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    NotebookClient(
        notebook, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    ).execute()
    (output,) = [out for out in notebook.cells[0].outputs if "data" in out]
    assert "<svg" in output.data["image/svg+xml"]


@pytest.fixture(scope="module")
def mllm():
    return load_mllm("mini")


@pytest.fixture(scope="module")
def pairs():
    return load_benchmark("tabletop-mmvp", n_pairs=1, mined=False)[:2]


class TestDecodingExplorer:
    def test_the_slider_moves_the_combined_probabilities_alone(self, mllm, pairs):
        explorer = DecodingExplorer(mllm, pairs, TextContrast(), start=1)
        before, after = explorer.table(0), explorer.table(2)
        np.testing.assert_allclose(before["combined"], before["with the image"], atol=1e-6)
        assert not np.allclose(after["combined"], after["with the image"])
        for name in ("with the image", "second stream"):
            assert before[name].equals(after[name])
        first = explorer.bars.value
        explorer.strength.value = 2
        assert explorer.bars.value != first

    def test_both_options_are_among_the_tokens(self, mllm, pairs):
        explorer = DecodingExplorer(mllm, pairs, TextContrast())
        for number in range(4):
            explorer.choice.value = number
            pair = pairs[number // 2]
            shown = set(explorer.table(0).index)
            assert {option.lower() for option in pair.options} <= shown

    def test_the_winner_at_the_greatest_strength_is_among_the_tokens(
        self, mllm, pairs, monkeypatch
    ):
        monkeypatch.setattr(widgets, "STRENGTHS", (0, 50))
        explorer = DecodingExplorer(mllm, pairs, TextContrast())
        combined = explorer.table(50)["combined"]
        assert combined.max() > 0.5
        assert list(explorer.table(0).index) == list(combined.index)

    def test_another_image_is_another_picture(self, mllm, pairs):
        explorer = DecodingExplorer(mllm, pairs, TextContrast())
        first = explorer.picture.value, explorer.bars.value
        explorer.choice.value = 1
        assert first[0] != explorer.picture.value and first[1] != explorer.bars.value

    def test_a_static_page_shows_three_strengths(self, mllm, pairs):
        explorer = DecodingExplorer(mllm, pairs, TextContrast())
        assert "<svg" in explorer._repr_mimebundle_()["image/svg+xml"]
        titles = [ax.get_title() for ax in explorer.still().axes]
        assert titles == ["strength 0", "strength 1.5", "strength 5"]

    def test_what_cannot_be_shown(self, mllm, pairs):
        with pytest.raises(ValueError, match="there are 0 images"):
            DecodingExplorer(mllm, [], TextContrast())
        with pytest.raises(ValueError, match="there are 4 images"):
            DecodingExplorer(mllm, pairs, TextContrast(), start=4)
