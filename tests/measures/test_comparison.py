"""Paired tests, and settings chosen on other pairs."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from erragree_utils.measures.accuracy import summarize
from erragree_utils.measures.comparison import (
    as_points,
    choose_held_out,
    compare,
    compare_each,
    holm,
)
from erragree_utils.measures.intervals import wilson


def table(outcomes, relation="left/right") -> pd.DataFrame:
    """Predictions of pairs with these outcomes."""
    rows = [
        (f"{relation}-{i}", f"s{i}", relation, k, 2, bool(right))
        for i, pair in enumerate(outcomes)
        for k, right in enumerate(pair)
    ]
    names = ["pair_id", "set_id", "relation", "image_index", "n_options", "correct"]
    return pd.DataFrame(rows, columns=names)


def guesses(n: int, seed: int = 0, p: float = 0.5):
    return [tuple(pair) for pair in np.random.default_rng(seed).random((n, 2)) < p]


def test_compare_uses_the_exact_mcnemar_test_on_pairs():
    a = table([(1, 0)] * 8 + [(1, 1)] * 2 + [(0, 0)] * 10)
    b = table([(1, 1)] * 8 + [(1, 0)] * 1 + [(1, 1)] * 1 + [(0, 0)] * 10)
    result = compare(a, b)
    assert (result["n"], result["only_a"], result["only_b"]) == (20, 1, 8)
    assert result["difference"] == pytest.approx(7 / 20)
    # Two-sided: twice the chance of one head or none in nine tosses.
    assert result["p_value"] == pytest.approx(2 * (1 + 9) / 2**9)
    assert 0 < result["difference_low"] < 7 / 20 < result["difference_high"] < 1


def test_compare_does_not_depend_on_the_order_of_rows_and_swaps_its_sign():
    a, b = table(guesses(30, 1)), table(guesses(30, 2))
    one = compare(a, b.sample(frac=1, random_state=0))
    other = compare(b, a)
    assert one["difference"] == pytest.approx(-other["difference"])
    assert one["p_value"] == pytest.approx(other["p_value"])


def test_equal_methods_do_not_differ():
    result = compare(table(guesses(10)), table(guesses(10)))
    assert (result["difference"], result["p_value"]) == (0, 1)


def test_where_all_pairs_change_alike_the_interval_is_as_wide_as_wilsons_of_none():
    unseen = wilson(0, 10)[1]
    wrong, right = table([(0, 1)] * 10), table([(1, 1)] * 10)
    for tables, ends in {
        (0, 0): (-unseen, unseen),
        (0, 1): (1 - unseen, 1),
        (1, 0): (-1, unseen - 1),
    }.items():
        result = compare(*((wrong, right)[k] for k in tables))
        assert (result["difference_low"], result["difference_high"]) == pytest.approx(ends)


def test_compare_refuses_other_images():
    with pytest.raises(ValueError, match="0 only in the first, 2 only in the second"):
        compare(table([(1, 1)]), table([(1, 1), (1, 1)]))


def test_each_method_is_compared_with_the_plain_one():
    plain = table([(1, 1), (0, 1), (0, 0), (1, 1)])
    others = {"better": table([(1, 1)] * 4), "same": plain}
    rows = compare_each(plain, others)
    assert rows.loc["better"].to_dict() == compare(plain, others["better"]).to_dict()
    shown = as_points(rows)
    assert shown.loc["better", "difference"].startswith("+50.0 [")
    assert shown.loc["better", ["only plain", "only this"]].tolist() == [0, 2]
    assert shown.loc["same", "difference"].startswith("+0.0 [-")
    assert shown.loc["same", "p"] == "1"


def under(margins: np.ndarray, setting, relation: str = "left/right") -> pd.DataFrame:
    """Predictions of pairs of images, by how much each image prefers its own option."""
    pred = table((margins > 0).astype(int), relation)
    return pred.assign(score_own=margins.ravel(), score_other=0.0, setting=setting)


class TestSettingsChosenOnOtherPairs:
    def margins(self, n: int = 60, seed: int = 0) -> np.ndarray:
        return np.random.default_rng(seed).normal(0.5, 2, (n, 2))

    def test_a_setting_that_is_clearly_better_is_chosen_for_all(self):
        plain = self.margins()
        better = plain + np.where(plain < 0, 1.5, 0.0)
        pred = pd.concat([under(plain, "plain"), under(better, "better")])
        held_out = choose_held_out(pred, "setting")
        assert held_out.attrs["chosen"] == {"better": 1.0}
        assert len(held_out) == 120 and not held_out.duplicated(["pair_id", "image_index"]).any()
        assert held_out["correct"].mean() == (better > 0).mean()

    def test_of_settings_within_one_error_the_weakest_is_chosen_though_another_has_more_right(self):
        plain = self.margins()
        other = np.random.default_rng(1).permutation(plain)
        near = (other < 0) & (other > -0.5)
        other[near], other[~near] = 0.01, other[~near] - 0.05  # more are right, by a hair
        worse = plain - 3.0
        pred = pd.concat([under(m, name) for name, m in (("0", plain), ("1", other), ("2", worse))])
        right = summarize(pred, by="setting")["pair_accuracy"]
        assert right["1"] > right["0"] + 0.05
        assert choose_held_out(pred, "setting").attrs["chosen"] == {"0": 1.0}

    def test_stretching_all_margins_is_no_merit_and_no_fault(self):
        plain = self.margins()
        for factor in (0.2, 5.0):
            pred = pd.concat([under(plain, "plain"), under(factor * plain, "stretched")])
            assert choose_held_out(pred, "setting").attrs["chosen"] == {"plain": 1.0}

    def test_guesses_stay_at_chance_where_the_best_of_many_would_not(self):
        best, honest = [], []
        for seed in range(10):
            margins = np.random.default_rng(seed).normal(size=(10, 60, 2))
            pred = pd.concat([under(m, k) for k, m in enumerate(margins)])
            best.append((margins > 0).all(axis=2).mean(axis=1).max())
            chosen = choose_held_out(pred, "setting", seed=seed)
            honest.append(chosen.groupby("pair_id")["correct"].all().mean())
        assert np.mean(best) > 0.32
        assert abs(np.mean(honest) - 0.25) < 3 * np.std(honest) / 10**0.5

    def test_no_pair_has_a_part_in_the_choice_of_its_own_setting(self):
        near, far = self.margins(40), self.margins(40, seed=1)
        before = pd.concat([under(near, "near"), under(far, "far")])
        one = before["pair_id"] == before["pair_id"].iloc[0]
        after = before.assign(score_own=before["score_own"].where(~one, -50.0))
        both = [choose_held_out(p, "setting") for p in (before, after)]
        first, second = (m.loc[m["pair_id"] == before["pair_id"].iloc[0], "setting"] for m in both)
        assert first.tolist() == second.tolist()

    def test_a_pair_gets_what_the_halves_without_it_have_chosen(self):
        plain = self.margins()
        better = plain + np.where(plain < 0, 1.5, 0.0)
        better[0] = -1000.0  # the half that has this pair keeps clear of it
        pred = pd.concat([under(plain, "plain"), under(better, "better")])
        chosen = choose_held_out(pred, "setting").set_index("pair_id")["setting"]
        assert set(chosen["left/right-0"]) == {"better"}

    def test_halves_have_pairs_of_each_relation(self):
        # One relation in which each setting is hopeless: uneven halves would show it now and then.
        good, bad = np.full((30, 2), 2.0), np.full((2, 2), -9.0)
        parts = [
            under(m + shift, name, relation)
            for name, shift in (("a", 0.0), ("b", 0.01))
            for m, relation in ((good, "left/right"), (bad, "on/under"))
        ]
        held_out = choose_held_out(pd.concat(parts), "setting")
        assert sorted(held_out["relation"].unique()) == ["left/right", "on/under"]
        assert len(held_out.attrs["chosen"]) == 1

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda t: t.drop(columns="setting"), "lacks the column 'setting'"),
            (lambda t: t.iloc[1:], "different images"),
            (lambda t: t[t["pair_id"].isin(t["pair_id"].unique()[:3])], "3 pairs cannot choose"),
        ],
    )
    def test_what_cannot_be_compared(self, change, message):
        pred = pd.concat([under(self.margins(6), k) for k in (0, 1)])
        with pytest.raises(ValueError, match=message):
            choose_held_out(change(pred), "setting")


def test_holm_multiplies_by_the_tests_that_are_left_and_keeps_the_order():
    assert holm([0.04, 0.01, 0.03, 0.5]) == pytest.approx([0.09, 0.04, 0.09, 0.5])
    assert holm([0.6, 0.7]) == pytest.approx([1, 1])
