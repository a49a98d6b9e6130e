"""From scores to decisions: ties, biases and chance levels, checked by hand and by simulation."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from erragree_utils import summarize
from erragree_utils.measures.accuracy import as_percent
from erragree_utils.measures.comparison import compare
from erragree_utils.measures.decisions import (
    crossed_preference,
    match,
    position_bias,
    predict,
    prefer,
)


def scores(values, names=None, **columns) -> pd.DataFrame:
    """Scores of (pairs, 2 images, options) or (pairs, 2 images, 2 options, 2 positions)."""
    values = np.asarray(values, float)
    axes = ["pair_id", "image_index", "option_index", "position"][: values.ndim]
    table = pd.DataFrame(np.argwhere(np.ones(values.shape)), columns=axes)
    table["own"] = table["image_index"] == table["option_index"]
    table["score"] = values.ravel()
    table["pair_id"] = [str(i) if names is None else names[i] for i in table["pair_id"]]
    head = {"relation": "colour", "model": "reader", "method": "options"} | columns
    return table.assign(set_id=table["pair_id"], **head)


def pairs(n: int = 3, gain: float = 2.0, bias: float = 0.0) -> np.ndarray:
    """Each image prefers its own option by `gain`, and both the first one by `bias`."""
    odds = np.array([bias + gain, bias - gain])
    return np.tile(np.stack([odds, -odds], axis=-1) / 2, (n, 1, 1))


def both_places(looks_at: int | None = None, n: int = 3, **more) -> np.ndarray:
    """As `pairs`; a model that looks at one place only sees the other image in the other one."""
    one = pairs(n, **more)
    if looks_at is None:
        return np.stack([one, one], axis=-1)
    places = [one if place == looks_at else one[:, ::-1] for place in (0, 1)]
    return np.stack(places, axis=-1)


def drawn(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


class TestPredict:
    def test_an_image_gets_the_option_that_scores_higher(self):
        table = predict(scores([[[2, 1], [2, 1]], [[0, 3], [1, 5]]]))
        assert list(table) == [
            "pair_id", "set_id", "relation", "image_index", "model", "method", "n_options",
            "score_own", "score_other", "correct",
        ]  # fmt: skip
        assert table["pair_id"].tolist() == ["0", "0", "1", "1"]
        assert table["score_own"].tolist() == [2, 1, 0, 5]
        assert table["score_other"].tolist() == [1, 2, 3, 1]
        assert table["correct"].tolist() == [True, False, False, True]

    def test_a_tie_is_not_correct(self):
        assert not predict(scores([[[1, 1], [0, 0]]]))["correct"].any()

    def test_of_several_others_the_best_counts(self):
        table = predict(scores([[[2, 1, 3], [0, 5, 4]]]))
        assert table["score_other"].tolist() == [3, 4] and (table["n_options"] == 3).all()

    def test_the_order_of_rows_and_options_has_no_part(self):
        table = scores(drawn(20, 2, 4))
        shuffled = table.sample(frac=1, random_state=0)
        shuffled["option_index"] = 3 - shuffled["option_index"]
        before, after = (
            predict(t).sort_values(["pair_id", "image_index"], ignore_index=True)
            for t in (table, shuffled)
        )
        pd.testing.assert_frame_equal(before, after)

    def test_what_an_answer_said_stays(self):
        table = scores(pairs(1)).assign(
            answer=["a", "a", "b", "b"], parsed=[True, True, False, False]
        )
        found = predict(table)
        assert found["answer"].tolist() == ["a", "b"] and found["parsed"].tolist() == [True, False]

    def test_runs_are_kept_apart(self):
        table = pd.concat([
            scores(pairs(gain=gain), **{column: name})
            for column in ("benchmark", "model", "method", "relation")
            for name, gain in (("good", 2), ("bad", -2))
        ]).fillna({"benchmark": "one"})  # fmt: skip
        found = predict(table)
        assert len(found) == 8 * 6 and "benchmark" in found
        for column in ("benchmark", "model", "method", "relation"):
            assert found.loc[found[column] == "good", "correct"].all()
            assert not found.loc[found[column] == "bad", "correct"].any()

    def test_over_both_places_of_a_prompt_scores_are_averaged(self):
        values = np.zeros((1, 2, 2, 2))
        values[0, 0, 0] = [3, 0]  # image 0, option 0: first, second
        values[0, 0, 1] = [0, 1]
        found = predict(scores(values))
        assert found["score_own"][0] == 1.5 and found["score_other"][0] == 0.5
        assert found["correct"].tolist() == [True, False] and (found["n_options"] == 2).all()
        assert found["correct_first"].tolist() == [True, False]
        assert found["correct_second"].tolist() == [False, False]

    def test_a_model_that_reads_one_place_only_gains_nothing(self):
        for looks_at in (0, 1):
            found = predict(scores(both_places(looks_at)))
            assert not found["correct"].any()  # all ties
            assert (found["correct_first"] == (looks_at == 0)).all()
            assert (found["correct_second"] == (looks_at == 1)).all()


class TestMatch:
    """Winoground's scores, by the formulas of its paper (Thrush et al. 2022, equations 1 to 3)."""

    def official(self, s: np.ndarray) -> tuple[bool, bool, bool]:
        """`s` of image, caption."""
        text = s[0, 0] > s[0, 1] and s[1, 1] > s[1, 0]
        image = s[0, 0] > s[1, 0] and s[1, 1] > s[0, 1]
        return text, image, text and image

    def test_each_pair_is_right_as_the_formulas_say(self):
        values = np.random.default_rng(0).normal(size=(500, 2, 2))
        found = match(scores(values))
        assert found[["text_correct", "image_correct", "correct"]].to_numpy().tolist() == [
            list(self.official(s)) for s in values
        ]

    def test_the_order_of_rows_decides_nothing_and_a_tie_is_not_correct(self):
        values = np.random.default_rng(1).integers(0, 3, size=(200, 2, 2))
        table = scores(values)
        mixed = match(table.sample(frac=1, random_state=0)).set_index("pair_id")
        expected = match(table).set_index("pair_id")
        pd.testing.assert_frame_equal(mixed.loc[expected.index], expected)
        assert not match(scores(np.zeros((3, 2, 2))))["text_correct"].any()

    def test_guesses_reach_the_chance_levels(self):
        values = np.random.default_rng(2).normal(size=(20_000, 2, 2))
        (row,) = summarize(match(scores(values))).to_dict("records")
        for kind in ("text", "image", "group"):
            assert row[f"{kind}_score"] == pytest.approx(row[f"{kind}_chance"], abs=0.01)
            assert row[f"{kind}_score_low"] < row[f"{kind}_score"] < row[f"{kind}_score_high"]
        assert list(as_percent(summarize(match(scores(values)))))[1::2] == [
            "text score", "image score", "group score",
        ]  # fmt: skip

    def test_what_has_no_four_scores_a_pair_is_refused(self):
        with pytest.raises(ValueError, match="two images with two options each"):
            match(scores(np.zeros((2, 1, 2))))
        with pytest.raises(ValueError, match="no direction from text to image"):
            match(scores(np.zeros((2, 2, 2, 2))))


class TestPrefer:
    def test_the_image_that_prefers_option_0_more_should_be_image_0(self):
        table = prefer(scores(pairs(), names="rqp"))
        assert table["pair_id"].tolist() == ["r", "q", "p"]
        assert table["correct"].all() and not table["tie"].any() and (table["chance"] == 0.5).all()
        assert (table["preference_0"] == 2).all() and (table["preference_1"] == -2).all()
        assert (table["signal"] == 2).all() and (table["bias"] == 0).all()
        assert (table["image_index"] == 0).all() and (table["n_options"] == 2).all()
        assert not prefer(scores(pairs(gain=-1)))["correct"].any()

    def test_a_bias_toward_one_option_that_spoils_the_answers_cancels(self):
        table = scores(pairs(bias=9))
        assert predict(table)["correct"].mean() == 0.5
        assert prefer(table)["correct"].all() and (prefer(table)["bias"] == 9).all()

    def test_both_images_are_right_where_the_signal_exceeds_the_bias(self):
        table = scores(drawn(40, 2, 2))
        found = prefer(table).set_index("pair_id")
        both = predict(table).groupby("pair_id")["correct"].all()
        assert both.any() and not both.all()
        assert (found["signal"] > found["bias"].abs()).equals(both[found.index])
        assert (found["signal"] > 0).equals(found["correct"])

    def test_a_tie_is_not_correct(self):
        table = prefer(scores([[[1, 0], [1, 0]], [[1, 0], [0, 1]]]))
        assert table["correct"].tolist() == [False, True]
        assert table["tie"].tolist() == [True, False]

    def test_the_scale_of_scores_does_not_matter(self):
        a, b = (prefer(scores(factor * drawn(20, 2, 2))) for factor in (1, 100))
        assert a["correct"].equals(b["correct"])

    def test_over_both_places_of_a_prompt_preferences_are_averaged(self):
        assert prefer(scores(both_places()))["correct"].all()
        assert not prefer(scores(both_places(looks_at=0)))["correct"].any()
        values = drawn(9, 2, 2, 2)
        found, mean = prefer(scores(values)), prefer(scores(values.mean(axis=-1)))
        np.testing.assert_allclose(found["signal"], mean["signal"])

    def test_two_such_tables_have_a_paired_test(self):
        bad, good = prefer(scores(pairs(gain=-1))), prefer(scores(pairs()))
        result = compare(bad, good)
        assert result["only_b"] == 3 and result["difference"] == 1 and result["p_value"] == 0.25


class TestPositionBias:
    @pytest.mark.parametrize(("looks_at", "first", "second"), [(0, 1, 0), (1, 0, 1)])
    def test_a_model_that_reads_one_place_only_shows_it(self, looks_at, first, second):
        bias = position_bias(scores(both_places(looks_at)))
        assert (bias["accuracy_first"], bias["accuracy_second"]) == (first, second)
        assert bias["difference"] == first - second and bias["consistent"] == 0
        assert bias["chance"] == 0.5 and bias["n_pairs"] == 3
        assert bias["difference_low"] <= bias["difference"] <= bias["difference_high"]

    def test_a_model_that_answers_alike_is_consistent_and_right_about_one_image_of_each_pair(self):
        table = scores(both_places(gain=0.1, bias=3))
        summary = summarize(predict(table)).loc["all"]
        assert summary["individual_accuracy"] == 0.5 and summary["pair_accuracy"] == 0
        assert position_bias(table)["consistent"] == 1 and prefer(table)["correct"].all()

    def test_the_interval_is_over_pairs(self):
        bias = position_bias(scores(drawn(60, 2, 2, 2)))
        assert bias["difference_low"] < bias["difference"] < bias["difference_high"]
        assert bias["difference"] == pytest.approx(bias["accuracy_first"] - bias["accuracy_second"])

    def test_it_takes_prompts_of_two_images_by_one_model(self):
        with pytest.raises(ValueError, match="lacks position"):
            position_bias(scores(pairs()))
        table = scores(both_places())
        with pytest.raises(ValueError, match="several models or prompts"):
            position_bias(pd.concat([table, table.assign(model="other")]))


class TestCrossedPreference:
    TABLE = prefer(scores([[[5, 0], [1, 0]], [[2, 0], [4, 0]], [[3, 0], [0, 0]], [[9, 0], [0, 0]]]))

    def test_an_image_is_compared_with_that_of_the_next_pair_of_its_group(self):
        alike = pd.Series(["a", "a", "a", "b"])
        # Preferences for option 0: images 0 have 5, 2, 3 and images 1 have 1, 4, 0.
        assert crossed_preference(self.TABLE, 1, [alike]).tolist() == [True, True, False]
        assert crossed_preference(self.TABLE, 0, [alike]).tolist() == [True, False, True]

    def test_a_pair_alone_in_its_group_is_left_out(self):
        alike, other = pd.Series(["a", "a", "a", "b"]), pd.Series(["x", "x", "y", "y"])
        assert crossed_preference(self.TABLE, 1, [alike]).index.tolist() == [0, 1, 2]
        assert crossed_preference(self.TABLE, 1, [alike, other]).index.tolist() == [0, 1]


class TestTablesThatAreRefused:
    SCORES = scores(pairs())

    @pytest.mark.parametrize("read", [prefer, predict])
    def test_tables_that_are_not_whole(self, read):
        with pytest.raises(ValueError, match="pair '0' has a score twice: .*different names"):
            read(pd.concat([self.SCORES, self.SCORES]))
        with pytest.raises(ValueError, match="lacks option_index, score: give what score returned"):
            read(self.SCORES.drop(columns=["option_index", "score"]))
        with pytest.raises(ValueError, match="the table is empty"):
            read(self.SCORES.iloc[:0])
        with pytest.raises(ValueError, match="pair '0' has a score that is NaN"):
            read(self.SCORES.assign(score=np.nan))
        both = pd.concat([self.SCORES, scores(both_places(), method="two-images")])
        with pytest.raises(ValueError, match="single images and of two are mixed"):
            read(both)

    @pytest.mark.parametrize("read", [prefer, predict])
    def test_options_that_are_both_ruled_out(self, read):
        with pytest.raises(ValueError, match=r"3 pairs .*score them with VCD\(beta=0\)"):
            read(self.SCORES.assign(score=-np.inf))

    @pytest.mark.parametrize("read", [prefer, predict])
    def test_one_option_that_is_ruled_out_decides(self, read):
        table = self.SCORES.copy()
        table.loc[1, "score"] = -np.inf  # the other option of the first image
        assert read(table)["correct"].all()

    def test_a_decision_needs_an_own_option_and_another_one(self):
        for lost in (0, 1):  # of the first image
            with pytest.raises(ValueError, match="pair '0' has an image that lacks its own option"):
                predict(self.SCORES.drop(index=lost))
        two = scores(both_places())
        with pytest.raises(ValueError, match="in both positions"):
            predict(two[two["position"] == 0])

    def test_a_preference_needs_two_images_with_two_options_each(self):
        for table in (self.SCORES.iloc[1:], scores(drawn(2, 2, 3)), scores(drawn(2, 1, 2))):
            with pytest.raises(ValueError, match="two images with two options each"):
                prefer(table)
        two = scores(both_places())
        with pytest.raises(ValueError, match="in both positions"):
            prefer(two[two["position"] == 0])


class TestSummaries:
    """`summarize` takes decisions of each kind, and scores."""

    def test_of_scores_it_is_that_of_their_predictions(self):
        for table in (scores(drawn(20, 2, 2)), scores(drawn(20, 2, 4)), scores(drawn(20, 2, 2, 2))):
            pd.testing.assert_frame_equal(summarize(table), summarize(predict(table)))
        pd.testing.assert_frame_equal(
            summarize(table, by=["model", "relation"]),
            summarize(predict(table), by=["model", "relation"]),
        )

    def test_of_preferences_it_is_the_relative_accuracy(self):
        table = prefer(scores([[[1, 0], [1, 0]], [[1, 0], [0, 1]], [[0, 1], [1, 0]]]))
        summary = summarize(table).loc["all"]
        assert summary["n_pairs"] == 3 and summary["n_ties"] == 1
        assert summary["relative_accuracy"] == pytest.approx(1 / 3)
        assert summary["relative_accuracy_low"] < 1 / 3 < summary["relative_accuracy_high"]
        assert summary["relative_chance"] == 0.5
        assert not any(name.startswith(("pair_", "individual_")) for name in summary.index)
        assert as_percent(summarize(table))["relative chance"].tolist() == ["50"]

    def test_models_are_kept_apart(self):
        parts = [scores(pairs(), model="good"), scores(pairs(gain=-1), model="bad")]
        parts[0].loc[parts[0]["pair_id"] == "2", "relation"] = "count"
        table = prefer(pd.concat(parts))
        summary = summarize(table, by="model")
        assert summary["relative_accuracy"].to_dict() == {"good": 1, "bad": 0}
        assert summary.index.name == "model"
        by = summarize(table, by=["model", "relation"])
        assert by.loc[("good", "count"), "n_pairs"] == 1
        with pytest.raises(ValueError, match="pair '0'.*twice.*by="):
            summarize(table)

    def test_random_scores_are_right_at_the_chance_levels(self):
        n = 5000
        table = scores(drawn(n, 2, 2))
        relative, both = summarize(prefer(table)).loc["all"], summarize(table).loc["all"]
        # Three standard errors.
        assert relative["relative_accuracy"] == pytest.approx(0.5, abs=3 * (0.25 / n) ** 0.5)
        assert relative["relative_chance"] == 0.5 and relative["n_pairs"] == n
        assert both["pair_accuracy"] == pytest.approx(0.25, abs=3 * (0.1875 / n) ** 0.5)
        assert both["pair_chance"] == 0.25
