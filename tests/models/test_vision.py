"""Vision-only encoders: names, errors, and inputs that are not images."""

import json

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from erragree_utils.models import EncodeError, ModelError
from erragree_utils.models.folders import ASSETS
from erragree_utils.models.vision import Vision, load_vision


@pytest.fixture(scope="module")
def tiny():
    model = timm.create_model(
        "vit_tiny_patch16_224", img_size=32, embed_dim=16, depth=1, num_heads=2, num_classes=0
    )
    config = timm.data.resolve_model_data_config(model)
    transform = timm.data.create_transform(**config, is_training=False)
    return Vision("tiny", model, transform, torch.device("cpu"), torch.float32)


def test_dinov2_has_weights_under_the_name_that_the_paper_scale_uses():
    assert "vit_large_patch14_dinov2.lvd142m" in timm.list_pretrained()


def test_unknown_names_are_refused_before_any_download():
    with pytest.raises(ModelError, match="no weights for 'dino-9'.*list_pretrained"):
        load_vision("dino-9")


def test_damaged_weights_say_so(tmp_path):
    (tmp_path / "config.json").write_text('{"architecture": "vit_tiny_patch16_224"}')
    (tmp_path / "model.safetensors").write_bytes(b"not safetensors")
    with pytest.raises(ModelError, match="damaged"):
        load_vision(tmp_path, device="cpu")


@pytest.mark.parametrize("config", [None, "{", "{}"])
def test_a_folder_without_a_proper_configuration_says_so(tmp_path, config):
    (tmp_path / "model.safetensors").write_bytes(b"")
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    with pytest.raises(ModelError, match="incomplete|cannot be read as JSON|lacks config.json"):
        load_vision(tmp_path, device="cpu")


@pytest.mark.parametrize(
    ("key", "value"), [("architecture", 3), ("pretrained_cfg", 7), ("pretrained_cfg", {})]
)
def test_settings_that_do_not_fit_the_weights_are_told_at_load(tmp_path, key, value):
    config = json.loads((ASSETS / "mini-vision" / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, key: value}))
    weights = ASSETS / "mini-vision" / "model.safetensors"
    (tmp_path / "model.safetensors").symlink_to(weights)
    with pytest.raises(ModelError, match="damaged, incomplete, another kind of model"):
        load_vision(tmp_path, device="cpu")


def test_a_folder_that_lacks_mean_and_deviation_is_told_which_it_gets(tmp_path):
    config = json.loads((ASSETS / "mini-vision" / "config.json").read_text())
    del config["pretrained_cfg"]["mean"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").symlink_to(ASSETS / "mini-vision" / "model.safetensors")
    with pytest.warns(UserWarning, match=r"config\.json has no mean: timm's are taken") as w:
        load_vision(tmp_path, device="cpu")
    assert w[0].filename == __file__


def test_a_damaged_image_in_memory_is_named(tiny, tmp_path):
    path = tmp_path / "cut.png"
    Image.effect_noise((40, 40), 50).save(path)
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(EncodeError, match="image 1 cannot be read"):
        tiny.embed_images([Image.new("RGB", (40, 40)), Image.open(path)])


def test_one_image_where_a_list_belongs(tiny):
    with pytest.raises(TypeError, match="images is a list, not a single Image"):
        tiny.embed_images(Image.new("RGB", (40, 40)))


def test_a_floating_picture_is_embedded_as_its_eight_bits_are():
    mini = load_vision(device="cpu")
    grey = Image.effect_noise((40, 40), 80)
    floating = Image.fromarray(np.asarray(grey).astype(np.float32) / 255)
    np.testing.assert_array_equal(mini.embed_images([floating]), mini.embed_images([grey]))


@pytest.mark.parametrize("name", [None, b"mini", "", "x" * 300, "a\0b"])
def test_what_is_no_name_is_refused(name):
    with pytest.raises(ModelError):
        load_vision(name)


def test_code_of_a_folder_is_refused(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"")
    (tmp_path / "config.json").write_text('{"auto_map": {"AutoConfig": "own.Own"}}')
    with pytest.raises(ModelError, match="asks for code.*never run"):
        load_vision(tmp_path)


def test_an_item_that_is_no_image_is_named(tiny):
    with pytest.raises(EncodeError, match="image 1 "):
        tiny.embed_images([Image.new("RGB", (40, 40)), "mug.png"])


def test_no_images_give_no_rows(tiny):
    assert tiny.embed_images([]).shape == (0, 16)
