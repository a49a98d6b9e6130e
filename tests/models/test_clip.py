"""CLIP through open_clip: embeddings and patch tokens, and what cannot be embedded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import CLIPVisionConfig, CLIPVisionModel

from erragree_utils.models import EncodeError, ModelError, load_clip
from erragree_utils.models.batches import Room

CONTEXT = 8


@pytest.fixture(scope="module")
def small(clip_folder):
    return load_clip(clip_folder, device="cpu")


def noise(n: int, size=(40, 40), seed: int = 0) -> list[Image.Image]:
    rng = np.random.default_rng(seed)
    return [
        Image.fromarray(rng.integers(0, 255, (size[1], size[0], 3), dtype=np.uint8))
        for _ in range(n)
    ]


def test_embeddings_are_float32_rows_of_unit_length(small):
    for rows in (small.embed_images(noise(3)), small.embed_texts(["a red cube", "a", "the ball"])):
        assert rows.dtype == np.float32
        assert rows.shape == (3, small.embed_dim) == (3, 24)
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)


def test_embeddings_are_those_of_open_clip_itself(small, clip_folder):
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{clip_folder}")
    tokens = open_clip.get_tokenizer(f"local-dir:{clip_folder}")(["a red cube"])
    with torch.no_grad():
        image = model.eval().encode_image(preprocess(noise(1)[0])[None], normalize=True)
        text = model.encode_text(tokens, normalize=True)
    np.testing.assert_allclose(small.embed_images(noise(1)), image.numpy(), atol=1e-6)
    np.testing.assert_allclose(small.embed_texts(["a red cube"]), text.numpy(), atol=1e-6)


def test_the_batch_size_changes_nothing(small):
    images, texts = noise(5), ["a red cube", "a green ball", "the cube"]
    np.testing.assert_allclose(
        small.embed_images(images, batch_size=2), small.embed_images(images), atol=1e-6
    )
    np.testing.assert_allclose(
        small.embed_texts(texts, batch_size=1), small.embed_texts(texts), atol=1e-6
    )


def test_images_may_come_from_a_generator_and_in_any_size_and_mode(small):
    images = [noise(1, (90, 31))[0], noise(1, (7, 7))[0].convert("L")]
    assert small.embed_images(image for image in images).shape == (2, 24)
    assert small.embed_images([]).shape == (0, 24)


def test_float16_files_compute_in_float32(small, clip_folder):
    assert (
        load_file(clip_folder / "open_clip_model.safetensors")["visual.proj"].dtype == torch.float16
    )
    assert {parameter.dtype for parameter in small.model.parameters()} == {torch.float32}
    assert not any(parameter.requires_grad for parameter in small.model.parameters())
    assert not small.model.training


def test_half_precision_is_near_and_still_comes_out_as_float32(small, clip_folder):
    coarse = load_clip(clip_folder, device="cpu", dtype="bfloat16")
    exact, rough = small.embed_images(noise(4)), coarse.embed_images(noise(4))
    assert rough.dtype == np.float32
    assert 0 < np.abs(exact - rough).max() < 0.05
    assert np.isfinite(coarse.embed_texts(["a red cube"])).all()


def test_what_a_clip_says_of_itself(small, clip_folder):
    assert small.name == "small"
    assert small.image_size == 32
    for part in ("small", str(clip_folder), "32 px", "24-d", "float32", "cpu"):
        assert part in repr(small)


def huggingface_tower(small) -> CLIPVisionModel:
    """The same image tower as Transformers has it, which is what LLaVA is built on."""
    tower, width = small.model.visual, 32
    config = CLIPVisionConfig(
        hidden_size=width, intermediate_size=4 * width, num_hidden_layers=3, num_attention_heads=2,
        image_size=32, patch_size=8, hidden_act="quick_gelu", projection_dim=24,
    )  # fmt: skip
    ours = tower.state_dict()
    names = {
        "embeddings.class_embedding": "class_embedding",
        "embeddings.patch_embedding.weight": "conv1.weight",
        "embeddings.position_embedding.weight": "positional_embedding",
        "pre_layrnorm": "ln_pre",
        "post_layernorm": "ln_post",
        "self_attn.out_proj": "attn.out_proj",
        "encoder.layers": "transformer.resblocks",
        "layer_norm1": "ln_1",
        "layer_norm2": "ln_2",
        "mlp.fc1": "mlp.c_fc",
        "mlp.fc2": "mlp.c_proj",
    }
    model = CLIPVisionModel(config).eval()
    state = {}
    for name, value in model.state_dict().items():
        key = name.removeprefix("vision_model.")
        if key.endswith("position_ids"):
            state[name] = value
            continue
        for theirs, mine in names.items():
            key = key.replace(theirs, mine)
        for part, letter in enumerate("qkv"):
            if f"self_attn.{letter}_proj" in key:
                key = key.replace(f"self_attn.{letter}_proj.", "attn.in_proj_")
                state[name] = ours[key].chunk(3)[part]
        state.setdefault(name, ours[key])
    model.load_state_dict(state)
    return model


def test_patch_tokens_are_what_llava_reads(small):
    tokens = small.patch_tokens(noise(2))
    assert (tokens.dtype, tokens.shape) == (np.float32, (2, 16, 32))
    pixels = torch.stack([small.preprocess(image) for image in noise(2)])
    with torch.no_grad():
        out = huggingface_tower(small)(pixels, output_hidden_states=True)
    expected = out.hidden_states[-2][:, 1:].numpy()
    np.testing.assert_allclose(tokens, expected, atol=1e-5)
    # Not the last block's by mistake.
    assert np.abs(tokens - out.hidden_states[-1][:, 1:].numpy()).max() > 0.01


def test_patches_go_row_by_row_from_the_top_left(small):
    image, changed = noise(1, (32, 32))[0], noise(1, (32, 32))[0]
    changed.paste((255, 255, 255), (24, 0, 32, 8))  # the fourth patch of the first row
    tokens = small.patch_tokens([image, changed])
    assert np.abs(tokens[0] - tokens[1]).sum(axis=1).argmax() == 3


def test_a_tower_without_patches_is_refused():
    convolutional = load_clip("RN50", pretrained=False, device="cpu")
    with pytest.raises(ModelError, match="no patch tokens to read.*ModifiedResNet"):
        convolutional.patch_tokens(noise(1))


def test_an_item_that_is_no_image_is_named(small):
    with pytest.raises(EncodeError, match="image 3 is a str, not a PIL image") as caught:
        small.embed_images([*noise(3), "cube.png"], batch_size=2)
    assert caught.value.index == 3


def damaged(path: Path) -> Image.Image:
    """A photograph that was not copied whole, opened but not yet read."""
    noise(1)[0].save(path)
    path.write_bytes(path.read_bytes()[:-400])
    return Image.open(path)


def test_a_damaged_image_in_memory_is_named(small, tmp_path):
    images = [*noise(2), damaged(tmp_path / "cut.jpg")]
    for read in (small.embed_images, small.patch_tokens):
        with pytest.raises(EncodeError, match="image 2 cannot be read .*truncated") as caught:
            read(images, batch_size=2)
        assert caught.value.index == 2


def test_a_batch_that_does_not_fit_is_tried_once(small, monkeypatch):
    sizes, features = [], type(small).features

    def tight(clip, pixels):
        sizes.append(len(pixels))
        if len(pixels) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return features(clip, pixels)

    monkeypatch.setattr(type(small), "features", tight)
    monkeypatch.setattr(small, "room", Room())
    with pytest.warns(UserWarning, match="batch size reduced to 2"):
        small.embed_images(noise(5))
    small.embed_images(noise(3))
    assert sizes == [5, 2, 2, 1, 2, 1]


def test_one_image_where_a_list_belongs(small):
    for read in (small.embed_images, small.patch_tokens):
        with pytest.raises(TypeError, match=r"images is a list, not a single Image: wrap the"):
            read(noise(1)[0])


def test_images_are_read_as_a_viewer_shows_them(small):
    (plain,) = noise(1)
    exif = Image.Exif()
    exif[0x0112] = 3
    turned = plain.copy()
    turned.info["exif"] = exif.tobytes()
    sixteen = Image.fromarray(np.asarray(plain.convert("L")).astype(np.uint16) * 257)
    pairs = [(turned, plain.rotate(180)), (sixteen, plain.convert("L"))]
    for image, shown in pairs:
        np.testing.assert_array_equal(small.embed_images([image]), small.embed_images([shown]))


def test_an_item_that_is_no_text_is_named(small):
    with pytest.raises(EncodeError, match="text 1 is ''"):
        small.embed_texts(["a cube", ""])
    with pytest.raises(EncodeError, match="text 0 is None"):
        small.embed_texts([None])
    with pytest.raises(TypeError, match="wrap the single one"):
        small.embed_texts("a cube")


def test_a_text_that_is_cut_gives_a_warning(small):
    fits, cut = "a red cube left of the", "a red cube to the left of the ball"
    with pytest.warns(
        UserWarning, match="longer than the 8 tokens small reads, and cut: 1.*'a red c"
    ) as w:
        small.embed_texts([fits, cut])
    assert w[0].filename == __file__


def test_words_a_model_does_not_know_give_a_warning(small):
    with pytest.warns(UserWarning, match="words small does not know: 2, such as 'a red cat'"):
        embedded = small.embed_texts(["a red cube", "a red cat", "a red dog"])
    np.testing.assert_array_equal(embedded[1], embedded[2])


@pytest.mark.filterwarnings("error")
def test_a_text_that_fits_exactly_gives_none(small):
    text = "a red cube left of the"
    assert len(text.split()) + 2 == CONTEXT  # start and end
    small.embed_texts([text])


def test_damaged_weights_that_give_nan_are_noticed(spoilt_clip):
    path = spoilt_clip / "open_clip_model.safetensors"
    weights = load_file(path)
    weights["visual.proj"][0, 0] = float("nan")
    save_file(weights, path)
    with pytest.raises(EncodeError, match="embedding of image 0 is not finite"):
        load_clip(spoilt_clip, device="cpu").embed_images(noise(2))


def test_the_papers_encoder_has_the_papers_sizes_and_preprocessing():
    clip = load_clip("ViT-L-14-336", pretrained=False, device="cpu")
    assert clip.name == "ViT-L-14-336:random"
    assert (clip.embed_dim, clip.image_size) == (768, 336)
    blocks = clip.model.visual.transformer.resblocks
    assert len(blocks) == 24
    assert isinstance(blocks[0].mlp.gelu, open_clip.transformer.QuickGELU)

    resize, crop, *_, normalise = clip.preprocess.transforms
    assert resize.interpolation.value == "bicubic"
    assert (resize.size, tuple(crop.size)) == (336, (336, 336))
    assert tuple(normalise.mean) == open_clip.OPENAI_DATASET_MEAN
    assert tuple(normalise.std) == open_clip.OPENAI_DATASET_STD

    images = noise(2, (500, 400))
    assert clip.embed_images(images[:1]).shape == (1, 768)
    assert clip.embed_texts(["a mug to the left of a plate"]).shape == (1, 768)
    # Three blocks of the real width are enough for what follows, and take an eighth of the time.
    clip.model.visual.transformer.resblocks = blocks[:3]
    together = clip.embed_images(images, batch_size=2)
    np.testing.assert_allclose(together, clip.embed_images(images, batch_size=1), atol=1e-5)
    assert clip.patch_tokens(images[:1]).shape == (1, 576, 1024)
