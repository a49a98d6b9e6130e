"""Print the table of the mini CLIP's model card, for more seeds than the chapters show."""

from __future__ import annotations

from erragree_utils import evaluate, load_benchmark, load_clip, summarize
from erragree_utils.agreement import image_embeddings, pair_cosines, random_pair_cosines
from erragree_utils.runner import evaluate_retrieval

SEEDS = (0, 11, 12, 13)


def row(clip, name: str, seed: int) -> str:
    """One line of the table."""
    bench = load_benchmark(name, seed=seed)
    known = image_embeddings(clip, bench)
    cosines = pair_cosines(clip, bench, embeddings=known).query("relation == 'left/right'")
    random = random_pair_cosines(clip, bench, n=2000, embeddings=known)["cosine"].mean()
    found = summarize(evaluate(clip, bench), by="relation").loc["left/right"] * 100
    hits = evaluate_retrieval(clip, bench)
    beside = hits.query("relation == 'left/right'")["correct"].mean()
    cells = [f"{name[-1].upper()}, {seed}", f"{cosines['cosine'].mean():.4f}", f"{random:.3f}"]
    for kind in ("individual", "pair"):
        value, low, high = (found[f"{kind}_accuracy{end}"] for end in ("", "_low", "_high"))
        cells.append(f"{value:.1f} [{low:.1f}, {high:.1f}]")
    cells += [f"{100 * beside:.1f}", f"{100 * hits['correct'].mean():.1f}"]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Measure and print."""
    clip = load_clip("mini")
    for name in ("tabletop-a", "tabletop-b"):
        for seed in SEEDS:
            print(row(clip, name, seed), flush=True)


if __name__ == "__main__":
    main()
