"""Checks on a table of predictions, before we count anything in it.

A row for each image: ``pair_id``, ``set_id``, ``image_index``, ``n_options``, ``correct``.
"""

from __future__ import annotations

import pandas as pd

_COLUMNS = ["pair_id", "set_id", "image_index", "n_options", "correct"]


def validate(pred: pd.DataFrame) -> pd.DataFrame:
    """The table with ``correct`` as bool, unless it lacks columns, rows or numbers."""
    missing = [name for name in _COLUMNS if name not in pred]
    if missing:
        raise ValueError(f"the table lacks {', '.join(missing)}: give what evaluate returned")
    if len(pred) == 0:
        raise ValueError("the table of predictions is empty")
    numbers = pred.columns.intersection([*_COLUMNS, "score_own", "score_other"])
    holes = pred[numbers].isna().any(axis=1)
    if holes.any():
        raise ValueError(
            f"{holes.sum()} rows have missing or NaN values, the first for pair "
            f"{pred.loc[holes, 'pair_id'].iloc[0]!r}: a NaN score is neither right nor wrong"
        )
    if not pred["correct"].isin([True, False]).all():
        raise ValueError("column 'correct' must hold True and False only")
    return pred.assign(correct=pred["correct"].astype(bool))


def refuse_duplicates(pred: pd.DataFrame) -> None:
    """Raise an error that says what to do, if an image occurs twice."""
    double = pred[pred.duplicated(["pair_id", "image_index"])]
    if len(double):
        raise ValueError(
            f"image {double['image_index'].iloc[0]} of pair {double['pair_id'].iloc[0]!r} is there "
            "twice: a table of several models, methods or benchmarks needs a column that tells "
            "them apart, named in by="
        )
