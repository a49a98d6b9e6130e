"""What the ladder's recorded runs say, over seeds and pairs."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from .. import paper
from ..measures.comparison import holm
from ..measures.intervals import bootstrap_crossed, crossed_means, percentiles
from ..models import ASSETS

TABLES = ASSETS / "ladder"
KEY = ["model", "captions", "rung", "seed"]
AS_IT_IS = "CLIP as it is"
PATCHES, ROTARY = "patch tokens", "rotary positions"
LANGUAGE_MODEL = "language model as text encoder"
ONE, MATCHES_PATCHES = "matching, one vector", "matching, patch tokens"
WRITES, WRITES_PATCHES = "captioning, one vector", "captioning, patch tokens"
LLAVA = "LLaVA's last state"
#: Models of the paper's later version, by the rung that is ours.
PUBLISHED = {
    AS_IT_IS: paper.CLIP,
    PATCHES: paper.CLIP_PATCHES,
    ROTARY: paper.CLIP_ROTARY,
    "several text tokens": paper.CLIP_TEXT_TOKENS,
    LANGUAGE_MODEL: paper.CLIP_TEXT_ENCODER,
}
#: Changes of what is matched, and the rungs that they change.
CHANGED = {
    "one vector, logit scale 100": ONE,
    "patch tokens, logit scale 100": MATCHES_PATCHES,
    "one vector, hard negatives": "one vector, logit scale 100",
    "patch tokens, hard negatives": "patch tokens, logit scale 100",
}
#: The captioners again, trained in LLaVA's stages.
STAGED_ONE, STAGED_PATCHES = "LLaVA's stages, one vector", "LLaVA's stages, patch tokens"
READ, TEXT, OBJECTIVE = "what is read of the image", "text side", "objective"
SAID = "what captions say"


class Change(NamedTuple):
    """What sets a rung apart from the one it is compared with, and whose captions that one has."""

    factor: str
    rung: str
    base: str
    captions: str = "aligned"


#: All changes, of one thing at a time.
CHANGES = {
    "read patch tokens, to match": Change(READ, MATCHES_PATCHES, ONE),
    "read patch tokens, to write": Change(READ, WRITES_PATCHES, WRITES),
    "read patch tokens, in LLaVA's stages": Change(READ, STAGED_PATCHES, STAGED_ONE),
    "rotary positions": Change(READ, ROTARY, PATCHES),
    "rotary positions in 2-D": Change(READ, "rotary positions in 2-D", PATCHES),
    "match LLaVA's last state": Change(READ, LLAVA, ONE),
    "several text tokens": Change(TEXT, "several text tokens", ROTARY),
    LANGUAGE_MODEL: Change(TEXT, LANGUAGE_MODEL, ROTARY),
    "train the text side": Change(TEXT, MATCHES_PATCHES, PATCHES),
    "write, from one vector": Change(OBJECTIVE, WRITES, ONE),
    "write, from patch tokens": Change(OBJECTIVE, WRITES_PATCHES, MATCHES_PATCHES),
    STAGED_ONE: Change(OBJECTIVE, STAGED_ONE, WRITES),
    STAGED_PATCHES: Change(OBJECTIVE, STAGED_PATCHES, WRITES_PATCHES),
    **{
        name: Change(SAID if "negatives" in name else OBJECTIVE, name, base)
        for name, base in CHANGED.items()
    },
    **{
        f"the viewer's left: {rung}": Change(SAID, rung, rung, "own")
        for rung in (ONE, MATCHES_PATCHES, WRITES, WRITES_PATCHES)
    },
}


def read_table(path: Path = TABLES / "measures.csv") -> pd.DataFrame:
    """The recorded runs: a row for each run, benchmark and measure; ``per_pair`` is text."""
    if not path.exists():
        raise FileNotFoundError(
            f"no table {path}; make it: "
            f"python -m erragree_utils.training.ladder --out {path.parent}"
        )
    return pd.read_csv(path, dtype={"per_pair": str})


def matrix(
    table: pd.DataFrame, rung: str, metric: str, model: str = "hidden", captions: str = "aligned",
    benchmark: str | None = None,
) -> pd.DataFrame:  # fmt: skip
    """Shares by seed and pair of a rung, of both benchmarks side by side unless one is named."""
    if rung == AS_IT_IS:
        captions = "none"
    rows = table[
        (table["rung"] == rung) & (table["metric"] == metric) & (table["model"] == model)
        & (table["captions"] == captions) & table["benchmark"].isin(
            table["benchmark"] if benchmark is None else [benchmark]
        )
    ]  # fmt: skip
    if rows.empty:
        raise ValueError(f"no runs of {rung!r} on {model!r} with {captions!r} captions")
    of = 1 if metric in ("pair", "relative") else 2  # of these, one decision a pair
    shares = {
        seed: np.concatenate([np.array(list(digits), float) for digits in part["per_pair"]]) / of
        for seed, part in rows.sort_values("benchmark").groupby("seed")
    }
    return pd.DataFrame.from_dict(shares, orient="index").rename_axis("seed")


def estimate(
    table: pd.DataFrame, rung: str, metric: str, minus: str = "", **where: str
) -> tuple[float, float, float]:
    """Mean of a measure, or its difference from another rung's, over seeds and pairs: 95%."""
    values = matrix(table, rung, metric, **where)
    if minus:
        values = (values - matrix(table, minus, metric, **where)).dropna()  # seeds of both
    return bootstrap_crossed(values.to_numpy())


def ranking(table: pd.DataFrame, metric: str = "relative") -> pd.DataFrame:
    """All changes on all models by their effect, mean of A and B, the largest first.

    Returns
    -------
    pandas.DataFrame
        ``name``, ``factor``, ``model``, ``estimate``, ``low``, ``high`` (95%, over seeds and
        pairs), and ``p``, two-sided, from the same resamples and corrected for all changes.
    """
    rows, p = [], []
    runs = set(table[["model", "captions", "rung"]].itertuples(index=False, name=None))
    for name, (factor, rung, base, captions) in CHANGES.items():
        for model in table["model"].unique():
            if not {(model, "aligned", rung), (model, captions, base)} <= runs:
                continue
            before = matrix(table, base, metric, model, captions)
            change = (matrix(table, rung, metric, model) - before).dropna().to_numpy()
            draws = crossed_means(change)
            tail = min((draws <= 0).sum(), (draws >= 0).sum())
            p.append(min(1.0, 2 * (tail + 1) / (len(draws) + 1)))
            rows.append((name, factor, model, change.mean(), *percentiles(draws)))
    ranked = pd.DataFrame(rows, columns=["name", "factor", "model", "estimate", "low", "high"])
    return ranked.assign(p=holm(p)).sort_values("estimate", ascending=False, ignore_index=True)
