"""Accuracies, intervals, chance levels and paired tests."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from erragree_utils.measures import metrics
from erragree_utils.measures.metrics import compare, summarize, summarize_sets


def table(outcomes, relation="left/right", n_options=2, per_set=1, **columns) -> pd.DataFrame:
    """Predictions with these outcomes, a tuple of one or two for each pair."""
    rows = [
        (f"{relation}-{i}", f"s{i // per_set}", relation, k, n_options, bool(right))
        for i, pair in enumerate(outcomes)
        for k, right in enumerate(pair)
    ]
    names = ["pair_id", "set_id", "relation", "image_index", "n_options", "correct"]
    return pd.DataFrame(rows, columns=names).assign(model="m", method="matching", **columns)


def guesses(n: int, seed: int = 0, p: float = 0.5):
    return [tuple(pair) for pair in np.random.default_rng(seed).random((n, 2)) < p]


def test_individual_and_pair_accuracy_count_images_and_pairs():
    row = summarize(table([(1, 1), (1, 0), (0, 1), (0, 0)])).loc["all"]
    assert row["n_pairs"] == 4 and row["n_images"] == 8
    assert row["individual_accuracy"] == 0.5
    assert row["pair_accuracy"] == 0.25


def test_groups_are_the_index_and_keep_their_order_of_appearance():
    pred = pd.concat([table([(1, 1)], "on/under"), table([(0, 1)], "left/right")])
    by_relation = summarize(pred, by="relation")
    assert list(by_relation.index) == ["on/under", "left/right"]
    assert by_relation["pair_accuracy"].tolist() == [1, 0]
    by_two = summarize(pred, by=["model", "relation"])
    assert by_two.loc[("m", "left/right"), "individual_accuracy"] == 0.5


@pytest.mark.parametrize("n_options", [2, 4])
def test_chance_follows_from_the_number_of_options(n_options):
    pred = table([(1, 1), (0, 0)], n_options=n_options, per_set=2)
    row = summarize(pred).loc["all"]
    assert row["individual_chance"] == pytest.approx(1 / n_options)
    assert row["pair_chance"] == pytest.approx(1 / n_options**2)
    assert summarize_sets(pred)["set_chance"].item() == pytest.approx(1 / n_options**4)


def test_pair_interval_is_wilsons():
    row = summarize(table(guesses(103))).loc["all"]
    exact = stats.binomtest(round(row["pair_accuracy"] * 103), 103).proportion_ci(method="wilson")
    assert (row["pair_accuracy_low"], row["pair_accuracy_high"]) == pytest.approx(tuple(exact))


@pytest.mark.parametrize(("k", "n"), [(0, 10), (3, 10), (10, 10), (35, 35), (51, 412)])
def test_wilson_agrees_with_scipy(k, n):
    exact = tuple(stats.binomtest(k, n).proportion_ci(method="wilson"))
    low, high = metrics.wilson(k / n, n)
    assert (low, high) == pytest.approx(exact, abs=1e-12)
    assert low <= k / n <= high  # also where rounding would put the whole share outside


def test_individual_interval_agrees_with_resampling_pairs_by_hand():
    outcomes = np.array(guesses(60, seed=3, p=0.7))
    draws = np.random.default_rng(1).integers(60, size=(20_000, 60))
    low, high = np.quantile(outcomes.mean(axis=1)[draws].mean(axis=1), [0.025, 0.975])
    row = summarize(table(outcomes)).loc["all"]
    assert row["individual_accuracy_low"] == pytest.approx(low, abs=0.01)
    assert row["individual_accuracy_high"] == pytest.approx(high, abs=0.01)


def test_images_that_agree_within_pairs_count_once():
    # Both images right or both wrong: 100 images carry the information of 50.
    width = {}
    for name, outcomes in {
        "agreeing": [(1, 1), (0, 0)] * 25,
        "independent": [(1, 1), (1, 0), (0, 1), (0, 0)] * 12,
        "opposed": [(1, 0)] * 24 + [(0, 1)] * 24 + [(1, 1)],
    }.items():
        row = summarize(table(outcomes)).loc["all"]
        width[name] = row["individual_accuracy_high"] - row["individual_accuracy_low"]
    assert width["agreeing"] > 1.25 * width["independent"] > 2 * width["opposed"]


@pytest.mark.parametrize(("pair", "share"), [((1, 1), 1.0), ((0, 0), 0.0), ((1, 0), 0.5)])
def test_where_all_pairs_agree_the_interval_is_wilsons_and_not_a_point(pair, share):
    row = summarize(table([pair] * 21)).loc["all"]
    interval = row["individual_accuracy_low"], row["individual_accuracy_high"]
    assert interval == pytest.approx(metrics.wilson(share, 21))
    assert interval[0] < interval[1]


def test_the_bootstrap_covers_the_truth_about_19_times_in_20():
    hits = 0
    for seed in range(150):
        row = summarize(table(guesses(60, seed, p=0.6)), seed=seed).loc["all"]
        hits += row["individual_accuracy_low"] <= 0.6 <= row["individual_accuracy_high"]
    assert 0.89 <= hits / 150 <= 0.99


def test_the_same_seed_gives_the_same_interval():
    pred = table(guesses(40))
    pd.testing.assert_frame_equal(summarize(pred, seed=1), summarize(pred, seed=1))


def test_single_images_have_no_pair_accuracy():
    row = summarize(table([(1,), (0,), (1,)])).loc["all"]
    assert row["individual_accuracy"] == pytest.approx(2 / 3)
    assert row[["pair_accuracy", "pair_accuracy_low", "pair_chance"]].isna().all()


def test_a_set_is_right_if_all_its_images_are():
    pred = table([(1, 1), (1, 1), (1, 1), (1, 0)], per_set=2)
    row = summarize_sets(pred).loc["all"]
    assert (row["n_sets"], row["set_accuracy"]) == (2, 0.5)
    assert row["set_accuracy_low"] < 0.5 < row["set_accuracy_high"]


def test_sets_that_are_not_whole_are_not_mixed_with_whole_ones():
    with pytest.raises(ValueError, match="sets of 2 and 4 images are mixed"):
        summarize_sets(table([(1, 1), (1, 1), (1, 1)], per_set=2))


def test_a_pair_that_lacks_an_image_is_refused():
    with pytest.raises(ValueError, match="'left/right-2' has 1 rows"):
        summarize(table([(1, 1), (1, 0), (1,)]))


def test_missing_columns_are_named():
    with pytest.raises(ValueError, match="lacks correct"):
        summarize(table([(1, 1)]).drop(columns="correct"))
    with pytest.raises(ValueError, match="no column 'colour' to group by"):
        summarize(table([(1, 1)]), by="colour")


def test_an_empty_table_is_refused():
    with pytest.raises(ValueError, match="empty"):
        summarize(table([]))


def test_nan_scores_are_refused_and_the_pair_named():
    pred = table([(1, 1), (1, 0)]).assign(score_own=[0.1, 0.2, np.nan, 0.3], score_other=0.0)
    with pytest.raises(ValueError, match="'left/right-1'.*neither right nor wrong"):
        summarize(pred)


def test_two_models_in_one_table_must_be_told_apart():
    pred = pd.concat([table([(1, 1)]), table([(0, 0)]).assign(model="n")])
    with pytest.raises(ValueError, match="several of model: add that to by="):
        summarize(pred)
    assert summarize(pred, by="model")["pair_accuracy"].tolist() == [1, 0]


def test_the_same_image_twice_is_refused():
    with pytest.raises(ValueError, match="image 0 of pair 'left/right-0' twice"):
        summarize(pd.concat([table([(1, 1)])] * 2))


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


def test_compare_by_set_asks_for_all_four():
    a = table([(1, 1), (1, 0), (1, 1), (1, 1)], per_set=2)
    b = table([(1, 1), (1, 1), (1, 1), (1, 1)], per_set=2)
    result = compare(a, b, unit="set")
    assert (result["n"], result["accuracy_a"], result["accuracy_b"]) == (2, 0.5, 1.0)


def test_equal_methods_do_not_differ():
    result = compare(table(guesses(10)), table(guesses(10)))
    assert (result["difference"], result["p_value"]) == (0, 1)


def test_compare_refuses_other_images_and_unknown_units():
    with pytest.raises(ValueError, match="0 only in the first, 2 only in the second"):
        compare(table([(1, 1)]), table([(1, 1), (1, 1)]))
    with pytest.raises(ValueError, match="unknown unit 'image'"):
        compare(table([(1, 1)]), table([(1, 1)]), unit="image")


def test_the_interval_of_a_mean_holds_the_true_mean_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    found = [metrics.bootstrap_mean(rng.normal(0.9, 0.01, 60)) for _ in range(100)]
    held = np.mean([f["mean_low"] <= 0.9 <= f["mean_high"] for f in found])
    assert 0.85 <= held <= 1.0
    assert all(f["mean_low"] < f["mean"] < f["mean_high"] for f in found)


@pytest.mark.parametrize("values", [[], [0.5], [0.5, np.nan]])
def test_a_mean_of_too_little_has_no_interval(values):
    with pytest.raises(ValueError, match="two or more"):
        metrics.bootstrap_mean(values)


def test_a_summary_for_people_has_percents_intervals_and_chance():
    pred = table([(1, 1), (1, 0), (0, 0), (0, 1)])
    shown = metrics.as_percent(summarize(pred, by="relation"))
    row = shown.loc["left/right"]
    low, high = (100 * v for v in metrics.wilson(0.25, 4))
    assert row["pair accuracy"] == f"25.0 [{low:.1f}, {high:.1f}]"
    assert row["pair chance"] == "25" and row["individual chance"] == "50"
    assert row["pairs"] == 4 and "images" not in shown


def test_accuracies_that_do_not_exist_are_not_shown():
    shown = metrics.as_percent(summarize(table([(1,), (0,)])))
    assert "individual accuracy" in shown and "pair accuracy" not in shown
    with pytest.raises(ValueError, match="no accuracies"):
        metrics.as_percent(pd.DataFrame({"n_pairs": [1]}))


@pytest.mark.parametrize("n", range(1, 400, 7))
def test_wilsons_interval_holds_the_share_at_both_ends(n):
    assert metrics.wilson(1.0, n)[1] == 1.0 and metrics.wilson(0.0, n)[0] == 0.0


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
        found = metrics.choose_held_out(pred, "setting")
        assert found.attrs["chosen"] == {"better": 1.0}
        assert len(found) == 120 and not found.duplicated(["pair_id", "image_index"]).any()
        assert found["correct"].mean() == (better > 0).mean()

    def test_of_settings_within_one_error_the_weakest_is_chosen_though_another_has_more_right(self):
        plain = self.margins()
        other = np.random.default_rng(1).permutation(plain)
        near = (other < 0) & (other > -0.5)
        other[near], other[~near] = 0.01, other[~near] - 0.05  # more are right, by a hair
        worse = plain - 3.0
        pred = pd.concat([under(m, name) for name, m in (("0", plain), ("1", other), ("2", worse))])
        right = summarize(pred, by="setting")["pair_accuracy"]
        assert right["1"] > right["0"] + 0.05
        assert metrics.choose_held_out(pred, "setting").attrs["chosen"] == {"0": 1.0}

    def test_stretching_all_margins_is_no_merit_and_no_fault(self):
        plain = self.margins()
        for factor in (0.2, 5.0):
            pred = pd.concat([under(plain, "plain"), under(factor * plain, "stretched")])
            assert metrics.choose_held_out(pred, "setting").attrs["chosen"] == {"plain": 1.0}

    def test_guesses_stay_at_chance_where_the_best_of_many_would_not(self):
        best, honest = [], []
        for seed in range(10):
            margins = np.random.default_rng(seed).normal(size=(10, 60, 2))
            pred = pd.concat([under(m, k) for k, m in enumerate(margins)])
            best.append((margins > 0).all(axis=2).mean(axis=1).max())
            chosen = metrics.choose_held_out(pred, "setting", seed=seed)
            honest.append(chosen.groupby("pair_id")["correct"].all().mean())
        assert np.mean(best) > 0.32
        assert abs(np.mean(honest) - 0.25) < 3 * np.std(honest) / 10**0.5

    def test_no_pair_has_a_part_in_the_choice_of_its_own_setting(self):
        near, far = self.margins(40), self.margins(40, seed=1)
        before = pd.concat([under(near, "near"), under(far, "far")])
        one = before["pair_id"] == before["pair_id"].iloc[0]
        after = before.assign(score_own=before["score_own"].where(~one, -50.0))
        mine = [metrics.choose_held_out(p, "setting") for p in (before, after)]
        first, second = (m.loc[m["pair_id"] == before["pair_id"].iloc[0], "setting"] for m in mine)
        assert first.tolist() == second.tolist()

    def test_halves_have_pairs_of_each_relation(self):
        # One relation in which each setting is hopeless: uneven halves would show it now and then.
        good, bad = np.full((30, 2), 2.0), np.full((2, 2), -9.0)
        parts = [
            under(m + shift, name, relation)
            for name, shift in (("a", 0.0), ("b", 0.01))
            for m, relation in ((good, "left/right"), (bad, "on/under"))
        ]
        found = metrics.choose_held_out(pd.concat(parts), "setting")
        assert sorted(found["relation"].unique()) == ["left/right", "on/under"]
        assert len(found.attrs["chosen"]) == 1

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
            metrics.choose_held_out(change(pred), "setting")


class TestBootstrapOfAnyNumber:
    UNITS = pd.DataFrame({"kind": ["a"] * 50 + ["b"] * 10, "x": np.arange(60.0)})

    def test_of_a_mean_is_that_of_the_mean(self):
        value, low, high = metrics.bootstrap(lambda t: t["x"].mean(), self.UNITS)
        known = metrics.bootstrap_mean(self.UNITS["x"].to_numpy())
        assert value == known["mean"]
        assert (low, high) == pytest.approx((known["mean_low"], known["mean_high"]), abs=0.6)

    def test_within_groups_draws_as_many_of_each_as_there_are(self):
        share = lambda t: (t["kind"] == "a").mean()  # noqa: E731
        assert metrics.bootstrap(share, self.UNITS, "kind", resamples=20) == (50 / 60,) * 3
        value, low, high = metrics.bootstrap(share, self.UNITS, resamples=100)
        assert low < value < high


class TestComparisonsForPeople:
    def test_each_method_is_compared_with_the_plain_one(self):
        plain = table([(1, 1), (0, 1), (0, 0), (1, 1)])
        others = {"better": table([(1, 1)] * 4), "same": plain}
        rows = metrics.compare_each(plain, others)
        assert rows.loc["better"].to_dict() == compare(plain, others["better"]).to_dict()
        shown = metrics.as_points(rows)
        assert shown.loc["better", "difference"].startswith("+50.0 [")
        assert shown.loc["better", ["only plain", "only this"]].tolist() == [0, 2]
        assert shown.loc["same", "difference"] == "+0.0 [+0.0, +0.0]"
        assert shown.loc["same", "p"] == "1"
