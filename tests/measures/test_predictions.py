"""Tables of predictions in which nothing can be counted."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from erragree_utils.measures.accuracy import summarize
from erragree_utils.measures.comparison import compare

PRED = pd.DataFrame({
    "pair_id": ["a", "a", "b", "b"],
    "set_id": ["s", "s", "s", "s"],
    "image_index": [0, 1, 0, 1],
    "n_options": 2,
    "correct": [True, True, True, False],
    "model": "m",
})  # fmt: skip


def test_missing_columns_are_named():
    with pytest.raises(ValueError, match="lacks n_options, correct"):
        summarize(PRED.drop(columns=["correct", "n_options"]))


def test_an_empty_table_is_refused():
    with pytest.raises(ValueError, match="empty"):
        summarize(PRED[:0])


def test_nan_scores_are_refused_and_the_pair_named():
    pred = PRED.assign(score_own=[0.1, 0.2, np.nan, 0.3], score_other=0.0)
    with pytest.raises(ValueError, match="'b'.*neither right nor wrong"):
        summarize(pred)


def test_what_is_correct_is_true_or_false():
    with pytest.raises(ValueError, match="True and False only"):
        summarize(PRED.assign(correct=[1, 0, 0.5, 1]))


def test_two_models_in_one_table_must_be_told_apart():
    pred = pd.concat([PRED, PRED.assign(model="n", correct=False)])
    with pytest.raises(ValueError, match="several models.*by="):
        summarize(pred)
    assert summarize(pred, by="model")["pair_accuracy"].tolist() == [0.5, 0]


@pytest.mark.parametrize("count", [summarize, lambda pred: compare(pred, PRED)])
def test_the_same_image_twice_is_refused(count):
    with pytest.raises(ValueError, match="image 0 of pair 'a' is there twice"):
        count(pd.concat([PRED, PRED]))
