"""The ablations as data: what each changes, and what stays.

An experiment differs from its base in one setting, and so does its base from another, up to one of
:data:`ROOTS`: a CLIP of the smallest size that learns objects, models that start from the shipped
mini LLaVA, which sees larger pictures, and a training of seconds. (What is on record of those that
start from the mini LLaVA used an earlier one: see the README of the tables.)
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from typing import ClassVar, Literal

from ... import paper
from ..optim import Schedule


@dataclass(frozen=True)
class Settings(Schedule):
    """Everything that decides what a training gives."""

    # What `training.clip.Batches` also knows, and no experiment has: no part of the record.
    twins: ClassVar[float] = 0.0
    patch_dropout: ClassVar[float] = 0.0

    # CLIP's symmetric loss over a batch; the log-likelihood of each image's caption; that of
    # answers to questions, as LLaVA's
    objective: Literal["contrastive", "captioning", "answering"] = "contrastive"
    # What reads the image: a ViT that is trained from nothing, or the shipped mini LLaVA, whose
    # frozen ViT is the mini CLIP's and whose language model is trained on; or the same with
    # projector and language model at their random beginnings. An answering model starts with a
    # random projector in any case.
    encoder: Literal["new", "mini-llava", "mini-llava untaught"] = "new"
    # What is matched: class token, mean patch token, or patch tokens weighted by the text (PACL,
    # Mukhoti et al. 2023, "Open Vocabulary Semantic Segmentation with Patch Aligned Contrastive
    # Learning"). What writes captions or answers reads "cls" or all "patches"; the class token is
    # the one that is matched, the mini LLaVA's patches are those of the last block but one.
    tokens: Literal["cls", "mean", "weighted", "patches"] = "cls"
    rotary: bool = (
        False  # rotate patch tokens by their place before they are matched (Su et al. 2021)
    )
    positions: bool = True  # tell the image encoder where its patches are
    # a small transformer, or the mini LLaVA's language model; both are trained on
    text: Literal["new", "mini-llava"] = "new"
    text_tokens: Literal["end", "all"] = "end"  # match the end token, or each, scores averaged
    relation_share: float = 0.3  # of captions that state a relation, truthfully
    question_share: float = 0.0  # of captions that are a question and its answer
    hard_negatives: bool = False  # each caption with a relation comes with its opposite, too
    batch: int = 128  # pictures, so that the same steps with a larger one see more pictures
    steps: int = 600  # over which the learning rate falls to zero
    # what no experiment changes; the roots do, in size
    seed: int = 0
    scenes: int = 24_000
    captions: int = 4  # of each sort, for each scene
    places_per_batch: int = 2
    image_size: int = 48
    margin: int = 4  # pictures are rendered larger by this much and cropped at random
    patch: int = 8
    width: int = 64
    layers: int = 3
    text_layers: int = 2
    embed_dim: int = 64
    context: int = 34
    muon_lr: float = 4e-3
    lr: float = 2e-3
    weight_decay: float = 0.05
    warmup: int = 50
    n_sets: int = 100  # of each benchmark


BASE = Settings()

#: The mini LLaVA reads pictures of its own size, and is larger, so fewer steps fit in the time.
CONVERSION = replace(
    BASE, encoder="mini-llava untaught", image_size=80, margin=8, batch=64, steps=200
)
#: The mini LLaVA with a new projector, taught again by questions and answers.
READING = replace(
    CONVERSION, objective="answering", encoder="mini-llava", tokens="cls", batch=32, steps=300
)
#: Trained in seconds, to see that recorded runs come out again; too short to learn relations.
SHORT = replace(BASE, steps=60, scenes=2000, batch=64, warmup=10)


@dataclass(frozen=True)
class Experiment:
    """One cell of the ablations: a base, None for :data:`ROOTS`, and one changed setting."""

    name: str
    base: str | None
    changes: dict[str, object]

    @property
    def factor(self) -> str:
        """Name of the setting that is changed; empty for a root."""
        return next(iter(self.changes), "")

    def settings(self, seed: int = 0, **others: object) -> Settings:
        """All settings: those of the base with the change, this seed, and `others`, which win."""
        if self.base is None:
            return replace(ROOTS[self.name], seed=seed, **others)
        return replace(EXPERIMENTS[self.base].settings(seed, **others), **self.changes | others)


ROOTS = {
    "CLIP": BASE, "reader of CLS": READING, "converted, untaught": CONVERSION,
    "short CLIP": SHORT,
}  # fmt: skip

EXPERIMENTS = {
    e.name: e
    for e in (
        Experiment("CLIP", None, {}),
        # tokens
        Experiment("mean patch", "CLIP", {"tokens": "mean"}),
        Experiment("weighted patches", "CLIP", {"tokens": "weighted"}),
        Experiment("weighted patches, rotary", "weighted patches", {"rotary": True}),
        Experiment("weighted patches, no positions", "weighted patches", {"positions": False}),
        Experiment("reader of CLS", None, {}),
        Experiment("reader of patches", "reader of CLS", {"tokens": "patches"}),
        # data
        Experiment("relations 0%", "CLIP", {"relation_share": 0.0}),
        Experiment("relations 10%", "CLIP", {"relation_share": 0.1}),
        Experiment("relations 100%", "CLIP", {"relation_share": 1.0}),
        Experiment("hard negatives", "CLIP", {"hard_negatives": True}),
        Experiment("relations 100%, hard negatives", "relations 100%", {"hard_negatives": True}),
        Experiment("questions 50%", "CLIP", {"question_share": 0.5}),
        # objective
        Experiment("relations 100%, 2000 steps", "relations 100%", {"steps": 2000}),
        # tokens by objective, with more steps and relations: captions are learned slowly
        Experiment(
            "weighted patches, 2000 steps", "relations 100%, 2000 steps", {"tokens": "weighted"}
        ),
        Experiment("captioner of CLS", "relations 100%, 2000 steps", {"objective": "captioning"}),
        Experiment("captioner of patches", "captioner of CLS", {"tokens": "patches"}),
        Experiment("batch 32", "CLIP", {"batch": 32}),
        Experiment("batch 256", "CLIP", {"batch": 256}),
        # text side
        Experiment("language model", "CLIP", {"text": "mini-llava"}),
        Experiment("several text tokens", "weighted patches, rotary", {"text_tokens": "all"}),
        Experiment("rotary, language model", "weighted patches, rotary", {"text": "mini-llava"}),
        # conversion
        Experiment("converted, untaught", None, {}),
        Experiment("converted", "converted, untaught", {"encoder": "mini-llava"}),
        Experiment("converted, no training", "converted", {"steps": 0}),
        # short
        Experiment("short CLIP", None, {}),
        Experiment("short, mean patch", "short CLIP", {"tokens": "mean"}),
    )
}

#: Experiments of each family, bases first. Some belong to several, and are trained once.
FAMILIES = {
    "tokens": (
        "CLIP", "mean patch", "weighted patches", "weighted patches, rotary",
        "weighted patches, no positions", "reader of CLS", "reader of patches",
    ),
    "data": (
        "CLIP", "relations 0%", "relations 10%", "relations 100%", "hard negatives",
        "relations 100%, hard negatives", "relations 100%, 2000 steps",
        "questions 50%",
    ),
    "objective": (
        "CLIP", "batch 32", "batch 256", "relations 100%", "relations 100%, 2000 steps",
        "weighted patches, 2000 steps", "captioner of CLS", "captioner of patches",
    ),
    "text": (
        "CLIP", "language model", "weighted patches, rotary",
        "several text tokens", "rotary, language model",
    ),
    "conversion": ("converted, untaught", "converted", "converted, no training"),
    "short": ("short CLIP", "short, mean patch"),
}  # fmt: skip

#: Models of the paper's later version, and our experiments of the same kinds. The last two are
#: changes of the third, each by itself.
COUNTERPARTS = {
    "CLIP": (paper.CLIP, "CLIP"),
    "patch tokens": (paper.CLIP_PATCHES, "weighted patches"),
    "rotary positions": (paper.CLIP_ROTARY, "weighted patches, rotary"),
    "several text tokens": (paper.CLIP_TEXT_TOKENS, "several text tokens"),
    "stronger text encoder": (paper.CLIP_TEXT_ENCODER, "rotary, language model"),
}


def settings_hash(settings: Settings) -> str:
    """Eight hexadecimal digits that differ where any setting does."""
    text = json.dumps(asdict(settings), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def experiment(name: str) -> Experiment:
    """The experiment of a name."""
    if name not in EXPERIMENTS:
        raise ValueError(f"no experiment {name!r}; there are {', '.join(EXPERIMENTS)}")
    return EXPERIMENTS[name]
