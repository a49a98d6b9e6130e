"""The ladder: what frozen models give, heads that learn, a table that a command goes on with."""

import numpy as np
import pandas as pd
import pytest
import torch

from erragree_utils.measures.intervals import wilson
from erragree_utils.training import ladder
from erragree_utils.training.ladder_heads import PATCHES, RUNGS, WIDTH
from erragree_utils.training.ladder_tables import AS_IT_IS, TABLES, read_table


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
    words = alone.pop("words")[0]
    assert beside["words"][0, : len(words)].equal(words)
    for name, vector in alone.items():
        assert torch.allclose(vector[0], beside[name][0], atol=1e-4), name


def test_each_seed_has_scenes_of_its_own():
    seen = [[ladder.stream_of(seed).scene(i) for i in range(20)] for seed in range(ladder.SEEDS)]
    assert all(scene not in seen[0] for other in seen[1:] for scene in other)


def test_own_captions_leave_open_whose_left_is_meant_and_aligned_ones_seldom():
    own, aligned = (ladder.wording("hidden", name) for name in ("own", "aligned"))
    assert own.elsewhere == 0.5 and aligned.elsewhere < 0.2


def test_images_are_read_as_one_vector_as_patches_and_by_the_llava(tmp_path):
    scenes = ladder.stream_of(0, 4)
    found = ladder.training_vectors("hidden", scenes, tmp_path)
    shapes = {name: tuple(vectors.shape[:2]) for name, vectors in found.items()}
    assert shapes == {"vector": (4, 1), "patches": (4, PATCHES), "llava": (4, 1)}
    kept = ladder.training_vectors("hidden", scenes, tmp_path)
    assert all(torch.equal(found[name], kept[name]) for name in found)
    assert "llava" not in ladder.training_vectors("lost", scenes, tmp_path)


def sided(n=64):
    """Tokens of images with one thing left or right, and which."""
    torch.manual_seed(0)
    side = torch.arange(n) % 2
    thing, other = torch.randn(2, WIDTH)
    tokens = torch.zeros(n, PATCHES, WIDTH) + other
    tokens[torch.arange(n), torch.where(side == 0, 1, 3)] = thing
    return tokens, side


@pytest.mark.parametrize("rung", ["patch tokens", "rotary positions"])
def test_heads_learn_a_side_that_texts_tell_if_they_know_positions(rung):
    tokens, side = sided()
    words = torch.randn(2, 1, WIDTH)
    heads = ladder.train(tokens, words[side][:, None], rung, seed=0, steps=80)
    with torch.inference_mode():
        found = heads.scores(tokens[:2], words)
    right = bool((found.argmax(1) == torch.arange(2)).all())
    assert right == (RUNGS[rung].positions > 0)


def test_hard_negatives_teach_a_side_that_other_texts_do_not_ask_for():
    torch.manual_seed(0)
    kind, side = torch.arange(128) // 2, torch.arange(128) % 2
    kinds, sides = torch.randn(64, WIDTH), 0.1 * torch.randn(2, WIDTH)
    images = (kinds[kind] + sides[side])[:, None]
    start, end = torch.full((2, 128), 2)
    said, wrong = (
        torch.stack([start, 20 + kind, 10 + which, end], dim=1)[:, None]
        for which in (side, 1 - side)
    )
    won = []
    for rung in ("one vector, logit scale 100", "one vector, hard negatives"):
        heads = ladder.train(images, said, rung, seed=0, steps=60, opposites=wrong)
        with torch.inference_mode():
            own, other = (heads.scores(images, text[:, 0]).diagonal() for text in (said, wrong))
        won.append(float((own - other).mean()))
    assert won[1] > won[0] and won[1] > 0


def test_a_captioner_writes_of_what_it_reads():
    tokens, side = sided()
    words = torch.tensor([[2, 10, 3], [2, 11, 3]])[side][:, None]
    heads = ladder.train(tokens, words, "captioning, patch tokens", seed=0, steps=60)
    with torch.inference_mode():
        found = heads.scores(tokens[:2], words[:2, 0])
    assert bool((found.argmax(1) == torch.arange(2)).all())


def test_a_command_that_was_stopped_goes_on(tmp_path):
    command = ["--models", "hidden", "--captions", "own", "--seeds", "0", "--scenes", "8"]
    command += ["--steps", "2", "--sets", "25", "--runs", str(tmp_path / "runs")]
    command += ["--out", str(tmp_path), "--rungs"]
    ladder.main([*command, "patch tokens"])
    first = read_table(tmp_path / "measures.csv")
    ladder.main([*command, "patch tokens", "several text tokens"])
    both = read_table(tmp_path / "measures.csv")
    pd.testing.assert_frame_equal(both[: len(first)], first)
    assert set(both["rung"]) == {AS_IT_IS, "patch tokens", "several text tokens"}
    relative = both[both["metric"] == "relative"]
    counted = [np.mean([int(d) for d in digits]) for digits in relative["per_pair"]]
    assert relative["value"].to_numpy() == pytest.approx(counted, abs=1e-4)


def test_the_short_runs_come_out_again_within_their_intervals(tmp_path):
    recorded = read_table(TABLES / "short" / "measures.csv")
    rungs = [rung for rung in recorded["rung"].unique() if rung != AS_IT_IS]
    again = pd.concat(ladder.run("hidden", "aligned", 0, rungs, tmp_path, **ladder.SHORT))
    key = ["rung", "benchmark", "metric"]
    both = again.merge(recorded[[*key, "value"]], on=key, suffixes=("", "_then"))
    assert len(both) == len(again) > 0
    for row in both.itertuples():
        low, high = wilson(row.value_then, row.n)
        assert low - 0.02 <= row.value <= high + 0.02, row
