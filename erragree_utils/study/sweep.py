"""Contrastive decoding under many settings, stored in one run: which is best?

We score the options of MMVP's questions under every setting, in closed form, so both streams are
read only once. The setting is then chosen on other pairs than those it is tested on
(`measures.comparison.choose_held_out`), which takes no further pass.

What is stored are the scores under the settings of this grid, not the streams: a setting beyond it
takes a pass of its own (``run --decoding``).
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from ..decoding import M3ID, VCD, Contrast, TextContrast
from ..measures.comparison import choose_held_out, compare
from ..measures.decisions import predict
from ..scoring import Options

#: The sweep's name among the methods of the study.
SWEEP = "sweep"
STRENGTHS = (0, 0.25, 0.5, 1, 1.5, 2, 3, 5)
THRESHOLDS = (0.3, 0.6, 0.8, 0.9, 0.95, 1)  # of M3ID; 1 always corrects
#: Contrasts by family and setting, the weakest first. VCD is without its cut-off, which would rule
#: options out.
FAMILIES: Mapping[str, Mapping[str, Contrast]] = {
    "VCD": {f"{s:g}": VCD(alpha=s, beta=0) for s in STRENGTHS},
    "text contrast": {f"{s:g}": TextContrast(s) for s in STRENGTHS},
    "M3ID": {
        f"{s:g}, threshold {a:g}": M3ID(threshold=a).with_strength(s)
        for s in STRENGTHS
        for a in THRESHOLDS
    },
}
_FEWEST = 4  # pairs needed to choose for each other


def swept() -> dict[str, Options]:
    """The methods of the sweep, named ``"FAMILY: SETTING"``."""
    return {
        f"{family}: {name}": Options(contrast=contrast)
        for family, contrasts in FAMILIES.items()
        for name, contrast in contrasts.items()
    }


def by_family(scores: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The predictions of each family, where ``method`` is just the setting, the weakest first."""
    parts = scores["method"].str.split(": ", n=1, expand=True)
    named = scores.assign(method=parts[1])
    return {family: predict(named[parts[0] == family]) for family in FAMILIES}


def held_out(scores: pd.DataFrame) -> pd.DataFrame:
    """Each family with a setting chosen on other pairs, compared with no correction.

    Returns
    -------
    pandas.DataFrame
        A row of `measures.comparison.compare` for each family, and ``chosen``, the settings with
        the share of pairs that got each. Empty if there are fewer than four pairs.
    """
    if scores["pair_id"].nunique() < _FEWEST:
        return pd.DataFrame()
    found = by_family(scores)
    plain = found["text contrast"].query("method == '0'")
    rows = {}
    for family, pred in found.items():
        chosen = choose_held_out(pred, "method")
        rows[family] = compare(plain, chosen).to_dict() | {"chosen": chosen.attrs["chosen"]}
    return pd.DataFrame.from_dict(rows, orient="index")
