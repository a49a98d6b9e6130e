"""Are two properties of pairs correlated, between kinds of pairs and within them?"""

from __future__ import annotations

import numpy as np
import pandas as pd

from .intervals import bootstrap


def between_and_within(table: pd.DataFrame, x: str, y: str, by: str, cluster: str) -> pd.DataFrame:
    """Correlation of `x` with `y`, between groups and within them.

    Groups may differ in both for many reasons at once, so the two can have opposite signs.

    Parameters
    ----------
    cluster : str
        Column of rows that are alike, such as pairs with the same question. Within groups they are
        the units, not their rows.

    Returns
    -------
    pandas.DataFrame
        ``correlation`` with ``low`` and ``high`` (95%, bootstrap) and ``units``, their number. Row
        ``"between"`` is Pearson's of the groups' means, and the groups are resampled; it is left
        out if there is one group. ``"within"`` is that of ranks in each group, less their mean (the
        same for any scale that a group may have), and clusters are resampled in each group.
    """
    groups = table.groupby(by)
    ranks = groups[[x, y]].rank()
    ranks -= ranks.groupby(table[by]).transform("mean")
    products = pd.DataFrame(
        {"xy": ranks[x] * ranks[y], "xx": ranks[x] ** 2, "yy": ranks[y] ** 2}
    )  # fmt: skip
    clusters = products.groupby([table[by], table[cluster]]).sum().reset_index()
    found = {}
    if groups.ngroups > 1:
        means = groups[[x, y]].mean()
        found["between"] = (*bootstrap(lambda t: t[x].corr(t[y]), means), len(means))
    found["within"] = (*bootstrap(_of_ranks, clusters, by), len(clusters))
    return pd.DataFrame(found, ["correlation", "low", "high", "units"]).T


def _of_ranks(clusters: pd.DataFrame) -> float:
    return clusters["xy"].sum() / np.sqrt(clusters["xx"].sum() * clusters["yy"].sum())
