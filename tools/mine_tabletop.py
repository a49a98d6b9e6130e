"""Record which candidates of tabletop-mmvp are CLIP-blind, and print how hard they are to find.

Run from the top of the checkout, after the mini CLIP or the mini vision-only encoder has changed:
    python tools/mine_tabletop.py
With --look, only print how the candidates' cosines are distributed, to choose thresholds by.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pandas as pd

from erragree_utils import load_clip
from erragree_utils.benchmarks import tabletop_mmvp as benchmark
from erragree_utils.models.vision import load_vision
from erragree_utils.scale import SCALES
from erragree_utils.tabletop.patterns import PATTERNS

MINI = SCALES["mini"]
SEEDS = (0, 11, 12, 13, 14, 15, 16)


def look(clip: Any, vision: Any, seed: int, n: int) -> pd.DataFrame:
    """Mean and quantiles of both cosines of the first candidates, by pattern."""
    rows = []
    for pattern in PATTERNS:
        pairs = benchmark.candidates(pattern, range(n), seed)
        table = benchmark.blind_cosines(pairs, clip, vision)
        row = {"pattern": pattern}
        for name in ("clip_cosine", "vision_cosine"):
            values = table[name]
            row[f"{name} mean"] = values.mean()
            for share in (0.1, 0.5, 0.9):
                row[f"{name} {share:.0%}"] = values.quantile(share)
        rows.append(row)
    return pd.DataFrame(rows).set_index("pattern")


def mine(keep: benchmark.Keep, seed: int, n_pairs: int) -> dict[str, list[int]]:
    """Numbers of the mined candidates by pattern; prints how many were looked at."""
    found = {}
    for pattern in PATTERNS:
        found[pattern], looked = benchmark.find_blind(pattern, seed, n_pairs, keep)
        print(f"  {pattern:12s} {len(found[pattern]):4d} of {looked} candidates", flush=True)
    return found


def main() -> None:
    """Mine and write, or look."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--clip", default=MINI.clip)
    parser.add_argument("--vision", default=MINI.vision, help="a name or a folder, for load_vision")
    parser.add_argument("--clip-above", type=float, default=MINI.blind_above)
    parser.add_argument("--vision-below", type=float, default=MINI.blind_below)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--pairs", type=int, default=40, help="of each pattern")
    parser.add_argument("--output", type=Path, default=benchmark.RECORD)
    parser.add_argument("--look", action="store_true", help="print the candidates' cosines, only")
    options = parser.parse_args()
    clip, vision = load_clip(options.clip), load_vision(options.vision)
    if options.look:
        for seed in options.seeds:
            print(f"seed {seed}, {options.pairs} candidates of each pattern")
            print(look(clip, vision, seed, options.pairs).round(3).to_string(), flush=True)
        return
    keep = benchmark.keep_blind(clip, vision, options.clip_above, options.vision_below)
    seeds = {}
    for seed in options.seeds:
        print(f"seed {seed}")
        seeds[str(seed)] = mine(keep, seed, options.pairs)
    short = {p for found in seeds.values() for p in PATTERNS if len(found[p]) < options.pairs}
    if short:
        raise SystemExit(
            f"fewer than {options.pairs} pairs of {', '.join(sorted(short))}: nothing is written. "
            "Loosen the thresholds (see --look) or ask for fewer --pairs"
        )
    record = {
        "clip": clip.name,
        "vision": vision.name,
        "clip_above": options.clip_above,
        "vision_below": options.vision_below,
        "seeds": seeds,
    }
    options.output.write_text(json.dumps(record) + "\n", "utf-8")
    print(f"written to {options.output}")


if __name__ == "__main__":
    main()
