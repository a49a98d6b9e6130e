"""Training the mini LLaVA, at a size that takes seconds."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from erragree_utils.training import clip
from erragree_utils.training import llava as training
from erragree_utils.training.llava_model import build_model, build_tokenizer, vision_weights
from erragree_utils.training.packing import NOBODY

PATCHES = 16


def test_a_killed_run_goes_on_and_ends_with_the_same_weights(
    trained_llava, clip_folder, tmp_path, monkeypatch, llava_settings, flat
):
    draw = training.Batches.draw

    def killed_at_five(self, step):
        if step == 5:
            raise KeyboardInterrupt
        return draw(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(training.Batches, "draw", killed_at_five)
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
    settings = replace(
        llava_settings, text_steps=40, alignment_steps=0, tuning_steps=0, mixed_steps=0, lr=1e-2,
        muon_lr=1e-2,
    )  # fmt: skip
    training.train(settings, tmp_path / "run", clip_folder, every=20)
    log = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert log[1]["loss"] < 0.8 * log[0]["loss"]


def test_mixed_precision_trains_float32_weights(clip_folder, tmp_path, llava_settings):
    settings = replace(llava_settings, precision="bfloat16")
    model = training.train(settings, tmp_path / "run", clip_folder, every=6)
    assert all(p.dtype == torch.float32 and p.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("stage", training.STAGES)
def test_a_stage_trains_the_llama_the_projector_or_both(clip_folder, llava_settings, stage):
    model = build_model(llava_settings, clip_folder, build_tokenizer())
    training.freeze(model, stage)
    trained = {name.split(".")[1] for name, p in model.named_parameters() if p.requires_grad}
    expected = {
        "text": {"language_model", "weight"},
        "alignment": {"multi_modal_projector"},
    }
    both = {"language_model", "weight", "multi_modal_projector"}
    assert trained == expected.get(stage, both)


def test_a_variant_goes_on_where_the_mixed_steps_began(
    trained_llava, clip_folder, tmp_path, llava_settings, flat
):
    """With the same settings it gives the same weights; with others, others."""
    model, run = trained_llava
    same = training.train(llava_settings, tmp_path / "same", clip_folder, origin=run)
    assert torch.equal(flat(same), flat(model))
    other = replace(llava_settings, text_only=0.0, imbalance=0.6)
    varied = training.train(other, tmp_path / "other", clip_folder, origin=run)
    assert not torch.equal(flat(varied), flat(model))


def test_batches_hold_what_their_stage_is_for(clip_folder, tmp_path, llava_settings):
    s = replace(llava_settings, mixed_steps=2, two_images=0.0, text_only=0.5, batch=16)
    model = build_model(s, clip_folder, build_tokenizer(instructed=True))
    batches = training.Batches(model, s, clip_folder, tmp_path)
    lengths = {"text": 60, "alignment": 40, "tuning": 60, "mixed": 60}
    for stage, end in zip(training.STAGES, s.ends, strict=True):
        features, *packed = batches.draw(end - 1)
        shown = 0 if stage == "text" else PATCHES
        assert features.shape[:2] == (16, shown)
        assert packed[0].shape == (16, 3 + shown + lengths[stage])
        nothing = (features == 0).flatten(1).all(1)
        assert nothing.any() == (stage in ("mixed", "text"))
        assert stage == "text" or (packed[1][nothing, 3 : 3 + PATCHES] == NOBODY).all()


def test_twins_are_seen_together(clip_folder, tmp_path, llava_settings):
    s = replace(llava_settings, twins=1.0, scenes=200, lone=0.0)
    model = build_model(s, clip_folder, build_tokenizer(instructed=True))
    index = training.Batches(model, s, clip_folder, tmp_path)._choose(np.random.default_rng(0), 32)
    assert sum(i ^ 1 in index for i in index) > 16


def test_the_shipped_readers_eyes_are_the_shipped_clips():
    theirs = load_file(clip.ASSETS / "open_clip_model.safetensors")
    ours = load_file(training.ASSETS / "model.safetensors")
    vision = {name: t for name, t in ours.items() if "vision_tower" in name}
    expected = vision_weights(theirs)
    assert len(vision) == len(expected)
    for name, tensor in expected.items():
        (same,) = (t for key, t in vision.items() if key.endswith(f".{name}"))
        assert torch.equal(tensor, same), name
