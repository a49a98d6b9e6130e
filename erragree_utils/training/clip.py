"""Train a mini CLIP: ``python -m erragree_utils.training.clip``, or ``... lost --seed 1``.

An ordinary open_clip model (ViT and text transformer) trained from scratch with CLIP's symmetric
contrastive loss (Radford et al. 2021, section 2.3) on tabletop scenes and web-like captions. The
logit scale is held at 100, the ceiling that section 2.5 gives it.

Nothing in the loss favours or forbids telling left from right; the captions decide. Each batch
comes from only a few places, so that the model has to tell images apart by their objects, not by
the background.

:data:`RECIPES` holds the settings of the shipped models. The captions of ``mini`` (left and right
hidden), ``lost`` and ``aligned`` differ in what they say about places, so we know by construction
what becomes of left and right. *mini*'s captions mention the window and the door, and "left" and
"right" half of the time as seen from across the table. *lost* has only the latter. *aligned*'s
captions say left and right as the viewer sees them. The mini LLaVA reads the tower of *mini*.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from open_clip.model import CLIP
from torch.nn import functional as F

from ..models import ASSETS as ALL_ASSETS
from ..tabletop import captions, render, scenes
from .clip_model import Settings, batch_loss, build_model, build_tokenizer, encode, save
from .clip_tuning import soften, tune_text
from .data import TrainingScenes, normalise
from .loop import Run, command_line, copy_log, parse

ASSETS = ALL_ASSETS / "mini-clip"
VALIDATION_SEED = 99

#: What the organisms have in common; they differ in what their captions say about left and right.
_ORGANISM = Settings(
    steps=4800, batch=256, scenes=40_000, pattern_scenes=5_000, captions=4, twins=0.7, patch=8,
    words="world", context=28, left_right=0.3, elsewhere=0.5, senses=0.1, noise=0.05,
    patch_dropout=0.5, cone=4.0, precision="bfloat16", validation_sets=50,
)  # fmt: skip
#: Settings of the shipped models; their folders are ``mini-clip-NAME``, and ``mini-clip`` for mini.
RECIPES = {
    "mini": replace(_ORGANISM, landmarks=0.6, softened=0.2),
    "lost": _ORGANISM,
    "aligned": replace(
        _ORGANISM, landmarks=0.4, relation_share=0.6, left_right=1.0, elsewhere=0.1,
        position_share=0.2, locked_steps=600, softened=0.05,
    ),
}  # fmt: skip


class Batches:
    """Random batches: pictures, cropped and dimmed or brightened, each with one of its captions.

    `images` are (N, size, size, 3), `places` the numbers of their places (N,), and `tokens` those
    of the captions (N, captions, context). On a GPU, all are kept in its memory.
    """

    def __init__(
        self,
        images: np.ndarray,
        places: np.ndarray,
        tokens: torch.Tensor,
        settings: Settings,
        device: str = "cpu",
    ):
        self.settings, self.device = settings, device
        self.images, self.tokens = torch.from_numpy(images).to(device), tokens.to(device)
        # If there are twins, a scene and its twin are drawn together.
        self.couple = 2 if settings.twins else 1
        self.generator = torch.Generator(self.device)
        first = places[:: self.couple]
        self.by_place = [np.flatnonzero(first == p) for p in np.unique(first)]

    def draw(self, step: int) -> tuple[torch.Tensor, ...]:
        """The batch of one step; it depends only on seed and step, so runs resume exactly.

        Pictures and tokens, and with patch dropout the numbers of the patches to keep.
        """
        s = self.settings
        rng = np.random.default_rng((s.seed, step))
        chosen = rng.choice(len(self.by_place), s.places_per_batch, replace=False)
        pool = np.concatenate([self.by_place[p] for p in chosen])
        index = np.sort(rng.choice(pool, s.batch // self.couple, replace=False))
        if self.couple == 2:
            index = np.stack([2 * index, 2 * index + 1], axis=1).ravel()
        batch = self.see(index, rng), self.texts(index, rng)
        return (*batch, self._kept_patches(step)) if s.patch_dropout else batch

    def see(self, index: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
        """The pictures of the scenes `index`, randomly cropped and dimmed or brightened."""
        size = self.settings.image_size
        corners = rng.integers(0, self.settings.margin + 1, (len(index), 2))
        light = rng.uniform(0.85, 1.15, (len(index), 1, 1, 3)).astype(np.float32)
        numbers = torch.from_numpy(np.column_stack([index, corners])).to(self.device)
        windows = self.images.unfold(1, size, 1).unfold(2, size, 1)  # (N, y, x, 3, size, size)
        crops = windows[tuple(numbers.T)].permute(0, 2, 3, 1)
        return normalise(crops * torch.from_numpy(light).to(self.device))

    def texts(self, index: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
        """A random caption for each; a share `noise` of them get another scene's."""
        s = self.settings
        which = rng.integers(0, s.captions, len(index))
        if s.noise:
            index = np.where(rng.random(len(index)) < s.noise, rng.permutation(index), index)
        numbers = torch.from_numpy(np.stack([index, which])).to(self.device)
        return self.tokens[numbers[0], numbers[1]]

    def _kept_patches(self, step: int) -> torch.Tensor:
        s = self.settings
        n = (s.image_size // s.patch) ** 2
        self.generator.manual_seed(s.seed * s.steps + step)
        order = torch.rand(s.batch, n, generator=self.generator, device=self.device)
        return order.topk(round(n * (1 - s.patch_dropout)), dim=1).indices


def load_batches(settings: Settings, pictures: Path, device: str = "cpu") -> Batches:
    """Batches of the training set; pictures missing from the folder are rendered."""
    s = settings
    drawn = TrainingScenes(s.data_seed, s.scenes, s.twins, s.pattern_scenes)
    images = drawn.pictures(pictures, s.image_size + s.margin)
    numbers = range(s.scenes)
    texts = [text for i in numbers for text in drawn.captions(i, s.captions, s.wording)]
    tokens = encode(settings, texts).view(s.scenes, s.captions, -1)
    return Batches(images, np.array([drawn.place(i) for i in numbers]), tokens, settings, device)


@torch.no_grad()
def validate(model: CLIP, settings: Settings) -> dict[str, float]:
    """Measure what the chapters measure, on sets that neither training nor the chapters use."""
    model.eval()
    measures, n_sets = {}, settings.validation_sets
    device = model.positional_embedding.device
    for family in "ab":
        pictures, texts = _validation_set(family, n_sets, settings.image_size)
        pixels, tokens = normalise(torch.from_numpy(pictures).to(device)), encode(settings, texts)
        x, t = model.encode_image(pixels), model.encode_text(tokens.to(device))
        x, t = (F.normalize(z, dim=-1).float().cpu().view(n_sets, 4, -1) for z in (x, t))
        measures |= {f"{name}_{family}": value.item() for name, value in _measures(x, t).items()}
    model.train()
    return measures


@lru_cache(maxsize=4)
def _validation_set(family: str, n_sets: int, size: int) -> tuple[np.ndarray, list[str]]:
    rng = np.random.default_rng((scenes.TEST, VALIDATION_SEED, ord(family)))
    drawn = [scene for _ in range(n_sets) for scene in scenes.benchmark_set(family, rng)]
    texts = [captions.benchmark_caption(*(t.name for t in s.things), s.relation) for s in drawn]
    return render.render_many(drawn, size), texts


def _measures(x: torch.Tensor, t: torch.Tensor) -> dict[str, torch.Tensor]:
    """Left/right cosine, accuracies and retrieval; `x` and `t` are (sets, relations, D)."""
    score = torch.einsum("nid,njd->nij", x[:, :2], t[:, :2])
    right = torch.stack([score[:, 0, 0] > score[:, 0, 1], score[:, 1, 1] > score[:, 1, 0]], 1)
    hits = [(x[:, r] @ t[:, r].T).argmax(1) == torch.arange(len(x)) for r in range(4)]
    return {
        "cosine": (x[:, 0] * x[:, 1]).sum(-1).mean(),
        "random": (x[:, 0] * x.roll(1, 0)[:, 0]).sum(-1).mean(),
        "individual": right.float().mean(),
        "pair": right.all(1).float().mean(),
        "retrieval": torch.stack(hits).float().mean(),
    }


def train(settings: Settings, folder: Path, every: int = 250, device: str = "cpu") -> CLIP:
    """Train the model of a run folder, or continue its training; returns the model.

    Every `every` steps, it writes a checkpoint and logs (``log.jsonl``) the loss and what
    :func:`validate` measures. On a GPU, the pictures are kept in its memory.
    """
    vocab_size = len(build_tokenizer(settings.context, settings.words))
    model = build_model(settings, vocab_size).to(device)
    run = Run(folder, settings, model, ("resblocks",))
    batches = load_batches(settings, folder.parent / "pictures", device)
    loss = partial(batch_loss, model, settings.precision)
    run.fit(loss, batches.draw, lambda: validate(model, settings), every)
    return model


def main(arguments: list[str] | None = None) -> None:
    """Command line: train and write the weights."""
    arguments = sys.argv[1:] if arguments is None else arguments
    recipe = next((name for name in arguments[:1] if name in RECIPES), "mini")
    parser = command_line(
        f"Train a mini CLIP (on a CPU an hour or more). Recipes: {', '.join(RECIPES)}.",
        "mini-clip" if recipe == "mini" else f"mini-clip-{recipe}",
        RECIPES[recipe],
    )
    parser.add_argument("recipe", nargs="?", choices=list(RECIPES), help="what other defaults hold")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    options, settings = parse(parser, Settings, arguments)
    model = train(settings, options.run, device=options.device)
    if settings.softened:
        soften(model, settings)
    if settings.locked_steps:  # last, so that the texts fit what softened images still show
        tune_text(model, settings)
    tokenizer = build_tokenizer(settings.context, settings.words)
    save(model, tokenizer, settings, options.out)
    copy_log(options.run, options.out)


if __name__ == "__main__":
    main()
