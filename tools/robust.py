"""Execute the chapters on other draws and processor paths, and record each finding's margin.

Outputs are kept as those of the book are, so that a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from execution import NotebookError, chapters, current_cache, execute, title
from tqdm.auto import tqdm

from erragree_utils import findings
from erragree_utils.findings import Finding

ROOT = Path(__file__).resolve().parents[1]
SEEDS = (11, 12, 13, 14)  # besides the book's own
LEAST = 3.0  # standard deviations over seeds, and standard errors, that a margin should have
#: In the kernel before a chapter begins: what another machine's rounding might do, a good deal
#: larger, in each linear layer of every model and in all of CLIP's embeddings.
NOISE = """
import torch

_noise = torch.Generator().manual_seed(0)


def _perturb(module, inputs, output):
    if isinstance(module, torch.nn.Linear):
        noise = torch.randn(output.shape, generator=_noise, dtype=torch.float32)
        return output * (1 + 1e-6 * noise.to(output.device, output.dtype))


torch.nn.modules.module.register_module_forward_hook(_perturb)

import numpy as np

from erragree_utils.models.clip import Clip

_rng = np.random.default_rng(0)


def _perturbed(embed):
    def embedded(*args, **kwargs):
        rows = embed(*args, **kwargs)
        return rows * (1 + 1e-6 * _rng.standard_normal(rows.shape)).astype(rows.dtype)

    return embedded


Clip.embed_images, Clip.embed_texts = map(_perturbed, (Clip.embed_images, Clip.embed_texts))
"""


@dataclass(frozen=True)
class Variation:
    """One way to execute the chapters again."""

    name: str
    kind: str  # "seed", "path" or "noise"
    environment: dict[str, str] = field(default_factory=dict)
    before: str = ""


VARIATIONS = (
    Variation("seed 0", "seed"),
    *(Variation(f"seed {s}", "seed", {"ERRAGREE_SEED": str(s)}) for s in SEEDS),
    Variation(
        "AVX2", "path", {"OPENBLAS_CORETYPE": "Haswell", "ATEN_CPU_CAPABILITY": "avx2"}
    ),
    Variation(
        "SSE", "path", {"OPENBLAS_CORETYPE": "Prescott", "ATEN_CPU_CAPABILITY": "default"}
    ),
    Variation("two threads", "path", {"OMP_NUM_THREADS": "2"}),
    Variation("noise 1e-6", "noise", before=NOISE),
)  # fmt: skip


def run(variation: Variation, notebook: Path, source: Path) -> list[Finding]:
    """The findings of a chapter under a variation."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **variation.environment}
    cache = current_cache(source, environment, variation.before)
    return findings.read(execute(notebook, cache, environment, variation.before))


def margins(results: dict[str, dict[str, list[Finding]]]) -> pd.DataFrame:
    """A row for each claim of each chapter, from findings by chapter and name of variation.

    ``mean``, ``sd``, ``least`` and ``most`` are over seeds; ``margin`` is the distance of the mean
    to the nearer bound in those standard deviations, ``errors`` the least margin of a seed in
    standard errors of its own; ``paths`` and ``noise`` the largest change of the value against the
    first seed's; ``failed`` names the variations in which it does not hold or is not claimed.
    """
    kinds = {v.name: v.kind for v in VARIATIONS}
    rows = []
    for chapter, by_name in results.items():
        by_claim = {n: {f.claim: f for f in page} for n, page in by_name.items()}
        for claim, first in next(iter(by_claim.values())).items():
            by_variation = {n: page.get(claim) for n, page in by_claim.items()}
            values = {n: f.value for n, f in by_variation.items() if f}
            over = np.array([v for n, v in values.items() if kinds[n] == "seed"])
            # What is equal but for rounding does not vary.
            sd = round(over.std(ddof=1), 12) if len(over) > 1 else np.nan
            ends = [(over.mean() - first.above)] if first.above is not None else []
            ends += [(first.below - over.mean())] if first.below is not None else []
            moved = {
                kind: max((abs(v - first.value) for n, v in values.items() if kinds[n] == kind),
                          default=np.nan)
                for kind in ("path", "noise")
            }  # fmt: skip
            rows.append({
                "chapter": chapter, "finding": claim, "bound": first.bound, "unit": first.unit,
                "mean": over.mean(), "sd": sd, "least": over.min(), "most": over.max(),
                "margin": min(ends) / sd if sd else np.copysign(np.inf, min(ends)),
                "errors": min(
                    f.margin for n, f in by_variation.items() if f and kinds[n] == "seed"
                ),
                "paths": moved["path"], "noise": moved["noise"],
                "failed": ", ".join(n for n, f in by_variation.items() if not (f and f.holds)),
            })  # fmt: skip
    return pd.DataFrame(rows)


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """The table of `margins` in the findings' units, as text."""

    def text(row: pd.Series, column: str) -> str:
        factor, digits = findings.UNITS[row["unit"]]
        value = factor * row[column]
        return f"{value:.1e}" if value and abs(value) < 10**-digits else f"{value:.{digits}f}"

    rows = [
        {
            "Chapter": row["chapter"],
            "Finding": row["finding"],
            "Bound": f"{row['bound']} {row['unit']}".strip(),
            "Mean (sd) over seeds": f"{text(row, 'mean')} ({text(row, 'sd')})",
            "Range": f"{text(row, 'least')} to {text(row, 'most')}",
            "Margin": "same on every seed" if np.isinf(row["margin"]) else f"{row['margin']:.1f}",
            "Least s.e.": "" if np.isinf(row["errors"]) else f"{row['errors']:.1f}",
            "Other paths": text(row, "paths"),
            "Noise": text(row, "noise"),
        }
        for _, row in table.iterrows()
    ]
    return pd.DataFrame(rows)


def attempt(variation: Variation, notebook: Path) -> list[Finding] | NotebookError:
    """`run`, with an error as its result, so that the other notebooks are not lost."""
    try:
        return run(variation, notebook, ROOT)
    except NotebookError as error:
        return error


def main() -> int:
    """Run what is missing, print the table, record it; 1 if a finding fails or lacks margin."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=min(4, os.cpu_count() or 1))
    parser.add_argument("--only", nargs="+", metavar="CHAPTER", help="beginnings of file names")
    parser.add_argument("--record", type=Path, help="also write the table here, as CSV")
    options = parser.parse_args()
    chosen = tuple(options.only or [""])
    notebooks = [path for path in chapters(ROOT) if path.name.startswith(chosen)]
    results: dict[str, dict[str, list[Finding]]] = {title(path): {} for path in notebooks}
    with tqdm(total=len(VARIATIONS) * len(notebooks)) as bar:
        for variation in VARIATIONS:
            # Threads of two notebooks on the same cores would wait for each other.
            threads = int(variation.environment.get("OMP_NUM_THREADS", 1))
            with ThreadPoolExecutor(max(1, options.workers // threads)) as pool:
                outcomes = pool.map(partial(attempt, variation), notebooks)
                for notebook, outcome in zip(notebooks, outcomes, strict=True):
                    if isinstance(outcome, NotebookError):
                        where = f"{notebook.name} failed under {variation.name}"
                        print(f"{where}:\n{outcome}", file=sys.stderr)
                        return 1
                    results[title(notebook)][variation.name] = outcome
                    bar.update()
    table = margins(results)
    texts = readable(table)
    print(texts.to_string(index=False))
    if options.record:
        texts.to_csv(options.record, index=False)
    weak = table[(table["failed"] != "") | (table[["margin", "errors"]].min(axis=1) < LEAST)]
    for _, row in weak.iterrows():
        why = f"fails under {row['failed']}" if row["failed"] else "margin "
        why += "" if row["failed"] else f"{row['margin']:.1f} sd, {row['errors']:.1f} s.e."
        print(f"{row['chapter']}: {row['finding']}: {why}", file=sys.stderr)
    return int(len(weak) > 0)


if __name__ == "__main__":
    sys.exit(main())
