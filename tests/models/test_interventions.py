"""Changed image tokens and exchanged states, against plain passes of the changed inputs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from erragree_utils.models import EncodeError, ModelError
from erragree_utils.models.interventions import (
    PLACES,
    Patched,
    grid_side,
    mirrored,
    patch_states,
    rearranged,
    shuffled,
)
from erragree_utils.models.mllm import Mllm, load_mllm
from erragree_utils.models.states import mllm_states

QUESTION = "Is the red mug to the left of the table?"
QUESTIONS = [QUESTION, 'Does this figure show "A dog"? Please answer yes or no.']
SIDE, DEPTH = 24, 2  # of the stand-in, whose grid is LLaVA-1.5's


@pytest.fixture(scope="module")
def mllm(llava_folder) -> Mllm:
    return load_mllm(llava_folder, device="cpu", dtype="float32")


def pictures(n: int, seed: int = 0) -> list[Image.Image]:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 255, (n, 5, 5, 3), dtype=np.uint8)
    return [Image.fromarray(p).resize((90, 90)) for p in pixels]


def log_odds(mllm: Mllm, image: Image.Image, question: str) -> float:
    """Of "Yes" against "No", by the scores of `Mllm.answer_logprobs`."""
    ((yes, no),) = mllm.answer_logprobs([image], [[(question, "Yes"), (question, "No")]])
    return yes.total - no.total


class TestRearranged:
    def test_the_language_model_reads_the_columns_in_reverse(self, mllm):
        plain = mllm_states(mllm, pictures(2), QUESTION)
        with rearranged(mllm, mirrored):
            changed = mllm_states(mllm, pictures(2), QUESTION)
        np.testing.assert_array_equal(changed["vision tower"], plain["vision tower"])
        grid = plain["projector"].reshape(2, SIDE, SIDE, -1)[:, :, ::-1].reshape(2, SIDE**2, -1)
        np.testing.assert_array_equal(changed["layer 0 image"], grid)
        assert np.abs(changed["layer 2 last"] - plain["layer 2 last"]).max() > 1e-3

    def test_scores_follow_from_the_changed_tokens_and_only_meanwhile(self, mllm):
        (image,) = pictures(1)
        before = log_odds(mllm, image, QUESTION)
        with mllm.remembering():
            log_odds(mllm, image, QUESTION)  # what is remembered must not pass by the change
            with rearranged(mllm, torch.zeros_like):
                without = log_odds(mllm, image, QUESTION)
                assert log_odds(mllm, pictures(1, seed=1)[0], QUESTION) == pytest.approx(without)
            assert log_odds(mllm, image, QUESTION) == pytest.approx(before)
        assert abs(without - before) > 1e-3

    def test_every_image_is_shuffled_anew_and_keeps_its_tokens(self):
        grid = torch.arange(16.0).view(1, 4, 4, 1).expand(2, 4, 4, 3)
        one, two = shuffled(0)(grid)
        assert not torch.equal(one, two)
        for tokens in (one, two):
            assert torch.equal(tokens[..., 0], tokens[..., 2])
            assert sorted(tokens[..., 0].flatten().tolist()) == list(range(16))
        assert torch.equal(shuffled(0)(grid), torch.stack([one, two]))
        assert not torch.equal(shuffled(1)(grid)[0], one)

    def test_a_change_that_loses_tokens_is_refused_and_leaves_no_hook(self, mllm):
        with (
            pytest.raises(ValueError, match="must keep the shape"),
            rearranged(mllm, lambda grid: grid[:, 1:]),
        ):
            log_odds(mllm, pictures(1)[0], QUESTION)
        assert not mllm.model.model.multi_modal_projector._forward_hooks

    def test_models_whose_tokens_are_no_grid_are_refused(self, mllm, llava_next_folder):
        assert grid_side(mllm) == SIDE
        several_crops = load_mllm(llava_next_folder, device="cpu")
        with (
            pytest.raises(ModelError, match="not one square grid.*LLaVA-1.5's kind"),
            rearranged(several_crops, mirrored),
        ):
            pass
        with pytest.raises(ModelError, match="not one square grid"):
            patch_states(several_crops, pictures(1), pictures(1), QUESTION)


@pytest.fixture(scope="module")
def found(mllm) -> Patched:
    return patch_states(mllm, pictures(2), pictures(2, seed=1), QUESTIONS)


class TestPatching:
    def test_scores_without_exchange_are_the_models_own(self, mllm, found):
        for k, question in enumerate(QUESTIONS):
            own, other = (log_odds(mllm, pictures(2, seed)[k], question) for seed in (0, 1))
            assert found.own[k] == pytest.approx(own, abs=1e-5)
            assert found.other[k] == pytest.approx(other, abs=1e-5)
            assert abs(own - other) > 1e-3
        assert found.patched.shape == (2, DEPTH + 1, len(PLACES))

    def test_all_that_differs_gives_the_other_images_score(self, found):
        image, last = PLACES.index("image"), PLACES.index("last token")
        np.testing.assert_allclose(found.patched[:, 0, image], found.other, atol=1e-5)
        np.testing.assert_allclose(found.patched[:, DEPTH, last], found.other, atol=1e-5)

    def test_what_does_not_differ_or_is_read_no_more_changes_nothing(self, found):
        for place in ("question", "last token"):
            same = found.patched[:, 0, PLACES.index(place)]
            np.testing.assert_allclose(same, found.own, atol=1e-5)
        for place in PLACES[:-1]:
            unread = found.patched[:, DEPTH, PLACES.index(place)]
            np.testing.assert_allclose(unread, found.own, atol=1e-5)

    def test_an_image_takes_nothing_from_itself(self, mllm):
        same = patch_states(mllm, pictures(1), pictures(1), QUESTION, layers=[1])
        np.testing.assert_allclose(same.patched, same.own[0], atol=1e-5)

    @pytest.mark.parametrize(("place", "half"), [(PLACES[0], 0), (PLACES[1], 1)])
    def test_a_half_at_layer_0_is_a_half_of_the_projected_tokens(self, mllm, found, place, half):
        (image,), (source,) = pictures(1), pictures(1, seed=1)
        tokens = mllm_states(mllm, [source], QUESTION)["projector"]
        from_source = torch.from_numpy(tokens).view(1, SIDE, SIDE, -1)

        def halved(grid: torch.Tensor) -> torch.Tensor:
            columns = torch.arange(SIDE) // (SIDE // 2) == half
            return torch.where(columns[:, None], from_source, grid)

        with rearranged(mllm, halved):
            expected = log_odds(mllm, image, QUESTION)
        assert found.patched[0, 0, PLACES.index(place)] == pytest.approx(expected, abs=1e-5)
        assert abs(expected - found.own[0]) > 1e-4

    def test_states_above_go_on_from_the_exchanged_ones(self, mllm, found):
        """The image's states after layer 1, put there by hand in Transformers' own pass."""
        inputs = [mllm.engine.inputs([(pictures(1, s)[0], QUESTION)], 0) for s in (0, 1)]
        core = mllm.model.model.language_model
        with torch.no_grad():
            own, other = (
                mllm.model(**x, output_hidden_states=True).hidden_states[1] for x in inputs
            )
            image = inputs[0]["input_ids"] == mllm.processor.image_token_id
            hidden = torch.where(image[..., None], other, own)
            length = hidden.shape[1]
            mask = torch.full((length, length), torch.finfo(torch.float32).min).triu(1)
            rotary = core.rotary_emb(hidden, torch.arange(length)[None])
            out = core.layers[1](hidden, attention_mask=mask[None, None],
                                 position_embeddings=rotary)  # fmt: skip
            out = out if isinstance(out, torch.Tensor) else out[0]
            logits = mllm.model.lm_head(core.norm(out))[0, -1]
        ids = [mllm.engine.branches([[(QUESTION, a)]], [1], 0)[0][0] for a in ("Yes", "No")]
        yes, no = (logits[branch.ids[branch.start]] for branch in ids)
        patched = found.patched[0, 1, PLACES.index("image")]
        assert patched == pytest.approx(float(yes - no), abs=1e-5)

    def test_batches_layers_and_places_may_be_chosen(self, mllm, found):
        chosen = patch_states(
            mllm, iter(pictures(2)), pictures(2, seed=1), QUESTIONS, [1], ["question"], batch_size=1
        )
        expected = found.patched[:, 1:2, [PLACES.index("question")]]
        np.testing.assert_allclose(chosen.patched, expected, atol=1e-5)

    def test_what_cannot_be_exchanged_is_refused(self, mllm):
        one = pictures(1)
        with pytest.raises(ValueError, match=r"\[3\] cannot be exchanged: give layers from 0 to 2"):
            patch_states(mllm, one, one, QUESTION, layers=[0, 3])
        with pytest.raises(ValueError, match="places of 'image, left half'"):
            patch_states(mllm, one, one, QUESTION, places=["top"])
        with pytest.raises(ValueError, match="1 images, but 2 others"):
            patch_states(mllm, one, pictures(2), QUESTION)
        with pytest.raises(ValueError, match="no images"):
            patch_states(mllm, [], [], QUESTION)
        with pytest.raises(EncodeError, match="image 0 is a str"):
            patch_states(mllm, one, ["mug.png"], QUESTION)
        with pytest.raises(ValueError, match="same token"):
            patch_states(mllm, one, one, QUESTION, answers=("Yes", "Yes it is"))
        hooks = [
            hook
            for module in mllm.model.modules()
            for hook in (*module._forward_hooks.values(), *module._forward_pre_hooks.values())
        ]  # Transformers leaves some of its own
        assert not [hook for hook in hooks if hook.__module__.startswith("erragree_utils")]
