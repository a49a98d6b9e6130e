"""From scores to decisions: which text each image gets, and which image of a pair prefers which.

A table of scores has a row for each pair, image and option (`scores.score`). Answering about each
image and relative preference have different chance levels: neither is an upper bound of the other.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from .intervals import bootstrap_mean

#: What tells one run, and one pair, from another.
_PAIR = ["benchmark", "pair_id", "set_id", "relation", "model", "method"]


def predict(scores: pd.DataFrame) -> pd.DataFrame:
    """Which option does each image get? A tie counts as wrong; the order of options doesn't matter.

    Returns
    -------
    pandas.DataFrame
        A row for each image: ``benchmark``, ``pair_id``, ``set_id``, ``relation``,
        ``image_index``, ``model``, ``method``, ``n_options``, ``score_own``, ``score_other`` (the
        best of the others), ``correct`` (``score_own > score_other``), and ``answer`` and
        ``parsed`` of written answers. Of prompts with two images, the scores with the image first
        and with it second are averaged, so that neither place has an advantage;
        ``correct_first`` and ``correct_second`` say how each alone decides.

    Notes
    -----
    Chance, also for prompts with two images, is that of independent guesses. A model that takes no
    notice of which image is meant gives one answer to both questions and is right about no pair;
    one that always gives different answers, at random, about every second one. So a pair accuracy
    between 25% and 50% tells that it sees or expects a difference, not that it knows which image
    is which.
    """
    scores = _checked(scores)
    table = _own_and_other(scores.drop(columns="position", errors="ignore"))
    if "position" in scores:
        option = [*_keys(scores), "image_index", "option_index"]
        if (scores.groupby(option, dropna=False).size() != 2).any():
            raise ValueError("each option needs scores in both positions")
        for place, which in enumerate(("first", "second")):
            part = _own_and_other(scores[scores["position"] == place].drop(columns="position"))
            image = [*_keys(table), "image_index"]
            part = part[[*image, "correct"]].rename(columns={"correct": f"correct_{which}"})
            table = table.merge(part, on=image, how="left", validate="one_to_one")
    return table


def _own_and_other(scores: pd.DataFrame) -> pd.DataFrame:
    image = [*_keys(scores), "image_index"]
    if scores.duplicated([*image, "option_index"]).any():  # positions are averaged
        columns = [*image, "option_index", "own"]
        scores = scores.groupby(columns, sort=False, as_index=False, dropna=False)["score"].mean()
    groups = [scores[name] for name in image]
    each = scores.groupby(image, sort=False, dropna=False)["own"]
    sizes, owned = each.transform("size"), each.transform("sum")
    partial = (owned != 1) | (sizes < 2)
    if partial.any():
        raise ValueError(
            f"pair {scores.loc[partial, 'pair_id'].iloc[0]!r} has an image that lacks its own "
            "option or another one: give whole tables"
        )
    other = scores["score"].where(~scores["own"]).groupby(groups, sort=False, dropna=False)
    table = scores.assign(n_options=sizes, score_other=other.transform("max"))[scores["own"]]
    lost = np.isneginf(table["score"]) & np.isneginf(table["score_other"])
    if lost.any():
        raise ValueError(
            f"{table.loc[lost, 'pair_id'].nunique()} pairs have an image for which both options "
            "are ruled out, so that nothing can be compared: score them with VCD(beta=0)"
        )
    table = table.assign(correct=table["score"] > table["score_other"])
    table = table.rename(columns={"score": "score_own"})
    order = [name for name in ("benchmark", "pair_id", "set_id", "relation", "image_index", "model",
             "method", "n_options", "score_own", "score_other", "correct", "answer", "parsed")
             if name in table]  # fmt: skip
    return table[order].reset_index(drop=True)


def prefer(scores: pd.DataFrame) -> pd.DataFrame:
    """Does image 0 prefer option 0 more than image 1 does? One decision per pair.

    An image's normalised preference is the share of option 0 in the likelihood of both; it grows
    with the difference of their scores, and that is what is compared, so no scale or temperature
    matters, and a bias toward one option that both images share cancels.

    Returns
    -------
    pandas.DataFrame
        A row for each pair: ``preference_0`` and ``preference_1``, each image's score of option 0
        less that of option 1 (averaged over positions); ``signal``, half their difference, and
        ``bias``, their mean; ``correct``, whether the first is greater; ``tie``, whether they are
        equal, which is not correct: many ties mean that the model does not tell the options apart
        at all; ``chance``, 0.5: of two orders one is right. Further ``image_index`` and
        ``n_options``, so that `compare` takes two such tables.

    Notes
    -----
    The two images prefer option 0 by ``bias + signal`` and ``bias - signal``. Both are answered
    rightly if ``signal > |bias|``; the relative preference is right if the signal is positive.
    """
    scores = _checked(scores)
    place = ["position"] if "position" in scores else []
    wide = _four(scores, place)
    first, second = (wide.xs(k, axis=1, level="option_index") for k in (0, 1))
    lost = (np.isneginf(first) & np.isneginf(second)).any(axis=1)
    if lost.any():
        raise ValueError(
            f"{int(lost.sum())} pairs have an image for which both options are ruled out, so that "
            "nothing can be compared: score them with VCD(beta=0)"
        )
    preference = (first - second).T.groupby(level="image_index").mean().T
    table = preference.add_prefix("preference_").rename_axis(columns=None).reset_index()
    table["signal"] = (table["preference_0"] - table["preference_1"]) / 2
    table["bias"] = (table["preference_0"] + table["preference_1"]) / 2
    table["correct"] = table["preference_0"] > table["preference_1"]
    table["tie"] = table["preference_0"] == table["preference_1"]
    return table.assign(image_index=0, n_options=2, chance=0.5)


def match(scores: pd.DataFrame) -> pd.DataFrame:
    """Do two images and two captions find each other, in both directions? One decision per pair.

    Winoground's scores (Thrush et al. 2022, section 4): the text score asks each image for its
    caption, the image score each caption for its image, the group score for both. A tie is not
    correct.

    Parameters
    ----------
    scores : pandas.DataFrame
        From image to text, of a method whose scores can be compared between images, such as a
        cosine or VQAScore.

    Returns
    -------
    pandas.DataFrame
        A row for each pair: ``text_correct``, ``image_correct``, and ``correct``, if both are;
        further ``image_index`` and ``n_options``, so that `compare` takes two such tables.
    """
    scores = _checked(scores)
    if "position" in scores:
        raise ValueError("scores of prompts with two images have no direction from text to image")
    wide = _four(scores, [])
    own, other = np.diag([1, 1]).astype(bool), np.diag([1, 1])[::-1].astype(bool)
    cells = wide.to_numpy().reshape(-1, 2, 2)  # pair, image, text
    table = pd.DataFrame(index=wide.index).reset_index()
    right, crossed = cells[:, own], cells[:, other]  # crossed: image 0 with text 1, and reversed
    table["text_correct"] = (right > crossed).all(axis=1)
    table["image_correct"] = (right > crossed[:, ::-1]).all(axis=1)
    table["correct"] = table["text_correct"] & table["image_correct"]
    return table.assign(image_index=0, n_options=2)


def position_bias(scores: pd.DataFrame, seed: int = 0) -> pd.Series:
    """Is it easier to answer about an image that comes first in a prompt of two? For one model.

    Returns
    -------
    pandas.Series
        ``n_pairs``; ``accuracy_first`` and ``accuracy_second``, shares of images right where they
        come first and second; ``difference`` (first less second) with ``_low`` and ``_high`` (95%,
        bootstrap over pairs); ``consistent``, share of images that get the same option in both
        places; ``chance``, 0.5, of either accuracy.
    """
    table = predict(scores)
    if "correct_first" not in table:
        raise ValueError("the table lacks position: give scores of method 'two-images'")
    if table.duplicated(["pair_id", "image_index"]).any():
        raise ValueError("the table holds several models or prompts: give one at a time")
    first, second = table["correct_first"], table["correct_second"]
    gain = (first.astype(float) - second).groupby(table["pair_id"]).mean()
    difference = bootstrap_mean(gain.to_numpy(), seed)
    return pd.Series({
        "n_pairs": len(gain),
        "accuracy_first": first.mean(),
        "accuracy_second": second.mean(),
        "difference": difference["mean"],
        "difference_low": difference["mean_low"],
        "difference_high": difference["mean_high"],
        "consistent": (first == second).mean(),
        "chance": 0.5,
    }, name="place of the image in the prompt")  # fmt: skip


def crossed_preference(table: pd.DataFrame, place: int, groups: Sequence[pd.Series]) -> pd.Series:
    """Is an image's preference greater than that of another pair's image? A control for `prefer`.

    Parameters
    ----------
    table : pandas.DataFrame
        What `prefer` returned.
    place : {0, 1}
        Which image of the other pair: the next one of the same group, in a circle.
    groups : sequence of pandas.Series
        By which pairs are grouped, such as their options; a pair alone in its group is left out.
    """
    grouped = table.groupby(list(groups), sort=False)[f"preference_{place}"]
    alone = grouped.transform("size") == 1
    other = grouped.transform(lambda values: np.roll(values, 1))
    return (table["preference_0"] > other)[~alone]


def _four(scores: pd.DataFrame, place: list[str]) -> pd.DataFrame:
    """A row for each pair, in the order of the table: both images' scores of both options."""
    keys = _keys(scores)
    wide = scores.set_index([*keys, "image_index", "option_index", *place])["score"]
    wide = wide.unstack(["image_index", "option_index", *place]).sort_index(axis=1)
    wide = wide.loc[scores.set_index(keys).index.unique()]
    if wide.shape[1] != 4 * 2 ** len(place) or wide.isna().any(axis=None):
        raise ValueError(
            "each pair needs scores of two images with two options each"
            + (", in both positions" if place else "")
        )
    return wide


def _keys(scores: pd.DataFrame) -> list[str]:
    return [name for name in _PAIR if name in scores]


def _checked(scores: pd.DataFrame) -> pd.DataFrame:
    needed = ["pair_id", "image_index", "option_index", "own", "score"]
    missing = [name for name in needed if name not in scores]
    if missing:
        raise ValueError(
            f"the table lacks {', '.join(missing)}: give what score returned, it has "
            f"{', '.join(map(str, scores.columns)) or 'no columns'}"
        )
    if len(scores) == 0:
        raise ValueError("the table is empty")
    bad = scores["score"].isna()
    if bad.any():
        raise ValueError(f"pair {scores.loc[bad, 'pair_id'].iloc[0]!r} has a score that is NaN")
    position = ["position"] if "position" in scores else []
    if position and scores["position"].isna().any():
        raise ValueError("scores of single images and of two are mixed: give each by itself")
    columns = [*_keys(scores), "image_index", "option_index", *position]
    double = scores.duplicated(columns)
    if double.any():
        raise ValueError(
            f"pair {scores.loc[double, 'pair_id'].iloc[0]!r} has a score twice: pairs of several "
            "benchmarks need different names, and several runs different models or methods"
        )
    return scores
