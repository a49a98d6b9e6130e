"""Train the mini CLIP: ``python -m erragree_utils.training.clip``.

An ordinary open_clip model (ViT and text transformer) trained from scratch with CLIP's symmetric
contrastive loss (Radford et al. 2021, section 2.3) on tabletop scenes and web-like captions. The
logit scale is held at 100, the ceiling that section 2.5 gives it.

Nothing in the loss favours or forbids telling left from right: a third of the captions of scenes
with several things state a relation, truthfully. Batches are drawn from few places at a time, so
that the objects, not the background, must tell one image from the next.
"""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from open_clip.model import CLIP
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch.nn import functional as F
from tqdm.auto import tqdm
from transformers import PreTrainedTokenizerFast

from ..models.clip import ASSETS as ALL_ASSETS
from ..tabletop import captions, render, scenes
from .data import TrainingSet, load_training_set
from .loop import Log, command_line, optimizers, resume, save_checkpoint, update

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
ASSETS = ALL_ASSETS / "mini-clip"
VALIDATION_SEED = 99


@dataclass(frozen=True)
class Settings:
    """Everything that decides what the training gives; stored with the weights."""

    seed: int = 0
    steps: int = 6000
    batch: int = 128
    scenes: int = 60_000
    captions: int = 6
    position_share: float = 0.0  # of captions that state a thing's side of the picture
    places_per_batch: int = 4
    image_size: int = 80
    margin: int = 8  # pictures are rendered larger by this much and cropped at random
    patch: int = 10
    width: int = 128
    layers: int = 4
    text_layers: int = 2
    context: int = 22
    embed_dim: int = 128
    patch_dropout: float = 0.0
    muon_lr: float = 2e-3
    lr: float = 1e-3
    weight_decay: float = 0.05
    warmup: int = 200
    validation_sets: int = 100


def build_tokenizer(context: int) -> PreTrainedTokenizerFast:
    """A word-level tokenizer of the captions' words; the end token has the highest number."""
    words = ["<pad>", "<unk>", "<start>", *captions.vocabulary(), "<end>"]
    core = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    core.normalizer = normalizers.Lowercase()
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    core.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>",
        special_tokens=[("<start>", words.index("<start>")), ("<end>", len(words) - 1)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<start>",
        eos_token="<end>",
        model_max_length=context,
    )


def model_config(settings: Settings, vocab_size: int) -> dict:
    """The ``model_cfg`` that open_clip reads from ``open_clip_config.json``."""
    return {
        "embed_dim": settings.embed_dim,
        "vision_cfg": {
            "image_size": settings.image_size,
            "patch_size": settings.patch,
            "width": settings.width,
            "layers": settings.layers,
            "head_width": 32,
            "mlp_ratio": 4.0,
        },
        "text_cfg": {
            "context_length": settings.context,
            "vocab_size": vocab_size,
            "width": settings.width,
            "heads": settings.width // 32,
            "layers": settings.text_layers,
            "hf_tokenizer_name": "mini-clip",
        },
    }


def build_model(settings: Settings, vocab_size: int) -> CLIP:
    """The untrained model, its logit scale fixed at 100."""
    torch.manual_seed(settings.seed)
    config = model_config(settings, vocab_size)
    vision = {**config["vision_cfg"], "patch_dropout": settings.patch_dropout}
    model = CLIP(config["embed_dim"], vision, config["text_cfg"])
    model.logit_scale.data.fill_(math.log(100.0))
    model.logit_scale.requires_grad_(False)
    return model


def learning_rate(step: int, settings: Settings) -> float:
    """Factor on the learning rates: linear warm-up, then linear decay to zero."""
    return min((step + 1) / settings.warmup, 1.0) * (1.0 - step / settings.steps)


class Batches:
    """Random batches: pictures cropped and dimmed or brightened, one of their captions each."""

    def __init__(self, data: TrainingSet, tokens: torch.Tensor, settings: Settings):
        self.data, self.tokens, self.settings = data, tokens, settings
        self.by_place = [np.flatnonzero(data.places == p) for p in np.unique(data.places)]

    def draw(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The batch of one step; it depends on seed and step alone, so that runs resume exactly."""
        s = self.settings
        rng = np.random.default_rng((s.seed, step))
        chosen = rng.choice(len(self.by_place), s.places_per_batch, replace=False)
        pool = np.concatenate([self.by_place[p] for p in chosen])
        index = np.sort(rng.choice(pool, s.batch, replace=False))
        return self._see(index, rng), self._texts(index, rng)

    def _see(self, index: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
        s = self.settings
        corner = rng.integers(0, s.margin + 1, (len(index), 2))
        images = np.stack([
            self.data.images[i, y : y + s.image_size, x : x + s.image_size]
            for i, (y, x) in zip(index, corner, strict=True)
        ])  # fmt: skip
        light = rng.uniform(0.85, 1.15, (len(index), 1, 1, 3)).astype(np.float32)
        return normalise(torch.from_numpy(images) * torch.from_numpy(light))

    def _texts(self, index: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
        return self.tokens[index, rng.integers(0, self.settings.captions, len(index))]


def normalise(images: torch.Tensor) -> torch.Tensor:
    """Pictures (N, H, W, 3) in [0, 255] as the model's input (N, 3, H, W)."""
    scaled = images.float().clamp(0, 255) / 255.0
    return ((scaled - torch.tensor(MEAN)) / torch.tensor(STD)).permute(0, 3, 1, 2).contiguous()


def contrastive_loss(images: torch.Tensor, texts: torch.Tensor, scale: torch.Tensor):
    """CLIP's symmetric cross-entropy over the batch; embeddings (N, D) of unit norm."""
    logits = scale * images @ texts.T
    target = torch.arange(len(logits))
    return 0.5 * (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target))


@torch.no_grad()
def validate(model: CLIP, tokenizer, settings: Settings, seed: int) -> dict:
    """What the chapters will measure, on sets that neither training nor the chapters use."""
    model.eval()
    out, n_sets = {}, settings.validation_sets
    for family in "ab":
        rng = np.random.default_rng((scenes.TEST, seed, ord(family)))
        sets = [scenes.benchmark_set(family, rng) for _ in range(n_sets)]
        pictures = render.render_many([s for four in sets for s in four], settings.image_size)
        texts = [
            captions.benchmark_caption(*(t.name for t in s.things), s.relation)
            for four in sets
            for s in four
        ]
        x = F.normalize(model.encode_image(normalise(torch.from_numpy(pictures))), dim=-1)
        t = F.normalize(model.encode_text(_encode(tokenizer, texts, settings.context)), dim=-1)
        out |= {
            f"{k}_{family}": v for k, v in _measures(x.view(n_sets, 4, -1), t.view(n_sets, 4, -1))
        }
    model.train()
    return out


def _measures(x: torch.Tensor, t: torch.Tensor):
    """Left/right cosine, accuracies and retrieval; x and t are (sets, relations, D)."""
    n = len(x)
    score = torch.einsum("nid,njd->nij", x[:, :2], t[:, :2])
    right = torch.stack([score[:, 0, 0] > score[:, 0, 1], score[:, 1, 1] > score[:, 1, 0]], 1)
    yield "cosine", (x[:, 0] * x[:, 1]).sum(-1).mean().item()
    yield "random", (x[:, 0] * x.roll(1, 0)[:, 0]).sum(-1).mean().item()
    yield "individual", right.float().mean().item()
    yield "pair", right.all(1).float().mean().item()
    hits = [(x[:, r] @ t[:, r].T).argmax(1) == torch.arange(n) for r in range(4)]
    yield "retrieval", torch.stack(hits).float().mean().item()


def _encode(tokenizer, texts: list[str], context: int) -> torch.Tensor:
    return tokenizer(
        texts, padding="max_length", truncation=True, max_length=context, return_tensors="pt"
    )["input_ids"]


def save(model: CLIP, tokenizer, settings: Settings, folder: Path) -> None:
    """Write what open_clip loads as ``local-dir:folder``: config, float16 weights, tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {k: v.half().contiguous() for k, v in model.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")
    config = {
        "model_cfg": model_config(settings, len(tokenizer)),
        "preprocess_cfg": {"mean": MEAN, "std": STD, "interpolation": "bicubic"},
    }
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n")
    (folder / "training.json").write_text(json.dumps(asdict(settings), indent=2) + "\n")
    tokenizer.save_pretrained(folder)


def train(settings: Settings, run: Path, every: int = 250) -> CLIP:
    """Train, or go on with, the model of a run folder; returns it.

    A checkpoint is written every `every` steps; a killed run starts again from the last one. The
    log (``log.jsonl``) holds loss and validation measures.

    Raises
    ------
    ValueError
        If the folder holds a run with other settings.
    """
    run.mkdir(parents=True, exist_ok=True)
    tokenizer = build_tokenizer(settings.context)
    model = build_model(settings, len(tokenizer))
    steppers = optimizers(model, settings)
    start = resume(run, settings, model, steppers)
    data = load_training_set(
        run.parent / "pictures", settings.seed, settings.scenes,
        settings.image_size + settings.margin, settings.captions, settings.position_share,
    )  # fmt: skip
    flat = [c for group in data.captions for c in group]
    tokens = _encode(tokenizer, flat, settings.context).view(
        len(data.captions), -1, settings.context
    )
    batches = Batches(data, tokens, settings)
    log = Log(run, start)
    for step in tqdm(
        range(start, settings.steps), initial=start, total=settings.steps, desc="CLIP"
    ):
        images, texts = batches.draw(step)
        loss = contrastive_loss(*model(images, texts))
        loss.backward()
        update(steppers, learning_rate(step, settings))
        log.losses.append(loss.item())
        if (step + 1) % every == 0 or step + 1 == settings.steps:
            log.write(step + 1, validate(model, tokenizer, settings, VALIDATION_SEED))
            save_checkpoint(run, settings, model, steppers, step + 1)
    return model


def main(arguments: list[str] | None = None) -> None:
    """Command line: train and write the weights."""
    what = "Train the mini CLIP (about an hour on two cores)."
    parser = command_line(what, "runs/mini-clip", Settings())
    options = vars(parser.parse_args(arguments))
    run, out = options.pop("run"), options.pop("out")
    out = out or run / "model"
    settings = Settings(**options)
    model = train(settings, run)
    save(model, build_tokenizer(settings.context), settings, out)
    shutil.copy(run / "log.jsonl", out / "training_log.jsonl")


if __name__ == "__main__":
    main()
