"""Explorers for a live notebook. Each leaves a picture of what it showed first in a static page."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ..decoding.processor import pair_seeds
from ..decoding.streams import option_streams
from ..measures.alignment import turned_scores
from . import figures as plots

#: Dots an inch of the pictures.
RESOLUTION = 110
_ALL = "all pairs"


class PairExplorer(ipywidgets.VBox):
    """Two menus and the picture of the chosen pair. Made by `pair_explorer`.

    Where widgets cannot run (a static page, a printed notebook), the picture alone is shown: it is
    part of what the notebook stores, and needs neither a kernel nor a network.

    Attributes
    ----------
    outcome : ipywidgets.Dropdown
        Which pairs are offered, by who matched both of their images.
    choice : ipywidgets.Dropdown
        The pair that is shown; its value is the number of the pair in the benchmark.
    picture : ipywidgets.Image
        PNG.
    """

    def __init__(self, bench: Any, readers: Mapping[str, pd.DataFrame], start: int = 0):
        self._bench, self._readers = bench, dict(readers)
        self._groups = _outcomes(bench, readers)
        self.outcome = ipywidgets.Dropdown(
            options=[(f"{name} ({len(found)})", name) for name, found in self._groups.items()],
            description="Show",
            layout=ipywidgets.Layout(width="auto", max_width="640px"),
        )
        self.choice = ipywidgets.Dropdown(
            options=self._offered(),
            value=start,
            description="Pair",
            layout=ipywidgets.Layout(width="auto", max_width="640px"),
        )
        self.picture = ipywidgets.Image(format="png", layout=ipywidgets.Layout(max_width="100%"))
        super().__init__([self.outcome, self.choice, self.picture])
        self._draw()
        self.choice.observe(self._draw, "value")
        self.outcome.observe(self._offer, "value")

    def _offered(self) -> list[tuple[str, int]]:
        return [(_name(self._bench[i]), i) for i in self._groups[self.outcome.value]]

    def _offer(self, change: Any = None) -> None:
        self.choice.options = self._offered()  # chooses the first of them, which draws it

    def _draw(self, change: Any = None) -> None:
        figure = plots.show_readers(self._bench[self.choice.value], self._readers)
        self.picture.value = _png(figure)

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        bundle = super()._repr_mimebundle_(**options) or {}
        shown = _name(self._bench[self.choice.value])
        return bundle | {
            "text/plain": f"<PairExplorer of {len(self._bench)} pairs: {shown}>",
            "image/png": base64.b64encode(self.picture.value).decode("ascii"),
        }


def pair_explorer(
    bench: Any, readers: Mapping[str, pd.DataFrame], start: int | str = 0
) -> PairExplorer:
    """Pick a pair; see its images and how each reader scores its captions for them.

    Parameters
    ----------
    bench : Benchmark
    readers : mapping of str to pandas.DataFrame
        Name of a reader to its predictions, as for `plots.show_readers`, for every pair of `bench`.
    start : int or str
        The pair shown first, by its number or its `pair_id`.

    Returns
    -------
    PairExplorer
        A widget; show it as the last line of a cell.

    Raises
    ------
    ValueError
        If the benchmark is empty, `start` is not in it, or a reader lacks predictions for a pair,
        or has several methods.
    """
    if len(bench) == 0:
        raise ValueError("the benchmark has no pairs")
    names = [pair.pair_id for pair in bench]
    if isinstance(start, str):
        if start not in names:
            raise ValueError(f"the benchmark has no pair {start!r}; it has {names[0]!r} and others")
        start = names.index(start)
    if not -len(names) <= start < len(names):
        raise ValueError(f"start is {start}, the benchmark has {len(names)} pairs")
    return PairExplorer(bench, readers, start % len(names))


class DirectionExplorer(ipywidgets.VBox):
    """A slider that turns a direction, and the two clouds along it. Made by `direction_explorer`.

    Where widgets cannot run, three angles stand side by side.

    Attributes
    ----------
    angle : ipywidgets.SelectionSlider
        Degrees from the text difference.
    picture : ipywidgets.Image
        PNG.
    """

    def __init__(self, scores: Mapping[float, np.ndarray]):
        self._scores = dict(scores)
        angles = sorted(self._scores)
        self.angle = ipywidgets.SelectionSlider(
            options=[(f"{angle}°", angle) for angle in angles],
            description="Angle",
            layout=ipywidgets.Layout(width="auto", max_width="480px"),
        )
        self.picture = ipywidgets.Image(format="png", layout=ipywidgets.Layout(max_width="100%"))
        super().__init__([self.angle, self.picture])
        self._draw()
        self.angle.observe(self._draw, "value")

    def _panels(self, angles: list[float]) -> bytes:
        shown = {f"{angle}° from the text difference": self._scores[angle] for angle in angles}
        width = 3.4 if len(angles) > 1 else 6.0
        return _png(plots.two_clouds(shown, "Place along the direction", width))

    def _draw(self, change: Any = None) -> None:
        self.picture.value = self._panels([self.angle.value])

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        bundle = super()._repr_mimebundle_(**options) or {}
        angles = sorted(self._scores)
        three = _ends_and_middle(angles)
        return bundle | {
            "text/plain": f"<DirectionExplorer of {len(angles)} angles>",
            "image/png": base64.b64encode(self._panels(three)).decode("ascii"),
        }


def direction_explorer(
    images: np.ndarray,
    texts: np.ndarray,
    groups: Sequence,
    degrees: Sequence[float] = tuple(range(0, 91, 5)),
) -> DirectionExplorer:
    """Turn a direction from the text difference to the image difference; see when the clouds part.

    Parameters
    ----------
    images, texts : numpy.ndarray, shape (N, 2, D)
        Embeddings of pairs, as for `alignment.turned_scores`.
    groups : sequence, length N
        The direction comes from one half of them, the pairs that are shown from the other.
    degrees : sequence of float
        Angles on offer.

    Returns
    -------
    DirectionExplorer
        A widget; show it as the last line of a cell.

    Raises
    ------
    ValueError
        If there is no angle, or as in `alignment.turned_scores`.
    """
    if not len(degrees):
        raise ValueError("give at least one angle")
    return DirectionExplorer(turned_scores(images, texts, groups, degrees))


class DecodingExplorer(ipywidgets.VBox):
    """A menu of images and a slider for the strength of a contrast. Made by `decoding_explorer`.

    Where widgets cannot run, three strengths stand side by side.

    Attributes
    ----------
    choice : ipywidgets.Dropdown
        The image that is asked about, by its number.
    strength : ipywidgets.SelectionSlider
    picture, bars : ipywidgets.Image
        PNG: the image, and the probabilities of the next token.
    """

    def __init__(
        self,
        owners: Sequence[tuple[Any, int]],
        streams: Sequence[Any],
        contrast: Any,
        words: Callable[[int], str],
        strengths: Sequence[float],
        start: int,
    ):
        self._owners, self._streams, self._contrast = list(owners), list(streams), contrast
        self._words = words
        narrow = ipywidgets.Layout(width="auto", max_width="640px")
        names = [f"{p.question} ({p.options[i]})" for p, i in self._owners]
        self.choice = ipywidgets.Dropdown(
            options=[(f"{n}: {name}", n) for n, name in enumerate(names)],
            value=start, description="Image", layout=narrow,
        )  # fmt: skip
        self.strength = ipywidgets.SelectionSlider(
            options=[(f"{s:g}", s) for s in strengths], description="Strength", layout=narrow
        )
        self.picture, self.bars = (
            ipywidgets.Image(format="png", layout=ipywidgets.Layout(max_width="100%"))
            for _ in range(2)
        )
        super().__init__([self.choice, self.strength, self.picture, self.bars])
        self._show()
        self.choice.observe(self._show, "value")
        self.strength.observe(self._draw, "value")

    def table(self, strength: float) -> pd.DataFrame:
        """Probabilities of the options' first tokens and of the likeliest others.

        One of these is the likeliest at the greatest strength, which may be one that neither stream
        thinks likely.

        Parameters
        ----------
        strength : float

        Returns
        -------
        pandas.DataFrame
            Tokens in the index; ``"with the image"``, ``"second stream"``, ``"combined"``.
        """
        streams = self._streams[self.choice.value]
        plain, second = (x[:1].float() for x in (streams[0].conditional, streams[0].contrast))
        greatest = max(value for _, value in self.strength.options)
        combined, extreme = (
            self._contrast.with_strength(s).combine(plain, second, 1) for s in (strength, greatest)
        )
        shares = [x.softmax(dim=-1)[0].numpy() for x in (plain, second, combined)]
        tokens = [*(int(answer.tokens[0]) for answer in streams), int(extreme.argmax())]
        tokens += [int(t) for x in shares[:2] for t in np.argsort(-x)[:4]]
        tokens = list(dict.fromkeys(tokens))[:5]
        columns = ("with the image", "second stream", "combined")
        return pd.DataFrame(
            {name: share[tokens] for name, share in zip(columns, shares, strict=True)},
            index=[self._words(token) for token in tokens],
        )

    def _panels(self, strengths: Sequence[float]) -> bytes:
        return _png(plots.token_bars({f"strength {s:g}": self.table(s) for s in strengths}))

    def _show(self, change: Any = None) -> None:
        pair, index = self._owners[self.choice.value]
        self.picture.value = _png(plots.show_image(pair.images[index], pair.question))
        self._draw()

    def _draw(self, change: Any = None) -> None:
        self.bars.value = self._panels([self.strength.value])

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        bundle = super()._repr_mimebundle_(**options) or {}
        strengths = [value for _, value in self.strength.options]
        three = _ends_and_middle(strengths)
        return bundle | {
            "text/plain": f"<DecodingExplorer of {len(self._owners)} images>",
            "image/png": base64.b64encode(self._panels(three)).decode("ascii"),
        }


def decoding_explorer(
    mllm: Any,
    pairs: Sequence[Any],
    contrast: Any,
    strengths: Sequence[float] = (0, 0.25, 0.5, 1, 1.5, 2, 3, 5),
    start: int = 0,
) -> DecodingExplorer:
    """Move the strength of a contrast; see the probabilities of the answer's first token move.

    Parameters
    ----------
    mllm : Mllm
    pairs : sequence of QuestionPair
    contrast : decoding.Contrast
    strengths : sequence of float
        On offer.
    start : int
        Number of the image shown first: image k of pair i is number 2 i + k.

    Returns
    -------
    DecodingExplorer
        A widget; show it as the last line of a cell.

    Raises
    ------
    ValueError
        If there are no pairs or strengths, or `start` is not one of the images.
    """
    pairs, strengths = list(pairs), sorted(strengths)
    owners = [(pair, i) for pair in pairs for i in (0, 1)]
    if not owners or not strengths:
        raise ValueError("give at least one pair and one strength")
    if not 0 <= start < len(owners):
        raise ValueError(f"start is {start}, there are {len(owners)} images")
    streams = option_streams(
        mllm,
        [image for pair in pairs for image in pair.images],
        [pair.question for pair, _ in owners],
        [list(pair.options) for pair, _ in owners],
        contrast,
        seed=pair_seeds(pairs),
    )
    tokenizer = mllm.processor.tokenizer

    def words(token: int) -> str:
        text = tokenizer.decode([token])
        return text.strip() or repr(text)

    return DecodingExplorer(owners, streams, contrast, words, strengths, start)


def _outcomes(bench: Any, readers: Mapping[str, pd.DataFrame]) -> dict[str, list[int]]:
    """Numbers of the pairs by who matched both images; groups without pairs are left out."""
    if not readers:
        raise ValueError("give at least one reader with its predictions")
    matched: dict[str, pd.Series] = {}
    for name, table in readers.items():
        if table.duplicated(["pair_id", "image_index"]).any():
            raise ValueError(
                f"{name} has several predictions for one image: select one model, method and "
                "benchmark first"
            )
        matched[name] = table.groupby("pair_id")["correct"].all()
    groups: dict[str, list[int]] = {_ALL: list(range(len(bench)))}
    for number, pair in enumerate(bench):
        for name, found in matched.items():
            if pair.pair_id not in found.index:
                raise ValueError(
                    f"{name} has no predictions for pair {pair.pair_id!r}: evaluate it on this "
                    "benchmark, or explore the pairs it was evaluated on"
                )
        winners = [name for name, found in matched.items() if found[pair.pair_id]]
        groups.setdefault(_label(winners, len(matched)), []).append(number)
    return groups


def _label(winners: list[str], n_readers: int) -> str:
    if not winners:
        return "matched by none"
    if n_readers > 1 and len(winners) == n_readers:
        return "matched by all"
    return f"matched by {' and '.join(winners)} only" if n_readers > 1 else "matched"


def _name(pair: Any) -> str:
    return f"{pair.captions[0]} ({pair.relation})"


def _ends_and_middle(values: Sequence[float]) -> list[float]:
    """What a static page shows of a slider."""
    return list(dict.fromkeys((values[0], values[len(values) // 2], values[-1])))


def _png(figure: Figure) -> bytes:
    """Draw a figure and close it, so that it is not shown a second time below the cell."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=RESOLUTION)
    plt.close(figure)
    return buffer.getvalue()
