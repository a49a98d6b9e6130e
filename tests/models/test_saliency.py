"""Gradient times input on image tokens: it is what small changes of a token do to the answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from erragree_utils.models import ASSETS, EncodeError, ModelError
from erragree_utils.models.mllm import Mllm, load_mllm
from erragree_utils.models.saliency import answer_saliency, central_square, cover, largest
from erragree_utils.training import llava

QUESTIONS = [
    "Is the mug left of the table?",
    'Does this figure show "A red mug to the left of a blue table"? Please answer yes or no.',
    "Is there a mug?",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The tower that the mini LLaVA reads, with a small, random reader."""
    folder = tmp_path_factory.mktemp("models") / "random-llava"
    settings = llava.Settings(width=32, layers=2, mlp=64)
    tokenizer = llava.build_tokenizer()
    model = llava.build_model(settings, ASSETS / "mini-clip", tokenizer)
    llava.save(model, tokenizer, settings, folder)
    return folder


@pytest.fixture(scope="module")
def mllm(folder) -> Mllm:
    return load_mllm(folder, device="cpu")


def pictures(n: int) -> list[Image.Image]:
    pixels = np.random.default_rng(0).integers(0, 255, (n, 5, 4, 3), dtype=np.uint8)
    return [Image.fromarray(p).resize((90, 100)) for p in pixels]


def lead(mllm: Mllm, image: Image.Image, question: str) -> float:
    """How far "Yes" is ahead of "No", by the scores of `Mllm.answer_logprobs`."""
    ((yes, no),) = mllm.answer_logprobs([image], [[(question, "Yes"), (question, "No")]])
    return yes.total - no.total


@pytest.mark.parametrize(("row", "col"), [(0, 0), (2, 5), (7, 3)])
def test_a_value_is_the_answers_change_when_its_token_grows(mllm, row, col):
    """Central difference, token times (1 ± h)."""
    image, question, h = pictures(1)[0], QUESTIONS[1], 0.05
    found = answer_saliency(mllm, [image], question)[0, row, col]

    def grown(by: float) -> float:
        def hook(module, args, output):
            output = output.clone()
            output[:, 10 * row + col] *= 1 + by
            return output

        handle = mllm.model.model.multi_modal_projector.register_forward_hook(hook)
        try:
            return lead(mllm, image, question)
        finally:
            handle.remove()

    assert found == pytest.approx((grown(h) - grown(-h)) / (2 * h), rel=0.02, abs=2e-5)


def test_maps_have_a_value_for_each_patch_and_differ(mllm):
    maps = answer_saliency(mllm, pictures(3), QUESTIONS)
    assert maps.shape == (3, 10, 10) and maps.dtype == np.float32
    assert (maps.std(axis=(1, 2)) > 0).all()
    assert np.abs(maps[0] - maps[1]).max() > 0


def test_batching_and_padding_change_nothing(mllm):
    together = answer_saliency(mllm, pictures(3), QUESTIONS)
    single = answer_saliency(mllm, iter(pictures(3)), QUESTIONS, batch_size=1)
    np.testing.assert_allclose(together, single, rtol=1e-3, atol=1e-5 * np.abs(single).max() + 1e-7)


def test_what_speaks_for_one_answer_speaks_against_the_other(mllm):
    forth = answer_saliency(mllm, pictures(2), QUESTIONS[0])
    back = answer_saliency(mllm, pictures(2), QUESTIONS[0], answers=("No", "Yes"))
    np.testing.assert_allclose(forth, -back, atol=1e-7)


def test_the_model_is_left_as_it_was(mllm):
    before = lead(mllm, pictures(1)[0], QUESTIONS[0])
    answer_saliency(mllm, pictures(1), QUESTIONS[0])
    with pytest.raises(ValueError, match="same token"):
        answer_saliency(mllm, pictures(1), QUESTIONS[0], answers=("left of", "left"))
    assert lead(mllm, pictures(1)[0], QUESTIONS[0]) == before
    assert not mllm.model.model.multi_modal_projector._forward_hooks
    assert all(p.grad is None and not p.requires_grad for p in mllm.model.parameters())


def test_half_precision_gives_the_same_picture(mllm, folder):
    half = load_mllm(folder, device="cpu", dtype="bfloat16")
    whole, coarse = (answer_saliency(m, pictures(2), QUESTIONS[0]).ravel() for m in (mllm, half))
    assert np.corrcoef(whole, coarse)[0, 1] > 0.98


def test_it_can_be_called_where_gradients_are_off(mllm):
    with torch.no_grad():
        assert np.abs(answer_saliency(mllm, pictures(1), QUESTIONS[0])).max() > 0


def test_the_two_answers_may_come_from_a_generator_but_not_from_one_word(mllm):
    images = pictures(2)
    found = answer_saliency(mllm, images, QUESTIONS[:2], (word for word in ("Yes", "No")))
    np.testing.assert_array_equal(found, answer_saliency(mllm, images, QUESTIONS[:2]))
    with pytest.raises(TypeError, match="answers is a list, not a single str"):
        answer_saliency(mllm, images, QUESTIONS[:2], "No")
    with pytest.raises(ValueError, match="answers are two, not"):
        answer_saliency(mllm, images, QUESTIONS[:2], ("Yes", "No", "Maybe"))


def test_what_cannot_be_explained_is_refused(mllm):
    with pytest.raises(ValueError, match="no images"):
        answer_saliency(mllm, [], [])
    with pytest.raises(ValueError, match="2 images, but 3 questions"):
        answer_saliency(mllm, pictures(2), QUESTIONS)
    with pytest.raises(EncodeError, match="image 1 is a str"):
        answer_saliency(mllm, [pictures(1)[0], "mug.png"], QUESTIONS[0])
    with pytest.raises(EncodeError, match="tokens with its images"):
        answer_saliency(mllm, pictures(1), "mug " * 500)


def test_models_that_show_crops_are_refused(llava_next_folder):
    with pytest.raises(ModelError, match="several crops.*LLaVA-1.5's kind"):
        answer_saliency(load_mllm(llava_next_folder, device="cpu"), pictures(1), "mug")


class TestCovering:
    def test_the_largest_are_chosen_whatever_their_sign(self):
        maps = np.array([[[0.1, -3.0], [2.0, 0.0]], [[5.0, 0.0], [0.0, -0.1]]])
        assert largest(maps, 0.5).tolist() == [
            [[False, True], [True, False]],
            [[True, False], [False, True]],
        ]
        assert largest(np.zeros((3, 8, 8)), 0.001).sum(axis=(1, 2)).tolist() == [1, 1, 1]
        assert largest(maps, 1).all()

    @pytest.mark.parametrize("share", [0, -0.1, 1.5])
    def test_shares_that_are_none_are_refused(self, share):
        with pytest.raises(ValueError, match="share must be above 0"):
            largest(np.zeros((1, 2, 2)), share)

    def test_the_square_is_the_middle(self):
        image = Image.fromarray(np.arange(60, dtype=np.uint8).reshape(4, 15))
        assert np.asarray(central_square(image))[0, :, 0].tolist() == [5, 6, 7, 8]
        assert central_square(Image.new("RGB", (80, 80))).size == (80, 80)

    def test_covered_patches_have_the_mean_colour_and_others_stay(self):
        image = pictures(1)[0]
        square = np.asarray(central_square(image))
        patches = np.zeros((9, 9), bool)
        patches[2, 5] = True
        covered = np.asarray(cover(image, patches))
        hidden = np.zeros((90, 90), bool)
        hidden[20:30, 50:60] = True
        np.testing.assert_array_equal(covered[~hidden], square[~hidden])
        assert np.ptp(covered[hidden], axis=0).tolist() == [0, 0, 0]
        np.testing.assert_allclose(covered[hidden][0], square.mean(axis=(0, 1)), atol=0.5)

    def test_the_model_sees_a_difference_in_covered_patches_alone(self, mllm):
        image = Image.fromarray(np.asarray(pictures(1)[0].resize((80, 80))))
        patches = np.zeros((8, 8), bool)
        patches[3, 6] = True
        process = mllm.processor.image_processor
        before, after = (
            process(i, return_tensors="np")["pixel_values"][0].reshape(3, 8, 10, 8, 10)
            for i in (image, cover(image, patches))
        )
        changed = (before != after).any(axis=(0, 2, 4))
        np.testing.assert_array_equal(changed, patches)

    def test_what_is_no_grid_is_refused(self):
        with pytest.raises(ValueError, match="at most 80"):
            cover(Image.new("RGB", (80, 80)), np.zeros((81, 81), bool))
        with pytest.raises(ValueError, match="shape"):
            cover(Image.new("RGB", (80, 80)), np.zeros(64, bool))
