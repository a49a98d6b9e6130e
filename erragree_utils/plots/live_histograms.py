"""Live histograms: a direction to turn, and two images to pick."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from . import live_html
from .live_parts import Live, address, as_json, sheet_of

if TYPE_CHECKING:
    from ..benchmarks.base import Benchmark

_BINS = 31


def direction(
    models: Mapping[str, Mapping[float, np.ndarray]],
    names: tuple[str, str] = ("image 1", "image 2"),
) -> Live:
    """The images of pairs along a direction that a slider turns.

    `models` maps each model's name to what `turned_scores` returned: angles in degrees, the same
    for all models, to positions (M, 2).
    """
    angles = list(next(iter(models.values()), ()))
    if not angles:
        raise ValueError("give a model with at least one angle: scores from turned_scores")
    if odd := [name for name, scores in models.items() if list(scores) != angles]:
        raise ValueError(f"{odd[0]!r} has other angles than the first model: give all the same")
    heights, told = [], []
    for model, scores in models.items():
        reach = 1.05 * max(float(np.abs(places).max()) for places in scores.values()) or 1.0
        heights.append([_heights(places.T, -reach, reach) for places in scores.values()])
        told.append([
            f"{model}, {angle:g}°: {names[0]} lies further along in "
            f"{np.mean(places[:, 0] > places[:, 1]):.0%} of {len(places)} pairs"
            for angle, places in scores.items()
        ])  # fmt: skip
    data = {"heights": heights, "summary": told}
    html = live_html.CLOUDS.render(
        data=as_json(data), d=data, names=names, models=list(models), angles=angles, bins=_BINS,
        still=sorted({0, len(angles) // 2, len(angles) - 1}),
    )  # fmt: skip
    return Live(html, f"{len(angles)} angles of {', '.join(models)}")


def pick(
    embeddings: np.ndarray,
    pairs: Benchmark | Sequence,
    cosines: Mapping[str, Sequence[float]],
    shown: int = 8,
) -> Live:
    """Choose two images, and see where their cosine lies among those of others.

    Parameters
    ----------
    embeddings : numpy.ndarray, shape (N, 2, D)
        Unit vectors of both images of `pairs`; the first `shown` pairs can be chosen.
    cosines : mapping of str to sequence of float
        One or two groups to draw as histograms.
    """
    chosen = list(pairs)[:shown]
    if len(chosen) > len(embeddings) or not 1 <= len(cosines) <= 2:
        raise ValueError("give embeddings of every pair, and one or two groups of cosines")
    rows = np.asarray(embeddings, np.float64)[: len(chosen)].reshape(2 * len(chosen), -1)
    groups = [np.asarray(values, float) for values in cosines.values()]
    lowest = min(float(values.min()) for values in groups)
    low = min(float(np.floor(20 * lowest)) / 20, 0.95)
    columns = 4
    data = {
        "cosines": (rows @ rows.T).clip(-1, 1).round(5).tolist(),
        "names": [caption for pair in chosen for caption in pair.captions],
        "low": low,
        "start": [0, 1],
    }
    first = data["cosines"][0][1]
    html = live_html.PICK.render(
        data=as_json(data), d=data, heights=_heights(groups, low, 1.0), bins=_BINS,
        names=list(cosines), sheet=address(sheet_of(chosen, columns), 75), columns=columns,
        rows=-(-2 * len(chosen) // columns), place=round(100 * (first - low) / (1 - low), 2),
        told=f"Cosine {first:.4f}: {data['names'][0]}, and {data['names'][1]}",
    )  # fmt: skip
    return Live(html, f"{2 * len(chosen)} images")


def _heights(groups: Sequence[np.ndarray], low: float, high: float) -> list[list[float]]:
    """Histograms of groups; the highest bar of each is 96 of 100 high."""
    counts = [np.histogram(np.clip(g, low, high), bins=_BINS, range=(low, high))[0] for g in groups]
    return [[round(float(c), 1) for c in 96 * count / max(1, count.max())] for count in counts]
