"""Heads on frozen tokens: positions are turned in, texts weight patches, scores are cosines."""

import pytest
import torch
from torch.nn import functional as F

from erragree_utils.training.ladder_heads import (
    CROSSED,
    PAD,
    PATCHES,
    RUNGS,
    SHARPNESS,
    WIDTH,
    Captioner,
    Heads,
    Reading,
    chosen,
    rotate,
    scores,
)

MATCHED = [
    name
    for name, reading in RUNGS.items()
    if reading.image == "patches" and reading.text != "words"
]


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


@pytest.mark.parametrize("rung", MATCHED)
def test_only_with_positions_does_the_order_of_patches_change_a_match(rung):
    torch.manual_seed(0)
    heads = Heads(RUNGS[rung], WIDTH).eval()
    tokens, texts = torch.randn(2, PATCHES, WIDTH), torch.randn(2, 1, WIDTH)
    straight, mirrored = heads.scores(tokens, texts), heads.scores(tokens.flip(1), texts)
    assert torch.allclose(straight, mirrored, atol=1e-5) == (RUNGS[rung].positions == 0)


def test_the_loss_is_less_for_images_with_their_own_texts_and_more_with_wrong_ones():
    torch.manual_seed(0)
    heads = Heads(Reading("vector"), WIDTH).eval()
    images = torch.randn(4, 1, WIDTH)
    texts = torch.randn(4, 1, WIDTH)
    own = heads.loss(images, texts)
    again = heads.loss(images.flip(0), texts.flip(0))
    assert own.item() == pytest.approx(again.item(), abs=1e-5)
    assert heads.loss(images, texts, torch.randn(3, 1, WIDTH)) > own


def test_a_lower_temperature_is_a_sharper_loss():
    torch.manual_seed(0)
    soft, sharp = (Heads(Reading("vector", temperature=t), WIDTH).eval() for t in (0.1, 0.01))
    sharp.load_state_dict(soft.state_dict())
    images, texts = torch.randn(2, 8, 1, WIDTH)
    assert sharp.loss(images, texts) > soft.loss(images, texts)


def test_a_captioner_scores_each_text_by_its_own_words_alone():
    torch.manual_seed(0)
    captioner = Captioner(CROSSED["captioning, patch tokens"], 20).eval()
    tokens = torch.randn(2, PATCHES, WIDTH)
    short = torch.tensor([[2, 5, 3]])
    padded = torch.tensor([[2, 5, 3, PAD, PAD], [2, 6, 7, 8, 3]])
    found = captioner.scores(tokens, padded)
    assert torch.allclose(found[:, :1], captioner.scores(tokens, short), atol=1e-5)
    each = captioner.log_likelihoods(tokens, padded)
    assert torch.allclose(each, found.diagonal(), atol=1e-5)
    assert (found < 0).all()


def test_objective_and_what_is_read_are_crossed_in_all_four_cells():
    cells = {(reading.image, reading.writes) for reading in CROSSED.values()}
    assert len(cells) == len(CROSSED) == 4


def test_in_llavas_stages_words_come_first_then_the_projector_then_both():
    staged = Captioner(RUNGS["LLaVA's stages, one vector"], 20)
    parts = [(part, sees) for part, _, sees in staged.stages(8)]
    assert parts == [(staged.llama, False), (staged.projector, True), (staged, True)]
    assert [steps for _, steps, _ in staged.stages(8)] == [4, 2, 8]
    at_once = Captioner(CROSSED["captioning, one vector"], 20)
    assert at_once.stages(8) == [(at_once, 8, True)]


def test_words_have_a_likelihood_without_an_image():
    captioner = Captioner(CROSSED["captioning, patch tokens"], 20).eval()
    words = torch.tensor([[2, 5, 3]])
    assert captioner.log_likelihoods(torch.randn(1, 0, WIDTH), words) < 0
