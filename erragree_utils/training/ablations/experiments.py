"""The ablations as data: what each changes, and what stays.

An experiment differs from its base in one setting. Most bases are :data:`BASE`, a CLIP of the
smallest size that learns objects, or differ from it in one setting themselves. What starts from the
shipped mini LLaVA, which sees larger pictures, has roots of its own.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace


@dataclass(frozen=True)
class Settings:
    """Everything that decides what a training gives.

    Parameters
    ----------
    objective : {"contrastive", "captioning", "answering"}
        CLIP's symmetric loss over a batch; the log-likelihood of each image's caption; that of
        answers to questions, as LLaVA's.
    encoder : {"new", "mini-llava", "mini-llava untaught"}
        What reads the image: a ViT that is trained from nothing, or the shipped mini LLaVA, whose
        frozen ViT is the mini CLIP's and whose language model is trained on; or the same with
        projector and language model at their random beginnings. An answering model starts with a
        random projector in any case.
    tokens : {"cls", "mean", "weighted", "patches"}
        What is matched: class token, mean patch token, or patch tokens weighted by the text
        (PACL, Mukhoti et al. 2023, "Open Vocabulary Semantic Segmentation with Patch Aligned
        Contrastive Learning"). What writes captions or answers reads ``"cls"`` or all
        ``"patches"``; the class token is the one that is matched, the mini LLaVA's patches are
        those of the last block but one.
    rotary : bool
        Whether patch tokens are rotated by their place (Su et al. 2021) before they are matched.
    positions : bool
        Whether the image encoder is told where its patches are.
    text : {"new", "mini-llava", "mini-llava untaught"}
        Text encoder: a small transformer, or the mini LLaVA's language model with or without what
        it has learned; both are trained on.
    text_tokens : {"end", "all"}
        Whether the end token alone is matched, or each token, scores averaged.
    relation_share : float
        Of captions that state a relation, truthfully.
    question_share : float
        Of captions that are a question and its answer.
    hard_negatives : bool
        Whether the batch holds, for each caption with a relation, the same with the opposite one.
    batch : int
    """

    objective: str = "contrastive"
    encoder: str = "new"
    tokens: str = "cls"
    rotary: bool = False
    positions: bool = True
    text: str = "new"
    text_tokens: str = "end"
    relation_share: float = 0.3
    question_share: float = 0.0
    hard_negatives: bool = False
    batch: int = 128
    # what no experiment changes
    seed: int = 0
    steps: int = 600
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
    CONVERSION, objective="answering", encoder="mini-llava", tokens="patches", batch=32, steps=300
)


@dataclass(frozen=True)
class Experiment:
    """One cell of the ablations.

    Parameters
    ----------
    name : str
    base : str or None
        The experiment from which it differs in one setting; None for :data:`ROOTS`.
    changes : dict
        That setting and its value.
    """

    name: str
    base: str | None
    changes: dict[str, object]

    @property
    def factor(self) -> str:
        """Name of the setting that is changed; empty for a root."""
        return next(iter(self.changes), "")

    def settings(self, seed: int = 0, **others: object) -> Settings:
        """All settings: those of the base with the change, this seed, and `others` if any."""
        if self.base is None:
            return replace(ROOTS[self.name], seed=seed, **others)
        found = EXPERIMENTS[self.base].settings(seed, **others)
        return replace(found, **self.changes)


ROOTS = {"CLIP": BASE, "reader of patches": READING, "converted, untaught": CONVERSION}

EXPERIMENTS = {
    e.name: e
    for e in (
        Experiment("CLIP", None, {}),
        # tokens
        Experiment("mean patch", "CLIP", {"tokens": "mean"}),
        Experiment("weighted patches", "CLIP", {"tokens": "weighted"}),
        Experiment("weighted patches, rotary", "weighted patches", {"rotary": True}),
        Experiment("weighted patches, no positions", "weighted patches", {"positions": False}),
        Experiment("reader of patches", None, {}),
        Experiment("reader of CLS", "reader of patches", {"tokens": "cls"}),
        # data
        Experiment("relations 0%", "CLIP", {"relation_share": 0.0}),
        Experiment("relations 10%", "CLIP", {"relation_share": 0.1}),
        Experiment("relations 100%", "CLIP", {"relation_share": 1.0}),
        Experiment("hard negatives", "CLIP", {"hard_negatives": True}),
        Experiment("relations 100%, hard negatives", "relations 100%", {"hard_negatives": True}),
        Experiment("questions 50%", "CLIP", {"question_share": 0.5}),
        # objective
        Experiment("captioner of CLS", "CLIP", {"objective": "captioning"}),
        Experiment("captioner of patches", "captioner of CLS", {"tokens": "patches"}),
        Experiment("batch 32", "CLIP", {"batch": 32}),
        Experiment("batch 256", "CLIP", {"batch": 256}),
        # text side
        Experiment("language model", "CLIP", {"text": "mini-llava"}),
        Experiment("language model, untaught", "CLIP", {"text": "mini-llava untaught"}),
        Experiment("several text tokens", "weighted patches, rotary", {"text_tokens": "all"}),
        Experiment("rotary, language model", "weighted patches, rotary", {"text": "mini-llava"}),
        # conversion
        Experiment("converted, untaught", None, {}),
        Experiment("converted", "converted, untaught", {"encoder": "mini-llava"}),
        Experiment("converted, no training", "converted", {"steps": 0}),
    )
}

#: Experiments of each family, bases first. Some belong to several, and are trained once.
FAMILIES = {
    "tokens": (
        "CLIP", "mean patch", "weighted patches", "weighted patches, rotary",
        "weighted patches, no positions", "reader of patches", "reader of CLS",
    ),
    "data": (
        "CLIP", "relations 0%", "relations 10%", "relations 100%", "hard negatives",
        "relations 100%, hard negatives", "questions 50%",
    ),
    "objective": ("CLIP", "captioner of CLS", "captioner of patches", "batch 32", "batch 256"),
    "text": (
        "CLIP", "language model", "language model, untaught", "weighted patches, rotary",
        "several text tokens", "rotary, language model",
    ),
    "conversion": ("converted, untaught", "converted", "converted, no training"),
}  # fmt: skip

#: Left/right pair accuracy in per cent on What'sUp A and B in the paper's later version, and our
#: experiment of the same kind. The last two rows are changes of the third, each by itself.
#: Second-hand (grade S of the blueprint): notes that quote the paper, not the paper itself.
REPORTED = (
    {"model": "CLIP", "A": 1.9, "B": 10.8, "ours": "CLIP"},
    {"model": "patch tokens", "A": 9.7, "B": 9.8, "ours": "weighted patches"},
    {"model": "rotary positions", "A": 22.3, "B": 20.6, "ours": "weighted patches, rotary"},
    {"model": "several text tokens", "A": 0.0, "B": 6.9, "ours": "several text tokens"},
    {"model": "stronger text encoder", "A": 10.7, "B": 15.7, "ours": "rotary, language model"},
)
GRADE = "S"


def settings_hash(settings: Settings) -> str:
    """Eight hexadecimal digits that differ where any setting does."""
    text = json.dumps(asdict(settings), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def experiment(name: str) -> Experiment:
    """The experiment of a name.

    Raises
    ------
    ValueError
        If there is none; the message lists those that there are.
    """
    if name not in EXPERIMENTS:
        raise ValueError(f"no experiment {name!r}; there are {', '.join(EXPERIMENTS)}")
    return EXPERIMENTS[name]
