"""Questions and their answers as rows of tokens, and the beginnings that they share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Branch:
    """Tokens of a question with its answer, after the last image; the answer begins at `start`."""

    ids: tuple[int, ...]
    start: int

    @property
    def inputs(self) -> tuple[int, ...]:
        """The tokens that the model reads: all but the last, from which nothing is predicted."""
        return self.ids[:-1]


def common_start(a: Sequence[int], b: Sequence[int]) -> int:
    """Length of the common beginning of two sequences."""
    pairs = zip(a, b, strict=False)
    return next((i for i, (x, y) in enumerate(pairs) if x != y), min(len(a), len(b)))


def shared_start(branches: Iterable[Branch]) -> int:
    """Tokens that all branches begin with, up to the one that predicts the first answer."""
    branches = list(dict.fromkeys(branches))
    if not branches:
        return 0
    limit, begun = min(branch.start - 1 for branch in branches), branches[0].inputs
    return min([limit, *(common_start(begun, branch.inputs) for branch in branches)])


def grown(branches: Sequence[Branch], after: int = 0) -> tuple[list[int], list[list[int]]]:
    """The branches as one tree, in which each shared beginning occurs once.

    Without their first `after` tokens. Returns the tokens of the tree, each behind the one it
    follows, and for each branch the places of its own.
    """
    nodes: dict[tuple[int, int], int] = {}
    places = []
    for branch in branches:
        node, path = -1, []
        for token in branch.inputs[after:]:
            node = nodes.setdefault((node, token), len(nodes))
            path.append(node)
        places.append(path)
    return [token for _, token in nodes], places


def attended(paths: Sequence[Sequence[Sequence[int]]], width: int) -> tuple[np.ndarray, np.ndarray]:
    """Which tokens (rows, width, width) each token of a tree attends to, and its depth in it."""
    seen = np.zeros((len(paths), width, width), bool)
    depths = np.zeros((len(paths), width), int)
    seen[:, range(width), range(width)] = True  # what fills up attends to itself
    for row, places in enumerate(paths):
        for path in places:
            steps = np.arange(len(path))
            depths[row, path] = steps
            # Of one token, all branches have the same tokens before it.
            seen[row][np.ix_(path, path)] |= steps[:, None] >= steps
    return seen, depths
