"""Live tables, read back from their HTML."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup

from erragree_utils.plots import live


def parsed(figure: live.Live) -> tuple[BeautifulSoup, dict]:
    """The figure's markup and its data."""
    soup = BeautifulSoup(figure.html, "html.parser")
    return soup, json.loads(soup.select_one("script[type='application/json']").string)


class TestCalculator:
    @pytest.fixture
    def choices(self) -> pd.DataFrame:
        """Two GPUs; each image takes a GiB beside weights of ten or three."""
        rows = [
            (gpu, bits, batch, weights, batch, 0.5, 0.5, memory, f"{batch} h on {gpu}")
            for bits, weights in (("16 bits", 10.0), ("4 bits", 3.0))
            for batch in (1, 8)
            for gpu, memory in (("small", 10.0), ("large", 40.0))
        ]
        names = ["gpu", "precision", "batch", "weights", "cache", "activations", "fixed"]
        return pd.DataFrame(rows, columns=[*names, "memory", "time"])

    def test_shows_every_gpu_at_the_start_where_no_script_runs(self, choices):
        soup, _ = parsed(live.calculator(choices, start=("4 bits", 1)))
        assert [tag.get_text() for tag in soup.select("tbody th")] == ["small", "large"]
        assert [tag.get_text() for tag in soup.select(".live-fits")] == ["✓ fits", "✓ fits"]
        widths = [tag["style"] for tag in soup.select("tr:nth-of-type(1) .live-stack i")]
        assert widths == ["width:30.0%", "width:10.0%", "width:5.0%", "width:5.0%"]

    def test_has_a_state_for_each_precision_and_batch(self, choices):
        _, data = parsed(live.calculator(choices, start=("4 bits", 1)))
        (_, sixteen), (four, many) = data["states"]
        assert sixteen["needs"] == ["19.0 of 10.0 GiB", "19.0 of 40.0 GiB"]
        assert sixteen["fits"] == ["✗ does not fit", "✓ fits"]
        assert sixteen["times"] == ["–", "8 h on large"]
        assert four["summary"] == "4 bits, 1 at a time: 5.0 GiB, fits small, large"
        assert many["summary"] == "4 bits, 8 at a time: 12.0 GiB, fits large"

    def test_needs_rows_for_its_start(self, choices):
        with pytest.raises(ValueError, match="no rows for 4 bits, 3 at a time"):
            live.calculator(choices, start=("4 bits", 3))
        with pytest.raises(ValueError, match="hardware.choices"):
            live.calculator(choices.drop(columns="time"))


BOXES = {
    "what captions\nstate": (0.1, 0.9, "varied"),
    "tokens": (0.1, 0.1, "varied"),
    "encoder": (0.5, 0.5, "fixed"),
    "score": (0.9, 0.5, "measured"),
    "start": (0.9, 0.1, "fixed"),
}
CAPTIONS, TOKENS, ENCODER, SCORE, _ = BOXES
ARROWS = [(CAPTIONS, ENCODER), (ENCODER, SCORE), (TOKENS, SCORE)]


class TestEffects:
    @pytest.fixture
    def table(self) -> pd.DataFrame:
        rows = [
            ("more relations", CAPTIONS, 2.0, -1.0, 5.0, np.nan),
            ("patch tokens", TOKENS, 10.0, 8.0, 12.0, 7.8),
        ]
        return pd.DataFrame(rows, columns=["name", "factor", "estimate", "low", "high", "paper"])

    def test_shows_all_effects_where_no_script_runs(self, table):
        soup, _ = parsed(live.effects(table, BOXES, ARROWS))
        rows = [row.get_text(" ", strip=True) for row in soup.select("tbody tr")]
        assert rows == [
            "more relations what captions state +2.0 [−1.0, +5.0]",
            "patch tokens tokens +10.0 [+8.0, +12.0] ◇ paper +7.8",
        ]
        assert len(soup.select(".live-interval u")) == 1  # the paper has one of the two

    def test_a_box_leaves_what_acts_through_it(self, table):
        soup, data = parsed(live.effects(table, BOXES, ARROWS))
        assert data["rows"] == [[0], [1], [0], [0, 1], []]
        assert data["summary"][2] == "1 of 2 effects act through: encoder"
        counts = [tag["data-effects"] for tag in soup.select(".live-diagram button")]
        assert counts == ["1", "1", "1", "2", "0"]

    def test_draws_all_effects_on_one_scale(self, table):
        soup, _ = parsed(live.effects(table, BOXES, ARROWS))
        dots, zeros, lines = (
            [float(tag["style"].split("left:")[1].split("%")[0]) for tag in soup.select(part)]
            for part in (".live-interval b", ".live-interval s", ".live-interval i")
        )
        assert zeros[0] == zeros[1] and lines[0] < zeros[0] < dots[0] < lines[1] < dots[1]
        assert (dots[1] - zeros[0]) == pytest.approx(5 * (dots[0] - zeros[0]), abs=0.1)

    def test_needs_no_number_of_the_paper(self, table):
        soup, _ = parsed(live.effects(table.assign(paper=np.nan), BOXES, ARROWS))
        assert "◇" not in soup.get_text() and not soup.select(".live-interval u")

    def test_refuses_factors_and_arrows_without_a_box(self, table):
        with pytest.raises(ValueError, match="'light' is no box"):
            live.effects(table.assign(factor="light"), BOXES, ARROWS)
        with pytest.raises(ValueError, match="neither a box"):
            live.effects(table, BOXES, [("light", SCORE)])
