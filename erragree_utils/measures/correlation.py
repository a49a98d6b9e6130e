"""Are two numbers of each pair correlated, between kinds of pairs and within them?"""

from __future__ import annotations

import pandas as pd

from .intervals import bootstrap


def between_and_within(table: pd.DataFrame, x: str, y: str, by: str) -> pd.DataFrame:
    """Correlation of `x` with `y`, between groups and within them.

    Groups may differ in both for many reasons at once, so the two can have opposite signs.

    Returns
    -------
    pandas.DataFrame
        ``correlation`` with ``low`` and ``high`` (95%, bootstrap over the rows within each group).
        Row ``"between"`` is Pearson's of the groups' means, left out if there is one group;
        ``"within"`` is that of ranks in each group, less their mean: the same for any scale that a
        group may have.
    """
    ranks = table.groupby(by)[[x, y]].rank()
    ranks -= ranks.groupby(table[by]).transform("mean")
    found = {}
    if table[by].nunique() > 1:
        found["between"] = bootstrap(
            lambda t: _correlation(t.groupby(by)[[x, y]].mean()), table[[x, y, by]], by
        )
    found["within"] = bootstrap(
        lambda t: _correlation(t[[x, y]]), ranks.assign(**{by: table[by]}), by
    )
    return pd.DataFrame(found, ["correlation", "low", "high"]).T


def _correlation(values: pd.DataFrame) -> float:
    return values.iloc[:, 0].corr(values.iloc[:, 1])
