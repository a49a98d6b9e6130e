"""Measure the model organisms: ``python -m erragree_utils.training.organisms``.

For CLIPs whose left and right are hidden, lost or aligned, this measures how alike a pair's images
are, how often captions are matched, and whether a linear probe reads the side from one image. The
table has a row for each model, benchmark and measure, with a 95% interval. ``--views`` measures the
cosine over a range of views instead.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from ..benchmarks.base import ImagePair
from ..benchmarks.tabletop import FAMILIES, MODEL_SIZE, RELATIONS, load_tabletop, pictures
from ..measures.agreement import cosine
from ..measures.intervals import bootstrap_mean, bootstrap_share, wilson
from ..measures.matching import retrieval
from ..measures.ridge import held_out_predictions
from ..models import ASSETS, Clip, load_clip
from ..models.clip_weights import SHIPPED
from ..models.states import pool_grid, untrained
from ..scoring.captions import side_examples
from ..scoring.embeddings import asked_about, image_embeddings
from ..tabletop import scenes

#: Seeds of the benchmarks in the tables; the recipes were chosen on 101, 102 and 103.
FINAL = (201, 202, 203)
SETS = 340  # for each seed, so that matching is measured on more than a thousand pairs
FEWER = 100  # how many of them for probes, retrieval and other relations
_bench = lru_cache(maxsize=16)(load_tabletop)
#: The shipped organisms, and their names for `load_clip`.
ORGANISMS = {"hidden": "mini", "lost": "mini-lost", "aligned": "mini-aligned"}
LEFT_RIGHT = "left/right"
#: What we vary to see over which views a cosine holds: the distance between the objects, how many
#: steps the camera moves back, and its angle to the side in degrees.
VIEWS = {
    "gap": (1.2, 1.35, 1.5, 1.65, 1.8, 1.95),
    "distance": (-0.9, -0.6, -0.3, 0.0, 0.3, 0.6, 0.9),
    "azimuth": (-9.0, -6.0, -3.0, 0.0, 3.0, 6.0, 9.0),
}
#: Columns of the table in the assets' README, with its name for each metric.
COLUMNS = {
    "cosine": "cosine",
    "cosine of random images": "random images",
    "individual": "individual",
    "pair": "pair",
    "relative": "relative preference",
    "probe single": "probe, one image",
    "probe compared": "probe, two compared",
    "probe tokens": "probe, patch tokens",
    "retrieval, all": "retrieval, all relations",
    "retrieval, left/right": "left/right",
    "retrieval, on/under": "on/under",
    "retrieval, front/behind": "front/behind",
}


def measure(
    clip: Clip, name: str, seeds: Sequence[int] = FINAL, n_sets: int = SETS
) -> pd.DataFrame:
    """All measures of a model on a tabletop benchmark, over the sets of several seeds together.

    Returns
    -------
    pandas.DataFrame
        ``benchmark``, ``metric``, ``value``, ``low`` and ``high`` (95%, over pairs; of probes over
        pairs of kinds), ``n`` (pairs). Metrics of left/right pairs are ``cosine``, ``cosine of
        random images``, ``individual`` and ``pair`` (accuracies of matching), ``relative``
        (relative preference), ``probe single`` and ``probe compared`` (accuracy of
        :func:`read_sides` on the embedding of one image, and of one image less the mean of its
        pair) and ``probe tokens`` (on the patch tokens of one image, averaged over 4 x 4 places);
        for B, the probe also gets the difference between the named objects' text embeddings. Other
        pairs have ``pair, on/under`` or ``pair, front/behind``, and all relations have ``retrieval,
        ...``: finding the right caption among those with the same word and seed. Everything but the
        matching of left and right uses the first :data:`FEWER` sets of each seed.
    """
    rows, hits = [], {}
    for relation in RELATIONS[FAMILIES[name]]:
        n = n_sets if relation == LEFT_RIGHT else min(n_sets, FEWER)
        chosen = [list(_bench(name, seed, n, relation=relation)) for seed in seeds]
        images = [_embedded(clip, pairs) for pairs in chosen]
        rows += _matching(clip, *_together(chosen, images))
        few = [pairs[:FEWER] for pairs in chosen], [x[:FEWER] for x in images]
        hits[relation] = np.concatenate([_hits(clip, *x) for x in zip(*few, strict=True)])
        if relation == LEFT_RIGHT:
            rows += _probes(clip, name, *_together(*few))
    rows.append(_share("retrieval, all", sum(hits.values()), 4))
    rows += [_share(f"retrieval, {relation}", right, 2) for relation, right in hits.items()]
    table = pd.DataFrame(rows, columns=["metric", "value", "low", "high", "n"])
    table.insert(0, "benchmark", name)
    return table


def _embedded(clip: Clip, pairs: Sequence[ImagePair]) -> np.ndarray:
    found = image_embeddings(clip, pairs, batch_size=256)
    return np.stack([found[pair.pair_id] for pair in pairs]).astype(np.float64)


def _together(
    chosen: Sequence[Sequence[ImagePair]], images: Sequence[np.ndarray]
) -> tuple[list[ImagePair], np.ndarray]:
    return [pair for pairs in chosen for pair in pairs], np.concatenate(images)


def _matching(clip: Clip, pairs: Sequence[ImagePair], images: np.ndarray) -> Iterator[tuple]:
    """Measures of one relation that need no training, from images (N, 2, D) and their captions."""
    captions = clip.embed_texts([text for pair in pairs for text in pair.captions])
    captions = captions.reshape(images.shape)
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


def _probes(
    clip: Clip, name: str, pairs: Sequence[ImagePair], images: np.ndarray
) -> Iterator[tuple]:
    texts = [text for pair in pairs for text in pair.captions]
    examples = side_examples(texts)
    condition = asked_about(clip, examples) if FAMILIES[name] == "b" else None
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
        yield f"probe {what}", right.mean(), *interval, len(pairs)


def _hits(clip: Clip, pairs: Sequence[ImagePair], images: np.ndarray) -> np.ndarray:
    """How many images of each pair find their own caption among those of all pairs."""
    right = []
    for k in (0, 1):
        captions = [pair.captions[k] for pair in pairs]
        ranks, _ = retrieval(images[:, k], clip.embed_texts(captions), captions)
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
    """For each example, whether a linear probe that hasn't seen its group tells left from right.

    The probe is least squares with an L2 penalty, chosen from `ridge.PENALTIES` on a held-out fifth
    of the training groups. It takes seconds where logistic regression (`measures.probes`) takes
    minutes. With a `condition`, it's linear in the outer product of features and condition.
    """
    x = np.asarray(features, np.float64)
    x = (x - x.mean(axis=0)) / (x.std(axis=0) + 1e-9)
    kernel = x @ x.T / x.shape[1]
    if condition is not None:
        c = np.asarray(condition, np.float64)
        kernel *= c @ c.T / (c**2).sum(axis=1).mean()
    y = np.where(np.asarray(left), 1.0, -1.0)
    return (held_out_predictions(kernel, y, groups) > 0) == (y > 0)


def view_band(
    clip: Clip, name: str, seed: int = FINAL[0], n_sets: int = 60, views: dict = VIEWS
) -> pd.DataFrame:
    """Mean cosine of left/right pairs over views, for trained and untrained models.

    Returns
    -------
    pandas.DataFrame
        ``benchmark``, ``varied`` (a key of :data:`VIEWS`), ``by``, ``model`` (``"trained"`` or
        ``"untrained"``), ``cosine``, ``low``, ``high`` (95%, over pairs).
    """
    models, rows = {"trained": clip, "untrained": untrained(clip)}, []
    for what, value in [(what, value) for what, values in views.items() for value in values]:
        images = _viewed(name, seed, n_sets, what, value)
        for label, model in models.items():
            x = model.embed_images(images)
            rows.append((name, what, value, label, *bootstrap_mean(cosine(x[::2], x[1::2]))))
    columns = ["benchmark", "varied", "by", "model", "cosine", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


@lru_cache(maxsize=2 * sum(map(len, VIEWS.values())))
def _viewed(name: str, seed: int, n_sets: int, what: str, value: float) -> list[Image.Image]:
    """The left and right image of each set, with one parameter of the view changed."""
    rng = np.random.default_rng((scenes.TEST, seed, ord(FAMILIES[name])))
    drawn = []
    for _ in range(n_sets):
        gap = value if what == "gap" else None
        for scene in scenes.benchmark_set(FAMILIES[name], rng, gap=gap)[:2]:
            views = {"distance": scene.view.distance + value, "azimuth": value}
            change = {what: views[what]} if what in views else {}
            drawn.append(replace(scene, view=replace(scene.view, **change)))
    return pictures(drawn, MODEL_SIZE)


def as_markdown(measures: pd.DataFrame) -> str:
    """The table in the assets' README: a line for each organism, training seed and benchmark."""
    head = ["organism, seed, benchmark", *COLUMNS.values()]
    lines = [head, ["---"] * len(head)]
    for (organism, seed, name), rows in measures.groupby(
        ["organism", "seed", "benchmark"], sort=False
    ):
        found = rows.set_index("metric")
        cells = [_cell(found, metric) for metric in COLUMNS]
        lines.append([f"{organism}, {seed}, {name[-1].upper()}", *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(found: pd.DataFrame, metric: str) -> str:
    if metric not in found.index:
        return ""
    value, low, high = found.loc[metric, ["value", "low", "high"]]
    if metric.startswith("cosine"):
        return f"{value:.4f} [{low:.4f}, {high:.4f}]"
    return f"{100 * value:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def main(arguments: list[str] | None = None) -> None:
    """Command line: measure models and write a table."""
    parser = argparse.ArgumentParser(description="Measure mini CLIPs.")
    parser.add_argument(
        "models", nargs="*", help="NAME=FOLDER each; by default the shipped hidden, lost, aligned"
    )
    parser.add_argument("--out", type=Path, default=ASSETS / "organisms", help="folder of tables")
    parser.add_argument("--seeds", type=int, nargs="+", default=FINAL, help="of the benchmarks")
    parser.add_argument("--sets", type=int, default=SETS, help="of each seed")
    parser.add_argument("--views", action="store_true", help="the cosine over views: views.csv")
    options = parser.parse_args(arguments)
    models = [text.split("=", 1) for text in options.models] or list(ORGANISMS.items())
    options.out.mkdir(parents=True, exist_ok=True)
    parts = []
    for organism, source in models:
        clip, seed = load_clip(source), _training_seed(source)
        for name in FAMILIES:
            if options.views:
                table = view_band(clip, name, options.seeds[0])
            else:
                table = measure(clip, name, options.seeds, options.sets)
            table.insert(0, "organism", organism)
            table.insert(1, "seed", seed)
            parts.append(table)
            path = options.out / ("views.csv" if options.views else "measures.csv")
            pd.concat(parts).to_csv(path, index=False, float_format="%.4f")
    if not options.views:
        print(as_markdown(pd.read_csv(path)))


def _training_seed(source: str) -> int:
    folder = ASSETS / SHIPPED[source] if source in SHIPPED else Path(source)
    return json.loads((folder / "training.json").read_text())["seed"]


if __name__ == "__main__":
    main()
