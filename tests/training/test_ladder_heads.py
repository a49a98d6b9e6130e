"""Heads on frozen tokens: positions are turned in, texts weight patches, scores are cosines."""

import pytest
import torch
from torch.nn import functional as F

from erragree_utils.training.ladder_heads import (
    PATCHES,
    RUNGS,
    SHARPNESS,
    WIDTH,
    Heads,
    chosen,
    contrastive_loss,
    rotate,
    scores,
)


@pytest.fixture
def vectors():
    torch.manual_seed(0)
    images = F.normalize(torch.randn(3, PATCHES, 8), dim=-1)
    texts = F.normalize(torch.randn(4, 2, 8), dim=-1)
    return images, texts


def test_a_score_is_the_mean_cosine_of_text_vectors_with_the_sums_they_weight(vectors):
    images, texts = vectors
    found = scores(images, texts)
    for i, image in enumerate(images):
        for j, text in enumerate(texts):
            sums = torch.sigmoid(SHARPNESS * text @ image.T) @ image
            expected = F.cosine_similarity(sums, text).mean()
            assert float(found[i, j]) == pytest.approx(float(expected), abs=1e-5)


def test_the_score_of_one_vector_is_its_cosine(vectors):
    images, texts = vectors
    found = scores(images[:, :1], texts[:, :1])
    assert torch.allclose(found, images[:, 0] @ texts[:, 0].T, atol=1e-5)


def test_what_a_text_selects_has_its_score_as_cosine(vectors):
    images, texts = vectors
    selected = chosen(images, texts[:3, :1])
    cosines = (selected * texts[:3, 0]).sum(-1)
    assert torch.allclose(cosines, scores(images, texts[:, :1])[:, :3].diagonal(), atol=1e-5)


def test_rotary_positions_keep_lengths_and_leave_the_first_place_alone():
    tokens = torch.randn(2, PATCHES, WIDTH)
    turned = rotate(tokens, torch.arange(PATCHES))
    assert torch.allclose(turned.norm(dim=-1), tokens.norm(dim=-1), atol=1e-4)
    assert torch.allclose(turned[:, 0], tokens[:, 0])
    assert not torch.allclose(turned[:, 1], tokens[:, 1], atol=1e-2)


@pytest.mark.parametrize("rung", RUNGS)
def test_only_with_positions_does_the_order_of_patches_change_a_score(rung):
    torch.manual_seed(0)
    heads = Heads(RUNGS[rung], WIDTH).eval()
    tokens, texts = torch.randn(2, PATCHES, WIDTH), heads.texts(torch.randn(2, 1, WIDTH))
    straight, mirrored = (scores(heads.images(x), texts) for x in (tokens, tokens.flip(1)))
    assert torch.allclose(straight, mirrored, atol=1e-5) == (RUNGS[rung].positions == 0)


def test_the_loss_is_least_where_each_image_has_its_own_text():
    own = torch.eye(4)[:, None]
    assert contrastive_loss(own, own) < 0.01 < contrastive_loss(own, own.roll(1, 0))
