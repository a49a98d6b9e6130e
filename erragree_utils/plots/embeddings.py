"""Embeddings: their cosines and their angles."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from . import style
from .phone import for_phones
from .style import DASHED, GUIDE, INK, LOOKS, NEUTRAL


@for_phones
def cosine_scatter(
    groups: Mapping[str, pd.DataFrame], clip_above: float, vision_below: float
) -> Axes:
    """Cosine between the images of each pair for CLIP and for a vision-only encoder.

    `groups` maps labels to rows with ``clip_cosine`` and ``vision_cosine``. The first group is
    drawn behind the others in the neutral colour; the others differ in their marks. Lines show the
    thresholds of a CLIP-blind pair.
    """
    style.check_tables(groups, ["clip_cosine", "vision_cosine"], "mining, with both cosines")
    ax = style.new_axes(7.0, 4.2)
    for number, (label, table) in enumerate(groups.items()):
        look = {"color": INK if number else NEUTRAL, "ms": 4.5 if number else 3}
        look |= {"alpha": 0.8 if number else 0.4, "label": label}
        mark = "o.sD^vP*X<"[number % 10]
        ax.plot(table["clip_cosine"], table["vision_cosine"], mark, **look)
    ax.axvline(clip_above, **GUIDE)
    ax.axhline(vision_below, **GUIDE)
    ax.set(xlabel="Cosine under CLIP", ylabel="Cosine under the vision-only encoder")
    style.legend(ax, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return ax


@for_phones
def sphere_plane(cosine: float) -> Axes:
    """Two embeddings on the unit sphere, true to scale, and the plane that separates them."""
    if not -1 < cosine < 1:
        raise ValueError(f"two different directions have a cosine between -1 and 1, not {cosine}")
    ax = style.new_axes(5.2, 4.6, subplot_kw={"projection": "3d"})
    around, up = np.meshgrid(np.linspace(0, 2 * np.pi, 37), np.linspace(0, np.pi, 19))
    sphere = np.sin(up) * np.cos(around), np.sin(up) * np.sin(around), np.cos(up)
    ax.plot_wireframe(*sphere, color=NEUTRAL, lw=0.4, alpha=0.45)
    half = np.arccos(cosine) / 2
    wide, high = np.meshgrid([-1.15, 1.15], [-1.15, 1.15])
    ax.plot_surface(np.zeros_like(wide), wide, high, color=NEUTRAL, alpha=0.3, shade=False)
    for side, name, image in ((-1, "left", "image 1"), (1, "right", "image 2")):
        colour, mark = LOOKS[image]
        x, y = side * np.sin(half), -np.cos(half)
        ax.plot([0, x], [0, y], [0, 0], color=colour, lw=1.6)
        ax.scatter([x], [y], [0], color=colour, marker=mark, s=45, depthshade=False)
        ax.text(x + 0.18 * side, y, 0.1, name, color=colour, ha="center", fontsize=10)
    ax.view_init(elev=22, azim=-78)
    ax.set(xlim=(-1.15, 1.15), ylim=(-1.15, 1.15), zlim=(-1.15, 1.15))
    ax.set_box_aspect((1, 1, 1), zoom=1.25)
    ax.set_axis_off()
    style.title(ax, f"cosine {cosine:.4f}: {np.degrees(2 * half):.1f}° apart", 11)
    return ax


@for_phones
def angle_arcs(angles: Mapping[str, np.ndarray]) -> Axes:
    """Angles between image differences and text differences, drawn in a half circle.

    `angles` maps a kind of pair to degrees from 0 to 180. The image difference points to the right;
    each thin line is the text difference of one pair, each thick line the mean of a kind. At 90
    degrees the text doesn't respond to the image difference.
    """
    if not angles:
        raise ValueError("give at least one kind of pair")
    for label, values in angles.items():
        if len(values) == 0 or not np.all((values >= 0) & (values <= 180)):
            raise ValueError(f"{label!r} needs angles between 0 and 180 degrees")
    ax = style.new_axes(7.0, 2.9 if style.on_phone() else 3.9)
    ring = np.radians(np.linspace(0, 180, 181))
    ax.plot(np.cos(ring), np.sin(ring), color=INK, lw=1)
    ax.annotate("", (1.12, 0), (0, 0), arrowprops={"arrowstyle": "->", "color": INK, "lw": 2})
    ax.text(1.12, -0.05, "image difference", color=INK, ha="right", va="top", fontsize=9.5)
    ax.plot([0, 0], [0, 1], color=INK, lw=1, ls=DASHED)
    for (label, values), look in zip(angles.items(), style.looks(angles), strict=True):
        colour, theta = look["color"], np.radians(np.asarray(values, float))
        ends = np.array([np.cos(theta), np.sin(theta)])
        # One line with gaps: a thousand lines would be most of the page's weight.
        ticks = (np.outer(axis, [0.9, 1, np.nan]).ravel() for axis in ends)
        ax.plot(*ticks, color=colour, lw=0.8, alpha=0.5)
        middle = theta.mean()
        text = f"{label}: mean {np.degrees(middle):.0f}°"
        ax.plot(
            [0, np.cos(middle)],
            [0, np.sin(middle)],
            color=colour,
            ls=look["ls"],
            lw=2.6,
            label=text,
        )
    for degrees in (0, 45, 90, 135, 180):
        x, y = 1.08 * np.cos(np.radians(degrees)), 1.08 * np.sin(np.radians(degrees))
        y += 0.06 if degrees in (0, 180) else 0
        ax.text(x, y, f"{degrees}°", color=INK, ha="center", va="center", fontsize=9)
    ax.set(xlim=(-1.25, 1.25), ylim=(-0.2, 1.2), aspect="equal")
    ax.set_axis_off()
    style.legend(ax, loc="lower center", bbox_to_anchor=(0.5, -0.22), ncols=2)
    return ax
