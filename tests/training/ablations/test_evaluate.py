"""What the ablations measure."""

import numpy as np
import pytest
import torch

from erragree_utils.training.ablations import evaluate


def test_the_measures_of_a_model_that_knows_the_answers(monkeypatch, settings):
    """A stand-in scores own captions best: all is right, and cosines are of what it embeds."""
    exam = evaluate.load_exam("tabletop-a", 4, 24, 34)
    same, other = np.stack([np.eye(4)] * 2), np.zeros(8)
    other[3] = 1.5  # the second image of the second pair prefers the wrong caption, a little
    monkeypatch.setattr(evaluate, "scores", lambda model, exam: (same, other))
    seen = np.repeat(np.eye(4), 2, axis=0)
    seen[1] = [0.5, 0, 0, 0.75**0.5]  # a pair with a cosine of one half
    monkeypatch.setattr(evaluate, "vectors", lambda model, exam: seen)
    found = evaluate.measure(torch.nn.Identity(), settings).set_index(["benchmark", "metric"])
    at = found.loc["tabletop-a"]
    assert at.loc["individual", "value"] == 7 / 8 and at.loc["individual", "per_pair"] == "2122"
    assert at.loc["pair", "value"] == 3 / 4 and at.loc["retrieval", "value"] == 1.0
    assert at.loc["relative", "value"] == 1.0 and at.loc["relative", "per_pair"] == "1111"
    assert at.loc["cosine", "value"] == pytest.approx(0.875)
    assert at.loc["cosine of random images", "value"] == 0.0
    assert len(exam.images) == len(exam.texts) == 8


def test_a_probe_finds_a_side_that_is_in_the_vectors_and_none_that_is_not():
    exam = evaluate.load_exam("tabletop-a", evaluate.PROBE_SETS, 24, 34)
    rng = np.random.default_rng(0)
    sets = rng.standard_normal((evaluate.PROBE_SETS, 8)).repeat(2, axis=0)
    left = np.array(["left" in text for text in exam.captions])
    noise = 0.01 * rng.standard_normal(sets.shape)
    there, absent = sets + noise, sets + noise
    there[:, 0] += 0.1 * left
    assert evaluate.probe_sides(there, exam)[0] > 0.95
    assert evaluate.probe_sides(absent, exam)[0] < 0.7


def test_a_tie_is_not_right():
    assert not evaluate._ranks_first(np.ones((3, 3))).any()
