"""What tells the organisms apart: measures with intervals, on shipped and made-up models."""

import numpy as np
import pandas as pd
import pytest

from erragree_utils import load_clip
from erragree_utils.models import ASSETS
from erragree_utils.training import organisms


@pytest.fixture(scope="module")
def lost():
    return load_clip("mini-lost", device="cpu")


@pytest.fixture(scope="module")
def measured(lost):
    return organisms.measure(lost, "tabletop-b", seeds=(31, 32), n_sets=20).set_index("metric")


def test_every_measure_has_an_interval_that_holds_it(measured):
    assert {"cosine", "individual", "pair", "relative", "probe single"} <= set(measured.index)
    assert {"pair, front/behind", "retrieval, left/right"} <= set(measured.index)
    assert (measured["low"] <= measured["value"] + 1e-9).all()
    assert (measured["value"] <= measured["high"] + 1e-9).all()
    assert (measured["n"] == 40).all()


def test_a_probe_reads_a_planted_side_on_unseen_groups_and_none_where_there_is_none():
    rng = np.random.default_rng(0)
    left, groups = np.tile([True, False], 100), np.repeat(np.arange(20), 10)
    noise = rng.normal(size=(200, 16))
    planted = noise + 3 * np.where(left, 1, -1)[:, None] * rng.normal(size=16)
    assert organisms.read_sides(planted, left, groups).mean() > 0.95
    assert organisms.read_sides(noise, left, groups).mean() < 0.65


def test_a_probe_that_is_told_what_is_asked_reads_a_side_that_depends_on_it():
    rng = np.random.default_rng(1)
    asked = rng.normal(size=(400, 4))
    x = rng.normal(size=(400, 4))
    left = (x * asked).sum(axis=1) > 0
    groups = np.repeat(np.arange(40), 10)
    assert organisms.read_sides(x, left, groups, asked).mean() > 0.85
    assert organisms.read_sides(x, left, groups).mean() < 0.65


def test_the_band_of_views_compares_with_an_untrained_tower(lost):
    band = organisms.view_band(lost, "tabletop-a", seed=31, n_sets=4, views={"gap": (1.5, 1.8)})
    assert band["model"].tolist() == ["trained", "untrained"] * 2
    assert band["cosine"].between(0.9, 1.0).all()


def test_a_table_is_written_for_the_models_that_are_named(tmp_path, capsys):
    organisms.main(["one=mini-lost", "--seeds", "31", "--sets", "20", "--out", str(tmp_path)])
    table = pd.read_csv(tmp_path / "measures.csv")
    columns = ["organism", "seed", "benchmark", "metric", "value", "low", "high", "n"]
    assert list(table.columns) == columns
    assert table["organism"].unique() == ["one"]
    assert "| one, 0, A | 0.99" in capsys.readouterr().out


@pytest.fixture(scope="module")
def measures():
    return pd.read_csv(ASSETS / "organisms" / "measures.csv")


class TestRecorded:
    FOLDER = ASSETS / "organisms"

    def test_training_seeds_of_each_organism_on_both_benchmarks(self, measures):
        organism = measures["organism"].isin(organisms.ORGANISMS)
        pairs = measures[organism & (measures["metric"] == "relative")]["n"]
        assert len(pairs) == 3 * 3 * 2
        assert (pairs == len(organisms.FINAL) * organisms.SETS).all()

    def test_the_readme_shows_the_recorded_table(self, measures):
        assert organisms.as_markdown(measures) in (self.FOLDER / "README.md").read_text()

    def test_hidden_stays_above_099_over_a_band_of_views(self):
        views = pd.read_csv(self.FOLDER / "views.csv").query("model == 'trained'")
        hidden = views[views["organism"] == "hidden"]
        assert set(hidden["varied"]) == set(organisms.VIEWS)
        assert (hidden["low"] > 0.99).all()
