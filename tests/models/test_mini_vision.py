"""The mini vision-only encoder that is shipped, and the CLIP-blind pairs mined with it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import timm
import torch
from safetensors import safe_open

from erragree_utils import get_scale, load_benchmark, load_clip
from erragree_utils.benchmarks import tabletop_mmvp
from erragree_utils.models.vision import load_vision
from erragree_utils.tabletop.patterns import PATTERNS
from erragree_utils.training.vision import ASSETS

SEEDS = (0, 11, 12, 13)


@pytest.fixture(scope="module")
def vision():
    return load_vision("mini", device="cpu")


@pytest.fixture(scope="module")
def record():
    return json.loads(tabletop_mmvp.RECORD.read_text("utf-8"))


def test_it_is_an_ordinary_timm_checkpoint_in_half_precision(vision):
    model = timm.create_model(f"local-dir:{ASSETS}", pretrained=True).eval()
    image = load_benchmark("tabletop-a", n_sets=1)[0].images[0]
    direct = model(vision.preprocess(image)[None])[0].detach().numpy()
    assert np.allclose(direct / np.linalg.norm(direct), vision.embed_images([image])[0], atol=1e-5)
    with safe_open(ASSETS / "model.safetensors", "pt") as file:
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.float16}  # noqa: SIM118


def test_its_training_is_on_record(vision):
    settings = json.loads((ASSETS / "training.json").read_text())
    log = [json.loads(line) for line in (ASSETS / "training_log.jsonl").read_text().splitlines()]
    assert log[-1]["step"] == settings["steps"]
    assert log[-1]["loss"] < 0.5 * log[0]["loss"]


def test_different_scenes_are_far_apart(vision):
    images = [pair.images[0] for pair in load_benchmark("tabletop-a", seed=11, n_sets=60)]
    rows = vision.embed_images(images[::2])  # a set each
    cosines = rows @ rows.T
    assert np.abs(cosines[np.triu_indices(len(rows), 1)]).mean() < 0.3


def test_the_record_has_pairs_of_every_pattern_for_each_seed(record):
    assert set(map(str, SEEDS)) <= set(record["seeds"])
    for seed in SEEDS:
        numbers = record["seeds"][str(seed)]
        assert set(numbers) == set(PATTERNS)
        assert all(len(set(found)) == len(found) >= 40 for found in numbers.values())


def test_the_thresholds_are_those_of_the_scale(record):
    scale = get_scale("mini")
    assert (record["clip_above"], record["vision_below"]) == (scale.blind_above, scale.blind_below)
    assert (record["clip"], record["vision"]) == ("mini-tower", scale.vision)


@pytest.mark.parametrize("seed", [0, 12])
def test_mined_pairs_are_clip_blind(vision, record, seed):
    pairs = load_benchmark("tabletop-mmvp", seed=seed, n_pairs=8)
    table = tabletop_mmvp.blind_cosines(pairs, load_clip(get_scale("mini").clip), vision)
    # Rounding differs between machines: a pair right at a threshold may be on its other side.
    assert (table["clip_cosine"] > record["clip_above"] - 1e-4).all()
    assert (table["vision_cosine"] < record["vision_below"] + 1e-4).all()
    assert (table["clip_cosine"] > table["vision_cosine"]).all()
