"""Train the mini vision-only encoder: ``python -m erragree_utils.training.vision``.

At mini scale it plays DINOv2's part: a vision transformer that never sees a word. It learns to tell
pictures apart by instance discrimination (Chen et al. 2020, "A Simple Framework for Contrastive
Learning of Visual Representations", section 2): each batch has two views of each picture, and each
view must find the other among all views. Pictures come in pairs that differ in one respect and are
cropped alike to within a pixel, so the encoder has to keep what tells near-duplicates apart, and
only that.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import timm
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from ..tabletop import patterns, render, scenes
from . import clip
from .data import MEAN, STD, crop, load_near_duplicates, normalise
from .loop import Run, command_line, copy_log, parse, write_json
from .optim import Schedule

ASSETS = clip.ALL_ASSETS / "mini-vision"
ARCHITECTURE = "vit_tiny_patch16_224"  # timm's plain ViT, whose sizes the ones below replace


@dataclass(frozen=True)
class Settings(Schedule):
    """Everything that determines the result of the training; stored with the weights."""

    seed: int = 0
    steps: int = 2000
    pairs: int = 20_000  # pairs of near-duplicate pictures
    batch: int = 64  # pairs
    temperature: float = 0.1
    image_size: int = 80
    margin: int = 8  # pictures are rendered larger by this many pixels and cropped at random
    shift: int = 1  # at most this many pixels by which a view's crop is off, in each direction
    noise: float = 0.02  # standard deviation of the noise in each pixel, where the range is 1
    patch: int = 10
    width: int = 96
    layers: int = 4
    muon_lr: float = 2e-3
    lr: float = 1e-3
    weight_decay: float = 0.05
    warmup: int = 100
    validation_contrasts: int = 30  # of each visual pattern


def model_args(settings: Settings) -> dict:
    """What differs from timm's own sizes."""
    return {
        "img_size": settings.image_size,
        "patch_size": settings.patch,
        "embed_dim": settings.width,
        "depth": settings.layers,
        "num_heads": settings.width // 32,
        "num_classes": 0,
    }


def build_model(settings: Settings) -> torch.nn.Module:
    """An untrained encoder; its output is the class token after the last layer norm."""
    torch.manual_seed(settings.seed)
    return timm.create_model(ARCHITECTURE, pretrained=False, **model_args(settings))


def instance_loss(first: torch.Tensor, second: torch.Tensor, temperature: float) -> torch.Tensor:
    """NT-Xent (Chen et al. 2020, equation 1); the mean in nats.

    `first` and `second` are embeddings (N, D) of two views of the same N pictures.
    """
    both = F.normalize(torch.cat([first, second]), dim=-1)
    logits = both @ both.T / temperature
    logits.fill_diagonal_(float("-inf"))  # no view is compared with itself
    n = len(first)
    return F.cross_entropy(logits, torch.arange(2 * n).roll(n))


class Batches:
    """Random batches: two views of both pictures of random pairs.

    All four views of a pair are cropped at the same random place, each off by at most `shift`
    pixels, then dimmed or brightened and made noisy.
    """

    def __init__(self, pictures: np.ndarray, settings: Settings):
        self.pictures, self.settings = pictures, settings

    def draw(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The batch of one step; it depends only on seed and step, so runs resume exactly."""
        s = self.settings
        rng = np.random.default_rng((s.seed, step))
        chosen = np.sort(rng.choice(len(self.pictures) // 2, s.batch, replace=False))
        pictures = [self.pictures[i] for k in chosen for i in (2 * k, 2 * k + 1)]
        corners = rng.integers(s.shift, s.margin - s.shift + 1, (s.batch, 2)).repeat(2, axis=0)
        first, second = (self._see(pictures, corners, rng) for _ in range(2))
        return first, second

    def _see(
        self, pictures: list[np.ndarray], corners: np.ndarray, rng: np.random.Generator
    ) -> torch.Tensor:
        s = self.settings
        off = rng.integers(-s.shift, s.shift + 1, corners.shape)
        crops = crop(pictures, corners + off, s.image_size)
        light = rng.uniform(0.85, 1.15, (len(pictures), 1, 1, 1)).astype(np.float32)
        noise = s.noise * 255 * rng.standard_normal(crops.shape, dtype=np.float32)
        return normalise(torch.from_numpy(crops * light + noise))


@torch.no_grad()
def validate(model: torch.nn.Module, settings: Settings) -> dict[str, float]:
    """Mean cosines between the two pictures of held-out contrasts, and between random pictures."""
    model.eval()
    rng = np.random.default_rng((scenes.TEST, clip.VALIDATION_SEED, len(patterns.PATTERNS)))
    cosines, firsts, n = {}, [], settings.validation_contrasts
    for name in patterns.PATTERNS:
        contrasts = [patterns.draw_contrast(name, rng, held_out=True) for _ in range(n)]
        drawn = [scene for contrast in contrasts for scene in contrast.scenes]
        pictures = torch.from_numpy(render.render_many(drawn, settings.image_size))
        embedded = F.normalize(model(normalise(pictures)), dim=-1)
        cosines[name] = (embedded[::2] * embedded[1::2]).sum(-1).mean().item()
        firsts.append(embedded[::2])
    firsts = torch.cat(firsts)
    cosines["random"] = (firsts * firsts.roll(n, 0)).sum(-1).mean().item()
    model.train()
    return cosines


def save(model: torch.nn.Module, settings: Settings, folder: Path) -> None:
    """Write what timm loads as ``local-dir:folder``: config and float16 weights."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {k: v.half().contiguous() for k, v in model.state_dict().items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    looks = {
        "input_size": [3, settings.image_size, settings.image_size],
        "fixed_input_size": True,
        "interpolation": "bicubic",
        "crop_pct": 1.0,
        "mean": MEAN,
        "std": STD,
    }
    config = {
        "architecture": ARCHITECTURE,
        "num_classes": 0,
        "num_features": settings.width,
        "model_args": model_args(settings),
        "pretrained_cfg": looks,
    }
    write_json(folder / "config.json", config)
    write_json(folder / "training.json", asdict(settings))


def train(settings: Settings, folder: Path, every: int = 250) -> torch.nn.Module:
    """Train the model of a run folder, or continue its training; returns the model.

    Every `every` steps, it writes a checkpoint and logs (``log.jsonl``) the loss and what
    :func:`validate` measures.
    """
    model = build_model(settings)
    run = Run(folder, settings, model, ("blocks",))
    size = settings.image_size + settings.margin
    pictures = load_near_duplicates(folder.parent / "pictures", settings.seed, settings.pairs, size)

    def loss(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return instance_loss(*model(torch.cat([first, second])).chunk(2), settings.temperature)

    run.fit(loss, Batches(pictures, settings).draw, lambda: validate(model, settings), every)
    return model


def main(arguments: list[str] | None = None) -> None:
    """Command line: train and write the weights."""
    parser = command_line("Train the mini vision-only encoder.", "mini-vision", Settings())
    options, settings = parse(parser, Settings, arguments)
    save(train(settings, options.run), settings, options.out)
    copy_log(options.run, options.out)


if __name__ == "__main__":
    main()
