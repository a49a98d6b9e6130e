"""Draw book/_static/overview.png, the picture that opens the README and the book.

Its numbers are measured when it is drawn: ``python tools/draw_overview.py`` after new weights.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import pandas as pd

from erragree_utils import evaluate, load_benchmark, load_clip, summarize
from erragree_utils.plots.style import INK, LOOKS, NEUTRAL, PAGE
from erragree_utils.scoring.embeddings import pair_cosines
from erragree_utils.scoring.retrieval import evaluate_retrieval

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "book" / "_static" / "overview.png"
BENCH = "tabletop-a"


def measure() -> tuple[float, pd.DataFrame]:
    """Mean left/right cosine, and three accuracies with intervals and chance levels."""
    clip, bench = load_clip("mini"), load_benchmark(BENCH)
    cosines = pair_cosines(clip, bench).query("relation == 'left/right'")["cosine"]
    matching = summarize(evaluate(clip, bench), by="relation").loc["left/right"]
    finding = summarize(evaluate_retrieval(clip, bench)).loc["all"]
    rows = {
        "which objects?\n(1 caption of 100)": (finding, "individual"),
        "left or right?\neach image": (matching, "individual"),
        "left or right?\nboth images": (matching, "pair"),
    }
    table = pd.DataFrame({
        name: [row[f"{kind}_accuracy{end}"] for end in ("", "_low", "_high")]
        + [row[f"{kind}_chance"]]
        for name, (row, kind) in rows.items()
    }, index=["value", "low", "high", "chance"]).T  # fmt: skip
    return float(cosines.mean()), table


def draw(cosine: float, table: pd.DataFrame) -> plt.Figure:
    """Two images and their cosine on the left, accuracies on the right."""
    pair = load_benchmark(BENCH, n_sets=1, size=400, supersample=4)[0]
    figure = plt.figure(figsize=(10.5, 3.3))
    figure.patch.set_facecolor(PAGE)
    for i, (image, caption) in enumerate(zip(pair.images, pair.captions, strict=True)):
        ax = figure.add_axes((0.005 + 0.275 * i, 0.14, 0.262, 0.84))
        ax.imshow(image)
        ax.set_axis_off()
        ax.text(0.5, -0.05, caption, transform=ax.transAxes, ha="center", va="top", color=INK)
    figure.text(
        0.273, 0.56, f"mean cosine\n{cosine:.3f}", ha="center", va="center", color="white",
        fontsize=11, fontweight="bold",
        bbox={"boxstyle": "round,pad=0.45", "facecolor": LOOKS["clip"][0], "edgecolor": "none"},
    )  # fmt: skip
    ax = figure.add_axes((0.70, 0.25, 0.285, 0.62))
    ax.patch.set_alpha(0)
    for place, (name, row) in enumerate(table.iterrows()):
        colour = LOOKS["clip"][0]
        ax.plot([row["low"], row["high"]], [place, place], color=colour, lw=2.2)
        ax.plot(row["value"], place, "o", color=colour, ms=8)
        ax.plot([row["chance"]] * 2, [place - 0.36, place + 0.36], color=NEUTRAL, ls="--", lw=1.3)
        ax.text(-0.05, place, name, ha="right", va="center", color=INK, fontsize=9.5)
    ax.set(xlim=(-0.02, 1.02), ylim=(2.5, -0.5), yticks=[])
    ax.set_xticks([0, 0.25, 0.5, 0.75, 1.0], ["0", "25", "50", "75", "100%"])
    ax.tick_params(colors=INK)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.spines["bottom"].set_color(INK)
    ax.set_xlabel("right (95% interval; dashed: chance)", color=INK)
    ax.set_title("What CLIP's matching score gets right", color=INK, fontsize=11)
    return figure


def main() -> None:
    """Measure, draw, write."""
    figure = draw(*measure())
    figure.savefig(TARGET, dpi=144)
    print(f"Wrote {TARGET.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
