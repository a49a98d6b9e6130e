"""Measure the model organisms: ``python -m erragree_utils.training.organisms``.

CLIPs whose left and right are hidden, lost or aligned: how alike a pair's images are, whether
captions are matched, whether a linear probe reads the side from one image. A row for each model,
benchmark and measure, with a 95% interval.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from .. import load_clip
from ..benchmarks.base import Benchmark
from ..benchmarks.tabletop import FAMILIES, MODEL_SIZE, load_tabletop
from ..measures.agreement import cosine
from ..measures.intervals import bootstrap_mean, bootstrap_share, wilson
from ..measures.matching import retrieval
from ..models import ASSETS, Clip
from ..models.states import pool_grid, untrained
from ..scoring.captions import side_examples
from ..scoring.embeddings import image_embeddings
from ..tabletop import render, scenes

#: Seeds of the benchmarks on which the recipes were chosen, and those that the tables show.
DEVELOPMENT, FINAL = (101, 102, 103), (201, 202, 203)
ORGANISMS = ("hidden", "lost", "aligned")
LEFT_RIGHT = "left/right"
RETRIEVAL_SETS = 100
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
#: What is varied to see over which views a cosine holds: distance between the things, steps of the
#: camera away from the benchmark's place, and its angle to the side in degrees.
VIEWS = {
    "gap": (1.2, 1.35, 1.5, 1.65, 1.8, 1.95),
    "distance": (-0.9, -0.6, -0.3, 0.0, 0.3, 0.6, 0.9),
    "azimuth": (-9.0, -6.0, -3.0, 0.0, 3.0, 6.0, 9.0),
}


def measure(clip: Clip, name: str, seeds: Sequence[int] = FINAL, n_sets: int = 300) -> pd.DataFrame:
    """All measures of a model on a tabletop benchmark, the sets of several seeds taken together.

    Returns
    -------
    pandas.DataFrame
        ``benchmark``, ``metric``, ``value``, ``low`` and ``high`` (95%, over pairs; of probes over
        pairs of kinds), ``n`` (pairs). Metrics of left/right pairs are ``cosine``, ``cosine of
        random images``, ``individual`` and ``pair`` (accuracies of matching), ``relative``
        (relative preference), ``probe single`` and ``probe compared`` (accuracy of
        :func:`read_sides` on the embedding of one image, and of one image less the mean of its
        pair) and ``probe tokens`` (on the patch tokens of one image, averaged over 4 x 4 places);
        for B it is told the difference of the named things' text embeddings. Of other pairs
        ``pair, on/under`` or ``pair, front/behind``; of all relations ``retrieval, ...``, the right
        caption among those of :data:`RETRIEVAL_SETS` sets.
    """
    benches = [_bench(name, seed, n_sets) for seed in seeds]
    seen = [image_embeddings(clip, bench, batch_size=256) for bench in benches]
    table = pd.DataFrame(
        [*_pairs(clip, name, benches, seen), *_found(clip, benches, seen)],
        columns=["metric", "value", "low", "high", "n"],
    )
    table.insert(0, "benchmark", name)
    return table


@lru_cache(maxsize=8)
def _bench(name: str, seed: int, n_sets: int) -> Benchmark:
    return load_tabletop(name, seed, n_sets)


def view_band(
    clip: Clip, name: str, seed: int = FINAL[0], n_sets: int = 60, views: dict | None = None
) -> pd.DataFrame:
    """Mean cosine of left/right pairs over views, trained and untrained.

    Returns
    -------
    pandas.DataFrame
        ``benchmark``, ``varied`` (a key of :data:`VIEWS`), ``by``, ``model`` (``"trained"`` or
        ``"untrained"``), ``cosine``, ``low``, ``high`` (95%, over pairs).
    """
    blank, rows = untrained(clip), []
    for what, values in (VIEWS if views is None else views).items():
        for value in values:
            pictures = render.render_many(_seen(name, seed, n_sets, what, value), MODEL_SIZE)
            images = [Image.fromarray(picture) for picture in pictures]
            for label, model in (("trained", clip), ("untrained", blank)):
                x = model.embed_images(images)
                mean = bootstrap_mean(cosine(x[::2], x[1::2]))
                rows.append((name, what, value, label, *mean))
    columns = ["benchmark", "varied", "by", "model", "cosine", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


def _seen(name: str, seed: int, n_sets: int, what: str, value: float) -> Iterator[scenes.Scene]:
    """Left and right scenes of each set, one respect of the view changed."""
    family = FAMILIES[name]
    rng = np.random.default_rng((scenes.TEST, seed, ord(family)))
    for _ in range(n_sets):
        four = scenes.benchmark_set(family, rng, gap=value if what == "gap" else None)
        for scene in four[:2]:
            view = scene.view
            if what == "distance":
                view = replace(view, distance=view.distance + value)
            elif what == "azimuth":
                view = replace(view, azimuth=value)
            yield replace(scene, view=view)


def _pairs(
    clip: Clip, name: str, benches: list[Benchmark], seen: list[dict[str, np.ndarray]]
) -> Iterator[tuple]:
    for relation in dict.fromkeys(pair.relation for pair in benches[0]):
        chosen = [bench.select(relation) for bench in benches]
        texts = [text for bench in chosen for pair in bench for text in pair.captions]
        x = np.concatenate([
            found[pair.pair_id] for bench, found in zip(chosen, seen, strict=True) for pair in bench
        ])  # fmt: skip
        told, x = clip.embed_texts(texts), x.astype(np.float64)
        images, captions = (z.reshape(len(texts) // 2, 2, -1) for z in (x, told))
        margins = np.einsum("nid,nd->ni", images, captions[:, 0] - captions[:, 1])
        right = np.stack([margins[:, 0] > 0, margins[:, 1] < 0], axis=1)
        n, both = len(right), right.all(axis=1).mean()
        if relation != LEFT_RIGHT:
            yield f"pair, {relation}", both, *wilson(both, n), n
            continue
        yield "cosine", *bootstrap_mean(cosine(images[:, 0], images[:, 1])), n
        others = cosine(images[:, 0], np.roll(images[:, 0], 1, axis=0))
        yield "cosine of random images", *bootstrap_mean(others), n
        each = bootstrap_share(right.sum(axis=1), np.full(n, 2))
        yield "individual", right.mean(), *each, n
        yield "pair", both, *wilson(both, n), n
        preferred = (margins[:, 0] > margins[:, 1]).mean()
        yield "relative", preferred, *wilson(preferred, n), n
        pictures = [image for bench in chosen for pair in bench for image in pair.images]
        yield from _probes(clip, name, images, clip.patch_tokens(pictures), texts)


def _probes(
    clip: Clip, name: str, images: np.ndarray, tokens: np.ndarray, texts: list[str]
) -> Iterator[tuple]:
    examples = side_examples(texts)
    asked = None
    if FAMILIES[name] == "b":
        named, other = (
            clip.embed_texts([f"a {thing}" for thing in examples[column]])
            for column in ("named", "other")
        )
        asked = named - other
    centred = images - images.mean(axis=1, keepdims=True)
    found = {"single": images, "compared": centred, "tokens": pool_grid(4)(tokens)}
    for what, features in found.items():
        flat = features.reshape(len(texts), -1)
        right = read_sides(flat, examples["side"] == "left", examples["group"], asked)
        _, number = np.unique(examples["group"], return_inverse=True)
        found = bootstrap_share(np.bincount(number, right).astype(int), np.bincount(number))
        yield f"probe {what}", right.mean(), *found, len(images)


def read_sides(
    features: np.ndarray,
    left: Sequence[bool],
    groups: Sequence,
    condition: np.ndarray | None = None,
    folds: int = 5,
) -> np.ndarray:
    """Whether a linear probe tells left from right, for each example, on groups it did not see.

    Least squares with an L2 penalty, chosen among :data:`PENALTIES` on a held-out fifth of the
    training groups; it takes seconds where logistic regression (`erragree_utils.probes`) takes
    minutes. With a `condition` it is linear in the outer product of features and condition.
    """
    x = np.asarray(features, np.float64)
    x = (x - x.mean(axis=0)) / (x.std(axis=0) + 1e-9)
    kernel = x @ x.T / x.shape[1]
    if condition is not None:
        asked = np.asarray(condition, np.float64)
        kernel *= asked @ asked.T / (asked**2).sum(axis=1).mean()
    y = np.where(np.asarray(left), 1.0, -1.0)
    names, number = np.unique(np.asarray(groups), return_inverse=True)
    fold = np.random.default_rng(0).permutation(np.arange(len(names)) % folds)[number]

    def predict(train: np.ndarray, test: np.ndarray, penalty: float) -> np.ndarray:
        inner = kernel[np.ix_(train, train)] + penalty * np.eye(len(train))
        return kernel[np.ix_(test, train)] @ np.linalg.solve(inner, y[train])

    right = np.zeros(len(y), bool)
    for k in range(folds):
        train, test = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        held = fold[train] == (k + 1) % folds
        fit, check = train[~held], train[held]
        errors = [((predict(fit, check, c) - y[check]) ** 2).mean() for c in PENALTIES]
        best = PENALTIES[int(np.argmin(errors))]
        right[test] = (predict(train, test, best) > 0) == (y[test] > 0)
    return right


def _found(clip: Clip, benches: list[Benchmark], seen: list[dict[str, np.ndarray]]) -> list[tuple]:
    """Retrieval among the first sets of each benchmark: by set, how many images find their own."""
    hits: dict[str, list[np.ndarray]] = defaultdict(list)
    for bench, found in zip(benches, seen, strict=True):
        for relation in dict.fromkeys(pair.relation for pair in bench):
            pairs = list(bench.select(relation))[:RETRIEVAL_SETS]
            each = []
            for k in (0, 1):
                captions = [pair.captions[k] for pair in pairs]
                images = np.stack([found[pair.pair_id][k] for pair in pairs])
                ranks, _ = retrieval(images, clip.embed_texts(captions), captions)
                each.append(ranks == 1)
            hits[relation].append(np.sum(each, axis=0))
    rows, everything = [], []
    for relation, parts in hits.items():
        right = np.concatenate(parts)
        everything.append(right)
        rows.append(_share(f"retrieval, {relation}", right, 2))
    return [_share("retrieval, all", np.sum(everything, axis=0), 4), *rows]


def _share(metric: str, right: np.ndarray, of: int) -> tuple:
    share = bootstrap_share(right.astype(int), np.full(len(right), of))
    return metric, right.mean() / of, *share, len(right)


def main(arguments: list[str] | None = None) -> None:
    """Command line: measure models and write the tables."""
    parser = argparse.ArgumentParser(description="Measure mini CLIPs.")
    parser.add_argument(
        "models", nargs="*", help="NAME=FOLDER each; by default the shipped hidden, lost, aligned"
    )
    parser.add_argument("--out", type=Path, default=ASSETS / "organisms", help="folder of tables")
    parser.add_argument("--seeds", type=int, nargs="+", default=FINAL, help="of the benchmarks")
    parser.add_argument("--sets", type=int, default=300, help="of each seed")
    parser.add_argument("--views", nargs="*", help="models whose cosine is taken over views; all")
    options = parser.parse_args(arguments)
    models = dict(text.split("=", 1) for text in options.models)
    models = models or {name: f"mini-{name}" for name in ORGANISMS}
    options.out.mkdir(parents=True, exist_ok=True)
    tables: list[pd.DataFrame] = []
    bands: list[pd.DataFrame] = []
    for label, source in models.items():
        clip = load_clip(source)
        for name in FAMILIES:
            tables.append(measure(clip, name, options.seeds, options.sets).assign(model=label))
            if options.views is None or label in options.views:
                bands.append(view_band(clip, name, options.seeds[0]).assign(organism=label))
        for file, found in (("measures", tables), ("views", bands)):
            if found:
                table = pd.concat(found)
                table.to_csv(options.out / f"{file}.csv", index=False, float_format="%.4f")


if __name__ == "__main__":
    main()
