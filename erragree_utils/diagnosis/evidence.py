"""What we measure about pairs before we say anything about them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image, ImageChops, ImageEnhance

from ..benchmarks.base import Benchmark, ImagePair, QuestionPair
from ..decoding import TextContrast
from ..measures.agreement import cosine
from ..measures.decisions import predict, prefer
from ..measures.intervals import wilson
from ..models.states import mllm_states, pool_grid
from ..scoring.methods import Options
from .reading import nothing_differs, planted, read_pairs, reading_accuracy

#: Scores models, as `scoring.scores.score` does.
Score = Callable[..., pd.DataFrame]
#: By name, of the two images of each pair: (N, 2, D).
Features = Mapping[str, np.ndarray]
#: Patch tokens are averaged over so many places a side: where things are stays readable.
PLACES = 4


def clip_evidence(clip: Any, bench: Benchmark, score: Score) -> tuple[pd.DataFrame, dict]:
    """What a CLIP's embeddings, tokens and matching say about pairs.

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
    pairs, features = clip_measures(clip, bench, score)
    images = [image for pair in bench for image in pair.images]
    embedded = features["embedding"]
    moved = clip.embed_images([_moved(image) for image in images])
    pairs["cosine"] = cosine(embedded[:, 0], embedded[:, 1])
    noise = cosine(embedded.reshape(moved.shape), moved)
    pairs["noise"] = noise.reshape(-1, 2).min(axis=1)
    random = cosine(embedded[:, 0], np.roll(embedded[:, 1], 1, axis=0))
    groups = {}
    for relation, found in _by_relation(bench, pairs).items():
        groups[relation] = group_evidence(bench, pairs, features, found) | {
            "cosine": pairs["cosine"].iloc[found].mean(),
            "noise": pairs["noise"].iloc[found].mean(),
            "random": random.mean() if len(bench) > 1 else np.nan,
        }
    return pairs, groups


def mllm_evidence(mllm: Any, bench: Benchmark, score: Score) -> tuple[pd.DataFrame, dict]:
    """What a language model's scores say about pairs, and what its image tokens hold.

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
    pairs, features = mllm_measures(mllm, bench, score)
    blind = prefer(score(mllm, bench, _method(bench), blind=True)).set_index("pair_id")
    pairs["prior"] = blind["bias"].reindex(pairs.index)
    asked = _asked(bench)
    if asked:
        corrected = score(mllm, bench, {"contrast": Options(contrast=TextContrast())})
        pairs["contrast"] = _decisions(corrected)["right"]
    groups = {}
    for relation, found in _by_relation(bench, pairs).items():
        rows = pairs.iloc[found]
        known = len(rows) > 2 and rows["prior"].std() > 0 and rows["bias"].std() > 0
        groups[relation] = group_evidence(bench, pairs, features, found) | {
            "prior": rows["prior"].mean(),
            "prior_correlation": rows["prior"].corr(rows["bias"]) if known else np.nan,
            "contrast": rows["contrast"].mean() if asked else np.nan,
        }
    return pairs, groups


def clip_measures(clip: Any, bench: Benchmark, score: Score) -> tuple[pd.DataFrame, Features]:
    """``relation``, ``signal``, ``bias``, ``right`` and ``preferred`` of each pair; features.

    Features are ``embedding`` and ``tokens`` (averaged over 4 x 4 places), each (N, 2, D).
    """
    images = [image for pair in bench for image in pair.images]
    features = {
        "embedding": clip.embed_images(images).reshape(len(bench), 2, -1),
        "tokens": pool_grid(PLACES)(clip.patch_tokens(images)).reshape(len(bench), 2, -1),
    }
    return _decisions(score(clip, bench, "matching")), features


def mllm_measures(mllm: Any, bench: Benchmark, score: Score) -> tuple[pd.DataFrame, Features]:
    """As `clip_measures`; of the features, the ``tokens`` that the projector gets."""
    images = [image for pair in bench for image in pair.images]
    seen = mllm_states(mllm, images, "?", pool_grid(PLACES), "vision tower")
    features = {"tokens": seen["vision tower"].reshape(len(bench), 2, -1)}
    return _decisions(score(mllm, bench, _method(bench))), features


def group_evidence(
    bench: Sequence[ImagePair | QuestionPair],
    pairs: pd.DataFrame,
    features: Features,
    group: Sequence[int],
) -> dict[str, Any]:
    """The evidence for a group's verdict: accuracies with intervals, and readings of features.

    `group` holds the places of its pairs in the benchmark, the table and the features.
    """
    own = [bench[i] for i in group]
    readings = {name: _reading(values[group], own) for name, values in features.items()}
    return _accuracies(pairs.iloc[group]) | readings


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
    if np.allclose(features[:, 0], features[:, 1], rtol=1e-5, atol=1e-6):
        # Nothing differs, so nothing could be planted in proportion, and no reader is needed.
        return nothing_differs()
    found = reading_accuracy(read_pairs(features, pairs))
    power = reading_accuracy(read_pairs(planted(features), pairs))
    return found | {"power": power["single"]}


def _by_relation(bench: Benchmark, pairs: pd.DataFrame) -> dict[str, np.ndarray]:
    relation = pairs["relation"].to_numpy()
    return {name: np.flatnonzero(relation == name) for name in bench.relations}


def _asked(bench: Benchmark) -> bool:
    return isinstance(bench[0], QuestionPair) and bool(bench[0].question)


def _method(bench: Benchmark) -> str:
    return "question-options" if _asked(bench) else "vqascore"


def _moved(image: Image.Image) -> Image.Image:
    """Shifted by a fiftieth and a little darker: what no answer should depend on."""
    step = max(1, round(min(image.size) / 50))
    return ImageEnhance.Brightness(ImageChops.offset(image, step, step)).enhance(0.95)
