"""What some recipes do after training a mini CLIP: soften its images, tune its texts."""

from __future__ import annotations

import sys

import numpy as np
import torch
from open_clip.model import CLIP
from torch.nn import functional as F
from tqdm.auto import tqdm

from ..tabletop import captions, render, scenes
from .clip_model import Settings, contrastive_loss, encode
from .data import TrainingScenes, crop, normalise, sideways_pairs, stream
from .optim import set_rates


def tune_text(model: CLIP, settings: Settings, n: int = 4000, batch: int = 192) -> None:
    """Tune the text tower on `n` scenes and twins, with a locked image tower (Zhai et al. 2022).

    Three out of four captions state a relation as the viewer sees it. Each picture is embedded only
    once, so a step trains just a small text transformer.
    """
    drawn = sideways_pairs(TrainingScenes(7, sys.maxsize).scene, n, first=200_000)
    pictures = render.render_many(drawn, settings.image_size + 4)
    corners = np.random.default_rng(0).integers(0, 5, (len(drawn), 2))
    images = F.normalize(_embed(model, crop(pictures, corners, settings.image_size)), dim=-1)
    rng, wording = np.random.default_rng(5), captions.Wording(relations=0.75, positions=0.1)
    texts = [captions.training_caption(scene, rng, wording) for scene in drawn for _ in range(6)]
    tokens = encode(settings, texts).view(len(drawn), 6, -1).to(images.device)
    tower = [p for name, p in model.named_parameters() if not name.startswith("visual")]
    tower = [p for p in tower if p.requires_grad]
    optimizer = torch.optim.AdamW(tower, lr=4e-4, weight_decay=0.0)
    model.train()
    for step in tqdm(range(settings.locked_steps), desc="text tower"):
        set_rates([optimizer], min(1.0, (step + 1) / 40) * (1 - step / settings.locked_steps))
        index = rng.choice(n, batch // 2, replace=False)
        index = np.stack([2 * index, 2 * index + 1], axis=1).ravel()
        chosen = tokens[index, rng.integers(0, 6, len(index))]
        words = model.encode_text(chosen, normalize=True)
        contrastive_loss(images[index], words, model.logit_scale.exp()).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    model.eval()


@torch.no_grad()
def soften(model: CLIP, settings: Settings, n: int = 1200) -> None:
    """Turn down what changes in the image embedding when left and right are exchanged.

    The last projection is followed by a linear map. It shrinks a direction by 1 / (1 + softened *
    ratio): the more, the more of its variance over `n` training scenes lies between a scene and its
    twin. The map is invertible, so whatever could be read linearly still can. What all images share
    stays.
    """
    drawn = sideways_pairs(
        lambda i: scenes.training_scene(stream(settings.seed, i, "softening")), n
    )
    x = _embed(model, render.render_many(drawn, settings.image_size))
    both = x.double().cpu().view(n, 2, -1)
    moved, middle = both[:, 0] - both[:, 1], both.mean(1)
    between = torch.linalg.cholesky(middle.T.cov() + 1e-9 * torch.eye(middle.shape[1]))
    inverse = torch.linalg.inv(between)
    ratio, axes = torch.linalg.eigh(inverse @ (moved.T @ moved / n / 2) @ inverse.T)
    shrink = between @ axes @ torch.diag(1 / (1 + settings.softened * ratio)) @ axes.T @ inverse
    shared = F.normalize(middle.mean(0), dim=0)
    kept = torch.outer(shared, shared)
    rest = torch.eye(len(shared)) - kept
    change = (kept + rest @ shrink @ rest).T
    model.visual.proj.copy_((model.visual.proj.double().cpu() @ change).to(model.visual.proj))


@torch.no_grad()
def _embed(model: CLIP, pictures: np.ndarray) -> torch.Tensor:
    """Image embeddings (N, D), not normalised; leaves the model in evaluation mode."""
    model.eval()
    parts = torch.from_numpy(pictures).split(256)
    return torch.cat([model.encode_image(normalise(p.to(model.visual.proj.device))) for p in parts])
