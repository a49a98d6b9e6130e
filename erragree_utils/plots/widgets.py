"""Explorers for a running notebook. In a static page, each leaves a picture of its first state."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ..decoding import Contrast
from ..decoding.processor import pair_seeds
from ..decoding.streams import option_streams
from .charts import token_bars
from .phone import drawings
from .pictures import show_images, show_readers

if TYPE_CHECKING:
    from ..benchmarks.base import Benchmark, ImagePair
    from ..benchmarks.mmvp import QuestionPair
    from ..models.mllm import Mllm

_DPI = 110
_WIDE = {"width": "auto", "max_width": "640px"}
STRENGTHS = (0, 0.25, 0.5, 1, 1.5, 2, 3, 5)


class Explorer(ipywidgets.VBox):
    """Controls above pictures. If widgets can't run, a notebook shows the stored `still`."""

    def still(self) -> Figure:
        """What needs neither a kernel nor a network."""
        raise NotImplementedError

    def __str__(self) -> str:
        return f"<{type(self).__name__}>"

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        bundle = super()._repr_mimebundle_(**options) or {}
        return bundle | {"text/plain": str(self)} | drawings(self.still())


class PairExplorer(Explorer):
    """Pick a pair, and see how each reader scores its captions for its images.

    Parameters
    ----------
    bench : Benchmark
    readers : mapping of str to pandas.DataFrame
        Name of a reader to its predictions, as for `show_readers`, for every pair of `bench`.
    start : int or str
        The pair to show first, by its number or its `pair_id`.
    """

    def __init__(self, bench: Benchmark, readers: Mapping[str, pd.DataFrame], start: int | str = 0):
        ids = [pair.pair_id for pair in bench]
        number = ids.index(start) if start in ids else start
        if number not in range(-len(ids), len(ids)):
            raise ValueError(f"no pair {start!r}: {bench.name} has {len(ids)} pairs")
        self._bench, self._readers, self._groups = bench, readers, _outcomes(ids, readers)
        groups = [(f"{name} ({len(pairs)})", name) for name, pairs in self._groups.items()]
        self.outcome = _menu("Show", groups)
        self.choice = _menu("Pair", self._choices(), value=number % len(ids))
        self.picture = _picture()
        super().__init__([self.outcome, self.choice, self.picture])
        self._draw()
        self.choice.observe(self._draw, "value")
        self.outcome.observe(self._narrow, "value")

    def _choices(self) -> list[tuple[str, int]]:
        return [(_name(self._bench[i]), i) for i in self._groups[self.outcome.value]]

    def _narrow(self, change: Any = None) -> None:
        self.choice.options = self._choices()  # chooses the first of them and so draws it

    def _draw(self, change: Any = None) -> None:
        self.picture.value = _png(self.still())

    def __str__(self) -> str:
        pair = _name(self._bench[self.choice.value])
        return f"<PairExplorer of {len(self._bench)} pairs: {pair}>"

    def still(self) -> Figure:
        return show_readers(self._bench[self.choice.value], self._readers)


class DecodingExplorer(Explorer):
    """Change a contrast's strength, and see the probabilities of the answer's first token move.

    Image k of pair i has number 2 i + k; `start` is the number of the one to show first.
    """

    def __init__(
        self, mllm: Mllm, pairs: Sequence[QuestionPair], contrast: Contrast, start: int = 0
    ):
        self._questions = [(pair, i) for pair in pairs for i in (0, 1)]
        if start not in range(len(self._questions)):
            raise ValueError(f"start is {start}, there are {len(self._questions)} images")
        self._contrast, self._tokenizer = contrast, mllm.processor.tokenizer
        self._streams = option_streams(
            mllm,
            [pair.images[i] for pair, i in self._questions],
            [pair.question for pair, _ in self._questions],
            [list(pair.options) for pair, _ in self._questions],
            contrast,
            seed=pair_seeds(pairs),
        )
        images = [
            (f"{n}: {pair.question} ({pair.options[i]})", n)
            for n, (pair, i) in enumerate(self._questions)
        ]
        self.choice = _menu("Image", images, value=start)
        self.strength = _slider("Strength", [(f"{s:g}", s) for s in STRENGTHS])
        self.picture, self.bars = _picture(), _picture()
        super().__init__([self.choice, self.strength, self.picture, self.bars])
        self._show()
        self.choice.observe(self._show, "value")
        self.strength.observe(self._draw, "value")

    def table(self, strength: float) -> pd.DataFrame:
        """Probabilities of the options' first tokens and of the most likely others.

        Tokens are in the index; the columns are ``"with the image"``, ``"second stream"`` and
        ``"combined"``. One of them is the most likely token at the greatest strength, which neither
        stream may find likely.
        """
        streams = self._streams[self.choice.value]
        plain, second = (x[:1].float() for x in (streams[0].conditional, streams[0].contrast))
        combined, extreme = (
            self._contrast.with_strength(s).combine(plain, second, 1)
            for s in (strength, STRENGTHS[-1])
        )
        shares = [x.softmax(dim=-1)[0].numpy() for x in (plain, second, combined)]
        tokens = [*(int(answer.tokens[0]) for answer in streams), int(extreme.argmax())]
        tokens += [int(t) for x in shares[:2] for t in np.argsort(-x)[:4]]
        tokens = list(dict.fromkeys(tokens))[:5]
        columns = ["with the image", "second stream", "combined"]
        words = [self._tokenizer.decode([token]) for token in tokens]
        index = [word.strip() or repr(word) for word in words]
        return pd.DataFrame(np.array(shares)[:, tokens].T, index, columns)

    def _panels(self, strengths: Sequence[float]) -> Figure:
        return token_bars({f"strength {s:g}": self.table(s) for s in strengths})

    def _show(self, change: Any = None) -> None:
        pair, index = self._questions[self.choice.value]
        self.picture.value = _png(show_images([pair.images[index]], [pair.question]))
        self._draw()

    def _draw(self, change: Any = None) -> None:
        self.bars.value = _png(self._panels([self.strength.value]))

    def still(self) -> Figure:
        return self._panels(_ends_and_middle(STRENGTHS))


def _outcomes(ids: Sequence[str], readers: Mapping[str, pd.DataFrame]) -> dict[str, list[int]]:
    """Numbers of the pairs, grouped by who matched both images; empty groups are left out."""
    if not readers:
        raise ValueError("give at least one reader with its predictions")
    matched = {}
    for name, table in readers.items():
        if table.duplicated(["pair_id", "image_index"]).any():
            raise ValueError(f"{name} has several predictions for one image: select one method")
        matched[name] = table.groupby("pair_id")["correct"].all()
        if missing := [i for i in ids if i not in matched[name]]:
            raise ValueError(f"{name} has no predictions for pair {missing[0]!r}: evaluate it here")
    groups: dict[str, list[int]] = {"all pairs": list(range(len(ids)))}
    for number, pair_id in enumerate(ids):
        winners = [name for name in readers if matched[name][pair_id]]
        groups.setdefault(_outcome(winners, len(readers)), []).append(number)
    return groups


def _outcome(winners: list[str], readers: int) -> str:
    if not winners:
        return "matched by none"
    if readers == 1:
        return "matched"
    return f"matched by {'all' if len(winners) == readers else ' and '.join(winners) + ' only'}"


def _name(pair: ImagePair) -> str:
    return f"{pair.captions[0]} ({pair.relation})"


def _menu(description: str, options: list[tuple[str, Any]], **start: Any) -> ipywidgets.Dropdown:
    return ipywidgets.Dropdown(options=options, description=description, layout=_WIDE, **start)


def _slider(description: str, options: list[tuple[str, float]]) -> ipywidgets.SelectionSlider:
    return ipywidgets.SelectionSlider(options=options, description=description, layout=_WIDE)


def _picture() -> ipywidgets.Image:
    return ipywidgets.Image(format="png", layout={"max_width": "100%"})


def _ends_and_middle(values: Sequence[float]) -> list[float]:
    """The positions of a slider that a static page shows."""
    return [values[0], values[len(values) // 2], values[-1]]


def _png(figure: Figure) -> bytes:
    """Draw a figure and close it, so that it doesn't appear again below the cell."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI)
    plt.close(figure)
    return buffer.getvalue()
