"""Does the signal of a pair show when both images are compared? Two protocols, two chance levels.

*Relative preference* scores each image alone and asks how the two stand to each other; it serves
CLIP and multimodal language models alike (`single_image_scores`, `relative_preference`). The
*two-image prompt* shows both images at once and asks about one or the other (`two_image_scores`,
`image_predictions`). Neither is an upper bound on answering about one image: with a second image
to compare with, the task is another one, and its chance level may be, too. Every table has a column
with its own.

A pair has ``pair_id``, two ``images``, a ``question`` and two ``options``; option i is the answer
for image i. A ``pattern`` is carried along. The common currency is a table of scores with a row for
each pair, image and option (and place in the prompt).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd

from ..decoding.contrast import (
    Contrast,
    combined_logprobs,
    contrastive_option_logprobs,
    option_streams,
    pair_seeds,
)
from ..measures.intervals import bootstrap_mean, wilson
from ..tabletop.questions import OF_TWO, WHICH
from . import vqascore

#: The text that CLIP compares an image with, for pairs that have no ``captions``.
CLIP_TEXT = "{question} {option}"

_KEY = ["pair_id", "image_index", "option_index"]
# What else tells one table from another.
_RUN = ["pattern", "relation", "model", "method", "setting"]


def single_image_scores(
    model: Any,
    pairs: Sequence[Any],
    contrast: Contrast | None = None,
    text: str = CLIP_TEXT,
    normalize: bool = True,
    seed: int | Sequence[int] | None = 0,
    batch_size: int = 32,
    progress: bool = False,
) -> pd.DataFrame:
    """Score both options for each image alone.

    Parameters
    ----------
    model : Clip or Mllm
    pairs : sequence of pairs
        CLIP takes their ``captions`` for the options' texts, if they have them.
    contrast : Contrast, optional
        Score under contrastive decoding; a `Mllm` only.
    text : str
        What CLIP reads for pairs without captions; ``{question}`` and ``{option}`` are filled in.
        Which text the paper gave to CLIP here is not known to us.
    normalize : bool
        Divide log-likelihoods by the number of tokens.
    seed : int, sequence of int, or None
        Of the noise of VCD; one for each image makes it independent of the image's place.
    batch_size : int
    progress : bool

    Returns
    -------
    pandas.DataFrame
        ``pair_id``, ``pattern`` (if the pairs have one), ``image_index``, ``option_index``,
        ``option``, ``model``, ``method``, ``score``: cosines (CLIP) or log-likelihoods in nats.

    Raises
    ------
    TypeError
        If the model is of neither kind.
    ValueError
        If a pair has not two images and two different options, or an image cannot be read (it is
        named).
    """
    pairs = _checked(pairs)
    is_clip = hasattr(model, "embed_images")
    if not is_clip and not hasattr(model, "option_logprobs"):
        raise TypeError(f"{model!r} is neither a Clip nor a Mllm")
    if is_clip and contrast is not None:
        raise ValueError("CLIP does not decode: leave out contrast")
    images = (image for pair in pairs for image in _both(pair))
    settings = {"batch_size": batch_size, "progress": progress}
    with named_errors([f"image {i} of pair {pair.pair_id!r}" for pair in pairs for i in (0, 1)]):
        if is_clip:
            texts = [_texts(pair, text) for pair in pairs for _ in (0, 1)]
            scores = vqascore.caption_scores(model, images, texts, **settings)
        else:
            asked = [pair.question for pair in pairs for _ in (0, 1)]
            options = [list(pair.options) for pair in pairs for _ in (0, 1)]
            settings["normalize"] = normalize
            if contrast is None:
                scores = model.option_logprobs(images, asked, options, **settings)
            else:
                scores = contrastive_option_logprobs(
                    model, images, asked, options, contrast, seed=seed, **settings
                )
    method = "matching" if is_clip else "options" if contrast is None else type(contrast).__name__
    owners = ((pair, i) for pair in pairs for i in (0, 1))
    rows = [
        _row(pair, i, k, model.name, method, mine[k])
        for (pair, i), mine in zip(owners, scores, strict=True)
        for k in (0, 1)
    ]
    return pd.DataFrame(rows)


def contrast_scores(
    mllm: Any,
    pairs: Sequence[Any],
    contrasts: Mapping[str, Contrast],
    normalize: bool = True,
    batch_size: int = 16,
    progress: bool = False,
) -> pd.DataFrame:
    """Score both options for each image alone under many contrasts, at the cost of one or two.

    Contrasts with the same second stream share its pass through the model, so that a sweep over
    strengths is nearly free.

    Parameters
    ----------
    mllm : Mllm
    pairs : sequence of pairs
    contrasts : mapping of str to Contrast
        By the name that each has in the table. VCD needs ``beta=0``, or options may be ruled out.
    normalize : bool
        Divide log-likelihoods by the number of tokens.
    batch_size : int
        Images at a time.
    progress : bool

    Returns
    -------
    pandas.DataFrame
        As `single_image_scores` returns it, with the name in ``setting``. Noise follows from the
        pair's name and the image's index.

    Raises
    ------
    ValueError
        If there are no contrasts, or as in `single_image_scores`.
    """
    pairs = _checked(pairs)
    if not contrasts:
        raise ValueError("give at least one contrast")
    owners = [(pair, i) for pair in pairs for i in (0, 1)]
    asked = [pair.question for pair, _ in owners]
    options = [list(pair.options) for pair, _ in owners]
    settings = {
        "seed": pair_seeds(pairs), "batch_size": batch_size, "progress": progress,
    }  # fmt: skip
    streams: dict[int | None, Any] = {}
    rows = []
    for name, contrast in contrasts.items():
        if contrast.noise_step not in streams:
            images = (image for pair in pairs for image in _both(pair))
            with named_errors([f"image {i} of pair {pair.pair_id!r}" for pair, i in owners]):
                read = option_streams(mllm, images, asked, options, contrast, **settings)
                streams[contrast.noise_step] = [answer for both in read for answer in both]
        method = type(contrast).__name__
        answers = combined_logprobs(streams[contrast.noise_step], contrast)
        for place, each in enumerate(answers):
            pair, i = owners[place // 2]
            value = each.mean() if normalize else each.sum()
            rows.append(_row(pair, i, place % 2, mllm.name, method, value) | {"setting": name})
    return pd.DataFrame(rows)


def two_image_scores(
    mllm: Any,
    pairs: Sequence[Any],
    prompt: str = OF_TWO,
    normalize: bool = True,
    batch_size: int = 16,
    progress: bool = False,
) -> pd.DataFrame:
    """Score both options for each image of a pair with both images in the prompt, in both orders.

    Parameters
    ----------
    mllm : Mllm
    pairs : sequence of pairs
    prompt : str
        Of ``{question}`` and ``{which}``, the place of the image that is meant: first or second.
    normalize : bool
        Divide log-likelihoods by the number of tokens.
    batch_size : int
        Prompts at a time, two images each.
    progress : bool

    Returns
    -------
    pandas.DataFrame
        As `single_image_scores` returns it, and ``position``: 0 where the image that is asked about
        came first, 1 where it came second.

    Raises
    ------
    ValueError
        If a pair has not two images and two different options, the prompt lacks one of its fields,
        or an image cannot be read (the pair is named).
    """
    pairs = _checked(pairs)
    for field in ("{which}", "{question}"):
        if field not in prompt:
            raise ValueError(f"the prompt {prompt!r} has no {field}")

    def shown() -> Iterator[list[Any]]:
        for pair in pairs:
            images = _both(pair)
            yield images
            yield images[::-1]

    branches = []
    for pair in pairs:
        asked = [prompt.format(which=which, question=pair.question) for which in WHICH]
        branches += [[(question, option) for question in asked for option in pair.options]] * 2
    names = [
        f"pair {pair.pair_id!r}, {order}" for pair in pairs for order in ("in order", "swapped")
    ]
    with named_errors(names):
        found = mllm.answer_logprobs(shown(), branches, batch_size=batch_size, progress=progress)
    orders = ((pair, swapped) for pair in pairs for swapped in (0, 1))
    rows = []
    for (pair, swapped), scores in zip(orders, found, strict=True):
        for number, score in enumerate(scores):
            position, k = divmod(number, 2)
            value = score.mean if normalize else score.total
            row = _row(pair, position ^ swapped, k, mllm.name, "two images", value)
            rows.append(row | {"position": position})
    return pd.DataFrame(rows)


def relative_preference(scores: pd.DataFrame) -> pd.DataFrame:
    """Does image 0 prefer option 0 more than image 1 does? One decision a pair.

    An image's normalised preference is the share of option 0 in the likelihood of both, p0 / (p0 +
    p1); it grows with the difference of their scores, and that is what is compared, so no scale or
    temperature matters, and a bias toward one option that both images share cancels.

    Parameters
    ----------
    scores : pandas.DataFrame
        From `single_image_scores` or `two_image_scores`; tables may be concatenated. Positions are
        averaged.

    Returns
    -------
    pandas.DataFrame
        A row for each pair (of each pattern, model and method): ``preference_0`` and
        ``preference_1``, each image's score of option 0 less that of option 1; ``signal``, half
        their difference, and ``bias``, their mean; ``correct``, whether
        the first is greater; ``tie``, whether they are equal, which is not correct: many ties mean
        that the model does not tell the options apart at all; ``chance``, 0.5: of two orders one is
        right, so scores that know nothing are right half the time. That is not the 25% of answering
        about both images, and the two must not be read side by side as if it were.
        Further ``set_id``, ``image_index`` and ``n_options``, so that `metrics.compare` takes two
        such tables.

    Raises
    ------
    ValueError
        If columns are missing, scores are NaN, a score is missing or comes twice, or both options
        of an image are ruled out.

    Notes
    -----
    The two images prefer option 0 by ``bias + signal`` and ``bias - signal``. Both are answered
    rightly if the signal is larger than the bias, ``signal > |bias|``; the relative preference is
    right if it is positive.
    """
    wide = _wide(scores)
    preference = _margins(wide)
    table = preference.add_prefix("preference_").reset_index()
    table["signal"] = (table["preference_0"] - table["preference_1"]) / 2
    table["bias"] = (table["preference_0"] + table["preference_1"]) / 2
    table["correct"] = table["preference_0"] > table["preference_1"]
    table["tie"] = table["preference_0"] == table["preference_1"]
    table.insert(1, "set_id", table["pair_id"])
    return table.assign(image_index=0, n_options=2, chance=0.5)


def without_bias(
    scores: pd.DataFrame, by: str = "pattern", folds: int = 2, seed: int = 0
) -> pd.DataFrame:
    """Scores less the mean bias of *other* pairs of the same group; both images alike.

    How much would a fixed correction for each kind of question gain, if it were known? It is a
    calibration in the sense of Zhao et al. 2021 ("Calibrate Before Use", section 4), with held-out
    pairs in the place of content-free inputs. No pair has a part in its own correction.

    Parameters
    ----------
    scores : pandas.DataFrame
        From `single_image_scores`, of one model and method.
    by : str
        Column of groups that have a bias of their own.
    folds : int
        Parts of each group; the bias of a part is that of the rest.
    seed : int
        Of the split.

    Returns
    -------
    pandas.DataFrame
        As `scores`, with ``method`` ending in ", bias removed".

    Raises
    ------
    ValueError
        If a group has fewer pairs than folds, or as in `relative_preference`.
    """
    _need(scores, [*_KEY, "score", by], "single_image_scores")
    table = relative_preference(scores).set_index("pair_id")
    if table.index.has_duplicates:
        raise ValueError("the table holds several models or methods: give one at a time")
    if table.groupby(by).size().min() < folds:
        raise ValueError(f"a group of {by!r} has fewer pairs than there are folds, {folds}")
    order = np.random.default_rng(seed).permutation(len(table))
    shuffled = table.iloc[order]
    part = shuffled.groupby(by).cumcount() % folds
    groups = [shuffled[by], part]
    held, n = (shuffled["bias"].groupby(groups).transform(f) for f in ("sum", "size"))
    total, of = (shuffled["bias"].groupby(shuffled[by]).transform(f) for f in ("sum", "size"))
    expected = (total - held) / (of - n)
    moved = scores["pair_id"].map(expected).where(scores["option_index"] == 0, 0.0)
    method = scores["method"] + ", bias removed"
    return scores.assign(score=scores["score"] - moved, method=method)


def summarize_relative(table: pd.DataFrame, by: str | Sequence[str] | None = None) -> pd.DataFrame:
    """Share of pairs with the right relative preference, with its interval and chance level.

    Parameters
    ----------
    table : pandas.DataFrame
        What `relative_preference` returned.
    by : str or list of str, optional
        Columns to group by. A table of several models or methods needs them here.

    Returns
    -------
    pandas.DataFrame
        A row for each group (``"all"`` without `by`): ``n_pairs``, ``n_ties``,
        ``relative_accuracy``, ``relative_accuracy_low``, ``_high`` (Wilson, 95%),
        ``relative_chance``. `as_percent` in
        `metrics` reads it.

    Raises
    ------
    ValueError
        If a column is missing, the table is empty, or a pair occurs twice in a group.
    """
    by = [by] if isinstance(by, str) else list(by or ())
    _need(table, ["pair_id", "correct", "tie", "chance", *by], "relative_preference")
    groups = table.groupby(by, sort=False, dropna=False) if by else [("all", table)]
    keys, rows = [], []
    for key, group in groups:
        double = group["pair_id"][group["pair_id"].duplicated()]
        if len(double):
            raise ValueError(
                f"group {key} has pair {double.iloc[0]!r} twice: it holds several models, methods "
                "or benchmarks; add what tells them apart to by="
            )
        share, n = group["correct"].mean(), len(group)
        low, high = wilson(share, n)
        keys.append(key[0] if by and len(by) == 1 else key)
        rows.append({
            "n_pairs": n, "n_ties": int(group["tie"].sum()), "relative_accuracy": share,
            "relative_accuracy_low": low, "relative_accuracy_high": high,
            "relative_chance": group["chance"].mean(),
        })  # fmt: skip
    index = pd.MultiIndex.from_tuples(keys, names=by) if len(by) > 1 else keys
    summary = pd.DataFrame(rows, index=index)
    if len(by) == 1:
        summary.index.name = by[0]
    return summary


def image_predictions(scores: pd.DataFrame) -> pd.DataFrame:
    """Which option does each image get? The table that `metrics.summarize` and `compare` read.

    Parameters
    ----------
    scores : pandas.DataFrame
        From `single_image_scores` or `two_image_scores`. Of the latter, the scores with the image
        first and with the image second are averaged, so that neither place has an advantage.

    Returns
    -------
    pandas.DataFrame
        A row for each image: ``pair_id``, ``set_id`` (the pair again), ``pattern``,
        ``image_index``, ``model``, ``method``, ``n_options``, ``score_own``, ``score_other``,
        ``correct`` (a tie is not), ``chance`` 0.5 and ``pair_chance`` 0.25; of two-image prompts
        also ``correct_first`` and ``correct_second``, by the place of the image.

    Raises
    ------
    ValueError
        As in `relative_preference`.

    Notes
    -----
    The chance levels are those of guessing each answer independently, also for two-image prompts:
    each of the two questions is a prompt of its own, and nothing says that their answers differ.
    A model that takes no notice of which image is meant gives one answer to both questions: it is
    right about one image in two and about no pair. One that always gives different answers, at
    random, is right about both images of every second pair; so a pair accuracy between 25% and 50%
    tells that the model sees a difference, or expects one, but not which image is which.
    """
    wide = _wide(scores)
    table = _own(wide.T.groupby(level=["image_index", "option_index"]).mean().T)
    if "position" in wide.columns.names:
        for place, which in enumerate(WHICH):
            at = _own(wide.xs(place, axis=1, level="position"))
            table[f"correct_{which}"] = at["score_own"] > at["score_other"]
    table = table.reset_index()
    table.insert(
        table.columns.get_loc("score_other") + 1, "correct",
        table["score_own"] > table["score_other"],
    )  # fmt: skip
    table.insert(1, "set_id", table["pair_id"])
    table.insert(table.columns.get_loc("score_own"), "n_options", 2)
    return table.assign(chance=0.5, pair_chance=0.25)


def position_bias(scores: pd.DataFrame, seed: int = 0) -> pd.Series:
    """Is an image easier to answer about where it comes first? Of one model.

    Parameters
    ----------
    scores : pandas.DataFrame
        What `two_image_scores` returned.
    seed : int
        Of the bootstrap.

    Returns
    -------
    pandas.Series
        ``n_pairs``; ``accuracy_first`` and ``accuracy_second``, shares of images right where they
        come first and second; ``difference`` (first less second) with ``_low`` and ``_high`` (95%,
        bootstrap over pairs); ``consistent``, share of images that get the same option in both
        places; ``chance``, 0.5, of either accuracy.

    Raises
    ------
    ValueError
        If the table has no positions, several models, or fewer than two pairs.
    """
    _need(scores, [*_KEY, "position", "score"], "two_image_scores")
    table = image_predictions(scores)
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


def _wide(scores: pd.DataFrame) -> pd.DataFrame:
    """A row for each pair, a column for each image, option and position."""
    _need(scores, [*_KEY, "score"], "single_image_scores or two_image_scores")
    if scores["score"].isna().any():
        bad = scores.loc[scores["score"].isna(), "pair_id"].iloc[0]
        raise ValueError(f"pair {bad!r} has a score that is NaN")
    extra = [name for name in _RUN if name in scores]
    scores = scores.fillna(dict.fromkeys(extra, ""))
    place = ["position"] if "position" in scores else []
    if place and scores["position"].isna().any():
        raise ValueError("scores of single images and of two are mixed: give each by itself")
    names = ["pair_id", *extra]
    columns = ["image_index", "option_index", *place]
    if scores.duplicated([*names, *columns]).any():
        bad = scores.loc[scores.duplicated([*names, *columns]), "pair_id"].iloc[0]
        raise ValueError(
            f"pair {bad!r} has a score twice: pairs of several benchmarks need different names, "
            "and several runs a column 'model' or 'method' that tells them apart"
        )
    wide = scores.set_index([*names, *columns])["score"].unstack(columns)
    wide = wide.loc[scores.set_index(names).index.unique()]  # in the order of the table
    if wide.shape[1] != 4 * 2 ** len(place) or wide.isna().any(axis=None):
        raise ValueError(
            "each pair needs scores of two images with two options each"
            + (", in both positions" if place else "")
        )
    return wide


def _margins(wide: pd.DataFrame) -> pd.DataFrame:
    """Score of option 0 less that of option 1, for each image; averaged over positions."""
    first, second = (wide.xs(k, axis=1, level="option_index") for k in (0, 1))
    _refuse_ruled_out(first, second)
    margins = first - second
    return margins.T.groupby(level="image_index").mean().T


def _own(wide: pd.DataFrame) -> pd.DataFrame:
    """Scores of each image's own option and of the other, a row for each image."""
    first, second = (wide.xs(k, axis=1, level="option_index") for k in (0, 1))
    _refuse_ruled_out(first, second)
    parts = {
        "score_own": pd.concat([first[0], second[1]], axis=1, keys=[0, 1]),
        "score_other": pd.concat([second[0], first[1]], axis=1, keys=[0, 1]),
    }
    return pd.DataFrame({
        name: part.rename_axis("image_index", axis=1).stack() for name, part in parts.items()
    })  # fmt: skip


def _refuse_ruled_out(first: pd.DataFrame, second: pd.DataFrame) -> None:
    lost = (np.isneginf(first) & np.isneginf(second)).any(axis=1)
    if lost.any():
        raise ValueError(
            f"{int(lost.sum())} pairs have an image for which both options are ruled out, so that "
            "nothing can be compared: score them with VCD(beta=0)"
        )


def _need(table: pd.DataFrame, columns: Sequence[str], source: str) -> None:
    missing = [name for name in columns if name not in table]
    if missing:
        raise ValueError(
            f"the table lacks {', '.join(missing)}: give what {source} returned, it has "
            f"{', '.join(map(str, table.columns)) or 'no columns'}"
        )
    if len(table) == 0:
        raise ValueError("the table is empty")


def _row(pair: Any, image: int, option: int, model: str, method: str, score: float) -> dict:
    pattern = {k: getattr(pair, k) for k in ("pattern", "relation") if hasattr(pair, k)}
    return {"pair_id": pair.pair_id} | pattern | {
        "image_index": image, "option_index": option, "option": pair.options[option],
        "model": model, "method": method, "score": float(score),
    }  # fmt: skip


def _checked(pairs: Iterable[Any]) -> list[Any]:
    pairs = list(pairs)
    if not pairs:
        raise ValueError("there are no pairs")
    for pair in pairs:
        if len(pair.options) != 2 or pair.options[0] == pair.options[1]:
            raise ValueError(
                f"pair {pair.pair_id!r} needs two different options, not {pair.options!r}"
            )
    return pairs


def _both(pair: Any) -> list[Any]:
    images = list(pair.images)
    if len(images) != 2:
        raise ValueError(f"pair {pair.pair_id!r} has {len(images)} images, and needs two")
    return images


def _texts(pair: Any, text: str) -> list[str]:
    """What CLIP reads for the two options."""
    captions = getattr(pair, "captions", None)
    if captions is not None:
        return list(captions)
    return [text.format(question=pair.question, option=option) for option in pair.options]


@contextmanager
def named_errors(names: Sequence[str]) -> Iterator[None]:
    """Add the item to an error that says which entry it is about."""
    try:
        yield
    except ValueError as error:
        index = getattr(error, "index", None)
        if index is not None:
            error.args = (f"{names[index]}: {error}",)
        raise
