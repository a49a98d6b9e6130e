"""Measure the model organisms: ``python -m erragree_utils.training.organisms``.

CLIPs whose left and right are hidden, lost or aligned: how alike a pair's images are, whether
captions are matched, whether a linear probe reads the side from one image. A row for each model,
benchmark and measure, with a 95% interval.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from ..benchmarks.base import ImagePair
from ..benchmarks.tabletop import FAMILIES, MODEL_SIZE, load_tabletop
from ..measures.agreement import cosine
from ..measures.intervals import bootstrap_mean, bootstrap_share, wilson
from ..measures.matching import retrieval
from ..models import ASSETS, Clip, load_clip
from ..models.states import pool_grid, untrained
from ..scoring.captions import side_examples
from ..scoring.embeddings import image_embeddings
from ..tabletop import render, scenes

#: Seeds of the benchmarks that the tables show; the recipes were chosen on 101, 102 and 103.
FINAL = (201, 202, 203)
_bench = lru_cache(maxsize=8)(load_tabletop)
#: The shipped organisms, and what `load_clip` calls them.
ORGANISMS = {"hidden": "mini", "lost": "mini-lost", "aligned": "mini-aligned"}
LEFT_RIGHT = "left/right"
RETRIEVAL_SETS = 100
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
FOLDS = 5
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
        for B it also gets the difference of the named things' text embeddings. Of other pairs
        ``pair, on/under`` or ``pair, front/behind``; of all relations ``retrieval, ...``, the right
        caption among those of :data:`RETRIEVAL_SETS` sets.
    """
    benches = [_bench(name, seed, n_sets) for seed in seeds]
    seen = [image_embeddings(clip, bench, batch_size=256) for bench in benches]
    rows, hits = [], {}
    for relation in dict.fromkeys(pair.relation for pair in benches[0]):
        chosen = [list(bench.select(relation)) for bench in benches]
        images = [
            np.stack([embedded[pair.pair_id] for pair in pairs])
            for pairs, embedded in zip(chosen, seen, strict=True)
        ]
        hits[relation] = np.concatenate([_hits(clip, *x) for x in zip(chosen, images, strict=True)])
        pairs = [pair for pairs in chosen for pair in pairs]
        rows += _pairs(clip, name, pairs, np.concatenate(images).astype(np.float64))
    rows.append(_share("retrieval, all", sum(hits.values()), 4))
    rows += [_share(f"retrieval, {relation}", right, 2) for relation, right in hits.items()]
    table = pd.DataFrame(rows, columns=["metric", "value", "low", "high", "n"])
    table.insert(0, "benchmark", name)
    return table


def _pairs(
    clip: Clip, name: str, pairs: Sequence[ImagePair], images: np.ndarray
) -> Iterator[tuple]:
    """The measures of pairs of one relation, of whose images (N, 2, D) are the embeddings."""
    texts = [text for pair in pairs for text in pair.captions]
    captions = clip.embed_texts(texts).reshape(images.shape)
    margins = np.einsum("nid,nd->ni", images, captions[:, 0] - captions[:, 1])
    right = np.stack([margins[:, 0] > 0, margins[:, 1] < 0], axis=1)
    n, both = len(right), right.all(axis=1).mean()
    relation = pairs[0].relation
    if relation != LEFT_RIGHT:
        yield f"pair, {relation}", both, *wilson(both, n), n
        return
    yield "cosine", *bootstrap_mean(cosine(images[:, 0], images[:, 1])), n
    others = cosine(images[:, 0], np.roll(images[:, 0], 1, axis=0))
    yield "cosine of random images", *bootstrap_mean(others), n
    yield _share("individual", right.sum(axis=1), 2)
    yield "pair", both, *wilson(both, n), n
    preferred = (margins[:, 0] > margins[:, 1]).mean()
    yield "relative", preferred, *wilson(preferred, n), n
    examples, condition = side_examples(texts), None
    if FAMILIES[name] == "b":
        named, other = (
            clip.embed_texts([f"a {thing}" for thing in examples[column]])
            for column in ("named", "other")
        )
        condition = named - other
    tokens = clip.patch_tokens([image for pair in pairs for image in pair.images])
    _, group = np.unique(examples["group"], return_inverse=True)
    for what, features in {
        "single": images,
        "compared": images - images.mean(axis=1, keepdims=True),
        "tokens": pool_grid(4)(tokens),
    }.items():
        flat = features.reshape(len(texts), -1)
        right = read_sides(flat, examples["side"] == "left", group, condition)
        interval = bootstrap_share(np.bincount(group, right).astype(int), np.bincount(group))
        yield f"probe {what}", right.mean(), *interval, n


def _hits(clip: Clip, pairs: Sequence[ImagePair], images: np.ndarray) -> np.ndarray:
    """How many images of each of the first pairs find their caption among those of all of them."""
    right = []
    for k in (0, 1):
        captions = [pair.captions[k] for pair in pairs[:RETRIEVAL_SETS]]
        texts = clip.embed_texts(captions)
        ranks, _ = retrieval(images[:RETRIEVAL_SETS, k], texts, captions)
        right.append(ranks == 1)
    return np.sum(right, axis=0)


def _share(metric: str, right: np.ndarray, of: int) -> tuple:
    share = bootstrap_share(right.astype(int), np.full(len(right), of))
    return metric, right.mean() / of, *share, len(right)


def read_sides(
    features: np.ndarray,
    left: Sequence[bool],
    groups: Sequence,
    condition: np.ndarray | None = None,
) -> np.ndarray:
    """Whether a linear probe tells left from right, for each example, on groups it did not see.

    Least squares with an L2 penalty, chosen among :data:`PENALTIES` on a held-out fifth of the
    training groups; it takes seconds where logistic regression (`measures.probes`) takes minutes.
    With a `condition` it is linear in the outer product of features and condition.
    """
    x = np.asarray(features, np.float64)
    x = (x - x.mean(axis=0)) / (x.std(axis=0) + 1e-9)
    kernel = x @ x.T / x.shape[1]
    if condition is not None:
        c = np.asarray(condition, np.float64)
        kernel *= c @ c.T / (c**2).sum(axis=1).mean()
    y = np.where(np.asarray(left), 1.0, -1.0)
    names, number = np.unique(np.asarray(groups), return_inverse=True)
    fold = np.random.default_rng(0).permutation(np.arange(len(names)) % FOLDS)[number]

    def predict(train: np.ndarray, test: np.ndarray, penalty: float) -> np.ndarray:
        inner = kernel[np.ix_(train, train)] + penalty * np.eye(len(train))
        return kernel[np.ix_(test, train)] @ np.linalg.solve(inner, y[train])

    right = np.zeros(len(y), bool)
    for k in range(FOLDS):
        train, test = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        held = fold[train] == (k + 1) % FOLDS
        fit, check = train[~held], train[held]
        errors = [((predict(fit, check, c) - y[check]) ** 2).mean() for c in PENALTIES]
        best = PENALTIES[int(np.argmin(errors))]
        right[test] = (predict(train, test, best) > 0) == (y[test] > 0)
    return right


def view_band(
    clip: Clip, name: str, seed: int = FINAL[0], n_sets: int = 60, views: dict = VIEWS
) -> pd.DataFrame:
    """Mean cosine of left/right pairs over views, trained and untrained.

    Returns
    -------
    pandas.DataFrame
        ``benchmark``, ``varied`` (a key of :data:`VIEWS`), ``by``, ``model`` (``"trained"`` or
        ``"untrained"``), ``cosine``, ``low``, ``high`` (95%, over pairs).
    """
    models, rows = {"trained": clip, "untrained": untrained(clip)}, []
    for what, value in [(what, value) for what, values in views.items() for value in values]:
        pictures = render.render_many(_viewed(name, seed, n_sets, what, value), MODEL_SIZE)
        images = [Image.fromarray(picture) for picture in pictures]
        for label, model in models.items():
            x = model.embed_images(images)
            rows.append((name, what, value, label, *bootstrap_mean(cosine(x[::2], x[1::2]))))
    columns = ["benchmark", "varied", "by", "model", "cosine", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


def _viewed(name: str, seed: int, n_sets: int, what: str, value: float) -> Iterator[scenes.Scene]:
    """Left and right scenes of each set, one respect of the view changed."""
    rng = np.random.default_rng((scenes.TEST, seed, ord(FAMILIES[name])))
    for _ in range(n_sets):
        gap = value if what == "gap" else None
        for scene in scenes.benchmark_set(FAMILIES[name], rng, gap=gap)[:2]:
            views = {"distance": scene.view.distance + value, "azimuth": value}
            change = {what: views[what]} if what in views else {}
            yield replace(scene, view=replace(scene.view, **change))


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
    models = models or ORGANISMS
    options.out.mkdir(parents=True, exist_ok=True)
    tables: dict[str, list[pd.DataFrame]] = {"measures": [], "views": []}
    for label, source in models.items():
        clip = load_clip(source)
        for name in FAMILIES:
            rows = measure(clip, name, options.seeds, options.sets)
            tables["measures"].append(rows.assign(model=label))
            if options.views is None or label in options.views:
                rows = view_band(clip, name, options.seeds[0])
                tables["views"].append(rows.assign(organism=label))
        for file, parts in tables.items():
            if parts:
                path = options.out / f"{file}.csv"
                pd.concat(parts).to_csv(path, index=False, float_format="%.4f")


if __name__ == "__main__":
    main()
