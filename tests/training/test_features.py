"""Patch tokens on disk."""

import numpy as np

from erragree_utils.tabletop import render
from erragree_utils.training import features
from erragree_utils.training.data import training_scenes
from erragree_utils.training.llava_model import build_model, build_tokenizer

PATCHES = 16


def test_patch_tokens_are_kept_and_go_on_where_they_stopped(
    clip_folder, tmp_path, monkeypatch, llava_settings, read_clip
):
    model = build_model(llava_settings, clip_folder, build_tokenizer())
    larger = render.render_many(training_scenes(3, 0, 5), read_clip.image_size + 4)
    monkeypatch.setattr(features, "CHUNK", 2)
    whole = features.cache_features(model, larger, 2, 0, tmp_path / "tokens.npy")
    assert whole.shape == (5, 2, PATCHES, read_clip.width)
    first = np.array(whole)
    mark = tmp_path / "tokens.json"
    np.lib.format.open_memmap(tmp_path / "tokens.npy", "r+")[2:] = 0
    mark.write_text('{"done": 2}')  # as after a kill
    again = features.cache_features(model, larger, 2, 0, tmp_path / "tokens.npy")
    assert np.array_equal(again, first)


def test_other_weights_have_another_mark(clip_folder, tmp_path):
    (tmp_path / "open_clip_model.safetensors").write_bytes(b"other")
    assert features.tower_mark(tmp_path) != features.tower_mark(clip_folder)
