"""What some recipes do to a mini CLIP after its training."""

from dataclasses import replace

import numpy as np
import torch
from torch.nn import functional as F

from erragree_utils.tabletop import render, scenes
from erragree_utils.training import clip_tuning as training
from erragree_utils.training.data import normalise


def test_softening_brings_images_of_a_pair_together_and_stays_linear(organism, organism_settings):
    rng = np.random.default_rng(0)
    pairs = [scenes.benchmark_set("a", rng)[:2] for _ in range(8)]
    pictures = render.render_many([s for pair in pairs for s in pair], organism_settings.image_size)
    pixels = normalise(torch.from_numpy(pictures))

    def between():
        x = organism.eval().encode_image(pixels).detach()
        return F.cosine_similarity(x[::2], x[1::2]).mean().item()

    before, proj = between(), organism.visual.proj.detach().clone()
    training.soften(organism, replace(organism_settings, softened=1.0), n=24)
    assert between() > before
    assert torch.linalg.matrix_rank(organism.visual.proj) == torch.linalg.matrix_rank(proj)


def test_tuning_the_text_changes_the_text_tower_alone(organism, organism_settings):
    images = torch.cat([p.flatten() for p in organism.visual.parameters()]).clone()
    text = organism.text_projection.clone()
    training.tune_text(organism, replace(organism_settings, locked_steps=3), n=16, batch=8)
    assert torch.equal(torch.cat([p.flatten() for p in organism.visual.parameters()]), images)
    assert not torch.equal(organism.text_projection, text)
