"""The settings of AdaptVis."""

from __future__ import annotations

import pytest

from erragree_utils.decoding import AdaptVis


def test_attention_is_sharpened_where_the_model_is_sure_and_smoothed_where_it_is_not():
    method = AdaptVis(smooth=0.5, sharpen=2, threshold=0.4)
    assert [method.factor(c) for c in (0.0, 0.39, 0.4, 1.0)] == [0.5, 0.5, 2, 2]


def test_with_one_factor_confidence_does_not_matter():
    method = AdaptVis(smooth=1.2, sharpen=1.2)
    assert method.factor(0.0) == method.factor(1.0) == 1.2


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"smooth": -1}, "smooth must be a number 0 or above, not -1"),
        ({"sharpen": float("inf")}, "sharpen must be a number 0 or above, not inf"),
        ({"threshold": 1.5}, "threshold must be a number between 0 and 1, not 1.5"),
        ({"first_layer": 0.5}, "first_layer must be a whole number, not 0.5"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings, told):
    with pytest.raises(ValueError, match=told):
        AdaptVis(**settings)
