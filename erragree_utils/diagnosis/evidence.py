"""What is measured about pairs before anything is said of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image, ImageChops, ImageEnhance

from ..benchmarks.base import Benchmark, QuestionPair
from ..decoding import TextContrast
from ..measures.agreement import cosine
from ..measures.decisions import predict, prefer
from ..measures.intervals import wilson
from ..models.states import mllm_states, pool_grid
from ..scoring.methods import Options
from .reading import planted, read_pairs, reading_accuracy

#: Scores models, as `scoring.scores.score` does.
Score = Callable[..., pd.DataFrame]
#: Patch tokens are averaged over so many places a side: where things are stays readable.
PLACES = 4


def clip_evidence(clip: Any, bench: Benchmark, score: Score) -> tuple[pd.DataFrame, dict]:
    """What a CLIP's embeddings, tokens and matching say of pairs.

    Returns
    -------
    pairs : pandas.DataFrame
        A row for each pair, by its id: ``relation``; ``cosine``; ``noise``, the lower cosine of the
        two images to themselves after a shift and a change of light; ``signal`` and ``bias`` of
        matching; ``right``, whether both images are.
    groups : dict
        For each relation what `verdicts.judge_clip` takes, and ``cosine``, ``random`` and
        ``noise``.
    """
    images = [image for pair in bench for image in pair.images]
    embedded = clip.embed_images(images).reshape(len(bench), 2, -1)
    moved = clip.embed_images([_moved(image) for image in images]).reshape(embedded.shape)
    tokens = _tokens(clip.patch_tokens(images), len(bench))
    pairs = _decisions(score(clip, bench, "matching"))
    pairs["cosine"] = cosine(embedded[:, 0], embedded[:, 1])
    flat, shifted = (x.reshape(len(images), -1) for x in (embedded, moved))
    pairs["noise"] = cosine(flat, shifted).reshape(-1, 2).min(axis=1)
    random = cosine(embedded[:, 0], np.roll(embedded[:, 1], 1, axis=0))
    groups = {}
    for relation, found in _by_relation(bench, pairs).items():
        own = [bench[i] for i in found]
        groups[relation] = _accuracies(pairs.iloc[found]) | {
            "cosine": pairs["cosine"].iloc[found].mean(),
            "noise": pairs["noise"].iloc[found].mean(),
            "random": random.mean() if len(bench) > 1 else np.nan,
            "embedding": _reading(embedded[found], own),
            "tokens": _reading(tokens[found], own),
        }
    return pairs, groups


def mllm_evidence(mllm: Any, bench: Benchmark, score: Score) -> tuple[pd.DataFrame, dict]:
    """What a language model's scores say of pairs, and what the tokens it gets hold.

    Pairs with questions are asked these, with scored options; others by VQAScore.

    Returns
    -------
    pairs : pandas.DataFrame
        A row for each pair, by its id: ``relation``; ``signal``, ``bias`` and ``right``; ``prior``,
        the bias without an image; ``contrast``, whether both images are right when a stream without
        the image is subtracted.
    groups : dict
        For each relation what `verdicts.judge_mllm` takes, ``prior``, the mean bias without an
        image, ``prior_correlation``, of that with the bias, and ``contrast``, a pair accuracy.
    """
    asked = isinstance(bench[0], QuestionPair) and bool(bench[0].question)
    method = "question-options" if asked else "vqascore"
    pairs = _decisions(score(mllm, bench, method))
    blind = prefer(score(mllm, bench, method, blind=True)).set_index("pair_id")
    pairs["prior"] = blind["bias"].reindex(pairs.index)
    if asked:
        corrected = score(mllm, bench, {"contrast": Options(contrast=TextContrast())})
        pairs["contrast"] = _decisions(corrected)["right"]
    images = [image for pair in bench for image in pair.images]
    seen = mllm_states(mllm, images, "?", pool_grid(PLACES), "vision tower")
    tokens = seen["vision tower"].reshape(len(bench), 2, -1)
    groups = {}
    for relation, found in _by_relation(bench, pairs).items():
        own, rows = [bench[i] for i in found], pairs.iloc[found]
        known = len(rows) > 2 and rows["prior"].std() > 0 and rows["bias"].std() > 0
        groups[relation] = _accuracies(rows) | {
            "prior": rows["prior"].mean(),
            "prior_correlation": rows["prior"].corr(rows["bias"]) if known else np.nan,
            "contrast": rows["contrast"].mean() if asked else np.nan,
            "tokens": _reading(tokens[found], own),
        }
    return pairs, groups


def flat_evidence(evidence: Mapping[str, Any]) -> dict[str, float]:
    """Evidence as one row of a table: readings become columns such as ``tokens_single``."""
    row: dict[str, float] = {}
    for name, value in evidence.items():
        if isinstance(value, Mapping):
            row |= {f"{name}_{key}": number for key, number in value.items()}
        else:
            row[name] = value
    return row


def _decisions(scores: pd.DataFrame) -> pd.DataFrame:
    """Signal and bias of each pair, and whether both images are right; in the pairs' order."""
    table = prefer(scores).set_index("pair_id")[["relation", "signal", "bias", "correct"]]
    both = predict(scores).groupby("pair_id")["correct"].all()
    return table.rename(columns={"correct": "preferred"}).assign(right=both)


def _accuracies(pairs: pd.DataFrame) -> dict[str, float]:
    out: dict[str, float] = {"n_pairs": len(pairs)}
    for name, column in (("pair", "right"), ("relative", "preferred")):
        share = pairs[column].mean()
        low, high = wilson(share, len(pairs))
        out |= {name: share, f"{name}_low": low, f"{name}_high": high}
    out |= {"signal": pairs["signal"].mean(), "bias": pairs["bias"].abs().mean()}
    return out


def _reading(features: np.ndarray, pairs: list) -> dict[str, float]:
    found = reading_accuracy(read_pairs(features, pairs))
    power = reading_accuracy(read_pairs(planted(features), pairs))
    return found | {"power": power["single"]}


def _by_relation(bench: Benchmark, pairs: pd.DataFrame) -> dict[str, np.ndarray]:
    relation = pairs["relation"].to_numpy()
    return {name: np.flatnonzero(relation == name) for name in bench.relations}


def _tokens(patches: np.ndarray, n: int) -> np.ndarray:
    return pool_grid(PLACES)(patches).reshape(n, 2, -1)


def _moved(image: Image.Image) -> Image.Image:
    """Shifted by a fiftieth and a little darker: what no answer should depend on."""
    step = max(1, round(min(image.size) / 50))
    return ImageEnhance.Brightness(ImageChops.offset(image, step, step)).enhance(0.95)
