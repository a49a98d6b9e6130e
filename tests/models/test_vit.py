"""Tokens of today's image towers: tiny random ones of their classes, against timm's own passes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import open_clip
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from erragree_utils.measures.probes import probe
from erragree_utils.models import ModelError, load_clip
from erragree_utils.models.clip_weights import find_clip
from erragree_utils.models.states import encoder_states, pool_grid, untrained
from erragree_utils.models.vision import Vision, load_vision

SMALL = {"depth": 3, "embed_dim": 48, "num_heads": 4, "img_size": 64}
#: The class of each model's tower, made small: (timm's name, pixels a patch, class token, others).
TOWERS = {
    "SigLIP2": ("vit_base_patch16_siglip_224", 16, False, 0),
    "PE-Core": ("vit_pe_core_tiny_patch16_384", 16, True, 0),
    "EVA02": ("eva02_tiny_patch14_224", 16, True, 0),
    "MobileCLIP2-L": ("vit_base_patch16_clip_224", 16, True, 0),
    "DINOv2": ("vit_small_patch14_reg4_dinov2", 16, True, 4),
    "DINOv3": ("vit_small_patch16_dinov3", 16, True, 4),
}
POOL = {"SigLIP2": "map", "PE-Core": "map"}


@pytest.fixture(scope="module", autouse=True)
def small_towers():
    """Timm knows the small ones by name, as open_clip asks for them."""
    made = []
    for label, (name, patch, _, _) in TOWERS.items():

        def tiny(pretrained=False, name=name, patch=patch, **more):
            return timm.create_model(name, **{**SMALL, "patch_size": patch, **more})

        tiny.__name__ = f"tiny_{label.replace('-', '_').lower()}"
        tiny.__module__ = timm.models.vision_transformer.__name__
        timm.models._registry._model_entrypoints[tiny.__name__] = tiny
        made.append(tiny.__name__)
    yield
    for name in made:
        del timm.models._registry._model_entrypoints[name]


def write_clip(folder: Path, tower: str, pool: str, **text) -> Path:
    """A random model with that tower, in open_clip's format."""
    config = {
        "embed_dim": 48,
        "custom_text": True,
        "vision_cfg": {
            "image_size": 64, "timm_model_name": tower, "timm_model_pretrained": False,
            "timm_pool": pool, "timm_proj": None,
        },
        "text_cfg": {"context_length": 12, "width": 32, "heads": 2, "layers": 1} | text,
    }  # fmt: skip
    looks = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic"}
    looks["resize_mode"] = "squash"
    folder.mkdir()
    (folder / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": config, "preprocess_cfg": looks})
    )
    torch.manual_seed(0)
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return folder


@pytest.fixture(scope="module", params=TOWERS)
def encoder(request, tmp_path_factory):
    label = request.param
    name = f"tiny_{label.replace('-', '_').lower()}"
    if label.startswith("DINO"):
        torch.manual_seed(0)
        model = timm.create_model(name, num_classes=0)
        config = timm.data.resolve_model_data_config(model) | {"input_size": (3, 64, 64)}
        preprocess = timm.data.create_transform(**config, is_training=False)
        made = Vision(name, model, preprocess, torch.device("cpu"), torch.float32)
    else:
        folder = tmp_path_factory.mktemp("clip") / label
        made = load_clip(write_clip(folder, name, POOL.get(label, "token")), device="cpu")
    made.expected = TOWERS[label]
    return made


def noise(n: int, seed: int = 0) -> list[Image.Image]:
    pixels = np.random.default_rng(seed).integers(0, 255, (n, 64, 64, 3), dtype=np.uint8)
    return [Image.fromarray(p) for p in pixels]


def trunk_of(encoder) -> torch.nn.Module:
    return getattr(encoder.tower, "trunk", encoder.tower)


def test_every_layer_is_what_timm_itself_gives(encoder):
    images = noise(3)
    states = encoder_states(encoder, images, batch_size=2)
    pixels = encoder.pixels(images, 0)
    theirs = trunk_of(encoder).forward_intermediates(
        pixels, output_fmt="NLC", return_prefix_tokens=True, intermediates_only=True
    )
    _, _, has_class, registers = encoder.expected
    assert len(theirs) == 3 and ("layer 1 CLS" in states) == has_class
    for layer, found in enumerate(theirs, 1):
        # Without tokens before the patches, timm returns these alone.
        patches, before = found if isinstance(found, tuple) else (found, found[:, :0])
        np.testing.assert_allclose(states[f"layer {layer} patches"], patches, atol=1e-5)
        assert before.shape[1] == has_class + registers
        if has_class:
            np.testing.assert_allclose(states[f"layer {layer} CLS"], before[:, 0], atol=1e-5)
    np.testing.assert_array_equal(states["embedding"], encoder.embed_images(images, batch_size=2))


def test_patch_tokens_are_those_of_the_last_layer_but_one(encoder):
    images = noise(2)
    tokens = encoder.patch_tokens(images)
    assert tokens.shape == (2, 16, 48)
    np.testing.assert_allclose(
        tokens, encoder_states(encoder, images)["layer 2 patches"], atol=1e-5
    )


def test_patches_go_row_by_row_from_the_top_left(encoder):
    (image,) = noise(1)
    changed = image.copy()
    changed.paste((255, 255, 255), (16, 32, 32, 48))  # second of the third row
    one, other = encoder_states(encoder, [image, changed])["layer 0 patches"]
    moved = np.abs(one - other).max(axis=1) > 1e-6
    assert np.flatnonzero(moved).tolist() == [2 * 4 + 1]


def test_a_probe_reads_the_side_of_a_mark_from_the_patches(encoder):
    images, sides = [], []
    for k, image in enumerate(noise(40, seed=1)):
        side = k % 2
        image.paste((255, 255, 255), (40 * side, 20, 40 * side + 20, 44))
        images.append(image)
        sides.append(side)
    states = encoder_states(encoder, images, pool_grid(2))
    found = probe(states["layer 3 patches"], sides, np.arange(40) // 4)
    assert found["accuracy"] > 0.9


def test_untrained_draws_the_tower_anew_and_leaves_the_encoder_as_it_is(encoder):
    images = noise(2)
    before = encoder.embed_images(images)
    one, same, other = (untrained(encoder, seed) for seed in (1, 1, 2))
    assert type(one) is type(encoder) and one.name.endswith(":untrained")
    np.testing.assert_array_equal(one.embed_images(images), same.embed_images(images))
    assert np.abs(one.embed_images(images) - other.embed_images(images)).max() > 1e-3
    assert np.abs(one.embed_images(images) - before).max() > 1e-3
    np.testing.assert_array_equal(encoder.embed_images(images), before)


def test_what_cannot_be_drawn_anew_is_named(encoder):
    trunk = trunk_of(encoder)
    trunk.scale_of_ours = torch.nn.Parameter(torch.ones(2))
    try:
        with pytest.raises(ModelError, match="weights 'scale_of_ours'"):
            untrained(encoder)
    finally:
        del trunk.scale_of_ours


def test_a_tower_without_blocks_embeds_and_is_refused_where_tokens_are_read(tmp_path):
    folder = write_clip(tmp_path / "mobile", "fastvit_t8", "avg")  # MobileCLIP2-S0's class
    clip = load_clip(folder, device="cpu")
    assert clip.embed_images(noise(2)).shape == (2, 48)
    for read in (clip.patch_tokens, lambda x: encoder_states(clip, x), lambda _: untrained(clip)):
        with pytest.raises(ModelError, match="mobile has no patch tokens to read: .* a FastVit"):
            read(noise(2))


def test_texts_are_prepared_as_the_models_settings_say(tmp_path):
    """SigLIP's drop capitals and punctuation; CLIP's keep the latter."""
    kinds = {"siglip": {"tokenizer_kwargs": {"clean": "canonicalize"}}, "clip": {}}
    same = {}
    for label, text in kinds.items():
        folder = write_clip(tmp_path / label, "tiny_siglip2", "map", **text)
        one, other = load_clip(folder, device="cpu").embed_texts(["A red mug.", "a red mug"])
        same[label] = bool((one == other).all())
    assert same == {"siglip": True, "clip": False}


def test_images_are_squashed_where_the_settings_say_so(tmp_path):
    clip = load_clip(write_clip(tmp_path / "x", "tiny_siglip2", "map"), device="cpu")
    wide = Image.new("RGB", (128, 64), (255, 0, 0))
    wide.paste((0, 0, 255), (0, 0, 16, 64))  # gone, if the centre were cut out
    (pixels,) = clip.pixels([wide], 0)
    assert pixels[:, 32, 1].tolist() == pytest.approx([-1, -1, 1], abs=0.05)


@pytest.mark.parametrize(
    ("name", "mean", "interpolation", "resize"),
    [
        ("ViT-B-16-SigLIP2", 0.5, "bicubic", "squash"),
        ("PE-Core-B-16", 0.5, "bilinear", "squash"),
        ("MobileCLIP2-S0", 0.0, "bilinear", "shortest"),
        ("EVA02-B-16", 0.48145466, "bicubic", "shortest"),
    ],
)
def test_a_file_of_ones_own_is_prepared_for_as_the_published_weights_are(
    tmp_path, name, mean, interpolation, resize
):
    file = tmp_path / "own.safetensors"
    file.write_bytes(b"not read here")
    published, own = find_clip(name), find_clip(name, file)
    looks = {key: value for key, value in published.options.items() if key != "pretrained"}
    assert looks == {key: value for key, value in own.options.items() if key != "pretrained"}
    assert (looks["image_mean"][0], looks["image_interpolation"]) == (mean, interpolation)
    assert looks["image_resize_mode"] == resize and "preprocessing those of" in own.weights


def test_where_no_weights_are_published_a_warning_says_that_nothing_tells_how(tmp_path):
    file = tmp_path / "own.safetensors"
    file.write_bytes(b"not read here")
    with pytest.warns(UserWarning, match="no weights are published of ViT-S-16, so nothing says"):
        assert "open_clip's defaults" in find_clip("ViT-S-16", file).weights


def test_a_vision_only_encoder_with_registers_loads_from_a_folder(tmp_path):
    torch.manual_seed(0)
    model = timm.create_model("test_vit2", num_classes=0)  # one register, no class token
    timm.models.save_for_hf(model, tmp_path / "reg", safe_serialization=True)
    vision = load_vision(tmp_path / "reg", device="cpu")
    states = encoder_states(vision, noise(2))
    assert "layer 1 CLS" not in states and states["layer 8 patches"].shape == (2, 100, 64)
    assert vision.patch_tokens(noise(2)).shape == (2, 100, 64)
