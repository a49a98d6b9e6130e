"""The models of the ablations."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from erragree_utils import load_benchmark, load_mllm
from erragree_utils.models.tokens import SYSTEM
from erragree_utils.scoring.questions import VQA_QUESTION
from erragree_utils.training.ablations import experiments, models, train, world
from erragree_utils.training.ablations.encoders import mini_llava, text_ends
from erragree_utils.training.clip_model import contrastive_loss, matching_loss
from erragree_utils.training.data import normalise
from erragree_utils.training.llava_model import shared_tokenizer
from erragree_utils.training.optim import Step, optimizers

READING = experiments.experiment("reader of patches").settings(0)


def test_settings_that_do_not_go_together_are_refused(settings):
    with pytest.raises(ValueError, match="tokens='weighted'"):
        models.build(replace(settings, rotary=True))
    with pytest.raises(ValueError, match="does not go with captioning"):
        models.build(replace(settings, objective="captioning", tokens="mean"))
    with pytest.raises(ValueError, match="needs encoder='mini-llava'"):
        models.build(replace(settings, objective="answering", tokens="patches"))
    with pytest.raises(ValueError, match="text must be one of"):
        models.build(replace(settings, text="bert"))


def test_the_loss_without_negatives_is_clips():
    images, texts = (F.normalize(torch.randn(5, 8), dim=-1) for _ in range(2))
    ours = matching_loss(100 * images @ texts.T)
    assert torch.allclose(ours, contrastive_loss(images, texts, torch.tensor(100.0)))


def test_a_hard_negative_adds_to_the_loss_of_the_image_alone():
    scores = torch.tensor([[5.0, 0.0, 4.0], [0.0, 5.0, 0.0]])
    assert matching_loss(scores) > matching_loss(scores[:, :2])


def test_weighted_cosines_are_those_of_the_weighted_mean():
    torch.manual_seed(0)
    patches = F.normalize(torch.randn(2, 9, 8), dim=-1)
    texts = F.normalize(torch.randn(3, 8), dim=-1)
    found = models.weighted_cosines(patches, texts)
    for i in range(2):
        for j in range(3):
            weight = (models.SHARPNESS * patches[i] @ texts[j]).softmax(0)
            mean = weight @ patches[i]
            assert torch.isclose(found[i, j], F.cosine_similarity(mean, texts[j], dim=0))


def test_without_positions_the_mean_patch_does_not_tell_where_things_are(settings):
    torch.manual_seed(0)
    image = torch.randn(1, 3, 24, 24)
    left_right = torch.cat([image[..., 8:16], image[..., :8], image[..., 16:]], dim=-1)
    found = {}
    for positions in (True, False):
        model = models.build(replace(settings, tokens="mean", positions=positions)).eval()
        with torch.no_grad():
            found[positions] = (
                (model.embed_images(image) - model.embed_images(left_right)).abs().max()
            )
    assert found[False] < 1e-5 < found[True]


def test_the_score_of_a_caption_is_its_log_likelihood(seen, settings):
    model = models.build(replace(settings, objective="captioning", tokens="patches")).eval()
    batches = world.Batches(seen, settings)
    images, texts, _ = batches.draw(0)
    with torch.no_grad():
        table, paired = model.scores(images, texts), model.paired(images, texts)
        seen_ = model.projector(model.read(images[:1]))
        n, total = int(text_ends(texts)[0]), 0.0
        for k in range(n):  # word by word
            states = model.text(texts[:1, : k + 1], seen_)[0, -1]
            total += model.head(states).log_softmax(-1)[texts[0, k + 1]]
    assert torch.allclose(table.diagonal(), paired, atol=1e-4)
    assert torch.allclose(paired[0], total, atol=1e-4)


def test_padding_does_not_change_a_texts_score(seen, settings):
    batches = world.Batches(seen, settings)
    images, texts, _ = batches.draw(0)
    padded = F.pad(texts, (0, 3), value=shared_tokenizer().pad_token_id)
    for change in ({}, {"tokens": "weighted", "text_tokens": "all"}, {"text": "mini-llava"}):
        model = models.build(replace(settings, **change)).eval()
        with torch.no_grad():
            assert torch.allclose(
                model.scores(images, texts), model.scores(images, padded), atol=1e-5
            )


def test_the_converted_reader_embeds_what_the_mini_llava_computes(settings):
    """Image and prompt give the state that the shipped model has at its last token."""
    model = models.build(replace(settings, encoder="mini-llava", image_size=80)).eval()
    images = torch.randn(2, 3, 80, 80)
    whole = mini_llava().eval()
    line = f"<s>{SYSTEM} USER: " + "<image>" * whole.config.image_seq_length
    line += f"{models.PROMPT} ASSISTANT:"
    core = shared_tokenizer().backend_tokenizer
    ids = torch.tensor([core.encode(line, add_special_tokens=False).ids] * 2)
    with torch.no_grad():
        states = whole.model(input_ids=ids, pixel_values=images).last_hidden_state[:, -1]
        assert torch.allclose(model.embed_images(images), F.normalize(states, dim=-1), atol=1e-4)


@pytest.mark.parametrize("tokens", ["patches", "cls"])
def test_a_reader_learns_to_answer_and_its_eyes_stay_frozen(tokens, seen, settings):
    chosen = replace(READING, tokens=tokens)
    model = models.build(chosen)
    eyes = [p.clone() for p in model.llava.model.vision_tower.parameters()]
    step = Step(model.loss, optimizers(model, chosen, train.BLOCKS))
    _, rows, _ = world.QuestionBatches(seen, settings).draw(0)
    images = torch.randn(len(rows), 3, 80, 80)
    losses = [step(0.1, images, rows, None) for _ in range(4)]
    assert losses[-1] < losses[0]
    after = model.llava.model.vision_tower.parameters()
    assert all(torch.equal(a, b) for a, b in zip(eyes, after, strict=True))
    assert model.read(images).shape[1] == {"patches": 100, "cls": 1}[tokens]


def test_a_readers_score_is_the_log_of_vqascore():
    """By the package's own path, for the shipped weights: the projector is put back."""
    mllm = load_mllm("mini")
    model = models.build(READING).eval()
    model.llava.model.multi_modal_projector = mllm.model.model.multi_modal_projector
    pairs = load_benchmark("tabletop-a", n_sets=2).select("left/right")
    images = [image for pair in pairs for image in pair.images]
    texts = [text for pair in pairs for text in pair.captions]
    branches = [[(VQA_QUESTION.format(caption=text), "Yes") for text in texts]] * 4
    expected = [[x.total for x in row] for row in mllm.answer_logprobs(images, branches)]
    pixels = normalise(torch.from_numpy(np.stack([np.asarray(i) for i in images])))
    tokens = world.encode(texts, 34)
    with torch.no_grad():
        found, paired = model.scores(pixels, tokens), model.paired(pixels, tokens)
    assert np.allclose(found, expected, atol=0.05)
    assert torch.allclose(found.diagonal(), paired, atol=1e-4)
