"""Tokens at every layer, against plain forward passes of open_clip and Transformers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from erragree_utils.models import EncodeError, ModelError, load_clip
from erragree_utils.models.mllm import Mllm, load_mllm
from erragree_utils.models.states import (
    encoder_states,
    mean_pool,
    mllm_states,
    pool_grid,
    untrained,
)
from erragree_utils.models.tokens import SYSTEM

QUESTION = "Where is the mug?"
TEMPLATE = (
    "{% for message in messages %}{{ message['role'].upper() + ': ' }}"
    "{% for part in message['content'] %}"
    "{{ '<image> ' if part['type'] == 'image' else part['text'] + ' ' }}"
    "{% endfor %}{% endfor %}ASSISTANT:"
)
SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2}
VISION = {**SMALL, "num_hidden_layers": 3, "image_size": 32, "patch_size": 8}


@pytest.fixture(scope="module")
def clip():
    return load_clip("mini", device="cpu")


def pictures(n: int, seed: int = 0) -> list[Image.Image]:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 255, (n, 5, 4, 3), dtype=np.uint8)
    return [Image.fromarray(p).resize((90, 100)) for p in pixels]


def words() -> PreTrainedTokenizerFast:
    split = pre_tokenizers.Whitespace()
    text = f"{SYSTEM} SYSTEM: USER: ASSISTANT: {QUESTION}"
    known = dict.fromkeys(word for word, _ in split.pre_tokenize_str(text))
    vocabulary = {word: i for i, word in enumerate(["<pad>", "<unk>", *known])}
    core = Tokenizer(models.WordLevel(vocabulary, "<unk>"))
    core.pre_tokenizer = split
    made = PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", unk_token="<unk>")
    made.add_tokens([AddedToken("<image>", special=True, normalized=False)], special_tokens=True)
    return made


def language(tokenizer) -> LlamaConfig:
    return LlamaConfig(
        **SMALL, num_hidden_layers=2, vocab_size=len(tokenizer), max_position_embeddings=256
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A random LLaVA with 16 patches and two decoder layers."""
    folder, tokenizer = tmp_path_factory.mktemp("models") / "random-llava", words()
    torch.manual_seed(0)
    LlavaForConditionalGeneration(LlavaConfig(
        vision_config=CLIPVisionConfig(**VISION), text_config=language(tokenizer),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"), image_seq_length=16,
    )).save_pretrained(folder)  # fmt: skip
    size = {"height": 32, "width": 32}
    LlavaProcessor(
        CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=size), tokenizer, patch_size=8,
        vision_feature_select_strategy="default", num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    ).save_pretrained(folder)  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def mllm(folder) -> Mllm:
    return load_mllm(folder, device="cpu")


class TestClip:
    def test_layers_come_from_bottom_to_top_and_the_embedding_last(self, clip):
        states = encoder_states(clip, pictures(3))
        layers = len(clip.model.visual.transformer.resblocks)
        expected = [f"layer {k} {what}" for k in range(layers + 1) for what in ("CLS", "patches")]
        assert list(states) == [*expected, "embedding"]
        assert all(array.dtype == np.float32 and len(array) == 3 for array in states.values())
        assert states["layer 0 CLS"].shape == (3, 128)
        assert states["layer 0 patches"].shape == (3, 100, 128)

    def test_layer_0_is_the_input_of_the_first_block(self, clip):
        images, tower = pictures(2), clip.model.visual
        with torch.no_grad():
            tokens = tower._embeds(torch.stack([clip.preprocess(i) for i in images])).numpy()
        states = encoder_states(clip, images)
        np.testing.assert_array_equal(states["layer 0 CLS"], tokens[:, 0])
        np.testing.assert_array_equal(states["layer 0 patches"], tokens[:, 1:])

    def test_the_layer_before_the_last_is_what_llava_reads(self, clip):
        images = pictures(3)
        layers = len(clip.model.visual.transformer.resblocks)
        states = encoder_states(clip, images)
        np.testing.assert_array_equal(states[f"layer {layers - 1} patches"],
                                      clip.patch_tokens(images))  # fmt: skip

    def test_the_embedding_is_the_projected_class_token_of_the_last_layer(self, clip):
        images, tower = pictures(3), clip.model.visual
        states = encoder_states(clip, images)
        np.testing.assert_array_equal(states["embedding"], clip.embed_images(images))
        with torch.no_grad():
            top = tower.ln_post(torch.from_numpy(states["layer 4 CLS"])) @ tower.proj
        unit = torch.nn.functional.normalize(top, dim=-1).numpy()
        np.testing.assert_allclose(states["embedding"], unit, atol=1e-5)

    def test_batches_and_generators_change_nothing(self, clip):
        whole = encoder_states(clip, pictures(5))
        parts = encoder_states(clip, (image for image in pictures(5)), batch_size=2)
        for name, array in whole.items():
            np.testing.assert_allclose(parts[name], array, atol=1e-5)

    def test_half_precision_comes_out_as_float32(self):
        states = encoder_states(load_clip("mini", device="cpu", dtype="bfloat16"), pictures(2))
        assert {array.dtype for array in states.values()} == {np.dtype(np.float32)}

    def test_towers_that_keep_the_batch_second_are_read_the_same(self, clip, monkeypatch):
        images, expected = pictures(3), encoder_states(clip, pictures(3))
        transformer = clip.model.visual.transformer
        monkeypatch.setattr(transformer, "batch_first", False)
        for block in transformer.resblocks:
            monkeypatch.setattr(block.attn, "batch_first", False)
        for name, array in encoder_states(clip, images).items():
            np.testing.assert_allclose(array, expected[name], atol=1e-4)

    def test_no_hook_is_left_behind(self, clip):
        with pytest.raises(EncodeError):
            encoder_states(clip, ["mug.jpeg"])
        encoder_states(clip, pictures(1))
        blocks = clip.model.visual.transformer.resblocks
        assert not any(b._forward_hooks or b._forward_pre_hooks for b in blocks)

    def test_towers_without_tokens_and_empty_lists_are_refused(self, clip):
        torch.manual_seed(0)
        config = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 16}
        resnet = open_clip.model.CLIP(16, config, {"width": 16, "heads": 2, "layers": 1})
        other = type(clip)("resnet", "", resnet, None, None, 16, clip.device, clip.dtype)
        with pytest.raises(ModelError, match="ModifiedResNet.*'ViT-'"):
            encoder_states(other, pictures(1))
        with pytest.raises(ValueError, match="no images"):
            encoder_states(clip, [])


class TestUntrained:
    def test_every_weight_of_the_image_tower_is_another_and_no_other_is(self, clip):
        other = untrained(clip)
        constant = ("bias", "ln_", ".ln_1.", ".ln_2.")
        for name, old in clip.model.state_dict().items():
            same = torch.equal(old, other.model.state_dict()[name])
            if not name.startswith("visual."):
                assert same, name
            elif not any(word in name for word in constant):
                assert not same, name

    def test_it_follows_the_seed_and_leaves_the_random_stream_alone(self, clip):
        images, state = pictures(2), torch.get_rng_state()
        one, again, two = (untrained(clip, seed).embed_images(images) for seed in (1, 1, 2))
        np.testing.assert_array_equal(one, again)
        assert not np.allclose(one, two)
        assert torch.equal(torch.get_rng_state(), state)
        assert np.isfinite(one).all()


class TestReduce:
    def test_patches_are_reduced_and_class_tokens_are_not(self, clip):
        whole, small = (
            encoder_states(clip, pictures(3)),
            encoder_states(clip, pictures(3), mean_pool),
        )
        np.testing.assert_allclose(
            small["layer 2 patches"], whole["layer 2 patches"].mean(1), atol=1e-6
        )
        np.testing.assert_array_equal(small["layer 2 CLS"], whole["layer 2 CLS"])

    def test_it_sees_a_batch_at_a_time(self, clip):
        seen = []

        def first(patches):
            seen.append(len(patches))
            return patches[:, 0]

        assert encoder_states(clip, pictures(5), first, batch_size=3)["layer 1 patches"].shape == (
            5, 128,
        )  # fmt: skip
        assert set(seen) == {3, 2}

    def test_a_grid_keeps_the_place_of_every_cell(self):
        patches = np.zeros((2, 16, 3), np.float32)
        patches[1, 2, 0] = 4  # first row, third column: the upper right cell
        pooled = pool_grid(2)(patches).reshape(2, 2, 2, 3)
        assert pooled[1, 0, 1, 0] == 1
        assert pooled.sum() == 1

    def test_as_many_cells_as_patches_change_nothing_but_the_shape(self):
        patches = np.random.default_rng(0).normal(size=(2, 16, 3)).astype(np.float32)
        np.testing.assert_array_equal(pool_grid(4)(patches), patches.reshape(2, -1))

    def test_grids_that_do_not_fit_are_refused(self):
        with pytest.raises(ValueError, match="15 patches are not a square"):
            pool_grid(2)(np.zeros((1, 15, 3), np.float32))
        with pytest.raises(ValueError, match="grid of 5 or more"):
            pool_grid(5)(np.zeros((1, 16, 3), np.float32))
        with pytest.raises(ValueError, match="must be positive"):
            pool_grid(0)

    def test_a_reduction_that_loses_images_is_refused(self, clip):
        with pytest.raises(ValueError, match="1 rows of 2"):
            encoder_states(clip, pictures(2), lambda patches: patches.mean(0, keepdims=True))


class TestMllm:
    def test_layers_come_in_the_order_in_which_they_are_computed(self, mllm):
        states = mllm_states(mllm, pictures(3), QUESTION)
        layers = [f"layer {k} {what}" for k in range(3) for what in ("image", "last")]
        assert list(states) == ["vision tower", "projector", *layers]
        assert states["vision tower"].shape == states["layer 2 image"].shape == (3, 16, 32)
        assert states["layer 2 last"].shape == (3, 32)

    def test_they_are_those_of_a_plain_forward_pass(self, mllm):
        images = pictures(2)
        states = mllm_states(mllm, images, QUESTION)
        inputs = mllm.processor(
            images=[mllm.framed(image) for image in images],
            text=[mllm.prompt(QUESTION)] * 2,
            return_tensors="pt",
        )
        with torch.no_grad():
            out = mllm.model(**inputs, output_hidden_states=True)
            tower = mllm.model.model.vision_tower(inputs["pixel_values"], output_hidden_states=True)
        place = inputs["input_ids"][0] == mllm.processor.image_token_id
        np.testing.assert_allclose(
            states["vision tower"], tower.hidden_states[-2][:, 1:], atol=1e-5
        )
        np.testing.assert_allclose(states["layer 0 image"], states["projector"])
        for k in (0, 1):  # Transformers gives the last one after its norm
            np.testing.assert_allclose(
                states[f"layer {k} image"], out.hidden_states[k][:, place], atol=1e-5
            )
            np.testing.assert_allclose(
                states[f"layer {k} last"], out.hidden_states[k][:, -1], atol=1e-5
            )
        with torch.no_grad():
            last = mllm.model.model.language_model.norm(torch.from_numpy(states["layer 2 last"]))
            logits = mllm.model.lm_head(last)
        np.testing.assert_allclose(logits, out.logits[:, -1], atol=1e-4)

    def test_batches_and_generators_change_nothing(self, mllm):
        whole = mllm_states(mllm, pictures(5), QUESTION)
        parts = mllm_states(mllm, (i for i in pictures(5)), QUESTION, batch_size=2)
        for name, array in whole.items():
            np.testing.assert_allclose(parts[name], array, atol=1e-5)

    def test_half_precision_comes_out_as_float32(self, folder):
        half = load_mllm(folder, device="cpu", dtype="bfloat16")
        states = mllm_states(half, pictures(2), QUESTION)
        assert {array.dtype for array in states.values()} == {np.dtype(np.float32)}

    def test_patches_are_reduced_and_last_tokens_are_not(self, mllm):
        whole = mllm_states(mllm, pictures(2), QUESTION)
        small = mllm_states(mllm, pictures(2), QUESTION, pool_grid(2))
        assert {small[k].shape for k in small if "last" not in k} == {(2, 4 * 32)}
        np.testing.assert_array_equal(small["layer 1 last"], whole["layer 1 last"])

    def test_groups_of_images_and_none_are_named(self, mllm):
        for wrong, kind in ((None, "NoneType"), (pictures(2), "list")):
            with pytest.raises(EncodeError, match=f"image 1 is a {kind}, not a PIL image"):
                mllm_states(mllm, [*pictures(1), wrong], QUESTION)

    def test_what_cannot_be_asked(self, mllm):
        with pytest.raises(EncodeError, match="image 1 is a str"):
            mllm_states(mllm, [*pictures(1), "mug.jpeg"], QUESTION)
        with pytest.raises(EncodeError, match="holds the image token"):
            mllm_states(mllm, pictures(1), "Where is <image>?")
        with pytest.raises(EncodeError, match="reads 256: shorten"):
            mllm_states(mllm, pictures(1), "mug " * 300)
        with pytest.raises(ValueError, match="no images"):
            mllm_states(mllm, [], QUESTION)
        with pytest.warns(UserWarning, match="does not know"):
            mllm_states(mllm, pictures(1), "Where is the cup?")

    def test_models_that_cut_images_into_crops_are_refused(self, llava_next_folder):
        with pytest.raises(ModelError, match="several crops.*LLaVA-1.5's kind"):
            mllm_states(load_mllm(llava_next_folder, device="cpu"), pictures(1), QUESTION)


class TestRandomLayers:
    """A control: above the trained tower and projector a language model that is not."""

    def test_only_what_the_language_model_makes_of_its_input_differs(self, mllm):
        trained = mllm_states(mllm, pictures(2), QUESTION)
        drawn = mllm_states(mllm, pictures(2), QUESTION, random_layers=0)
        for name in ("vision tower", "projector", "layer 0 image", "layer 0 last"):
            np.testing.assert_array_equal(drawn[name], trained[name])
        for name in ("layer 1 image", "layer 2 image", "layer 2 last"):
            assert np.abs(drawn[name] - trained[name]).max() > 0.01

    def test_a_layer_is_one_as_transformers_draws_it(self, mllm):
        core = mllm.model.model.language_model
        inputs = mllm.engine.inputs([(pictures(1)[0], QUESTION)], 0)
        torch.manual_seed(3)
        layer = type(core.layers[0])(core.config, 0)
        layer.apply(core._init_weights)
        with torch.no_grad():
            read = mllm.model(**inputs, output_hidden_states=True).hidden_states[0]
            n = read.shape[1]
            mask = torch.full((1, 1, n, n), torch.finfo(torch.float32).min).triu(1)
            rotary = core.rotary_emb(read, torch.arange(n)[None])
            made = layer(read, attention_mask=mask, position_embeddings=rotary)
        states = mllm_states(mllm, pictures(1), QUESTION, random_layers=3)
        image = inputs["input_ids"][0] == mllm.processor.image_token_id
        np.testing.assert_allclose(states["layer 1 image"][0], made[0][image], atol=1e-5)
        np.testing.assert_allclose(states["layer 1 last"][0], made[0, -1], atol=1e-5)

    def test_layers_follow_the_seed(self, mllm):
        one, again, two = (
            mllm_states(mllm, pictures(2), QUESTION, random_layers=seed, only="last")
            for seed in (1, 1, 2)
        )
        np.testing.assert_array_equal(one["layer 2 last"], again["layer 2 last"])
        assert not np.allclose(one["layer 2 last"], two["layer 2 last"])

    def test_the_model_and_the_random_stream_are_left_as_they_were(self, mllm):
        before, stream = mllm_states(mllm, pictures(1), QUESTION), torch.get_rng_state()
        mllm_states(mllm, pictures(1), QUESTION, random_layers=0)
        assert torch.equal(torch.get_rng_state(), stream)
        for name, array in mllm_states(mllm, pictures(1), QUESTION).items():
            np.testing.assert_array_equal(array, before[name])
