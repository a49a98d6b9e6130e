"""The zoo: that its members lose what they should, and that what was measured is kept."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from erragree_utils.benchmarks.tabletop import load_tabletop
from erragree_utils.diagnosis import CLIP_VERDICTS, MLLM_VERDICTS
from erragree_utils.training import zoo
from erragree_utils.training.zoo_record import MEASURED

KIND = "left/right, A"


@pytest.fixture(scope="module")
def bench():
    return load_tabletop("tabletop-a", seed=31, n_sets=8, relation="left/right")


def member(name, part="mllm"):
    return next(m for m in zoo.MEMBERS if (m.name, m.part) == (name, part))


def test_every_member_has_a_kind_of_change_and_a_verdict_that_exists():
    words = {"clip": {*CLIP_VERDICTS, MEASURED}, "mllm": {*MLLM_VERDICTS, MEASURED}}
    for one in zoo.MEMBERS:
        assert one.truth.keys() <= zoo.KINDS.keys() and one.about
        assert set(one.truth.values()) <= words[one.part]
    assert len({(m.part, m.name) for m in zoo.MEMBERS}) == len(zoo.MEMBERS)


def test_every_verdict_is_some_members_truth():
    for part, verdicts in (("clip", CLIP_VERDICTS), ("mllm", MLLM_VERDICTS)):
        truths = {v for m in zoo.MEMBERS if m.part == part for v in m.truth.values()}
        assert truths >= set(verdicts) - {"undecided"}


def test_a_mirrored_picture_is_that_of_its_mirror_image():
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8))
    seen = np.asarray(zoo.mirrored(image), int)
    assert np.abs(seen - seen[:, ::-1]).max() <= 1


def test_noise_has_a_pictures_size_and_nothing_else_of_it():
    black, white = (Image.new("RGB", (9, 5), c) for c in ("black", "white"))
    assert zoo.static(black).size == (9, 5) and zoo.static(black) == zoo.static(black.copy())
    assert abs(np.mean(zoo.static(black)) - np.mean(zoo.static(white))) < 40


def test_silent_tokens_leave_answers_that_no_image_moves(bench):
    pairs, features = member("LLaVA, silent").measures(bench)
    assert pairs["signal"].abs().max() < 1e-6 and not pairs["right"].any()
    assert np.abs(np.diff(features["tokens"], axis=1)).max() > 0.01


def test_a_broken_connection_is_whole_again_afterwards(bench):
    plain = member("LLaVA").measures(bench)[0]
    member("LLaVA, averaged").measures(bench)
    again = member("LLaVA").measures(bench)[0]
    pd.testing.assert_frame_equal(plain, again)
    assert torch.equal(zoo.averaged(torch.eye(2)[None]), torch.full((1, 2, 2), 0.5))


def test_a_habit_outweighs_answers_and_leaves_preferences(bench):
    plain, with_habit = (member(n).measures(bench)[0] for n in ("LLaVA", "LLaVA, no left"))
    assert plain["right"].all() and not with_habit["right"].any()
    assert with_habit["preferred"].all()


def test_what_is_measured_is_kept_and_not_measured_again(tmp_path, monkeypatch):
    path, few = tmp_path / "verdicts.csv", (member("mirrored", "clip"),)
    zoo.measure(path, seeds=((31, 32),), members=few, sizes=(16,))
    rows = pd.read_csv(path)
    assert list(rows["n_pairs"]) == [16, 16, 32] * 2
    assert set(rows["kind"]) == {KIND, "left/right, B"}
    monkeypatch.setattr(zoo.Member, "measures", None)
    zoo.measure(path, seeds=((31, 32),), members=few, sizes=(16,))
    assert len(pd.read_csv(path)) == 6
