"""The ladder: what frozen models give, heads that learn, a table that a command goes on with."""

import numpy as np
import pandas as pd
import pytest
import torch

from erragree_utils.training import ladder
from erragree_utils.training.ladder_heads import PATCHES, RUNGS, WIDTH


def test_pooling_averages_patches_of_two_by_two_places():
    tokens = np.arange(100.0).reshape(1, 100, 1).repeat(3, axis=2)
    found = ladder.pooled(tokens)
    assert found.shape == (1, PATCHES, 3)
    assert float(found[0, 0, 0]) == pytest.approx(np.mean([0, 1, 10, 11]))
    assert float(found[0, -1, 0]) == pytest.approx(np.mean([88, 89, 98, 99]))


def test_the_text_vector_is_the_clips_own_embedding():
    clip = ladder.clip_of("hidden")
    texts = ["a red mug to the left of a table", "a lamp"]
    vectors = ladder.text_vectors(clip, texts)
    assert vectors["vector"][:, 0].numpy() == pytest.approx(clip.embed_texts(texts), abs=1e-5)
    assert vectors["quarters"].shape[:2] == (2, ladder.QUARTERS)
    apart = vectors["language model"][0] - vectors["language model"][1]
    assert apart.norm() > 0.1


def test_a_text_reads_the_same_alone_and_beside_a_longer_one():
    clip = ladder.clip_of("hidden")
    alone = ladder.text_vectors(clip, ["a lamp"])
    beside = ladder.text_vectors(clip, ["a lamp", "a red mug to the left of a blue table"])
    for name, vector in alone.items():
        assert torch.allclose(vector[0], beside[name][0], atol=1e-4), name


def test_seeds_share_no_scene_and_twins_stay_together():
    shares = [set(ladder.share_of(seed).tolist()) for seed in range(ladder.SEEDS)]
    assert sum(map(len, shares)) == len(set.union(*shares)) == ladder.STREAM.n
    assert all(number ^ 1 in share for share in shares for number in list(share)[:50])


def test_own_captions_leave_open_whose_left_is_meant_and_aligned_ones_seldom():
    own, aligned = (ladder.wording("hidden", name) for name in ladder.CAPTIONS)
    assert own.elsewhere == 0.5 and aligned.elsewhere < 0.2


@pytest.mark.parametrize("rung", ["patch tokens", "rotary positions"])
def test_heads_learn_a_side_that_texts_tell_if_they_know_positions(rung):
    torch.manual_seed(0)
    side = torch.arange(64) % 2
    thing, other = torch.randn(2, WIDTH)
    tokens = torch.zeros(64 * ladder.CROPS, PATCHES, WIDTH) + other
    where = torch.where(side == 0, 1, 3).repeat_interleave(ladder.CROPS)
    tokens[torch.arange(len(tokens)), where] = thing
    words = torch.randn(2, 1, WIDTH)
    heads = ladder.train(tokens, words[side], rung, seed=0, steps=60).eval()
    with torch.inference_mode():
        found = ladder.scores(heads.images(tokens[:4:2]), heads.texts(words))
    right = bool((found.argmax(1) == torch.arange(2)).all())
    assert right == (RUNGS[rung].positions > 0)


def test_a_command_that_was_stopped_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(
        ladder, "training_tokens", lambda *_: torch.randn(8 * ladder.CROPS, PATCHES, WIDTH)
    )
    command = ["--models", "hidden", "--captions", "own", "--seeds", "0", "--scenes", "8"]
    command += ["--steps", "2", "--sets", "8", "--out", str(tmp_path), "--rungs"]
    ladder.main([*command, "patch tokens"])
    first = pd.read_csv(tmp_path / "measures.csv", dtype={"per_pair": str})
    ladder.main([*command, "patch tokens", "several text tokens"])
    both = pd.read_csv(tmp_path / "measures.csv", dtype={"per_pair": str})
    pd.testing.assert_frame_equal(both[: len(first)], first)
    assert set(both["rung"]) == {ladder.AS_IT_IS, "patch tokens", "several text tokens"}
    relative = both[both["metric"] == "relative"]
    counted = [np.mean([int(d) for d in digits]) for digits in relative["per_pair"]]
    assert relative["value"].to_numpy() == pytest.approx(counted, abs=1e-4)
