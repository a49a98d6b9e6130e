"""The recorded verdicts: that they follow from their evidence, and what is counted of them."""

from __future__ import annotations

import pandas as pd
import pytest

from erragree_utils.training import zoo, zoo_record


@pytest.fixture(scope="module")
def made():
    return {(m.part, m.name, kind): v for m in zoo.MEMBERS for kind, v in m.truth.items()}


@pytest.fixture(scope="module")
def every():
    return zoo_record.recorded(tested=False)


def table(*rows):
    """Verdicts as (member, truth, verdict, confidence, number of pairs)."""
    names = ["member", "truth", "verdict", "confidence", "n_pairs"]
    return pd.DataFrame(rows, columns=names).assign(part="clip", kind="left/right, A")


FOUR = table(
    ("a", "answered", "answered", 0.99, 20),
    ("a", "answered", "undecided", 0.5, 20),
    ("b", "encoder blind", "lost in pooling", 0.95, 100),
    ("c", "encoder blind", "encoder blind", 1.0, 100),
)


class TestOnRecord:
    def test_todays_rules_say_of_the_evidence_what_is_written(self, every, made):
        again = zoo_record.judge(every, made, dict(zoo.SET + zoo.TEST))
        columns = ["truth", "verdict"]
        pd.testing.assert_frame_equal(again[columns], every[columns])

    def test_every_member_and_kind_is_there_on_every_draw_that_is_tested(self, every, made):
        draws = {seed for both in zoo.TEST for seed in both}
        for key in made:
            rows = every[(every[zoo_record.KEY] == list(key)).all(axis=1)]
            assert draws <= set(rows["seed"]), key

    def test_the_readme_is_that_of_the_record(self, every):
        about = {m.name: m.about for m in zoo.MEMBERS}
        written = (zoo_record.FOLDER / "README.md").read_text("utf-8")
        assert written == zoo_record.readme(every, about), "run the zoo with --judge"

    def test_nine_of_ten_verdicts_are_right_and_most_groups_get_one(self):
        tested = zoo_record.recorded()
        found = zoo_record.right_share(tested[tested["n_pairs"] == zoo_record.USUAL])
        assert found["right"] >= 0.9 and found["undecided"] < 0.25
        assert set(tested["seed"]) == {911, 912, 913, 914}


def test_undecided_groups_are_counted_apart():
    found = zoo_record.right_share(FOUR)
    assert found["right"] == pytest.approx(2 / 3) and found["undecided"] == 0.25
    assert found["right_low"] <= found["right"] <= found["right_high"] and found["n"] == 3


def test_confusion_has_truths_in_rows_and_all_verdicts_in_columns():
    counts = zoo_record.confusion(FOUR)
    assert list(counts.index) == ["answered", "encoder blind"]
    assert counts.loc["encoder blind", "lost in pooling"] == 1
    assert counts.loc["answered", "undecided"] == 1 and counts.to_numpy().sum() == 4


def test_outcomes_tell_wrong_verdicts_from_none():
    counts = zoo_record.outcomes(FOUR)
    assert list(counts) == ["right", "undecided", "wrong"] and counts.to_numpy().sum() == 4
    assert list(counts.loc["clip", "answered"]) == [1, 1, 0]
    assert list(counts.loc["clip", "encoder blind"]) == [1, 0, 1]


def test_confidence_is_compared_with_what_is_right():
    found = zoo_record.calibration(FOUR)
    assert list(found["n"]) == [1, 1, 1] and list(found["right"]) == [0.0, 1.0, 1.0]


def test_the_number_of_pairs_is_a_row():
    assert list(zoo_record.by_size(FOUR).index) == [20, 100]
