"""Random weights whose decisions are real, in the number format of a GPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from measuring import Disagreement
from option_scoring import agreement, authors, ours, read_jobs
from random_models import ROUNDING, random_mllm
from transformers import CLIPVisionConfig, LlamaConfig

LAYERS = 16


@pytest.fixture(scope="module")
def jobs():
    return read_jobs(4, size=56)


@pytest.fixture(scope="module")
def half():
    """A small LLaVA in bfloat16, as deep as a real one by half."""
    vision = CLIPVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        image_size=56, patch_size=14, projection_dim=32,
    )  # fmt: skip
    text = LlamaConfig(
        hidden_size=128, intermediate_size=344, num_hidden_layers=LAYERS, num_attention_heads=4,
        vocab_size=1024, max_position_embeddings=512,
    )  # fmt: skip
    return random_mllm("small", vision, text, torch.device("cpu"), torch.bfloat16)


def test_scores_differ_by_far_more_than_rounding(half, jobs):
    theirs, mine = (np.log(way(half, jobs)) for way in (authors, ours))
    noise, spread = np.abs(theirs - mine), theirs.std(axis=1)
    assert 0 < noise.mean() < spread.mean() / 5
    assert noise.max() < ROUNDING[torch.bfloat16]
    agreement("authors", theirs, mine, ROUNDING[torch.bfloat16])


def test_as_they_are_usually_drawn_they_tell_nothing(half, jobs):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        before = {name: x.clone() for name, x in half.model.state_dict().items()}
        for module in half.model.model.language_model.modules():
            if isinstance(module, torch.nn.Linear | torch.nn.Embedding):
                module.weight.normal_(std=0.02)
        half.model.lm_head.weight.normal_(std=0.02)
    try:
        theirs, mine = (np.log(way(half, jobs)) for way in (authors, ours))
    finally:
        half.model.load_state_dict(before)
    with pytest.raises(Disagreement, match="they tell little: give the model weights that spread"):
        agreement("authors", theirs, mine, ROUNDING[torch.bfloat16])


def test_a_way_that_scores_other_captions_is_found(half, jobs):
    """The error that the check is there for."""
    theirs = np.log(ours(half, jobs))
    with pytest.raises(Disagreement, match="one of the two ways is wrong"):
        agreement("shifted", theirs, np.roll(theirs, 1, axis=1), ROUNDING[torch.bfloat16])


def test_rounding_explains_a_decision_between_equal_scores():
    theirs = np.log([[0.2, 0.9], [0.5, 0.5001], [0.9, 0.1]])
    mine = np.log([[0.2, 0.9], [0.5001, 0.5], [0.9, 0.1]])
    assert agreement("close", theirs, mine, 1e-3).startswith(
        "2 of 3 decisions agree, all 2 beyond rounding"
    )
