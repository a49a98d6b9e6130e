"""What the ablations see."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from erragree_utils.tabletop import captions
from erragree_utils.training.ablations import world
from erragree_utils.training.data import training_scenes
from erragree_utils.training.llava_model import shared_tokenizer


def test_an_opposite_caption_turns_the_relation_round_and_nothing_else():
    turned = {
        "a red mug to the left of the chair on the beach":
            "a red mug to the right of the chair on the beach",
        "we see mug is on top of a stool": "we see mug is below a stool",
        "the mug under table in the library": "the mug on table in the library",
        "a vase in front of a red box": "a vase behind a red box",
        "a red mug on the beach": None,
    }  # fmt: skip
    for text, opposite in turned.items():
        assert world.opposite_caption(text) == opposite


def test_captions_of_the_four_sorts_are_what_they_say(seen):
    decode = shared_tokenizer().decode
    for sort, states in ((seen.plain, False), (seen.stating, True), (seen.opposite, True)):
        texts = [decode(row, skip_special_tokens=True) for row in sort[:30].flatten(0, 1)]
        assert all(captions.states_relation(text) == states for text in texts)
    assert (seen.stating != seen.opposite).any(-1).all()
    asked = [decode(row, skip_special_tokens=True) for row in seen.asking[:30].flatten(0, 1)]
    assert sum("?" in text for text in asked) > len(asked) / 2


def test_the_world_keeps_scenes_of_two_things(seen, settings):
    scenes = training_scenes(0, 0, settings.scenes)
    assert len(seen.images) == len(seen.plain) <= sum(s.relation is not None for s in scenes)
    assert len(seen.images) > 0.4 * settings.scenes


def test_experiments_of_one_seed_see_the_same_pictures(seen, settings):
    other = replace(settings, relation_share=1.0, hard_negatives=True, question_share=0.5)
    first, second = (world.Batches(seen, s).draw(5) for s in (settings, other))
    assert torch.equal(first[0], second[0])


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_the_share_of_captions_with_a_relation_is_the_settings(seen, share, settings):
    batches = world.Batches(seen, replace(settings, relation_share=share, hard_negatives=True))
    _, texts, negative = batches.draw(0)
    decoded = shared_tokenizer().batch_decode(texts, skip_special_tokens=True)
    assert np.mean([captions.states_relation(text) for text in decoded]) == share
    assert len(negative) == share * len(texts)


def test_without_hard_negatives_the_batch_has_none(seen, settings):
    _, texts, negative = world.Batches(seen, replace(settings, relation_share=1.0)).draw(0)
    assert len(negative) == 0 and len(texts) == settings.batch


def test_a_batch_that_does_not_fit_is_refused(seen, settings):
    with pytest.raises(ValueError, match="draw more scenes than 400"):
        world.Batches(seen, replace(settings, batch=300))
