"""Mining of CLIP-blind pairs, ours and plain numpy in one run: pairs a second, memory, the pairs.

Plain numpy multiplies blocks of rows with all rows under both encoders, and keeps what passes both
thresholds. Ours compares each pair once, and under the second encoder only where the first is above
its threshold; FAISS, where it is installed, searches a part of the pairs. The embeddings are random
in groups of near duplicates, 768 and 768 numbers an image.

Run: python speed/mining.py [images]
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import numpy as np
import pandas as pd
import torch
from measuring import GIB, measured

from erragree_utils.measures.mining import BLOCK_LIMIT, mine_blind_pairs

IMAGES, WIDTH, GROUP = 20_000, 768, 5
LARGE, LIMIT_GIB = 100_000, 2.0
ABOVE, BELOW = 0.95, 0.6
CPU = torch.device("cpu")


def embeddings(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """CLIP's in groups with cosines about 0.96, the vision-only encoder's about 0.6 there."""
    rng = np.random.default_rng(seed)
    owner = rng.permutation(n) // GROUP
    return tuple(grouped(rng, owner, cosine) for cosine in (0.96, 0.6))


def grouped(rng: np.random.Generator, owner: np.ndarray, cosine: float) -> np.ndarray:
    """Unit rows; `cosine` is that of two rows of one group, about. Made in place, to stay small."""
    rows = rng.standard_normal((len(owner), WIDTH), dtype=np.float32)
    rows *= np.float32((1 / cosine - 1) ** 0.5)
    centres = rng.standard_normal((owner.max() + 1, WIDTH), dtype=np.float32)
    for start in range(0, len(rows), 10_000):
        part = rows[start : start + 10_000]
        part += centres[owner[start : start + 10_000]]
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    return rows


def plain_numpy(clip: np.ndarray, vision: np.ndarray, rows: int = 1000) -> set[tuple[int, int]]:
    """All pairs that pass both thresholds."""
    found = set()
    for start in range(0, len(clip), rows):
        block = slice(start, start + rows)
        blind = (clip[block] @ clip.T > ABOVE) & (vision[block] @ vision.T < BELOW)
        i, j = np.nonzero(blind)
        i += start
        found.update(zip(i[i < j], j[i < j], strict=True))
    return found


def line(name: str, n: int, seconds: float, slow: float, more: str = "") -> None:
    """Print a way's speed."""
    rate = n * (n - 1) / 2 / seconds
    ratio = f"{slow / seconds:.1f} x numpy" if slow else "no numpy to compare with"
    print(f"  {name:15s} {seconds:7.2f} s, {rate / 1e6:9.1f} million pairs/s, {ratio}{more}")


def pairs(table: pd.DataFrame) -> set[tuple[int, int]]:
    """The mined pairs."""
    return set(zip(table["i"], table["j"], strict=True))


def compare(n: int) -> None:
    """Each engine and plain numpy on the same embeddings."""
    clip, vision = embeddings(n)
    mine_blind_pairs(clip[:500], vision[:500])  # warm up
    expected, slow, _ = measured(lambda: plain_numpy(clip, vision), CPU)
    print(f"{n} images, {WIDTH} numbers each, {torch.get_num_threads()} CPU threads")
    line("plain numpy", n, slow, slow, f", {len(expected)} blind pairs")
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    for device in devices:
        mine_blind_pairs(clip[:500], vision[:500], device=device)
        table, seconds, _ = measured(
            lambda device=device: mine_blind_pairs(
                clip, vision, ABOVE, BELOW, k=None, engine="blocks", device=device
            ),
            torch.device(device),
        )
        # A cosine at a threshold within float32's rounding may fall to either side in numpy's way.
        apart = len(pairs(table) ^ expected)
        line(f"blocks, {device}", n, seconds, slow, f", {apart} pairs decided differently")
        if apart > max(2, len(expected) // 1000):
            raise SystemExit("the two ways decide differently: one of them is wrong")
    if importlib.util.find_spec("faiss") is None:
        print("  FAISS is not installed (pip install faiss-cpu)")
        return
    table, seconds, _ = measured(
        lambda: mine_blind_pairs(clip, vision, ABOVE, BELOW, k=None, engine="faiss"), CPU
    )
    share = len(pairs(table) & expected) / max(1, len(expected))
    recall = table.attrs["recall"]
    line("faiss", n, seconds, slow, f", recall {share:.3f} (its own estimate {recall:.3f})")


def large(n: int) -> None:
    """One mining in this process: its time and the peak of its memory."""
    clip, vision = embeddings(n)
    table, seconds, peak = measured(
        lambda: mine_blind_pairs(clip, vision, ABOVE, BELOW, device="cpu"), CPU
    )
    name = f"{table.attrs['engine']}, cpu"
    line(name, n, seconds, 0.0, f", {table.attrs['found']} blind pairs")
    print(
        f"  peak memory while mining {peak:.2f} GiB, {2 * clip.nbytes / GIB:.2f} of them the "
        f"embeddings (limit {LIMIT_GIB:g})"
    )
    if peak > LIMIT_GIB and n <= BLOCK_LIMIT["cpu"]:
        raise SystemExit("more memory than promised")


def main() -> None:
    """Print the comparison, and 100,000 images in a process of their own."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["--large"]:
        large(int(arguments[1]))
        return
    compare(int(arguments[0]) if arguments else IMAGES)
    print(f"{LARGE} images in a process of their own")
    sys.stdout.flush()
    subprocess.run([sys.executable, __file__, "--large", str(LARGE)], check=True)


if __name__ == "__main__":
    main()
