"""Learning curves of probes on the organisms: ``python -m erragree_utils.training.curves``.

How does a probe of the final embedding improve as it learns from more pairs? The embeddings of each
draw are kept in a folder, so that an interrupted run can continue. The table ships with the
package.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from ..benchmarks.tabletop import FAMILIES, load_tabletop
from ..measures.probes import learning_curve
from ..models import ASSETS, load_clip
from ..scoring.captions import side_examples
from ..scoring.embeddings import asked_about
from .organisms import LEFT_RIGHT, ORGANISMS

#: Seed of the first draw; the others follow. No chapter and no recipe uses them.
FIRST_SEED = 301
#: Pairs that probes are trained on, at most four fifths of those that are drawn.
PAIRS = (100, 300, 1000, 3000, 10_000)
SETS = 1000
#: Leading directions of what B's questions are about: enough to tell kinds apart, but few enough
#: that 20,000 examples of their products with 128 numbers fit in memory.
ASKED = 8


def embed(name: str, draw: int, sets: int, folder: Path) -> dict[str, np.ndarray]:
    """Embeddings of one draw of left/right pairs by each organism, and what their captions say."""
    path = folder / f"{name}-{draw}-{sets}.npz"
    if not path.exists():
        bench = load_tabletop(name, seed=draw, n_sets=sets, relation=LEFT_RIGHT)
        images = [image for pair in bench for image in pair.images]
        texts = [text for pair in bench for text in pair.captions]
        examples = side_examples(texts)
        found = {column: examples[column].to_numpy(str) for column in examples}
        for organism, source in ORGANISMS.items():
            clip = load_clip(source)
            found[organism] = clip.embed_images(images)
            found[f"{organism} asked"] = asked_about(clip, examples)
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(path, **found)
    with np.load(path) as kept:
        return dict(kept)


def leading(condition: np.ndarray, n: int = ASKED) -> np.ndarray:
    """The n directions in which a condition (N, Q) varies most: (N, n)."""
    _, vectors = np.linalg.eigh(condition.T.astype(np.float64) @ condition)
    return condition @ vectors[:, -n:]


def curve(name: str, organism: str, drawn: list[dict], pairs: tuple[int, ...]) -> pd.DataFrame:
    """Accuracy on unseen pairs of kinds against the number of pairs to learn from.

    Returns
    -------
    pandas.DataFrame
        ``organism``, ``benchmark``, ``probe`` (``"one image"``, or ``"two compared"``, which sees
        an image less the mean of its pair), ``pairs``, ``accuracy`` with ``accuracy_low`` and
        ``accuracy_high`` (95%, over pairs of kinds).
    """
    whole = {key: np.concatenate([part[key] for part in drawn]) for key in drawn[0]}
    x = whole[organism].astype(np.float64)
    two = x.reshape(len(x) // 2, 2, -1)
    seen = {
        "one image": x,
        "two compared": (two - two.mean(axis=1, keepdims=True)).reshape(x.shape),
    }
    condition = leading(whole[f"{organism} asked"]) if FAMILIES[name] == "b" else None
    sizes, tables = [2 * n for n in pairs], []
    for probe, features in seen.items():
        table = learning_curve(
            features, whole["side"], whole["group"], np.arange(len(x)) // 2, sizes, condition
        )
        table.insert(0, "pairs", (table.index / 2).round().astype(int))
        tables.append(table.assign(organism=organism, benchmark=name, probe=probe))
    return pd.concat(tables)


def main(arguments: list[str] | None = None) -> None:
    """Command line: draw, embed, probe, and write the table."""
    parser = argparse.ArgumentParser(description="Learning curves of probes on the organisms.")
    parser.add_argument("--run", type=Path, default=Path("runs/curves"), help="kept embeddings")
    parser.add_argument("--out", type=Path, default=ASSETS / "organisms", help="folder of tables")
    parser.add_argument("--sets", type=int, default=SETS, help="of each draw")
    parser.add_argument("--pairs", type=int, nargs="+", default=PAIRS, help="to learn from")
    parser.add_argument("--only", nargs="+", choices=FAMILIES, default=FAMILIES, help="benchmarks")
    options = parser.parse_args(arguments)
    # A fifth of the pairs is held out, so we need more pairs than the probe learns from.
    draws = range(FIRST_SEED, FIRST_SEED + -(-max(options.pairs) * 5 // 4 // options.sets))
    tables = []
    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.only:
        drawn = [embed(name, draw, options.sets, options.run) for draw in draws]
        for organism in ORGANISMS:
            tables.append(curve(name, organism, drawn, tuple(options.pairs)))
            columns = ["organism", "benchmark", "probe", "pairs", "accuracy"]
            columns += ["accuracy_low", "accuracy_high"]
            path = options.out / "curves.csv"
            pd.concat(tables)[columns].to_csv(path, index=False, float_format="%.4f")


if __name__ == "__main__":
    main()
