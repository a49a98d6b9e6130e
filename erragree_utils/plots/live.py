"""Figures that respond to a drag, a click or a key in the page itself, without a kernel.

Each is HTML that already shows its first state, so it is a picture even where no script runs. All
other states are beside it as JSON for ``book/_static/live.js``; the script computes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from PIL import Image

from . import live_html, style
from .live_histograms import direction, pick
from .live_parts import Live, address, as_json, sheet_of, square, texts_of
from .live_tables import calculator, effects

if TYPE_CHECKING:
    from ..benchmarks.base import Benchmark

__all__ = [
    "Live",
    "Reading",
    "calculator",
    "direction",
    "drag",
    "effects",
    "pick",
    "quiz",
    "readings",
    "signal_and_bias",
]

_MOST = 200  # pairs in one figure: their images are embedded in the page


@dataclass(frozen=True)
class Reading:
    """What one reader says about each frame of a `drag`.

    Parameters
    ----------
    reader : str
        ``"CLIP"`` or ``"LLaVA"``; each has its own colour.
    label : str
        What the value is, such as ``"cosine to the start"``.
    values : sequence of float
        One value for each frame; bars are drawn from 0 to `most`.
    unit : {"cosine", "share"}
        Shown as 0.123, or in per cent.
    drawn : bool
        Whether the chart below the pictures has a line for it.
    """

    reader: str
    label: str
    values: Sequence[float]
    unit: str = "cosine"
    most: float = 1.0
    drawn: bool = False

    def shown(self, frame: int) -> str:
        """A value as text."""
        value = self.values[frame]
        return f"{value:.3f}" if self.unit == "cosine" else f"{value:.0%}"

    def bar(self, frame: int) -> float:
        """The length of its bar in per cent."""
        return round(100 * min(max(float(self.values[frame]) / self.most, 0.0), 1.0), 1)


def readings(frames: pd.DataFrame, sides: tuple[str, str] = ("left", "right")) -> list[Reading]:
    """Turn what `read_frames` returned into readings for `drag`; `sides` names the two captions."""
    needed = ["cosine", "score_0", "score_1", "yes_0", "yes_1"]
    style.check_tables({"frames": frames}, needed, "read_frames")
    most = 1.25 * float(frames[["score_0", "score_1"]].max(axis=None)) or 1.0
    scores, yes = ([list(frames[f"{name}_{k}"]) for k in (0, 1)] for name in ("score", "yes"))
    return [
        Reading("CLIP", "cosine to the start", list(frames["cosine"]), drawn=True),
        *(Reading("CLIP", f"score, “{side} of”", scores[k], most=most)
          for k, side in enumerate(sides)),
        *(Reading("LLaVA", f"P(Yes), “{side} of”", yes[k], "share", drawn=k == 0)
          for k, side in enumerate(sides)),
    ]  # fmt: skip


def drag(
    frames: Sequence[Image.Image],
    places: Sequence[float],
    readings: Sequence[Reading],
    mover: str,
    caption: str,
    live: Mapping[str, Any] | None = None,
) -> Live:
    """An object to drag across a picture, and the models' readings of each picture.

    Parameters
    ----------
    frames : sequence of PIL.Image.Image
        Pictures in order along the way; the first is "the start" and stays visible.
    places : sequence of float
        Where the object is in each frame, as a share of its width.
    mover : str
        The object, such as ``"the blue car"``.
    live : mapping, optional
        What ``live.js`` needs to compute the readings in the browser.
    """
    if not len(frames) == len(places) >= 2:
        raise ValueError(f"{len(frames)} frames at {len(places)} places: give a place for each")
    for reading in readings:
        if len(reading.values) != len(frames):
            raise ValueError(f"{reading.label!r} has {len(reading.values)} values, not one a frame")
    last = len(frames) - 1
    lines = [
        (r.reader, " ".join(f"{100 * i / last:.2f},{100 - r.bar(i):.1f}" for i in range(last + 1)))
        for r in readings
        if r.drawn
    ]
    data = {
        "frames": [address(frame, 80) for frame in frames],
        "places": [round(place, 4) for place in places],
        "mover": mover,
        "readings": [
            {
                "name": f"{r.reader}: {r.label}",
                "shown": [r.shown(i) for i in range(last + 1)],
                "bars": [r.bar(i) for i in range(last + 1)],
                "unit": r.unit,
            }
            for r in readings
        ],
        "live": live,
    }
    html = live_html.DRAG.render(
        data=as_json(data), start=data["frames"][0], now=data["frames"][-1], size=frames[0].size,
        readings=readings, last=last, lines=lines, mover=mover, caption=caption, live=live,
    )  # fmt: skip
    return Live(html, f"{len(frames)} places of {mover}")


def signal_and_bias(
    tables: Mapping[float, pd.DataFrame], pairs: Benchmark, slider: str = "Strength"
) -> Live:
    """Each pair's signal against its bias; a click shows the pair, a slider changes the strength.

    `tables` maps strengths of a correction, or just 0, to what `prefer` returned. A contrast of
    strength s stretches all scores by 1 + s, which changes no answer, so signal and bias are shown
    divided by it. Both images are right only in the shaded wedge.
    """
    style.check_tables({str(k): t for k, t in tables.items()}, ["signal", "bias"], "prefer")
    states = []
    ids: list[str] = []
    for strength, table in tables.items():
        table = table.reset_index().set_index("pair_id")
        ids = ids or list(table.index)
        x, y = (
            table.loc[ids, name].to_numpy(float) / (1 + strength) for name in ("signal", "bias")
        )
        states.append(_State(f"{strength:g}", x, y, y + x, x - y))
    return _points(states, ids, pairs, slider if len(states) > 1 else "")


def quiz(pairs: Benchmark, readers: Mapping[str, pd.DataFrame]) -> Live:
    """A card for the first pair of each relation: which picture fits the answer?

    `readers` maps names to what `evaluate` returned for these pairs; they answer after you, and are
    right if both images are. If relations are unknown, the first nine pairs are used.
    """
    style.check_tables(readers, ["pair_id", "image_index", "correct"], "evaluate")
    chosen = list({pair.relation: pair for pair in reversed(list(pairs))}.values())[::-1]
    if len(chosen) == 1:
        chosen = list(pairs)[:: max(1, len(pairs) // 9)][:9]
    cards = []
    for number, pair in enumerate(chosen):
        texts, images = texts_of(pair), pair.images
        order = (0, 1) if number % 2 else (1, 0)  # so that the place gives nothing away
        said = {name: _said(name, table, pair.pair_id, texts) for name, table in readers.items()}
        cards.append({
            "images": [address(square(images[k], 192), 80) for k in order], "texts": texts,
            "question": getattr(pair, "question", ""), "right": order.index(0), "said": said,
        })  # fmt: skip
    data = {
        "readers": list(readers),
        "right": [[card["said"][name][1] for card in cards] for name in readers],
    }
    counts = ", ".join(
        f"{name} {sum(right)}" for name, right in zip(readers, data["right"], strict=True)
    )
    html = live_html.QUIZ.render(data=as_json(data), cards=cards, counts=counts)
    return Live(html, f"{len(cards)} pairs; right: {counts}")


def _said(name: str, table: pd.DataFrame, pair_id: str, texts: tuple[str, str]) -> tuple[str, bool]:
    """What a reader says about a pair, in words, and whether both images are right."""
    rows = table[table["pair_id"] == pair_id].sort_values("image_index")
    if list(rows["image_index"]) != [0, 1]:
        raise ValueError(f"{name!r} has no one answer for each image of pair {pair_id!r}")
    right = rows["correct"].to_numpy(bool)
    if (rows["score_own"] == rows["score_other"]).any():
        return "cannot decide between the two", False
    if right.all():
        return "gets both pictures right", True
    if not right.any():
        return "takes each for the other", False
    return f"says “{texts[0 if right[0] else 1]}” of both pictures", False


# --- points --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _State:
    """The points at one position of the slider, and how far ahead each image's own text is."""

    name: str
    x: np.ndarray
    y: np.ndarray
    first: np.ndarray
    second: np.ndarray

    @property
    def right(self) -> np.ndarray:
        return (self.first > 0) & (self.second > 0)


_HALF, _SIDE = 200, 440  # size of the plot, in its own units


def _points(
    states: Sequence[_State],
    ids: Sequence[str],
    pairs: Benchmark,
    slider: str,
) -> Live:
    by_id = {pair.pair_id: pair for pair in pairs}
    if missing := [name for name in ids if name not in by_id]:
        raise ValueError(f"no pair {missing[0]!r} in {pairs!r}: give the benchmark that was scored")
    kept = np.linspace(0, len(ids) - 1, min(len(ids), _MOST)).astype(int)
    shown = [by_id[ids[k]] for k in kept]
    # Each axis has a scale of its own, as biases can be many times larger than signals.
    every = np.abs(np.concatenate([[state.x, state.y] for state in states], axis=1))
    across, up = (float(1.05 * np.quantile(values, 0.99)) or 1.0 for values in every)
    right = np.stack([state.right[kept] for state in states])
    moved = np.flatnonzero(right.any(axis=0) & ~right.all(axis=0))
    start = int(moved[0]) if len(moved) else 0

    def place(values: np.ndarray, limit: float) -> list[float]:
        inside = np.clip(values[kept] / limit, -1, 1)
        return [round(float(v), 1) for v in _SIDE / 2 + _HALF * inside]

    def ahead(values: np.ndarray) -> list[float]:
        return [float(f"{v:.3g}") for v in values[kept]]

    columns = math.ceil(math.sqrt(2 * len(shown)))
    data = {
        "states": [state.name for state in states],
        "x": [place(state.x, across) for state in states],
        "y": [place(state.y, -up) for state in states],
        "right": right.astype(int).tolist(),
        "ahead": [[ahead(state.first), ahead(state.second)] for state in states],
        "pairs": [
            {"name": pair.pair_id, "texts": texts_of(pair),
             "question": getattr(pair, "question", "")}
            for pair in shown
        ],
        "columns": columns, "start": start,
        "summary": [_told(state, slider) for state in states],
    }  # fmt: skip
    edge, top = min(1.0, up / across), min(1.0, across / up)  # where the wedge meets the edge
    corners = np.array([(0, 0), (edge, top), (1, top), (1, -top), (edge, -top)])
    corners = corners * _HALF + _SIDE / 2
    html = live_html.POINTS.render(
        data=as_json(data), d=data, side=_SIDE, slider=slider, axes=("Signal", "Bias"), start=start,
        sheet=address(sheet_of(shown, columns), 70), columns=columns,
        rows=math.ceil(2 * len(shown) / columns), across=f"{across:.2g}", up=f"{up:.2g}",
        region=" ".join(f"{a:g},{b:g}" for a, b in corners),
        drawn="" if len(kept) == len(ids) else f"{len(kept)} of the {len(ids)} pairs are drawn",
        zipped=list(zip(data["x"][0], data["y"][0], data["right"][0], strict=True)),
        told=[_ahead_told(data["ahead"][0][image][start]) for image in (0, 1)],
    )  # fmt: skip
    return Live(html, f"{len(shown)} pairs, {data['summary'][0]}")


def _ahead_told(ahead: float) -> str:
    """How far ahead an image's own text is, with a mark for right or wrong."""
    return f"✓ own text ahead by {ahead:g}" if ahead > 0 else f"✗ own text behind by {-ahead:g}"


def _told(state: _State, slider: str) -> str:
    right = f"{state.right.mean():.0%} of {len(state.right)} pairs: both images right"
    return f"{slider} {state.name}. {right}" if slider else right
