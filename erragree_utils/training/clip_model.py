"""The mini CLIP: its settings, tokenizer, model and loss, and the folder that open_clip loads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from open_clip.model import CLIP
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch.nn import functional as F
from transformers import PreTrainedTokenizerFast as FastTokenizer

from ..tabletop import captions, patterns, questions
from .data import MEAN, STD
from .loop import write_json
from .optim import Schedule


@dataclass(frozen=True)
class Settings(Schedule):
    """Everything that determines the result of the training; stored with the weights."""

    seed: int = 0  # for the initial weights and the order of batches
    data_seed: int = 0  # for scenes and captions
    steps: int = 6000
    batch: int = 128
    scenes: int = 60_000
    captions: int = 6
    position_share: float = 0.0  # share of captions that state an object's side of the picture
    relation_share: float = 0.35  # this and the next five are those of `captions.Wording`
    left_right: float = 1.0
    elsewhere: float = 0.0
    landmarks: float = 0.0
    turned: float = 0.0
    senses: float = 0.0
    twins: float = 0.0  # as in `data.training_scenes`: scenes with left and right exchanged
    pattern_scenes: int = 0  # how many of the scenes show a visual pattern
    words: str = "captions"  # of the tokenizer; "world" adds those of questions and patterns
    noise: float = 0.0  # share of pictures with another picture's caption, as on the web
    places_per_batch: int = 4
    image_size: int = 80
    margin: int = 8  # pictures are rendered larger by this many pixels and cropped at random
    patch: int = 10
    width: int = 128
    layers: int = 4
    text_layers: int = 2
    context: int = 22
    embed_dim: int = 128
    cone: float = 0.0  # length of what all image embeddings share, where the rest has 1
    logit_scale: float = 100.0
    patch_dropout: float = 0.0  # share of patches that each training step drops
    softened: float = 0.0  # after training: how much `soften` evens out left and right
    locked_steps: int = 0  # after that, of the text tower alone (`tune_text`)
    precision: str = "float32"  # of matrix products in training, or "bfloat16"
    muon_lr: float = 2e-3
    lr: float = 1e-3
    weight_decay: float = 0.05
    warmup: int = 200
    validation_sets: int = 100

    @property
    def wording(self) -> captions.Wording:
        """How the captions describe places."""
        return captions.Wording(
            self.relation_share, self.left_right, self.elsewhere, self.position_share,
            self.landmarks, self.turned, self.senses,
        )  # fmt: skip


def build_tokenizer(context: int, words: str = "captions") -> FastTokenizer:
    """A word-level tokenizer; the end token has the highest number.

    `words` is ``"captions"`` for the words of plain captions, or ``"world"`` for all words that
    captions, questions and visual patterns can use.
    """
    vocabulary = captions.vocabulary()
    if words == "world":
        everything = captions.vocabulary(captions.Wording.everything())
        pattern_words = (*patterns.vocabulary(), *patterns.caption_vocabulary())
        vocabulary = sorted({*everything, *pattern_words, *questions.vocabulary()})
    tokens = ["<pad>", "<unk>", "<start>", *vocabulary, "<end>"]
    core = Tokenizer(models.WordLevel({t: i for i, t in enumerate(tokens)}, unk_token="<unk>"))
    core.normalizer = normalizers.Lowercase()
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    ends = [(token, tokens.index(token)) for token in ("<start>", "<end>")]
    core.post_processor = processors.TemplateProcessing("<start> $A <end>", special_tokens=ends)
    return FastTokenizer(
        tokenizer_object=core, pad_token="<pad>", unk_token="<unk>", bos_token="<start>",
        eos_token="<end>", model_max_length=context,
    )  # fmt: skip


def encode(settings: Settings, texts: Sequence[str]) -> torch.Tensor:
    """Tokens (N, context), padded and cut to the context."""
    tokenizer = build_tokenizer(settings.context, settings.words)
    options = {"padding": "max_length", "truncation": True, "return_tensors": "pt"}
    return tokenizer(list(texts), **options).input_ids


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
    """The untrained model, with its logit scale fixed.

    With a `cone`, the image tower ends in a fixed layer norm and rotation, so that image embeddings
    lie in a narrow cone, as those of deep towers do (Liang et al. 2022, "Mind the Gap").
    """
    torch.manual_seed(settings.seed)
    model = CLIP(**model_config(settings, vocab_size))
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


class KeptPatches(torch.nn.Module):
    """Keeps the class token and the patches that are set, or all patches if none are.

    Replaces open_clip's patch dropout, which draws new patches on every call, on the CPU.
    """

    kept: torch.Tensor | None = None  # (N, patches to keep)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training or self.kept is None:
            return x
        index = F.pad(self.kept + 1, (1, 0))  # the class token is the first
        return x.gather(1, index[..., None].expand(-1, -1, x.shape[-1]))


def matching_loss(scores: torch.Tensor) -> torch.Tensor:
    """CLIP's symmetric cross-entropy on scaled scores (N, N + M) of N images.

    The images' own texts come first; the M texts after those have no image.
    """
    target = torch.arange(len(scores), device=scores.device)
    own = scores[:, : len(scores)]
    return 0.5 * (F.cross_entropy(scores, target) + F.cross_entropy(own.T, target))


def contrastive_loss(images: torch.Tensor, texts: torch.Tensor, scale: torch.Tensor):
    """CLIP's symmetric cross-entropy over the batch; embeddings (N, D) of unit norm."""
    return matching_loss(scale * images @ texts.T)


def batch_loss(
    model: CLIP, precision: str, images: torch.Tensor, texts: torch.Tensor, *kept: torch.Tensor
) -> torch.Tensor:
    """The contrastive loss of a batch; `kept` are the patches to keep, if some are dropped."""
    if kept:
        (model.visual.patch_dropout.kept,) = kept
    lower = precision == "bfloat16"
    # Casts aren't cached from one step to the next, since a recorded step makes its own.
    with torch.autocast(images.device.type, torch.bfloat16, enabled=lower, cache_enabled=False):
        x, t, scale = model(images, texts)
    return contrastive_loss(x.float(), t.float(), scale)


def save(model: CLIP, tokenizer: FastTokenizer, settings: Settings, folder: Path) -> None:
    """Write what open_clip loads as ``local-dir:folder``: config, float16 weights, tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {k: v.half().cpu().contiguous() for k, v in model.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")
    config = {
        "model_cfg": model_config(settings, len(tokenizer)),
        "preprocess_cfg": {"mean": MEAN, "std": STD, "interpolation": "bicubic"},
    }
    write_json(folder / "open_clip_config.json", config)
    write_json(folder / "training.json", asdict(settings))
    tokenizer.save_pretrained(folder)
