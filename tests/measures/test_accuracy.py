"""Individual, pair and set accuracy, their intervals and chance levels."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from erragree_utils.measures.accuracy import (
    as_percent,
    in_digits,
    in_percent,
    summarize,
    summarize_draws,
    summarize_questions,
    summarize_sets,
)
from erragree_utils.measures.intervals import wilson


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
    assert interval == pytest.approx(wilson(share, 21))
    assert interval[0] < interval[1]


def test_the_bootstrap_covers_the_truth_about_19_times_in_20():
    hits = 0
    for seed in range(150):
        row = summarize(table(guesses(60, seed, p=0.6)), seed=seed).loc["all"]
        hits += row["individual_accuracy_low"] <= 0.6 <= row["individual_accuracy_high"]
    assert 0.89 <= hits / 150 <= 0.99


def test_a_column_to_group_by_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="no column 'colour' to group by"):
        summarize(table([(1, 1)]), by="colour")


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


def test_shares_as_text_have_their_intervals_where_there_are_any():
    rows = pd.DataFrame(
        {"pair": [0.25, np.nan], "pair_low": [0.2, np.nan], "pair_high": [0.3, np.nan]}
    ).assign(cosine=0.99)
    shown = in_percent(rows, {"pair": "pair accuracy"})
    assert shown["pair accuracy (%)"].to_list() == ["25.0 [20.0, 30.0]", ""]
    assert in_percent(rows[["cosine"]])["cosine (%)"].to_list() == ["99.0", "99.0"]


def test_numbers_that_are_no_shares_keep_their_unit():
    rows = pd.DataFrame({"cosine": [0.99512, np.nan], "angle": [90.0, 1.0]})
    rows = rows.assign(cosine_low=rows["cosine"] - 0.001, cosine_high=rows["cosine"] + 0.001)
    shown = in_digits(rows, {"cosine": "mean cosine"}, digits=4)
    assert shown["mean cosine"].to_list() == ["0.9951 [0.9941, 0.9961]", ""]
    assert in_digits(rows, {"angle": "angle"}, digits=0)["angle"].to_list() == ["90", "1"]


def test_a_summary_as_text_has_percents_intervals_and_chance():
    pred = table([(1, 1), (1, 0), (0, 0), (0, 1)])
    shown = as_percent(summarize(pred, by="relation"))
    row = shown.loc["left/right"]
    low, high = (100 * v for v in wilson(0.25, 4))
    assert row["pair accuracy"] == f"25.0 [{low:.1f}, {high:.1f}]"
    assert row["pair chance"] == "25" and row["individual chance"] == "50"
    assert row["pairs"] == 4 and "images" not in shown


def test_accuracies_that_do_not_exist_are_not_shown():
    shown = as_percent(summarize(table([(1,), (0,)])))
    assert "individual accuracy" in shown and "pair accuracy" not in shown
    with pytest.raises(ValueError, match="no accuracies"):
        as_percent(pd.DataFrame({"n_pairs": [1]}))


class TestQuestions:
    """NaturalBench's accuracies, by its evaluation's own counts."""

    def answers(self, outcomes: np.ndarray) -> pd.DataFrame:
        """A table of (sets, questions, images)."""
        s, q, i = (axis.ravel() for axis in np.indices(outcomes.shape))
        return pd.DataFrame({
            "set_id": s.astype(str), "pair_id": [f"{a}-{b}" for a, b in zip(s, q, strict=True)],
            "image_index": i, "n_options": 2, "correct": outcomes.ravel(),
        })  # fmt: skip

    def test_they_are_counted_as_the_publisher_counts_them(self):
        outcomes = np.random.default_rng(0).random((400, 2, 2)) < 0.7
        (row,) = summarize_questions(self.answers(outcomes)).to_dict("records")
        assert row["question_accuracy"] == pytest.approx(outcomes.all(axis=2).mean())
        assert row["image_accuracy"] == pytest.approx(outcomes.all(axis=1).mean())
        assert row["group_accuracy"] == pytest.approx(outcomes.all(axis=(1, 2)).mean())
        for kind in ("question", "image", "group"):
            name = f"{kind}_accuracy"
            assert row[f"{name}_low"] < row[name] < row[f"{name}_high"]

    def test_guesses_reach_the_chance_levels(self):
        outcomes = np.random.default_rng(1).random((20_000, 2, 2)) < 0.5
        (row,) = summarize_questions(self.answers(outcomes)).to_dict("records")
        for kind in ("question", "image", "group"):
            assert row[f"{kind}_accuracy"] == pytest.approx(row[f"{kind}_chance"], abs=0.01)

    def test_sets_of_another_shape_are_refused(self):
        table = self.answers(np.ones((3, 2, 2), bool))
        with pytest.raises(ValueError, match="set '2' has 3 answers, not those to two questions"):
            summarize_questions(table[:-1])


class TestDraws:
    """Sampled answers to the same questions, drawn several times."""

    def draw(self, seed: int, n: int = 30) -> pd.DataFrame:
        return table(guesses(n, seed, 0.6))

    def test_accuracies_are_means_with_the_range_of_the_draws(self):
        draws = [self.draw(seed) for seed in range(4)]
        each = pd.concat([summarize(draw) for draw in draws])
        found = summarize_draws(draws)
        for kind in ("individual", "pair"):
            name = f"{kind}_accuracy"
            assert found[name] == pytest.approx(each[name].mean())
            assert (found[f"{name}_lowest"], found[f"{name}_highest"]) == (
                each[name].min(), each[name].max(),
            )  # fmt: skip
            assert found[f"{name}_low"] < found[name] < found[f"{name}_high"]
        assert (found["n_draws"], found["n_pairs"], found["pair_chance"]) == (4, 30, 0.25)

    def test_the_interval_is_over_pairs_so_that_more_draws_of_the_same_narrow_nothing(self):
        draw = self.draw(0)
        few, many = (summarize_draws([draw] * n) for n in (2, 20))
        assert few == many | {"n_draws": 2}

    def test_where_all_pairs_are_alike_the_interval_still_has_a_width(self):
        found = summarize_draws([table([(1, 1)] * 30)] * 3)
        assert found["pair_accuracy"] == 1
        assert (found["pair_accuracy_low"], found["pair_accuracy_high"]) == wilson(1.0, 30)

    def test_draws_of_other_pairs_are_refused(self):
        with pytest.raises(ValueError, match="the draws are of different pairs"):
            summarize_draws([self.draw(0, 30), self.draw(1, 20)])
