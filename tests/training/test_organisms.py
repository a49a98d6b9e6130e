"""What tells the organisms apart: measures with intervals, on shipped and made-up models."""

import numpy as np
import pytest

from erragree_utils import load_clip
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


def test_tables_are_written_for_the_models_that_are_named(tmp_path):
    organisms.main([
        "one=mini-lost", "--seeds", "31", "--sets", "20", "--views", "--out", str(tmp_path)
    ])  # fmt: skip
    text = (tmp_path / "measures.csv").read_text()
    assert text.startswith("benchmark,metric,value,low,high,n,model") and "one" in text
    assert not (tmp_path / "views.csv").exists()
