"""Print the tables of the mini models' cards, for more seeds than the chapters show."""

from __future__ import annotations

import argparse

import pandas as pd

from erragree_utils import evaluate, load_benchmark, load_clip, load_mllm, summarize
from erragree_utils.scoring.embeddings import image_embeddings, pair_cosines, random_pair_cosines
from erragree_utils.scoring.retrieval import evaluate_retrieval

SEEDS = (0, 11, 12, 13)


def interval(row: pd.Series, kind: str) -> str:
    """An accuracy with its 95% interval, in per cent."""
    value, low, high = (100 * row[f"{kind}_accuracy{end}"] for end in ("", "_low", "_high"))
    return f"{value:.1f} [{low:.1f}, {high:.1f}]"


def clip_row(clip, name: str, seed: int) -> list[str]:
    """Cosines, matching and retrieval."""
    bench = load_benchmark(name, seed=seed)
    embeddings = image_embeddings(clip, bench)
    cosines = pair_cosines(clip, bench, embeddings=embeddings).query("relation == 'left/right'")
    random = random_pair_cosines(clip, bench, n=2000, embeddings=embeddings)["cosine"].mean()
    matching = summarize(evaluate(clip, bench), by="relation").loc["left/right"]
    hits = evaluate_retrieval(clip, bench)
    beside = hits.query("relation == 'left/right'")["correct"].mean()
    return [
        f"{cosines['cosine'].mean():.4f}",
        f"{random:.3f}",
        interval(matching, "individual"),
        interval(matching, "pair"),
        f"{100 * beside:.1f}",
        f"{100 * hits['correct'].mean():.1f}",
    ]


def llava_row(mllm, name: str, seed: int) -> list[str]:
    """VQAScore and prompted answers; the same about wrong images."""
    bench = load_benchmark(name, seed=seed)
    scored = summarize(evaluate(mllm, bench, "vqascore"), by="relation")
    beside, other = scored.loc["left/right"], scored.drop("left/right").iloc[0]
    prompted = [
        evaluate(mllm, bench, method).groupby("relation")["correct"].mean()
        for method in ("prompted", "prompted-4way")
    ]
    wrong = bench.select("left/right").with_wrong_images()
    control = summarize(evaluate(mllm, wrong, "vqascore")).iloc[0]
    return [
        interval(beside, "individual"),
        interval(beside, "pair"),
        *(f"{100 * correct['left/right']:.1f}" for correct in prompted),
        interval(other, "individual"),
        interval(other, "pair"),
        *(f"{100 * correct.drop('left/right').item():.1f}" for correct in prompted),
        interval(control, "individual"),
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=("clip", "llava"))
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    options = parser.parse_args()
    load, row = {"clip": (load_clip, clip_row), "llava": (load_mllm, llava_row)}[options.model]
    model = load("mini")
    for name in ("tabletop-a", "tabletop-b"):
        for seed in options.seeds:
            cells = [f"{name[-1].upper()}, {seed}", *row(model, name, seed)]
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
