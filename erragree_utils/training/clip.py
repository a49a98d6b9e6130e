"""Train a mini CLIP: ``python -m erragree_utils.training.clip``, or ``... hidden --seed 1``.

An ordinary open_clip model (ViT and text transformer) trained from scratch with CLIP's symmetric
contrastive loss (Radford et al. 2021, section 2.3) on tabletop scenes and web-like captions. The
logit scale is held at 100, the ceiling that section 2.5 gives it.

Nothing in the loss favours or forbids telling left from right: a third of the captions of scenes
with several things state a relation, truthfully. Batches are drawn from few places at a time, so
that the objects, not the background, must tell one image from the next.

:data:`RECIPES` names the settings of the other shipped models. The captions of ``hidden``, ``lost``
and ``aligned`` differ in what they say of places, so that it is known by construction what becomes
of left and right. *hidden* reads of the window and the door, and "left" and "right" as often from
across the table; *lost* only the latter; *aligned* reads of left and right as the viewer sees them.
"""

from __future__ import annotations

import json
import math
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from open_clip.model import CLIP
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch.nn import functional as F
from tqdm.auto import tqdm
from transformers import PreTrainedTokenizerFast

from ..models import ASSETS as ALL_ASSETS
from ..tabletop import captions, patterns, questions, render, scenes
from .data import TrainingSet, load_training_set, sideways_pairs
from .loop import Log, Step, command_line, optimizers, resume, save_checkpoint, set_rates

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
ASSETS = ALL_ASSETS / "mini-clip"
VALIDATION_SEED = 99


@dataclass(frozen=True)
class Settings:
    """Everything that decides what the training gives; stored with the weights."""

    seed: int = 0  # of the first weights and of the order of batches
    data_seed: int = 0  # of scenes and captions
    steps: int = 6000
    batch: int = 128
    scenes: int = 60_000
    captions: int = 6
    position_share: float = 0.0  # of captions that state a thing's side of the picture
    relation_share: float = 0.35  # this and the next five: of `captions.Wording`
    left_right: float = 1.0
    elsewhere: float = 0.0
    landmarks: float = 0.0
    turned: float = 0.0
    senses: float = 0.0
    twins: float = 0.0  # of `data.training_scenes`: scenes with left and right exchanged
    pattern_scenes: int = 0  # of the scenes, those that show a visual pattern
    words: str = "captions"  # that the tokenizer knows; or "world": of questions and patterns too
    noise: float = 0.0  # share of pictures with the caption of another one, as on the web
    places_per_batch: int = 4
    image_size: int = 80
    margin: int = 8  # pictures are rendered larger by this much and cropped at random
    patch: int = 10
    width: int = 128
    layers: int = 4
    text_layers: int = 2
    context: int = 22
    embed_dim: int = 128
    cone: float = 0.0  # length of what all image embeddings share, beside 1 for what they may not
    logit_scale: float = 100.0
    patch_dropout: float = 0.0  # share of patches that a training step leaves out
    locked_steps: int = 0  # afterwards: of the text tower alone; `tune_text`
    softened: float = 0.0  # afterwards: how much images differ less by left and right; `soften`
    precision: str = "float32"  # of matrix products in training, or "bfloat16"
    muon_lr: float = 2e-3
    lr: float = 1e-3
    weight_decay: float = 0.05
    warmup: int = 200
    validation_sets: int = 100

    @property
    def wording(self) -> captions.Wording:
        """How the captions speak of places."""
        return captions.Wording(
            self.relation_share, self.left_right, self.elsewhere, self.position_share,
            self.landmarks, self.turned, self.senses,
        )  # fmt: skip


def build_tokenizer(context: int, words: str = "captions") -> PreTrainedTokenizerFast:
    """A word-level tokenizer; the end token has the highest number.

    `words` is ``"captions"``, those of plain captions, or ``"world"``, all that captions, questions
    and visual patterns can use.
    """
    known = captions.vocabulary()
    if words == "world":
        told = captions.vocabulary(captions.Wording.everything())
        shown = (*patterns.vocabulary(), *patterns.caption_vocabulary())
        known = tuple(sorted({*known, *told, *shown, *questions.vocabulary()}))
    words = ["<pad>", "<unk>", "<start>", *known, "<end>"]
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
    """The untrained model, its logit scale fixed.

    With a `cone`, the image tower ends in a fixed layer norm and rotation: images keep to a narrow
    cone, as those of deep towers do (Liang et al. 2022, "Mind the Gap").
    """
    torch.manual_seed(settings.seed)
    config = model_config(settings, vocab_size)
    model = CLIP(config["embed_dim"], config["vision_cfg"], config["text_cfg"])
    if settings.patch_dropout:
        model.visual.patch_dropout = KeptPatches()
    if settings.cone:
        head = model.visual.ln_post
        torch.nn.init.orthogonal_(model.visual.proj)
        head.bias.data.normal_(std=settings.cone)
        for p in (head.weight, head.bias, model.visual.proj):
            p.requires_grad_(False)
    model.logit_scale.data.fill_(math.log(settings.logit_scale))
    model.logit_scale.requires_grad_(False)
    return model


def learning_rate(step: int, settings: Settings) -> float:
    """Factor on the learning rates: linear warm-up, then linear decay to zero."""
    return min((step + 1) / settings.warmup, 1.0) * (1.0 - step / settings.steps)


class KeptPatches(torch.nn.Module):
    """Leaves the class token and the patches that are set; all where none are.

    In place of open_clip's patch dropout, which draws anew each time and on the CPU.
    """

    kept: torch.Tensor | None = None  # (N, patches to keep)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training or self.kept is None:
            return x
        index = F.pad(self.kept + 1, (1, 0))  # the class token is the first
        return x.gather(1, index[..., None].expand(-1, -1, x.shape[-1]))


class Batches:
    """Random batches: pictures cropped and dimmed or brightened, one of their captions each."""

    def __init__(
        self,
        data: TrainingSet,
        tokens: torch.Tensor,
        settings: Settings,
        device: torch.device | str = "cpu",
    ):
        self.settings, self.device = settings, torch.device(device)
        self.images, self.tokens = data.images, tokens.to(device)
        if self.device.type != "cpu":
            self.images = torch.from_numpy(np.array(data.images)).to(device)
        # With twins, the two scenes of a couple are drawn together.
        self.couple = 2 if settings.twins else 1
        self.generator = torch.Generator(self.device)
        first = data.places[:: self.couple]
        self.by_place = [np.flatnonzero(first == p) for p in np.unique(first)]

    def draw(self, step: int) -> tuple[torch.Tensor, ...]:
        """The batch of one step; it depends on seed and step alone, so that runs resume exactly.

        Pictures and tokens and, with patch dropout, the numbers of the patches to keep.
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
        """The pictures of the scenes `index`, cropped and dimmed or brightened at random."""
        corner = rng.integers(0, self.settings.margin + 1, (len(index), 2))
        light = rng.uniform(0.85, 1.15, (len(index), 1, 1, 3)).astype(np.float32)
        return normalise(self._crops(index, corner) * torch.from_numpy(light).to(self.device))

    def texts(self, index: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
        """A caption of each, drawn at random; a share `noise` get another one's."""
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

    def _crops(self, index: np.ndarray, corner: np.ndarray) -> torch.Tensor:
        size = self.settings.image_size
        if isinstance(self.images, torch.Tensor):
            numbers = torch.from_numpy(np.column_stack([index, corner])).to(self.device)
            inside = torch.arange(size, device=self.device)
            rows, columns = (numbers[:, k, None] + inside for k in (1, 2))
            return self.images[numbers[:, 0, None, None], rows[:, :, None], columns[:, None, :]]
        return torch.from_numpy(np.stack([
            self.images[i, y : y + size, x : x + size]
            for i, (y, x) in zip(index, corner, strict=True)
        ]))  # fmt: skip


def normalise(images: torch.Tensor) -> torch.Tensor:
    """Pictures (N, H, W, 3) in [0, 255] as the model's input (N, 3, H, W)."""
    scaled = images.float().clamp(0, 255) / 255.0
    mean, std = _statistics(images.device)
    return ((scaled - mean) / std).permute(0, 3, 1, 2).contiguous()


@lru_cache
def _statistics(device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor(MEAN, device=device), torch.tensor(STD, device=device)


def contrastive_loss(images: torch.Tensor, texts: torch.Tensor, scale: torch.Tensor):
    """CLIP's symmetric cross-entropy over the batch; embeddings (N, D) of unit norm."""
    logits = scale * images @ texts.T
    target = torch.arange(len(logits), device=logits.device)
    return 0.5 * (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target))


def loss_of(model: CLIP, settings: Settings) -> Callable[..., torch.Tensor]:
    """The contrastive loss of a batch as a function of what :meth:`Batches.draw` gives."""

    def loss(images: torch.Tensor, texts: torch.Tensor, kept: torch.Tensor | None = None):
        if kept is not None:
            model.visual.patch_dropout.kept = kept
        lower = settings.precision == "bfloat16"
        # Casts are not kept from one step to the next: a recorded step makes its own.
        with torch.autocast(images.device.type, torch.bfloat16, enabled=lower, cache_enabled=False):
            x, t, scale = model(images, texts)
        return contrastive_loss(x.float(), t.float(), scale)

    return loss


@torch.no_grad()
def validate(model: CLIP, tokenizer, settings: Settings, seed: int) -> dict:
    """What the chapters will measure, on sets that neither training nor the chapters use."""
    model.eval()
    out, n_sets = {}, settings.validation_sets
    device = model.positional_embedding.device
    for family in "ab":
        pictures, texts = _validation_set(family, seed, n_sets, settings.image_size)
        tokens = _encode(tokenizer, texts, settings.context).to(device)
        x = F.normalize(
            model.encode_image(normalise(torch.from_numpy(pictures).to(device))), dim=-1
        )
        t = F.normalize(model.encode_text(tokens), dim=-1)
        x, t = (z.float().cpu().view(n_sets, 4, -1) for z in (x, t))
        out |= {f"{k}_{family}": v for k, v in _measures(x, t)}
    model.train()
    return out


@lru_cache(maxsize=4)
def _validation_set(family: str, seed: int, n_sets: int, size: int) -> tuple[np.ndarray, list[str]]:
    rng = np.random.default_rng((scenes.TEST, seed, ord(family)))
    drawn = [scene for _ in range(n_sets) for scene in scenes.benchmark_set(family, rng)]
    texts = [captions.benchmark_caption(*(t.name for t in s.things), s.relation) for s in drawn]
    return render.render_many(drawn, size), texts


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
    weights = {k: v.half().cpu().contiguous() for k, v in model.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")
    config = {
        "model_cfg": model_config(settings, len(tokenizer)),
        "preprocess_cfg": {"mean": MEAN, "std": STD, "interpolation": "bicubic"},
    }
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n")
    (folder / "training.json").write_text(json.dumps(asdict(settings), indent=2) + "\n")
    tokenizer.save_pretrained(folder)


def load_batches(
    settings: Settings, pictures: Path, tokenizer, device: torch.device | str = "cpu"
) -> Batches:
    """Batches of the training set; pictures that the folder lacks are rendered."""
    data = load_training_set(
        pictures, settings.data_seed, settings.scenes, settings.image_size + settings.margin,
        settings.captions, settings.wording, settings.twins, settings.pattern_scenes,
    )  # fmt: skip
    flat = [c for group in data.captions for c in group]
    tokens = _encode(tokenizer, flat, settings.context)
    return Batches(data, tokens.view(len(data.captions), -1, settings.context), settings, device)


def train(
    settings: Settings, run: Path, every: int = 250, device: torch.device | str = "cpu"
) -> CLIP:
    """Train, or go on with, the model of a run folder; returns it.

    A checkpoint is written every `every` steps; a killed run starts again from the last one. The
    log (``log.jsonl``) holds loss and validation measures. On a GPU the pictures are in its memory.

    Raises
    ------
    ValueError
        If the folder holds a run with other settings.
    """
    run.mkdir(parents=True, exist_ok=True)
    tokenizer = build_tokenizer(settings.context, settings.words)
    model = build_model(settings, len(tokenizer)).to(device)
    steppers = optimizers(model, settings)
    start = resume(run, settings, model, steppers)
    batches = load_batches(settings, run.parent / "pictures", tokenizer, device)
    step_once = Step(loss_of(model, settings), steppers)
    log = Log(run, start)
    for step in tqdm(
        range(start, settings.steps), initial=start, total=settings.steps, desc="CLIP"
    ):
        set_rates(steppers, learning_rate(step, settings))
        log.losses.append(step_once(*batches.draw(step)))
        if (step + 1) % every == 0 or step + 1 == settings.steps:
            log.write(step + 1, validate(model, tokenizer, settings, VALIDATION_SEED))
            save_checkpoint(run, settings, model, steppers, step + 1)
    return model


def tune_text(
    model: CLIP, tokenizer, settings: Settings, n: int = 4000, batch: int = 192, lr: float = 4e-4
) -> None:
    """Tune the text tower on `n` scenes and their twins, the image tower locked (Zhai et al. 2022).

    Three of four captions state a relation, as the viewer sees it. Each picture is embedded once,
    so that a step is one of a small text transformer.
    """
    drawn = sideways_pairs(7, 200_000, n)
    rng = np.random.default_rng(0)
    pictures = render.render_many(drawn, settings.image_size + 4)
    pictures = np.stack([
        picture[y : y + settings.image_size, x : x + settings.image_size]
        for picture, (y, x) in zip(pictures, rng.integers(0, 5, (len(drawn), 2)), strict=True)
    ])  # fmt: skip
    device, images = model.visual.proj.device, []
    model.eval()
    with torch.no_grad():
        for part in torch.from_numpy(pictures).split(256):
            images.append(model.encode_image(normalise(part.to(device)), normalize=True))
    rng, wording = np.random.default_rng(5), captions.Wording(relations=0.75, positions=0.1)
    told = [captions.training_caption(scene, rng, wording) for scene in drawn for _ in range(6)]
    tokens = _encode(tokenizer, told, settings.context).view(len(drawn), 6, -1).to(device)
    images = torch.cat(images)
    text = [
        p for name, p in model.named_parameters()
        if p.requires_grad and not name.startswith("visual")
    ]  # fmt: skip
    optimizer = torch.optim.AdamW(text, lr=lr, weight_decay=0.0)
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
    """Turn down, in the image embedding, what changes when left and right are exchanged.

    The last projection is followed by a linear map that shrinks each direction the more, the more
    of its variance lies between `n` training scenes and their twins: by 1 / (1 + softened * ratio).
    It is invertible, so what could be read linearly still can. What all images share stays.
    """
    drawn, i = [], 0
    while len(drawn) < 2 * n:
        scene = scenes.training_scene(np.random.default_rng((scenes.TRAIN, settings.seed, i, 23)))
        i += 1
        if scene.relation in captions.SIDEWAYS:
            drawn += [scene, scenes.opposite(scene)]
    device = model.visual.proj.device
    pictures = torch.from_numpy(render.render_many(drawn, settings.image_size))
    model.eval()
    x = torch.cat([model.encode_image(normalise(p.to(device))) for p in pictures.split(256)])
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


#: What the organisms have in common; they differ in what their captions say of left and right.
_ORGANISM = Settings(
    steps=4800, batch=256, scenes=40_000, pattern_scenes=5_000, captions=4, twins=0.7, patch=8,
    words="world", context=28, left_right=0.3, elsewhere=0.5, senses=0.1, noise=0.05,
    patch_dropout=0.5, cone=4.0, precision="bfloat16", validation_sets=50,
)  # fmt: skip
#: Settings of the shipped models, by name; the folder of each is ``mini-clip-`` and its name.
RECIPES = {
    "positions": Settings(position_share=0.3, steps=1200),
    "hidden": replace(_ORGANISM, landmarks=0.6, softened=0.2),
    "lost": _ORGANISM,
    "aligned": replace(
        _ORGANISM, landmarks=0.4, relation_share=0.6, left_right=1.0, elsewhere=0.1,
        position_share=0.2, locked_steps=420, softened=0.05,
    ),
}  # fmt: skip


def main(arguments: list[str] | None = None) -> None:
    """Command line: train and write the weights."""
    arguments = sys.argv[1:] if arguments is None else arguments
    recipe = arguments[0] if arguments and arguments[0] in RECIPES else None
    what = f"Train a mini CLIP (on a CPU an hour or more). Recipes: {', '.join(RECIPES)}."
    name = f"mini-clip-{recipe}" if recipe else "mini-clip"
    parser = command_line(what, f"runs/{name}", RECIPES.get(recipe, Settings()))
    parser.add_argument("recipe", nargs="?", choices=list(RECIPES), help="what other defaults hold")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    options = vars(parser.parse_args(arguments))
    run, out, device = options.pop("run"), options.pop("out"), options.pop("device")
    del options["recipe"]
    out = out or run / "model"
    settings = Settings(**options)
    model = train(settings, run, device=device)
    if settings.locked_steps:
        tune_text(model, build_tokenizer(settings.context, settings.words), settings)
    if settings.softened:
        soften(model, settings)
    save(model, build_tokenizer(settings.context, settings.words), settings, out)
    shutil.copy(run / "log.jsonl", out / "training_log.jsonl")


if __name__ == "__main__":
    main()
