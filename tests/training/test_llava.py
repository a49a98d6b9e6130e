"""Training the mini LLaVA, at a size that takes seconds."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from erragree_utils.tabletop import render
from erragree_utils.training import llava as training
from erragree_utils.training.data import training_scenes
from erragree_utils.training.llava_model import (
    Settings,
    build_model,
    build_tokenizer,
    vision_weights,
)

PATCHES = 16


def test_a_killed_run_goes_on_and_ends_with_the_same_weights(
    trained_llava, clip_folder, tmp_path, monkeypatch, llava_settings, flat
):
    draw = training.Batches.draw

    def killed_at_three(self, step):
        if step == 3:
            raise KeyboardInterrupt
        return draw(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(training.Batches, "draw", killed_at_three)
        with pytest.raises(KeyboardInterrupt):
            training.train(llava_settings, tmp_path / "run", clip_folder, every=2)
    resumed = training.train(llava_settings, tmp_path / "run", clip_folder, every=2)
    assert torch.equal(flat(resumed), flat(trained_llava[0]))


def test_other_settings_do_not_go_on_with_a_run(trained_llava, clip_folder, llava_settings):
    with pytest.raises(ValueError, match="other settings"):
        training.train(replace(llava_settings, seed=5), trained_llava[1], clip_folder)


def test_without_a_clip_the_message_says_how_to_train_one(tmp_path, llava_settings):
    with pytest.raises(FileNotFoundError, match="erragree_utils.training.clip"):
        training.train(llava_settings, tmp_path / "run", tmp_path / "nowhere")


def test_the_loss_goes_down(clip_folder, tmp_path, llava_settings):
    settings = replace(llava_settings, alignment_steps=40, tuning_steps=0, lr=1e-2, muon_lr=1e-2)
    training.train(settings, tmp_path / "run", clip_folder, every=20)
    log = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert log[1]["loss"] < 0.8 * log[0]["loss"]


def test_mixed_precision_trains_float32_weights(clip_folder, tmp_path, llava_settings):
    settings = replace(llava_settings, precision="bfloat16")
    model = training.train(settings, tmp_path / "run", clip_folder, every=6)
    assert all(p.dtype == torch.float32 and p.isfinite().all() for p in model.parameters())


def test_patch_tokens_are_kept_and_go_on_where_they_stopped(
    clip_folder, tmp_path, monkeypatch, llava_settings, read_clip
):
    model = build_model(llava_settings, clip_folder, build_tokenizer())
    larger = render.render_many(training_scenes(3, 0, 5), read_clip.image_size + 4)
    monkeypatch.setattr(training, "CHUNK", 2)
    whole = training.cache_features(model, larger, 2, 0, tmp_path / "tokens.npy")
    assert whole.shape == (5, 2, PATCHES, read_clip.width)
    first = np.array(whole)
    mark = tmp_path / "tokens.json"
    np.lib.format.open_memmap(tmp_path / "tokens.npy", "r+")[2:] = 0
    mark.write_text('{"done": 2}')  # as after a kill
    again = training.cache_features(model, larger, 2, 0, tmp_path / "tokens.npy")
    assert np.array_equal(again, first)


def test_yes_or_no_comes_seldom_at_first():
    settings = Settings()
    early, late = (
        training.shares(step, settings) for step in (settings.alignment_steps, settings.steps)
    )
    assert training.shares(0, settings) == training.ALIGNMENT
    assert early["verify"] < 0.5 * late["verify"] == 0.5 * training.TUNING["verify"]
    assert early["colour"] == late["colour"]


def test_the_shipped_readers_eyes_are_the_shipped_clips():
    theirs = load_file(training.TOWER / "open_clip_model.safetensors")
    ours = load_file(training.ASSETS / "model.safetensors")
    vision = {name: t for name, t in ours.items() if "vision_tower" in name}
    expected = vision_weights(theirs)
    assert len(vision) == len(expected)
    for name, tensor in expected.items():
        (same,) = (t for key, t in vision.items() if key.endswith(f".{name}"))
        assert torch.equal(tensor, same), name
