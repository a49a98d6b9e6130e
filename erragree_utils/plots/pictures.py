"""Images with their captions, questions, scores and maps."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize, to_rgb
from matplotlib.figure import Figure
from PIL import Image

from ..checks import listed
from ..images import as_rgb
from . import style
from .phone import for_phones
from .style import INK

if TYPE_CHECKING:
    from ..benchmarks.base import ImagePair
    from ..benchmarks.mmvp import QuestionPair

# Two hues that everyone can tell apart; neither stands for a model here.
FOR, AGAINST = "#0072b2", "#b4500f"
_SIDE = 2.6  # side of an image in inches


@for_phones
def show_images(images: Sequence[Image.Image], captions: Sequence[str]) -> Figure:
    """Images of any shape in a row, each above its text."""
    return _image_row(images, captions, _SIDE)


@for_phones
def show_pair(pair: ImagePair, scores: pd.DataFrame | None = None) -> Figure:
    """The images of a pair with their own captions and, if `evaluate` gave any, their scores."""
    images = pair.images
    figure = _image_row(images, pair.captions[: len(images)], _SIDE)
    if scores is None:
        return figure
    rows = _rows_of(pair, scores, "scores")
    for ax, row in zip(figure.axes, rows.itertuples(), strict=True):
        lines = 1 + ax.get_xlabel().count("\n")
        both = f"own {row.score_own:.4f}", f"other {row.score_other:.4f}"
        between = "\n" if style.on_phone() else "   "
        text = f"{between.join(both)}\n{_verdict(row.correct)}"
        place = {"xycoords": "axes fraction", "textcoords": "offset points", "ha": "center"}
        below = (0.5, 0.0), (0, -8 - 15 * lines)
        ax.annotate(text, *below, **place, va="top", color=INK, fontsize=9.5)
    figure.set_figheight(figure.get_figheight() + 0.45 + 0.2 * style.on_phone())
    return figure


@for_phones
def show_set(pairs: Iterable[ImagePair]) -> Figure:
    """All images of a set in a row, each with its own caption."""
    pairs = list(pairs)
    sets = {pair.set_id for pair in pairs}
    if len(sets) != 1:
        raise ValueError(f"give the pairs of one set; these belong to {len(sets)}")
    cells = [cell for pair in pairs for cell in zip(pair.images, pair.captions, strict=False)]
    return _image_row(*zip(*cells, strict=True), 2.2)


@for_phones
def show_readers(pair: ImagePair, readers: Mapping[str, pd.DataFrame]) -> Figure:
    """A pair's images and, below each, how several readers score the pair's captions for it.

    `readers` maps names to what `evaluate` returned, by one method with two options. The captions
    are in the same order below both images, so a reader that prefers one caption whatever it sees
    has its longer bar in the same place twice. The bar of an image's own caption is filled.
    """
    if not readers:
        raise ValueError("give at least one reader with its predictions")
    values = {name: _caption_scores(pair, table, name) for name, table in readers.items()}
    count, heights = len(pair.sources), [3.0] + [0.95] * len(values)
    side, each = 3.0, count
    if style.on_phone():  # the second image, with its bars, below the first
        side, each, heights = 2.4, 1, [2.6] + [0.95] * len(values)
    ratios = heights * (count // each)
    figure, axes = style.panels(
        len(ratios), each, side * each + 1.4, sum(ratios), height_ratios=ratios
    )
    axes = axes if each == count else axes.reshape(count, -1).T
    for ax, image, text in zip(axes[0], pair.images, pair.captions, strict=False):
        _show(ax, image)
        style.title(ax, textwrap.fill(text, int(side * 11)))
    captions = [textwrap.fill(text, 24) for text in pair.captions]
    for row, (name, scores) in zip(axes[1:], values.items(), strict=True):
        limit, colour = max(scores.max(), 1e-9) * 1.3, style.colour_of(name)
        for k, ax in enumerate(row):
            ax.spines[:].set_visible(False)
            verdict = _verdict(scores[k, k] > scores[k, 1 - k])
            # The bar of the image's own caption is filled, the other one open.
            fills = [colour if caption == k else "none" for caption in (0, 1)]
            ax.barh([0, 1], scores[k], height=0.62, color=fills, ec=colour, lw=1.3)
            for place, value in enumerate(scores[k]):
                where = max(value, 0) + limit / 60, place
                ax.text(*where, f"{value:.4f}", va="center", color=INK, fontsize=9)
            ax.set(xlim=(min(0.0, scores.min()), limit), ylim=(1.5, -0.5), xticks=[])
            style.title(ax, f"{name}: {verdict}", color=colour, loc="left")
            ax.tick_params(length=0)
            ax.set_yticks([0, 1], captions, fontsize=9) if k < count // each else ax.set_yticks([])
    return figure


@for_phones
def question_pairs(
    pairs: Sequence[QuestionPair], notes: Sequence[str] | None = None, size: float = 1.35
) -> Figure:
    """Pairs of images side by side, each above its question and each image's answer.

    Above each pair is a note, by default its pattern; `size` is the side of an image in inches.
    """
    notes = [pair.pattern for pair in pairs] if notes is None else notes
    if not pairs or len(notes) != len(pairs):
        raise ValueError(f"give pairs, and a note for each: {len(pairs)} pairs, {len(notes)} notes")
    columns = 1 if style.on_phone() else min(3, len(pairs))
    size = 1.75 if style.on_phone() else min(size, (style.WIDE / columns - 0.25) / 2)
    rows = -(-len(pairs) // columns)
    inches = columns * (2 * size + 0.25), rows * (size + 0.85)
    figure = plt.figure(figsize=inches, layout="constrained")
    figure.patch.set_facecolor(style.PAGE)
    parts = figure.subfigures(rows, columns, squeeze=False)
    for part, pair, note in zip(parts.flat, pairs, notes, strict=False):
        part.suptitle(note, color=INK, fontsize=9.5)
        part.supxlabel(textwrap.fill(pair.question, int(size * 26)), color=INK, fontsize=8.5)
        for ax, image, option in zip(part.subplots(1, 2), pair.images, pair.options, strict=True):
            _show(ax, image)
            ax.set_xlabel(textwrap.fill(option, int(size * 15)), color=INK, fontsize=9.5)
    return figure


@for_phones
def saliency_maps(
    images: Sequence[Image.Image | None], maps: Sequence[np.ndarray], titles: Sequence[str]
) -> Figure:
    """Signed maps of patches over images: blue supports the answer, orange opposes it.

    Parameters
    ----------
    images : sequence of PIL.Image.Image
        Square, as the model sees them; None for a map without an image.
    maps : sequence of numpy.ndarray, each of shape (rows, cols)
        One for each image, each divided by its largest absolute value.
    titles : sequence of str
    """
    if not len(listed(images, "images")) == len(maps) == len(titles) > 0:
        count = f"{len(images)} images, {len(maps)} maps, {len(titles)} titles"
        raise ValueError(f"give a map and a title for each image: {count}")
    side = 2.4 if style.on_phone() else min(2.4, (style.WIDE - 0.9) / len(images))
    figure, axes = style.panels(1, len(images), side * len(images) + 0.9, side + 0.7)
    colours = _signed_colours()
    for ax, image, values, text in zip(axes[0], images, maps, titles, strict=True):
        end = (values.shape[1] if image is None else image.width) - 0.5
        if image is not None:
            _show(ax, as_rgb(image).convert("L"))
        share, extent = values / max(np.abs(values).max(), 1e-12), (-0.5, end, end, -0.5)
        ax.imshow(share, colours, Normalize(-1, 1), extent=extent, interpolation="nearest")
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set(color=INK, visible=image is None)
        style.title(ax, textwrap.fill(text, int(side * 11)))
    scale = ScalarMappable(Normalize(-1, 1), colours)
    place = "bottom" if style.on_phone() else "right"
    bar = figure.colorbar(scale, ax=list(axes[0]), location=place, shrink=0.8, ticks=[-1, 0, 1])
    bar.set_label("Gradient × input (share of the largest)", color=INK)
    bar.ax.patch.set_alpha(0)
    bar.ax.tick_params(colors=INK)
    bar.outline.set_edgecolor(INK)
    return figure


def _image_row(images: Sequence[Image.Image], captions: Sequence[str], side: float) -> Figure:
    columns = len(images)
    if style.on_phone() and columns > 1:
        columns, side = 2, style.PHONE / 2
    width = max(16, int(side * 10.5))  # characters that fit below an image
    wrapped = [textwrap.fill(text, width) for text in captions]
    lines, rows = 1 + max(text.count("\n") for text in wrapped), -(-len(images) // columns)
    height = (side + 0.24 * lines) * rows
    figure, axes = style.panels(rows, columns, side * columns, height, stack=False)
    for ax in axes.flat[len(images) :]:
        ax.remove()
    for ax, image, text in zip(axes.flat, images, wrapped, strict=False):
        _show(ax, image)
        ax.set_xlabel(text, color=INK, fontsize=10)
    return figure


def _show(ax: Axes, image: Image.Image) -> None:
    image = as_rgb(image)
    # Small images show their pixels as squares instead of being blurred.
    ax.imshow(image, interpolation="nearest" if max(image.size) < 128 else "antialiased")
    ax.set(xticks=[], yticks=[])
    ax.patch.set_alpha(0)
    ax.spines[:].set_visible(False)


def _verdict(right: bool) -> str:
    return "✓ matched" if right else "✗ not matched"


def _rows_of(pair: ImagePair, table: pd.DataFrame, name: str) -> pd.DataFrame:
    """The rows of a pair's images, in their order."""
    rows = table[table["pair_id"] == pair.pair_id].sort_values("image_index")
    if list(rows["image_index"]) != list(range(len(pair.sources))):
        raise ValueError(
            f"{name} must have one row for each image of pair {pair.pair_id!r}; it has "
            f"{len(rows)}. Select one model and method first."
        )
    return rows


def _caption_scores(pair: ImagePair, table: pd.DataFrame, name: str) -> np.ndarray:
    """Scores (images, captions) of a pair."""
    rows = _rows_of(pair, table, name)
    if (rows["n_options"] != 2).any():
        raise ValueError(f"{name} must have two options: select 'matching' or 'vqascore', say")
    scores = rows[["score_own", "score_other"]].to_numpy(float, copy=True)
    scores[1:] = scores[1:, ::-1]  # the second image's own caption comes second
    return scores


def _signed_colours() -> ListedColormap:
    """Orange for -1, blue for 1, and the more transparent the nearer to 0."""
    values = np.linspace(-1, 1, 255)
    rgb = np.where(values[:, None] < 0, to_rgb(AGAINST), to_rgb(FOR))
    return ListedColormap(np.column_stack([rgb, 0.9 * np.abs(values) ** 0.7]), name="signed")
