"""CLIP-blind pairs: CLIP can hardly tell their images apart, but a vision-only encoder can.

Tong et al. 2024, "Eyes Wide Shut? Exploring the Visual Shortcomings of Multimodal LLMs", section
3.1: cosine above 0.95 under CLIP and below 0.6 under DINOv2. Everything here takes arrays.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F

from ..bars import bar

#: Images up to which "auto" compares all pairs; past it FAISS searches, where it is installed.
BLOCK_LIMIT = {"cpu": 300_000, "cuda": 3_000_000, "mps": 600_000}
#: Rows of a block: a product of two blocks takes 4 * rows ** 2 bytes.
BLOCK_ROWS = {"cpu": 2048, "cuda": 8192, "mps": 4096}
COLUMNS = ["i", "j", "clip_cosine", "vision_cosine"]
_UNIT = 1e-3  # how far from 1 a length may lie: float16 is as far
_PROBES = 32  # cells of FAISS's index in which each image is looked for
_SAMPLE = 256  # images for which FAISS's answer is compared with the exact one
_CHUNK = 4096  # pairs whose float64 rows are held at once


def mine_blind_pairs(
    clip_embeddings: np.ndarray,
    vision_embeddings: np.ndarray,
    clip_above: float = 0.95,
    vision_below: float = 0.6,
    k: int | None = 1000,
    device: str | torch.device | None = None,
    engine: str = "auto",
    block_rows: int | None = None,
    probes: int = _PROBES,
) -> pd.DataFrame:
    """Find pairs of images that are alike to CLIP but not to a vision-only encoder.

    Every pair is compared, a block of rows with a block of rows at a time: memory grows with the
    number of images and of pairs found, not with its square. Blocks are screened in float32 with a
    margin for its rounding; the cosines that decide, and that are returned, are float64.

    Parameters
    ----------
    clip_embeddings, vision_embeddings : numpy.ndarray, shapes (N, D) and (N, E)
        Rows of unit length; row i of both is image i. A `numpy.memmap` is read block by block.
    clip_above, vision_below : float
        A pair is blind if its cosines are strictly above and strictly below these.
    k : int, optional
        Pairs to return, in total: those whose two cosines differ most. None returns all of them.
        An image may be in several pairs.
    device : str or torch.device, optional
        By default CUDA if there is one, else the CPU.
    engine : {"auto", "blocks", "faiss"}
        ``"blocks"`` is exact. ``"faiss"`` (package faiss-cpu) looks for each image's neighbours
        under CLIP in a part of the collection alone, on the CPU: its time grows less than with the
        square of the number of images, and it can miss pairs. ``"auto"`` takes blocks up to
        `BLOCK_LIMIT` images and FAISS past it, with a warning.
    block_rows : int, optional
        Rows of a block; by default `BLOCK_ROWS`.
    probes : int
        For FAISS: cells of its index to search for each image; more find more and take longer.

    Returns
    -------
    pandas.DataFrame
        ``i < j``, ``clip_cosine``, ``vision_cosine``, largest difference of the cosines first, then
        by i and j. Its ``attrs`` hold ``found`` (pairs before `k`), ``engine``, ``exact`` and
        ``recall``: the share of the pairs of a random sample of images, compared exactly, that the
        engine found (1 for blocks; NaN if the sample has no pair).
    """
    for name, value in (("clip_above", clip_above), ("vision_below", vision_below)):
        if not -1 <= value <= 1:
            raise ValueError(f"{name} is a cosine, between -1 and 1, not {value!r}")
    for name, value in (("k", k), ("block_rows", block_rows), ("probes", probes)):
        if value is not None and (value != int(value) or value < 1):
            raise ValueError(f"{name} must be a positive integer, not {value!r}")
    clip, vision = _unit_length(clip_embeddings, "clip"), _unit_length(vision_embeddings, "vision")
    if len(clip) != len(vision):
        raise ValueError(
            f"{len(clip)} CLIP and {len(vision)} vision-only embeddings: give both for each image"
        )
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    engine = _pick_engine(engine, len(clip), place)
    search = _Search(clip, vision, clip_above, vision_below)
    if engine == "faiss":
        candidates = _by_faiss(search, probes)
    else:
        rows = block_rows or BLOCK_ROWS.get(place.type, BLOCK_ROWS["cpu"])
        candidates = _by_blocks(search, place, rows)
    pairs, count = _best((search.decide(i, j) for i, j in candidates), k)
    table = pd.DataFrame(pairs, columns=COLUMNS).astype({"i": np.int64, "j": np.int64})
    recall = 1.0 if engine == "blocks" else _recall(search, pairs, len(pairs) == k)
    table.attrs.update(found=count, engine=engine, exact=engine == "blocks", recall=recall)
    return table


@dataclass(frozen=True)
class _Search:
    """What makes a pair blind."""

    clip: np.ndarray
    vision: np.ndarray
    clip_above: float
    vision_below: float

    @property
    def near(self) -> float:
        """What float32 finds above this under CLIP can be above the threshold."""
        return self.clip_above - _margin(self.clip.shape[1])

    @property
    def far(self) -> float:
        """What float32 finds below this under the other encoder can be below the threshold."""
        return self.vision_below + _margin(self.vision.shape[1])

    def decide(self, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        """The blind ones among candidates, by their float64 cosines: rows of `COLUMNS`."""
        chunks = [np.empty((0, 4))]
        for start in range(0, len(i), _CHUNK):
            rows = i[start : start + _CHUNK], j[start : start + _CHUNK]
            clip, vision = _cosines(self.clip, *rows), _cosines(self.vision, *rows)
            pairs = np.column_stack([*rows, clip, vision])
            chunks.append(pairs[(clip > self.clip_above) & (vision < self.vision_below)])
        return np.concatenate(chunks)


def _best(batches: Iterable[np.ndarray], k: int | None) -> tuple[np.ndarray, int]:
    """The best `k` of all pairs in order, and how many pairs there were."""
    held, size, count = [np.empty((0, 4))], 0, 0
    for pairs in batches:
        held.append(pairs)
        size, count = size + len(pairs), count + len(pairs)
        if k is not None and size > max(4 * k, 100_000):
            held, size = [_ordered(held)[:k]], k
    return _ordered(held)[:k], count


def _ordered(batches: list[np.ndarray]) -> np.ndarray:
    """Largest difference first; of equal ones, the first image, then the second."""
    pairs = np.concatenate(batches)
    i, j, clip, vision = pairs.T
    return pairs[np.lexsort((j, i, vision - clip))]


def _recall(search: _Search, pairs: np.ndarray, cut: bool) -> float:
    """Share of the pairs of some images, found by comparing them with all, that were found.

    If the pairs were cut to the best, only pairs that would stand before the last are asked for.
    """
    clip, rng = search.clip, np.random.default_rng(0)
    sample = np.sort(rng.permutation(len(clip))[:_SAMPLE])
    queries = torch.from_numpy(_unit_rows(clip, sample))
    exact = []
    for start in range(0, len(clip), BLOCK_ROWS["cpu"]):
        block = _block(clip, start, BLOCK_ROWS["cpu"], torch.device("cpu"))
        near = (queries @ block.T > search.near).nonzero().numpy()
        i, j = sample[near[:, 0]], near[:, 1] + start
        exact.append(search.decide(np.minimum(i, j)[i != j], np.maximum(i, j)[i != j]))
    truth = np.concatenate(exact)
    if cut:
        least = (pairs[:, 2] - pairs[:, 3]).min()
        truth = truth[truth[:, 2] - truth[:, 3] > least]
    truth, ours = (set(zip(x[:, 0], x[:, 1], strict=True)) for x in (truth, pairs))
    return len(truth & ours) / len(truth) if truth else float("nan")


# --- engines: candidates (i, j), all blind pairs among them ---------------------------------------

Candidates = Iterator[tuple[np.ndarray, np.ndarray]]


def _by_blocks(search: _Search, device: torch.device, rows: int) -> Candidates:
    """Each block with itself and those after it."""
    clip, vision = search.clip, search.vision
    starts = range(0, len(clip), rows)
    total = len(starts) * (len(starts) + 1) // 2
    with bar(total, "pairs of blocks") as shown, _full_precision():
        for first in starts:
            clip_first, vision_first = (_block(a, first, rows, device) for a in (clip, vision))
            for second in starts[first // rows :]:
                alike = clip_first @ _block(clip, second, rows, device).T > search.near
                if first == second:
                    alike.triu_(1)
                # Only rows and columns with a candidate are compared under the other encoder.
                left, right = (alike.any(dim).nonzero().ravel() for dim in (1, 0))
                if len(left):
                    others = _block(vision, second, rows, device)[right]
                    unlike = vision_first[left] @ others.T < search.far
                    i, j = (alike[left][:, right] & unlike).nonzero(as_tuple=True)
                    yield (left[i] + first).cpu().numpy(), (right[j] + second).cpu().numpy()
                shown.update()


def _by_faiss(search: _Search, probes: int) -> Candidates:
    """Each image's neighbours under CLIP, from an inverted file."""
    import faiss

    clip, (n, width) = search.clip, search.clip.shape
    cells = max(1, min(round(4 * n**0.5), n // 39))  # FAISS asks for 39 images a cell to train
    flat = faiss.IndexFlatIP(width)
    index = faiss.IndexIVFFlat(flat, width, cells, faiss.METRIC_INNER_PRODUCT)
    sample = np.sort(np.random.default_rng(0).permutation(n)[: 64 * cells])
    index.train(_unit_rows(clip, sample))
    index.nprobe = min(probes, cells)
    with bar(n, "images") as shown:
        for start in range(0, n, BLOCK_ROWS["cpu"]):
            # Images find those of this block and of the ones before: each pair is looked for once.
            block = np.arange(start, min(start + BLOCK_ROWS["cpu"], n))
            rows = _unit_rows(clip, block)
            index.add(rows)
            limits, _, neighbours = index.range_search(rows, search.near)
            own = np.repeat(block, np.diff(limits.astype(np.int64)))
            earlier = neighbours < own
            yield neighbours[earlier], own[earlier]
            shown.update(len(rows))


def _pick_engine(engine: str, n: int, device: torch.device) -> str:
    if engine not in ("auto", "blocks", "faiss"):
        raise ValueError(f"unknown engine {engine!r}; choose one of auto, blocks, faiss")
    has_faiss = find_spec("faiss") is not None
    if engine == "faiss" and not has_faiss:
        raise ImportError(
            "engine='faiss' needs: pip install faiss-cpu; engine='blocks' does without"
        )
    if engine != "auto":
        return engine
    if n <= BLOCK_LIMIT.get(device.type, BLOCK_LIMIT["cpu"]):
        return "blocks"
    warnings.warn(
        f"{n} images: FAISS searches a part of the pairs and can miss some; attrs['recall'] says "
        "how many it found of a sample. engine='blocks' compares all"
        if has_faiss
        else f"comparing all pairs of {n} images takes long on {device}: pip install faiss-cpu, or "
        "use a GPU",
        stacklevel=3,
    )
    return "faiss" if has_faiss else "blocks"


# --- arrays --------------------------------------------------------------------------------------


def _unit_length(embeddings: np.ndarray, name: str) -> np.ndarray:
    """The array, if each row has unit length."""
    array = np.asanyarray(embeddings)  # a memory map stays one
    if array.ndim != 2 or not array.size or not np.issubdtype(array.dtype, np.floating):
        raise ValueError(
            f"{name}_embeddings must be floating-point numbers of shape (N, D) with rows, not "
            f"{array.dtype} of shape {array.shape}"
        )
    for start in range(0, len(array), BLOCK_ROWS["cpu"]):
        block = np.asarray(array[start : start + BLOCK_ROWS["cpu"]], np.float32)
        lengths = np.sqrt(np.einsum("nd,nd->n", block, block))
        wrong = ~(np.abs(lengths - 1) <= _UNIT)  # true for NaN too
        if wrong.any():
            raise ValueError(
                f"row {start + wrong.argmax()} of {name}_embeddings has length "
                f"{lengths[wrong][0]:.4g}, not 1. Divide each row by numpy.linalg.norm(row); if "
                "that is zero or not finite, look at the image and at the model's dtype"
            )
    return array


def _block(array: np.ndarray, start: int, rows: int, device: torch.device) -> torch.Tensor:
    part = np.array(array[start : start + rows], np.float32)
    return F.normalize(torch.from_numpy(part).to(device), dim=1)


def _unit_rows(array: np.ndarray, rows: np.ndarray) -> np.ndarray:
    part = np.asarray(array[rows], np.float32)
    return np.ascontiguousarray(part / np.linalg.norm(part, axis=1, keepdims=True))


def _cosines(array: np.ndarray, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """Cosines of pairs of rows, in float64."""
    a, b = (np.asarray(array[rows], np.float64) for rows in (i, j))
    lengths = np.sqrt(np.einsum("nd,nd->n", a, a) * np.einsum("nd,nd->n", b, b))
    return np.clip(np.einsum("nd,nd->n", a, b) / lengths, -1.0, 1.0)


def _margin(width: int) -> float:
    """How far a float32 product of unit vectors can be from its value (Higham 2002, eq. 3.5)."""
    return (width + 8) * float(np.finfo(np.float32).eps)


@contextmanager
def _full_precision() -> Iterator[None]:
    """Products of float32 in float32: TF32 and bfloat16 round more than the margin allows for."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.inference_mode():
            yield
    finally:
        torch.set_float32_matmul_precision(before)
