"""How fast tabletop scenes render: scenes a second on all cores, and ratios, from one run."""

from __future__ import annotations

import os
import time

import numpy as np

from erragree_utils.tabletop import render, scenes

MODEL_SIZE, TARGET = 80, 300


def rate(
    batch: list[scenes.Scene], size: int, supersample: int, threads: int | None = None
) -> float:
    """Best of three: scenes rendered a second."""
    best = np.inf
    for _ in range(3):
        began = time.perf_counter()
        render.render_many(batch, size, supersample, threads)
        best = min(best, time.perf_counter() - began)
    return len(batch) / best


def main() -> None:
    """Print one line for each kind of scene and of picture."""
    rng = np.random.default_rng((scenes.TEST, 1))
    batches = {
        f"tabletop-{f}": [s for _ in range(75) for s in scenes.benchmark_set(f, rng)] for f in "ab"
    }
    batches["training"] = [scenes.training_scene(rng) for _ in range(300)]
    render.render_many(batches["training"][:2])  # compile before the clock starts
    print(f"{os.cpu_count()} cores; target {TARGET} scenes/s at {MODEL_SIZE} px")
    for name, batch in batches.items():
        got = rate(batch, MODEL_SIZE, 2)
        alone = rate(batch, MODEL_SIZE, 2, threads=1)
        rough = rate(batch, MODEL_SIZE, 1)
        figure = rate(batch[:12], 336, 4)
        print(
            f"{name:11s} {got:5.0f}/s ({got / TARGET:.2f} x target), {got / alone:.2f} x 1 thread, "
            f"{got / rough:.2f} x without antialiasing; 336 px, 4 x 4 rays at edges: {figure:.1f}/s"
        )


if __name__ == "__main__":
    main()
