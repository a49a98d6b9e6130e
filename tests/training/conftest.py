"""Small trainings that several test files share."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from erragree_utils.training import clip, clip_model, llava, llava_model


@pytest.fixture(scope="session")
def flat():
    """All weights of a model in one row."""
    return lambda model: torch.cat([p.flatten() for p in model.parameters()])


@pytest.fixture(scope="session")
def clip_settings():
    return clip_model.Settings(
        steps=4, batch=8, scenes=48, captions=2, places_per_batch=3, image_size=20, margin=2,
        patch=10, width=32, layers=1, text_layers=1, embed_dim=16, warmup=1, validation_sets=2,
    )  # fmt: skip


@pytest.fixture(scope="session")
def trained_clip(clip_settings, tmp_path_factory):
    """A finished run and its folder."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    return clip.train(clip_settings, run, every=2), run


@pytest.fixture(scope="session")
def organism_settings(clip_settings):
    """All that the organisms' recipes use."""
    return replace(
        clip_settings, twins=1.0, pattern_scenes=12, words="world", context=28, landmarks=0.5,
        noise=0.2, patch_dropout=0.5, cone=2.0,
    )  # fmt: skip


@pytest.fixture
def organism(organism_settings, organism_file):
    """A finished run of these, fresh for each test."""
    vocabulary = clip_model.build_tokenizer(organism_settings.context, organism_settings.words)
    model = clip_model.build_model(organism_settings, len(vocabulary))
    model.load_state_dict(torch.load(organism_file))
    return model


@pytest.fixture(scope="session")
def organism_file(organism_settings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("organism")
    model = clip.train(organism_settings, folder / "run", every=2)
    torch.save(model.state_dict(), folder / "weights.pt")
    return folder / "weights.pt"


@pytest.fixture(scope="session")
def read_clip():
    """Settings of the mini CLIP that the mini LLaVA of the tests reads, with 16 patches."""
    return clip_model.Settings(
        scenes=64, image_size=40, margin=4, patch=10, width=32, layers=3, text_layers=1,
        embed_dim=16,
    )  # fmt: skip


@pytest.fixture(scope="session")
def clip_folder(read_clip, tmp_path_factory):
    """That mini CLIP with random weights, as its training writes it."""
    folder = tmp_path_factory.mktemp("clip")
    tokenizer = clip_model.build_tokenizer(read_clip.context)
    clip_model.save(clip_model.build_model(read_clip, len(tokenizer)), tokenizer, read_clip, folder)
    return folder


@pytest.fixture(scope="session")
def llava_settings():
    return llava_model.Settings(
        text_steps=1, alignment_steps=2, tuning_steps=5, relations_after=1,
        mixed_steps=3, two_images=0.3, text_only=0.3, pattern_share=0.3, batch=4, scenes=64,
        contrasts=10, text_length=60, alignment_length=40, tuning_length=60, crops=2, width=32,
        layers=2, mlp=48, warmup=1, precision="float32", validation_scenes=6, validation_sets=2,
        validation_contrasts=1,
    )  # fmt: skip


@pytest.fixture(scope="session")
def trained_llava(llava_settings, clip_folder, tmp_path_factory):
    """A finished run and its folder."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    return llava.train(llava_settings, run, clip_folder, every=2), run


@pytest.fixture(scope="session")
def saved_llava(llava_settings, trained_llava, tmp_path_factory):
    """The folder of the trained weights."""
    folder = tmp_path_factory.mktemp("out")
    vocabulary = llava_model.build_tokenizer(instructed=True)
    llava_model.save(trained_llava[0], vocabulary, llava_settings, folder)
    return folder
