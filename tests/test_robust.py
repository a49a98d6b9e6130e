"""Margins of findings over draws, processor paths and noise."""

from __future__ import annotations

import math
import os

import nbformat
import pandas as pd
import pytest
import robust

from erragree_utils.findings import finding

VALUES = {
    "seed 0": 0.10, "seed 11": 0.12, "seed 12": 0.08, "seed 13": 0.10, "seed 14": 0.10,
    "AVX2": 0.10, "SSE": 0.11, "two threads": 0.10, "noise 1e-6": 0.1002,
}  # fmt: skip


def page(value: float, **bounds) -> list:
    return [finding("CLIP fails", (value, value - 0.05, value + 0.05), **bounds)]


def row(**bounds) -> pd.Series:
    found = {"Chapter": {name: page(value, **bounds) for name, value in VALUES.items()}}
    table = robust.margins(found)
    assert len(table) == 1
    return table.iloc[0]


class TestMargins:
    def test_are_counted_in_standard_deviations_over_seeds_alone(self):
        found = row(below=0.25)
        assert found["mean"] == pytest.approx(0.10)
        assert found["sd"] == pytest.approx(0.02 / math.sqrt(2))
        assert found["margin"] == pytest.approx(0.15 / (0.02 / math.sqrt(2)))
        assert (found["least"], found["most"]) == (0.08, 0.12)

    def test_are_told_in_standard_errors_too_of_the_seed_that_has_fewest(self):
        assert row(below=0.25)["errors"] == pytest.approx((0.25 - 0.12) / 0.05 * 1.96)

    def test_are_those_of_the_nearer_bound(self):
        assert row(below=0.25, above=0.0)["margin"] == pytest.approx(row(above=0.0)["margin"])

    def test_other_paths_and_noise_are_compared_with_the_first_seed(self):
        found = row(below=0.25)
        assert found["paths"] == pytest.approx(0.01) and found["noise"] == pytest.approx(0.0002)

    def test_name_the_variations_in_which_the_claim_fails(self):
        assert row(below=0.25)["failed"] == ""
        assert row(below=0.165)["failed"] == "seed 11"

    def test_name_those_in_which_it_is_not_made(self):
        found = {"Chapter": {name: page(v, below=0.25) for name, v in VALUES.items()}}
        found["Chapter"]["seed 12"] = [finding("Another claim", 1.0, above=0.5)]
        assert robust.margins(found).set_index("finding").loc["CLIP fails", "failed"] == "seed 12"

    def test_of_a_value_that_is_the_same_everywhere_are_infinite(self):
        same = {"Chapter": {n: [finding("All", 1.0, above=0.5)] for n in VALUES}}
        table = robust.margins(same)
        assert table["margin"].item() == math.inf
        assert robust.readable(table)["Margin"].item() == "same on every seed"

    def test_readable_numbers_are_in_the_units_of_the_finding(self):
        shown = robust.readable(robust.margins(
            {"Chapter": {name: page(v, below=0.25) for name, v in VALUES.items()}}
        )).iloc[0]  # fmt: skip
        assert shown["Bound"] == "below 25 %" and shown["Range"] == "8.0 to 12.0"
        assert shown["Mean (sd) over seeds"] == "10.0 (1.4)" and shown["Noise"] == "2.0e-02"


SOURCE = """
import torch
from erragree_utils.findings import finding, show
from erragree_utils.scale import get_scale

layer = torch.nn.Linear(64, 64, bias=False, dtype=torch.float64)
x = torch.ones(1, 64, dtype=torch.float64)
moved = ((layer(x) - x @ layer.weight.T) / (x @ layer.weight.T)).abs().max().item()
seed = get_scale("mini").seed
show([
    finding("The seed is above nine", seed, above=9, unit="", seed=seed),
    finding("Layers are noisy", moved, above=1e-7, below=1e-5, unit=""),
])
"""


def test_a_variation_changes_the_draw_or_the_rounding_and_nothing_else(tmp_path, monkeypatch):
    source = tmp_path / "book"
    (source / "erragree_utils").mkdir(parents=True)
    (source / "erragree_utils" / "x.py").write_text("")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(SOURCE)])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(notebook, source / "a.ipynb")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, [robust.ROOT])))
    by_name = {v.name: v for v in robust.VARIATIONS}
    holds = {
        name: [f.holds for f in robust.run(by_name[name], source / "a.ipynb", source)]
        for name in ("seed 0", "seed 12", "noise 1e-6")
    }
    assert holds == {
        "seed 0": [False, False],
        "seed 12": [True, False],
        "noise 1e-6": [False, True],
    }
