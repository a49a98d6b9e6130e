"""What recorded runs say: shares over seeds and pairs, differences, and a corrected ranking."""

import pandas as pd
import pytest

from erragree_utils.training import ladder_tables as tables
from erragree_utils.training.ladder_heads import CROSSED, RUNGS
from erragree_utils.training.ladder_tables import CHANGES, MATCHES_PATCHES, ONE, PATCHES


def made_up(**of):
    """Runs of rungs on the hidden model: for each seed, its pairs' digits on A."""
    rows = [
        {"model": "hidden", "captions": "aligned", "rung": rung, "seed": seed,
         "benchmark": "tabletop-a", "metric": "relative", "value": 0.0, "n": 40, "per_pair": text}
        for rung, texts in of.items() for seed, text in enumerate(texts)
    ]  # fmt: skip
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def runs():
    return tables.read_table()


def test_digits_of_pairs_add_up_to_the_recorded_values(runs):
    for row in runs.itertuples():
        of = 1 if row.metric in ("pair", "relative") else 2
        assert len(row.per_pair) == row.n
        assert sum(map(int, row.per_pair)) / of / row.n == pytest.approx(row.value, abs=1e-4)


def test_every_rung_is_on_record_with_at_least_three_seeds(runs):
    planned = runs[(runs["model"] == "hidden") & (runs["captions"] == "aligned")]
    seeds = planned.groupby("rung")["seed"].nunique()
    assert set(seeds.index) == set(RUNGS) and seeds.min() >= 3


def test_every_recorded_rung_is_in_some_change(runs):
    compared = {(c, end) for change in CHANGES.values() for c, end in (
        ("aligned", change.rung), (change.captions, change.base))}  # fmt: skip
    recorded = runs[runs["rung"] != tables.AS_IT_IS][["captions", "rung"]]
    assert set(recorded.itertuples(index=False, name=None)) <= compared


def test_a_change_is_measured_on_the_seeds_that_both_ends_have():
    table = made_up(**{ONE: ["10" * 20] * 3, MATCHES_PATCHES: ["11" * 20] * 2})
    assert tables.estimate(table, MATCHES_PATCHES, "relative", minus=ONE)[0] == 0.5
    assert list(tables.matrix(table, ONE, "relative").index) == [0, 1, 2]


def test_a_share_is_a_mean_over_seeds_and_pairs_with_an_interval_over_both():
    table = made_up(**{ONE: ["10" * 20, "1110" * 10], PATCHES: ["11" * 20, "11" * 20]})
    value, low, high = tables.estimate(table, ONE, "relative")
    assert value == pytest.approx(0.625) and low < 0.5 < high < 1
    gain = tables.estimate(table, PATCHES, "relative", minus=ONE)
    assert gain[0] == pytest.approx(0.375) and gain[1] > 0


def test_runs_that_are_not_there_are_named():
    with pytest.raises(ValueError, match="no runs of 'patch tokens' on 'lost'"):
        tables.matrix(made_up(**{PATCHES: ["10"]}), PATCHES, "relative", "lost")
    with pytest.raises(FileNotFoundError, match="training.ladder --out nowhere"):
        tables.read_table(tables.Path("nowhere/measures.csv"))


def test_the_ranking_holds_every_change_whose_runs_are_there(runs):
    ranked = tables.ranking(runs)
    of_hidden = ranked[ranked["model"] == "hidden"]
    assert set(of_hidden["name"]) == set(CHANGES)
    assert ranked["estimate"].is_monotonic_decreasing
    assert (ranked["low"] <= ranked["estimate"]).all() and ranked["p"].between(0, 1).all()


def test_a_change_in_every_pair_stays_significant_after_the_correction():
    table = made_up(**{ONE: ["10" * 20] * 5, MATCHES_PATCHES: ["11" * 20] * 5})
    (row,) = tables.ranking(table).itertuples()
    assert (row.name, row.estimate) == ("read patch tokens, to match", 0.5) and row.p < 0.01


def test_changes_are_between_rungs_and_cover_the_crossed_cells():
    ends = {end for change in CHANGES.values() for end in (change.rung, change.base)}
    assert ends <= set(RUNGS) and ends >= set(CROSSED)
    assert all(change.factor for change in CHANGES.values())
    assert all(c.rung != c.base or c.captions != "aligned" for c in CHANGES.values())
