"""Measure mini LLaVAs: ``python -m erragree_utils.training.readers NAME=FOLDER ...``.

These readers share one frozen tower, but their tuning differs: in how imbalanced the answers were,
how much text had no image, whether prompts had two images, and whether any text said which of two
objects is to the left. The table has a row for each model, benchmark and method, with a 95%
interval. A second table holds, for each pair of one draw, what a contrast acts on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import pandas as pd

from ..benchmarks import load_benchmark
from ..decoding import M3ID, TextContrast
from ..measures.accuracy import summarize
from ..measures.decisions import prefer
from ..models import ASSETS
from ..models.mllm import Mllm, load_mllm
from ..scoring.methods import Answer, BothImages, Options, VQAScore
from ..scoring.questions import RELATION_QUESTION
from ..scoring.scores import score
from ..tabletop.forms import FORMS

#: Seeds of the benchmarks in the table.
FINAL = (301, 302, 303)
#: Training settings in which the readers differ.
VARIED = ("imbalance", "text_only", "two_images", "left_right", "seed", "data_seed")
ALWAYS = M3ID(threshold=1.0)
#: Contrasts for scoring options; all are against no image, so they share a pass.
CONTRASTS = {"m3id": M3ID(), "m3id-always": ALWAYS, "text-contrast": TextContrast()}
#: Methods for written answers in any form.
WRITTEN = {
    "greedy": Answer(),
    "m3id": Answer(contrast=M3ID()),
    "m3id-always": Answer(contrast=ALWAYS),
    "text-contrast": Answer(contrast=TextContrast()),
}
COLUMNS = ["benchmark", "seed", "group", "method", "measure", "value", "low", "high", "n"]
#: Of the second table: a pair's place in its draw, its pattern, and three numbers in nats.
PAIR_COLUMNS = ["seed", "pair_id", "relation", "signal", "bias", "prior"]
_bench = lru_cache(maxsize=32)(load_benchmark)


def measure_patterns(mllm: Mllm, seed: int, n_pairs: int = 40) -> pd.DataFrame:
    """Pair accuracy by scoring options on one draw of ``tabletop-mmvp``, not mined.

    Returns
    -------
    pandas.DataFrame
        :data:`COLUMNS`: ``benchmark``, ``seed``; ``group``, ``"all"`` or a pattern; ``method``;
        ``measure``; ``value`` with ``low`` and ``high`` (95%); ``n``, pairs. Measures are ``pair``
        and ``individual`` (accuracies), ``relative`` (relative preference, for the method
        ``"options"``) and energies in squared nats: ``bias energy``, the mean square of a pair's
        bias, and ``residual energy``, what is left after subtracting the preference without an
        image, as the method does.
    """
    bench = _bench("tabletop-mmvp", seed=seed, n_pairs=n_pairs, mined=False)
    methods = {"options": Options()}
    methods |= {name: Options(contrast=contrast) for name, contrast in CONTRASTS.items()}
    scores = score(mllm, bench, methods | {"blind": Options(blind=True)})
    tables = dict(list(scores.groupby("method", sort=False)))
    prior = prefer(tables.pop("blind"))["preference_0"].to_numpy()
    preferred = prefer(tables["options"])
    rows = []
    for method, table in tables.items():
        rows += _accuracies(table, seed, method)
        if method != "m3id":  # its threshold leaves some answers unchanged
            rows.append(_residual(preferred, prior, seed, method))
    kept = summarize(preferred)
    rows += [
        ("tabletop-mmvp", seed, group, "options", "relative", *_interval(row, "relative"))
        for group, row in (*kept.iterrows(), *summarize(preferred, "relation").iterrows())
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def measure_pairs(mllm: Mllm, seed: int, n_pairs: int = 40) -> pd.DataFrame:
    """Signal, bias and prior of each pair of one draw of ``tabletop-mmvp``, not mined.

    Returns
    -------
    pandas.DataFrame
        :data:`PAIR_COLUMNS`; ``prior`` is the preference without an image. All in nats.
    """
    bench = _bench("tabletop-mmvp", seed=seed, n_pairs=n_pairs, mined=False)
    scores = score(mllm, bench, {"options": Options(), "blind": Options(blind=True)})
    tables = {name: prefer(table) for name, table in scores.groupby("method")}
    prior = tables["blind"].set_index("pair_id")["bias"].rename("prior")
    return tables["options"].join(prior, on="pair_id").assign(seed=seed)[PAIR_COLUMNS]


def _residual(preferred: pd.DataFrame, prior, seed: int, method: str) -> tuple:
    """The mean square of the bias minus the share of the prior that a method subtracts."""
    weight = {"options": 0.0, "m3id-always": ALWAYS.weight(1)}.get(method, TextContrast().strength)
    left = (preferred["bias"] - weight / (1 + weight) * prior) ** 2
    what = "bias energy" if method == "options" else "residual energy"
    margin = 1.96 * left.std() / len(left) ** 0.5
    value = left.mean()
    return (
        "tabletop-mmvp",
        seed,
        "all",
        method,
        what,
        value,
        value - margin,
        value + margin,
        len(left),
    )


def measure_forms(mllm: Mllm, seed: int, n_pairs: int = 40) -> pd.DataFrame:
    """Pair accuracy of written answers in each form; columns as in `measure_patterns`."""
    rows = []
    for form in FORMS:
        bench = _bench("tabletop-mmvp", seed=seed, n_pairs=n_pairs, mined=False, form=form)
        for method, table in score(mllm, bench, WRITTEN).groupby("method", sort=False):
            rows += [(*row[:2], form, *row[3:]) for row in _accuracies(table, seed, method)[:2]]
            parsed = table.groupby(["pair_id", "image_index"])["parsed"].first()
            share = float(parsed.mean())
            rows.append(
                ("tabletop-mmvp", seed, form, method, "parsed", share, None, None, len(parsed))
            )
    return pd.DataFrame(rows, columns=COLUMNS)


def measure_two(mllm: Mllm, seed: int, n_pairs: int = 40) -> pd.DataFrame:
    """Pair accuracy with both images in one prompt; columns as in `measure_patterns`."""
    bench = _bench("tabletop-mmvp", seed=seed, n_pairs=n_pairs, mined=False)
    rows = _accuracies(score(mllm, bench, {"two-images": BothImages()}), seed, "two-images")
    return pd.DataFrame(rows, columns=COLUMNS)


def measure_relations(mllm: Mllm, name: str, seed: int, n_sets: int = 100) -> pd.DataFrame:
    """What'sUp's pairs by relation, scored and written; columns as in `measure_patterns`."""
    bench = _bench(name, seed=seed, n_sets=n_sets)
    methods = {"vqascore": VQAScore(), "prompted": Answer(RELATION_QUESTION)}
    tables = score(mllm, bench, methods).groupby("method", sort=False)
    rows = [row for method, table in tables for row in _accuracies(table, seed, method)]
    return pd.DataFrame(rows, columns=COLUMNS)


def _accuracies(table: pd.DataFrame, seed: int, method: str) -> list[tuple]:
    """Rows for all pairs, and for each relation or pattern."""
    name = table["benchmark"].iloc[0]
    groups = (*summarize(table).iterrows(), *summarize(table, "relation").iterrows())
    return [
        (name, seed, group, method, kind, *_interval(row, kind))
        for group, row in groups
        for kind in ("pair", "individual")
    ]


def _interval(row: pd.Series, kind: str) -> tuple[float, float, float, int]:
    values = (row[f"{kind}_accuracy{end}"] for end in ("", "_low", "_high"))
    return *values, int(row["n_pairs"])


def measure(
    mllm: Mllm, parts: Sequence[str], seeds: Sequence[int], n_pairs: int
) -> Iterator[pd.DataFrame]:
    """Make the tables of these parts (keys of :data:`PARTS`), seed by seed."""
    for part in parts:
        for seed in seeds:
            yield PARTS[part](mllm, seed, n_pairs)


#: What can be measured, by name: functions of a model, a seed and the pairs per pattern.
PARTS = {
    "patterns": measure_patterns,
    "pairs": measure_pairs,
    "forms": measure_forms,
    "two": measure_two,
    "a": lambda mllm, seed, _: measure_relations(mllm, "tabletop-a", seed),
    "b": lambda mllm, seed, _: measure_relations(mllm, "tabletop-b", seed),
}


def main(arguments: list[str] | None = None) -> None:
    """Command line: measure models and add the rows to the table."""
    parser = argparse.ArgumentParser(description="Measure mini LLaVAs.")
    parser.add_argument("models", nargs="+", help="NAME=FOLDER each")
    parser.add_argument("--out", type=Path, default=ASSETS / "readers", help="folder of the table")
    parser.add_argument("--seeds", type=int, nargs="+", default=FINAL, help="of the benchmarks")
    parser.add_argument("--pairs", type=int, default=40, help="of each pattern and seed")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=["patterns", "a", "b"])
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    for label, folder in (text.split("=", 1) for text in options.models):
        mllm = load_mllm(folder)
        settings = json.loads(Path(folder, "training.json").read_text())
        head = {"model": label, **{name: settings[name] for name in VARIED}}
        head["training_seed"] = head.pop("seed")
        for rows in measure(mllm, options.parts, options.seeds, options.pairs):
            if "pair_id" in rows:
                rows.insert(0, "model", label)
                _add(rows, options.out / "pairs.csv", ["model", "seed", "pair_id"])
            else:
                rows = rows.assign(**head)[[*head, *COLUMNS]]
                _add(rows, options.out / "measures.csv", ["model", *COLUMNS[:5]])


def _add(rows: pd.DataFrame, path: Path, keys: list[str]) -> None:
    """Add rows to a table on disk, in place of those with the same keys."""
    tables = [pd.read_csv(path)] if path.exists() else []
    table = pd.concat([*tables, rows]).drop_duplicates(keys, keep="last")
    table.to_csv(path, index=False, float_format="%.4f")


if __name__ == "__main__":
    main()
