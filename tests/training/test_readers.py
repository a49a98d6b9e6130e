"""Measures of mini LLaVAs, on one of random weights."""

import json

import numpy as np
import pandas as pd
import pytest

from erragree_utils.models.mllm import load_mllm
from erragree_utils.training import readers


@pytest.fixture(scope="module")
def mllm(saved_llava):
    return load_mllm(saved_llava, device="cpu")


@pytest.fixture(scope="module")
def patterns(mllm):
    return readers.measure_patterns(mllm, seed=5, n_pairs=2)


def value(table, **where):
    for column, wanted in where.items():
        table = table[table[column] == wanted]
    (found,) = table["value"]
    return found


def test_every_method_and_pattern_has_a_row(patterns):
    assert list(patterns.columns) == readers.COLUMNS
    pairs = patterns[patterns["measure"] == "pair"]
    assert set(pairs["method"]) == {"options", *readers.CONTRASTS}
    assert len(pairs) == 4 * 10 and set(pairs["n"]) == {2, 18}
    assert not patterns.duplicated(readers.COLUMNS[:5]).any()
    assert ((pairs["low"] <= pairs["value"]) & (pairs["value"] <= pairs["high"])).all()


def test_energies_are_mean_squares(patterns):
    whole = value(patterns, group="all", method="options", measure="bias energy")
    left = [
        value(patterns, group="all", method=name, measure="residual energy")
        for name in ("m3id-always", "text-contrast")
    ]
    assert min(whole, *left) > 0 and len({whole, *left}) == 3


def test_pairs_hold_what_the_energies_are_made_of(mllm, patterns):
    pairs = readers.measure_pairs(mllm, seed=5, n_pairs=2)
    assert list(pairs.columns) == readers.PAIR_COLUMNS and len(pairs) == 18
    assert pairs["relation"].value_counts().eq(2).all()
    whole = value(patterns, group="all", method="options", measure="bias energy")
    left = value(patterns, group="all", method="text-contrast", measure="residual energy")
    assert (pairs["bias"] ** 2).mean() == pytest.approx(whole)
    assert ((pairs["bias"] - pairs["prior"] / 2) ** 2).mean() == pytest.approx(left)


def test_a_form_is_measured_by_what_is_written(mllm):
    table = readers.measure_forms(mllm, seed=5, n_pairs=1)
    assert set(table["group"]) == {"word", "sentence", "letter"}
    assert set(table["method"]) == set(readers.WRITTEN)
    assert table[table["measure"] == "parsed"]["value"].between(0, 1).all()


def test_the_command_adds_rows_and_replaces_those_that_are_there(
    saved_llava, tmp_path, monkeypatch
):
    def few(mllm, seed, n_pairs):
        return readers.measure_relations(mllm, "tabletop-a", seed, n_sets=2)

    monkeypatch.setitem(readers.PARTS, "a", few)
    arguments = [f"tiny={saved_llava}", "--out", str(tmp_path), "--seeds", "5", "--parts", "a"]
    readers.main(arguments)
    first = pd.read_csv(tmp_path / "measures.csv")
    assert set(first["method"]) == {"vqascore", "prompted"}
    settings = json.loads((saved_llava / "training.json").read_text())
    assert np.allclose(first["imbalance"], settings["imbalance"])
    readers.main(arguments)
    pd.testing.assert_frame_equal(first, pd.read_csv(tmp_path / "measures.csv"))


def test_pairs_have_a_table_of_their_own(saved_llava, tmp_path):
    arguments = [f"tiny={saved_llava}", "--out", str(tmp_path), "--seeds", "5", "--pairs", "1"]
    for _ in range(2):
        readers.main([*arguments, "--parts", "pairs"])
    table = pd.read_csv(tmp_path / "pairs.csv")
    assert list(table.columns) == ["model", *readers.PAIR_COLUMNS] and len(table) == 9
    assert not (tmp_path / "measures.csv").exists()
