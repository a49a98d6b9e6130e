"""Draw the picture that opens the README, and stands where the book is shared.

Its numbers are measured when it is drawn: ``python tools/draw_overview.py`` after new weights.
"""

from __future__ import annotations

import io
import textwrap
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from erragree_utils import evaluate, load_benchmark, load_clip, load_mllm, summarize
from erragree_utils.benchmarks.base import Benchmark
from erragree_utils.paper import CLIP, LLAVA, published
from erragree_utils.plots import style
from erragree_utils.plots.phone import dark
from erragree_utils.plots.style import GUIDE, LOOKS
from erragree_utils.scoring.embeddings import pair_cosines

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "book" / "_static"
READERS = {"CLIP": "CLIP's matching score", "LLaVA": "LLaVA, reading the\nsame frozen encoder"}


def left_right(**options: int) -> Benchmark:
    return load_benchmark("tabletop-a", **options).select("left/right")


def measure() -> tuple[float, pd.DataFrame, dict[str, float]]:
    """Mean left/right cosine; pair accuracies with intervals; the paper's, on What'sUp A."""
    clip, mllm, bench = load_clip("mini"), load_mllm("mini"), left_right()
    both = [evaluate(clip, bench), evaluate(mllm, bench, "vqascore")]
    table = summarize(pd.concat(both), by="method")
    table.index = list(READERS)  # matching, vqascore
    asked = {"benchmark": "whatsup-a", "relation": "left/right", "kind": "pair", "version": "v3"}
    asked = {"CLIP": asked | {"reader": CLIP, "version": "v1"}, "LLaVA": asked | {"reader": LLAVA}}
    theirs = {name: published(**wanted).value for name, wanted in asked.items()}
    return float(pair_cosines(clip, bench)["cosine"].mean()), table, theirs


def draw(cosine: float, table: pd.DataFrame, theirs: dict[str, float]) -> Figure:
    """Two images and their cosine on the left, who tells such pairs apart on the right."""
    pair = left_right(n_sets=1, size=400, supersample=4)[0]
    figure, axes = style.panels(1, 3, 10.5, 3.4, width_ratios=[1, 1, 1.25])
    shown = zip(axes[0], pair.images, pair.captions, strict=False)
    for k, (ax, image, caption) in enumerate(shown, 1):
        ax.imshow(image)
        ax.set(xticks=[], yticks=[], xlabel=textwrap.fill(caption, 24))
        ax.spines[:].set(visible=True, color=LOOKS[f"image {k}"][0], linewidth=2.5)
    style.title(
        axes[0, 0], f"To CLIP such pairs look the same: mean cosine {cosine:.3f}", 11, loc="left"
    )
    ax, (colour, mark) = axes[0, 2], LOOKS["paper"]
    ax.axvline(0.25, label="chance", **GUIDE)
    value, error = style.estimates(table, "pair_accuracy")
    for row, name in enumerate(READERS):
        look = {"color": style.colour_of(name), "marker": LOOKS[name.lower()][1]}
        ax.errorbar(value[row], row, xerr=error[:, [row]], capsize=3, ms=9, lw=2.2, **look)
        label = None if row else "the paper, on photographs"
        ring = {"mfc": "none", "mec": colour, "mew": 1.6, "ms": 9, "ls": "none"}
        ax.plot(theirs[name], row, mark, label=label, **ring)
        style.title(ax, "Which caption fits? Right for both images", 11)
    style.label_rows(ax, list(READERS.values()))
    for text, name in zip(ax.get_yticklabels(), READERS, strict=True):
        text.set(color=style.colour_of(name), fontsize=11)
    ax.set(xlim=(-0.03, 1.03), xticks=[0, 0.25, 0.5, 0.75, 1], xlabel="Share of pairs")
    style.share_axis(ax, "x")
    style.figure_legend(figure, ax, "lower right", 2)
    return figure


def main() -> None:
    """Measure, draw, write: SVG for a light and a dark page, PNG where an SVG is not shown."""
    figure = draw(*measure())
    drawn = io.StringIO()
    figure.savefig(drawn, format="svg", metadata={"Date": None})
    plt.close(figure)
    (FOLDER / "overview.svg").write_text(drawn.getvalue(), "utf-8")
    (FOLDER / "overview-dark.svg").write_text(dark(drawn.getvalue()), "utf-8")
    figure.savefig(FOLDER / "overview.png", dpi=144)
    print(f"Wrote overview.svg, overview-dark.svg and overview.png in {FOLDER.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
