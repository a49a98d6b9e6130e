"""Recorded runs and their summaries."""

import numpy as np
import pandas as pd
import pytest

from erragree_utils.training import ablations
from erragree_utils.training.ablations import experiments
from erragree_utils.training.ablations.__main__ import main


def made_up(**values):
    """A table of two experiments: pairs right of each seed, as digits."""
    rows = [
        {"experiment": name, "factor": "hard_negatives" if name != "CLIP" else "", "setting": "",
         "seed": seed, "benchmark": "tabletop-a", "metric": "pair", "n": len(text),
         "per_pair": text, "value": text.count("2") / len(text)}
        for name, texts in values.items() for seed, text in enumerate(texts)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_a_table_has_a_row_for_each_run_benchmark_and_metric(recorded, small, metrics):
    table = ablations.results("data", recorded)
    assert list(table.columns) == [
        "family", "experiment", "factor", "setting", "base", "seed", "benchmark", "metric",
        "value", "low", "high", "n", "per_pair", "steps", "seconds", "threads", "hardware",
        "command", "settings_hash",
    ]  # fmt: skip
    assert len(table) == 2 * 2 * 2 * len(metrics)
    row = table[table["experiment"] == "hard negatives"].iloc[0]
    assert (row["factor"], row["setting"], row["base"]) == ("hard_negatives", "True", "CLIP")
    assert row["command"].startswith("rerun('hard negatives', 0, **{'steps': 3, 'scenes': 400")
    assert (table["low"] <= table["value"]).all() and (table["value"] <= table["high"]).all()
    settings = experiments.experiment("hard negatives").settings(0, **small)
    assert row["settings_hash"] == experiments.settings_hash(settings)


def test_digits_of_pairs_add_up_to_the_value(recorded):
    table = ablations.results("data", recorded)
    for row in table[table["metric"] == "individual"].itertuples():
        right = [int(digit) for digit in row.per_pair]
        assert len(right) == row.n and np.mean(right) / 2 == pytest.approx(row.value, abs=1e-5)


def test_runs_that_are_not_recorded_are_named(recorded):
    missing = ablations.missing_runs(ablations.results("data", recorded))
    there = missing[missing["family"] == "data"].groupby("experiment")["seed"].apply(list)
    assert there["CLIP"] == [2] and there["relations 0%"] == [0, 1, 2]


def test_a_summary_is_over_seeds_and_pairs():
    table = made_up(CLIP=["2000" * 25, "2200" * 25, "0000" * 25])
    row = ablations.summarise(table).loc["CLIP", "tabletop-a"]
    assert row["value"] == pytest.approx(0.25) and row["n_seeds"] == 3
    assert (row["lowest"], row["highest"]) == (0.0, 0.5)
    alone = ablations.summarise(table[table["seed"] == 0]).loc["CLIP", "tabletop-a"]
    width = [r["value_high"] - r["value_low"] for r in (row, alone)]
    assert width[0] > width[1]  # seeds differ, too
    assert alone["value_low"] < 0.25 < alone["value_high"]


def test_a_summary_claims_no_certainty_where_nothing_varies():
    none = ablations.summarise(made_up(CLIP=["0" * 100] * 3)).loc["CLIP", "tabletop-a"]
    assert none["value_low"] == 0 and 0.02 < none["value_high"] < 0.05
    cosine = made_up(CLIP=["0" * 100]).assign(metric="cosine", per_pair="", value=0.98)
    alone = ablations.summarise(cosine, "cosine").loc["CLIP", "tabletop-a"]
    assert alone["value"] == 0.98 and np.isnan(alone["value_low"])


def test_an_effect_is_the_difference_to_the_base_on_the_same_pairs():
    table = made_up(
        CLIP=["2000" * 25] * 2, **{"hard negatives": ["2200" * 25, "2200" * 25, "2222" * 25]}
    )
    row = ablations.effects(table).loc["hard negatives", "tabletop-a"]
    assert row["difference"] == pytest.approx(0.25) and row["n_seeds"] == 2  # shared seeds alone
    assert 0 < row["difference_low"] < 0.25 < row["difference_high"] and row["base"] == "CLIP"
    assert ("CLIP", "tabletop-a") not in ablations.effects(table).index


def test_a_ranking_is_of_all_changes_and_corrected_for_their_number():
    weak, strong = ["20" * 50, "02" * 50, "20" * 50], ["22" * 50] * 3
    table = made_up(
        CLIP=["00" * 50] * 3,
        **{"hard negatives": weak, "relations 0%": strong, "relations 10%": ["00" * 50] * 3},
    )
    ranked = ablations.ranking(table, "pair")
    assert list(ranked.index) == ["relations 0%", "hard negatives", "relations 10%"]
    assert ranked["difference"].to_numpy() == pytest.approx([1, 0.5, 0])
    assert ranked.loc["relations 10%", "p_holm"] == 1
    assert ranked.loc["relations 0%", "p_holm"] == pytest.approx(
        3 * ranked.loc["relations 0%", "p"]
    )


def test_an_overview_has_a_row_for_each_experiment_and_a_column_for_each_measure(recorded):
    shown = ablations.overview(ablations.results("data", recorded), ["hard negatives", "CLIP"])
    assert list(shown.index) == ["hard negatives", "CLIP"]
    columns = ["pair A", "pair B", "relative A", "relative B", "objects A"]
    assert list(shown.columns) == columns
    assert shown["pair A"].str.fullmatch(r"\d+ \[\d+, \d+\]").all()
    assert shown["objects A"].str.fullmatch(r"\d+").all()


def test_a_metric_or_family_that_is_not_there_is_named(tmp_path, recorded):
    with pytest.raises(ValueError, match="no rows of metric 'f1'"):
        ablations.summarise(ablations.results("data", recorded), "f1")
    with pytest.raises(ValueError, match="no family 'date'"):
        ablations.results("date")
    with pytest.raises(FileNotFoundError, match="--only text"):
        ablations.results("text", tmp_path)


def test_a_difference_of_means_is_over_seeds_pairs_and_benchmarks():
    table = made_up(
        **{"CLIP": ["2000" * 25] * 2, "hard negatives": ["2200" * 25, "2222" * 25],
           "mean patch": ["0000" * 25] * 2}
    )  # fmt: skip
    both = pd.concat([table, table.assign(benchmark="tabletop-b", per_pair="2" * 100)])
    hard, others = ["hard negatives"], ["CLIP", "mean patch"]
    value, low, high = ablations.difference(table, "pair", hard, others)
    assert value == pytest.approx(0.75 - 0.125) and low < value < high
    assert ablations.difference(both, "pair", hard, others)[0] == pytest.approx(value / 2)
    assert ablations.difference(both, "pair", hard)[0] == pytest.approx((0.75 + 1) / 2)


def test_recorded_rows_are_of_the_experiments_as_they_are_now():
    table = ablations.results()
    for row in table.drop_duplicates(["experiment", "seed"]).itertuples():
        found = experiments.experiment(row.experiment)
        assert row.settings_hash == experiments.settings_hash(found.settings(row.seed)), row
        assert row.base == (found.base or "") and row.factor == found.factor
    assert not table.duplicated(["family", "experiment", "seed", "benchmark", "metric"]).any()


def test_every_recorded_run_has_every_measure(metrics):
    table = ablations.results()
    assert ablations.missing_runs(table).empty
    found = table.groupby(["experiment", "seed", "benchmark"])["metric"].agg(set)
    assert (found.xs("tabletop-a", level=2) == metrics | {"probe"}).all()
    assert (found.xs("tabletop-b", level=2) == metrics).all()


def test_recorded_rows_of_the_short_family_come_out_again(tmp_path, metrics):
    """By its command, for one seed: every value lies within the interval on record."""
    main(["--only", "short", "--seeds", "0", "--out", str(tmp_path)])
    key = ["experiment", "benchmark", "metric"]
    again = ablations.results("short", tmp_path / "tables").set_index(key)["value"]
    table = ablations.results("short").query("seed == 0").set_index(key)
    assert set(again.index) == set(table.index) and len(again) == 2 * (2 * len(metrics) + 1)
    value = again.reindex(table.index)
    assert ((table["low"] - 1e-6 <= value) & (value <= table["high"] + 1e-6)).all()
