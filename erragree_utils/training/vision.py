"""Train the mini vision-only encoder: ``python -m erragree_utils.training.vision``.

DINOv2's part at mini scale: a vision transformer that never sees a word. It learns to tell pictures
apart by instance discrimination (Chen et al. 2020, "A Simple Framework for Contrastive Learning of
Visual Representations", section 2): of two views of each picture in a batch, each must find the
other among all views. Pictures come in pairs that differ in one respect and are cropped alike but
for a pixel, so that what tells near-duplicates apart, and that alone, has to be kept.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import timm
import torch
from safetensors.torch import save_file
from torch.nn import functional as F
from tqdm.auto import tqdm

from ..tabletop import patterns, render, scenes
from . import clip, loop
from .data import load_near_duplicates

ASSETS = clip.ALL_ASSETS / "mini-vision"
ARCHITECTURE = "vit_tiny_patch16_224"  # timm's plain ViT; the sizes below replace its own


@dataclass(frozen=True)
class Settings:
    """Everything that decides what the training gives; stored with the weights."""

    seed: int = 0
    steps: int = 2000
    pairs: int = 20_000  # of near-duplicate pictures
    batch: int = 64  # pairs
    temperature: float = 0.1
    image_size: int = 80
    margin: int = 8  # pictures are rendered larger by this much and cropped at random
    shift: int = 1  # pixels by which the crop of a view is off, at most, in each direction
    noise: float = 0.02  # standard deviation of the noise in each pixel, of a range of 1
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
    """The untrained encoder; its output is the class token after the last layer norm."""
    torch.manual_seed(settings.seed)
    return timm.create_model(ARCHITECTURE, pretrained=False, **model_args(settings))


def instance_loss(first: torch.Tensor, second: torch.Tensor, temperature: float) -> torch.Tensor:
    """NT-Xent (Chen et al. 2020, equation 1), mean in nats.

    `first` and `second` are embeddings (N, D) of two views of the same N pictures.
    """
    both = F.normalize(torch.cat([first, second]), dim=-1)
    logits = both @ both.T / temperature
    logits.fill_diagonal_(float("-inf"))  # no view is compared with itself
    n = len(first)
    return F.cross_entropy(logits, torch.arange(2 * n).roll(n))


class Batches:
    """Random batches: two views of both pictures of random pairs.

    All four views of a pair are cropped at one random place, each off by `shift` pixels at most,
    then dimmed or brightened and made noisy.
    """

    def __init__(self, pictures: np.ndarray, settings: Settings):
        self.pictures, self.settings = pictures, settings

    def draw(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The batch of one step; it depends on seed and step alone, so that runs resume exactly."""
        s = self.settings
        rng = np.random.default_rng((s.seed, step))
        chosen = np.sort(rng.choice(len(self.pictures) // 2, s.batch, replace=False))
        shown = np.stack([self.pictures[i] for k in chosen for i in (2 * k, 2 * k + 1)])
        corners = rng.integers(s.shift, s.margin - s.shift + 1, (s.batch, 2)).repeat(2, axis=0)
        first, second = (self._see(shown, corners, rng) for _ in range(2))
        return first, second

    def _see(
        self, pictures: np.ndarray, corners: np.ndarray, rng: np.random.Generator
    ) -> torch.Tensor:
        s = self.settings
        off = rng.integers(-s.shift, s.shift + 1, corners.shape)
        crops = np.stack([
            picture[y : y + s.image_size, x : x + s.image_size]
            for picture, (y, x) in zip(pictures, corners + off, strict=True)
        ])  # fmt: skip
        light = rng.uniform(0.85, 1.15, (len(pictures), 1, 1, 1)).astype(np.float32)
        noise = s.noise * 255 * rng.standard_normal(crops.shape, dtype=np.float32)
        return clip.normalise(torch.from_numpy(crops * light + noise))


@torch.no_grad()
def validate(model: torch.nn.Module, settings: Settings) -> dict[str, float]:
    """Mean cosines between the two pictures of held-out contrasts, and between random pictures."""
    model.eval()
    rng = np.random.default_rng((scenes.TEST, clip.VALIDATION_SEED, len(patterns.PATTERNS)))
    found, firsts = {}, []
    for name in patterns.PATTERNS:
        drawn = [
            scene
            for _ in range(settings.validation_contrasts)
            for scene in patterns.draw_contrast(name, rng, held_out=True).scenes
        ]
        pictures = torch.from_numpy(render.render_many(drawn, settings.image_size))
        embedded = F.normalize(model(clip.normalise(pictures)), dim=-1)
        found[name] = (embedded[::2] * embedded[1::2]).sum(-1).mean().item()
        firsts.append(embedded[::2])
    firsts = torch.cat(firsts)
    found["random"] = (firsts * firsts.roll(settings.validation_contrasts, 0)).sum(-1).mean().item()
    model.train()
    return found


def save(model: torch.nn.Module, settings: Settings, folder: Path) -> None:
    """Write what timm loads as ``local-dir:folder``: config and float16 weights."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {k: v.half().contiguous() for k, v in model.state_dict().items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    size = settings.image_size
    config = {
        "architecture": ARCHITECTURE,
        "num_classes": 0,
        "num_features": settings.width,
        "model_args": model_args(settings),
        "pretrained_cfg": {
            "input_size": [3, size, size],
            "fixed_input_size": True,
            "interpolation": "bicubic",
            "crop_pct": 1.0,
            "mean": clip.MEAN,
            "std": clip.STD,
        },
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    (folder / "training.json").write_text(json.dumps(asdict(settings), indent=2) + "\n")


def train(settings: Settings, run: Path, every: int = 250) -> torch.nn.Module:
    """Train, or go on with, the model of a run folder; returns it.

    A checkpoint is written every `every` steps; a killed run starts again from the last one. The
    log (``log.jsonl``) holds the loss and what :func:`validate` measures.

    Raises
    ------
    ValueError
        If the folder holds a run with other settings.
    """
    run.mkdir(parents=True, exist_ok=True)
    model = build_model(settings)
    steppers = loop.optimizers(model, settings, ("blocks",))
    start = loop.resume(run, settings, model, steppers)
    pictures = load_near_duplicates(
        run.parent / "pictures",
        settings.seed,
        settings.pairs,
        settings.image_size + settings.margin,
    )
    batches, log = Batches(pictures, settings), loop.Log(run, start)
    for step in tqdm(
        range(start, settings.steps), initial=start, total=settings.steps, desc="vision"
    ):
        first, second = batches.draw(step)
        loss = instance_loss(*model(torch.cat([first, second])).chunk(2), settings.temperature)
        loss.backward()
        loop.update(steppers, clip.learning_rate(step, settings))
        log.losses.append(loss.item())
        if (step + 1) % every == 0 or step + 1 == settings.steps:
            log.write(step + 1, validate(model, settings))
            loop.save_checkpoint(run, settings, model, steppers, step + 1)
    return model


def main(arguments: list[str] | None = None) -> None:
    """Command line: train and write the weights."""
    what = "Train the mini vision-only encoder."
    parser = loop.command_line(what, "runs/mini-vision", Settings())
    options = vars(parser.parse_args(arguments))
    run, out = options.pop("run"), options.pop("out")
    out = out or run / "model"
    settings = Settings(**options)
    save(train(settings, run), settings, out)
    shutil.copy(run / "log.jsonl", out / "training_log.jsonl")


if __name__ == "__main__":
    main()
