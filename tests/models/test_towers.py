"""Whether a LLaVA reads a CLIP's image tower."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from PIL import Image

from erragree_utils import load_clip, load_mllm
from erragree_utils.models.states import untrained
from erragree_utils.models.towers import OWN_PIXELS, SAME_PIXELS, compare_towers


@pytest.fixture(scope="module")
def clip():
    return load_clip("mini", device="cpu")


@pytest.fixture
def mllm():
    return load_mllm("mini", device="cpu")


def noise(width: int, height: int) -> list[Image.Image]:
    values = np.random.default_rng(0).integers(0, 256, (2, height, width, 3), np.uint8)
    return [Image.fromarray(each) for each in values]


def test_the_mini_llava_reads_the_mini_clips_tower(clip, mllm):
    apart = compare_towers(clip, mllm, noise(64, 64))
    assert 0 <= apart[SAME_PIXELS] < 1e-5


def test_framing_and_weights_are_told_apart(clip, mllm):
    """CLIP crops a 4:3 picture, LLaVA pads it; the tower is the same."""
    apart = compare_towers(clip, mllm, noise(80, 60))
    assert apart[SAME_PIXELS] < 1e-5 and apart[OWN_PIXELS] > 0.1


def test_weights_of_16_bits_are_compared_in_clips_precision(clip, mllm):
    mllm.model.model.vision_tower.to(torch.bfloat16)
    mllm.engine.dtype = torch.bfloat16
    apart = compare_towers(clip, mllm, noise(64, 64))
    assert 1e-5 < apart[SAME_PIXELS] < 0.05
    assert mllm.model.model.vision_tower.dtype == torch.bfloat16


def test_another_tower_is_far_away(clip, mllm):
    assert compare_towers(untrained(clip), mllm, noise(64, 64))[SAME_PIXELS] > 0.3


def test_one_block_that_was_trained_further_shows(clip, mllm):
    changed = copy.deepcopy(clip)
    block = changed.model.visual.transformer.resblocks[0]
    block.mlp.c_fc.weight.data *= 1.2
    assert compare_towers(changed, mllm, noise(64, 64))[SAME_PIXELS] > 0.01
