"""Scores and logits that are no numbers."""

from __future__ import annotations

import math

import pytest
import torch

from erragree_utils.models.finite import NumbersOnly, finite
from erragree_utils.models.inputs import EncodeError


class TestScores:
    def test_a_number_is_given_back(self):
        assert finite(-3.5, 0) == -3.5

    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
    def test_anything_else_names_its_entry_and_what_to_do(self, value):
        told = "the score of entry 7 is not finite: .* dtype is too coarse"
        with pytest.raises(EncodeError, match=told) as caught:
            finite(value, 7)
        assert caught.value.index == 7

    def test_a_method_may_rule_an_answer_out(self):
        assert finite(-math.inf, 0, ruled_out=True) == -math.inf
        with pytest.raises(EncodeError):
            finite(math.nan, 0, ruled_out=True)


class TestLogits:
    IDS = torch.zeros(4, 1, dtype=torch.long)

    def watched(self, *steps: torch.Tensor) -> NumbersOnly:
        """After the logits (4, 3) of each step: two entries in each of two streams."""
        watch = NumbersOnly()
        for scores in steps:
            assert watch(self.IDS, scores) is scores  # nothing is changed
        return watch

    def test_numbers_pass_and_tokens_may_be_ruled_out(self):
        scores = torch.zeros(4, 3)
        scores[1, 2] = -math.inf
        self.watched(scores).check(2, 0)
        NumbersOnly().check(2, 0)  # nothing was written

    @pytest.mark.parametrize("value", [math.nan, math.inf])
    @pytest.mark.parametrize("row", [1, 3])  # of either stream
    def test_an_entry_is_named_whatever_came_after_it(self, value, row):
        bad = torch.zeros(4, 3)
        bad[row, 0] = value
        with pytest.raises(EncodeError, match="logits for entry 11 are not numbers") as caught:
            self.watched(bad, torch.zeros(4, 3)).check(2, 10)
        assert caught.value.index == 11
