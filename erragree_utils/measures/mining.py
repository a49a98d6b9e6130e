"""CLIP-blind pairs: images that CLIP takes for nearly the same and a vision-only encoder does not.

Tong et al. 2024, "Eyes Wide Shut? Exploring the Visual Shortcomings of Multimodal LLMs", section
3.1: cosine above 0.95 under CLIP and below 0.6 under DINOv2. Everything here takes arrays.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F
from tqdm.auto import tqdm

ENGINES = ("auto", "blocks", "faiss")
#: Images up to which "auto" compares all pairs; past it FAISS searches, where it is installed.
BLOCK_LIMIT = {"cpu": 300_000, "cuda": 3_000_000, "mps": 600_000}
#: Rows of a block: a product of two blocks takes 4 * rows ** 2 bytes.
BLOCK_ROWS = {"cpu": 2048, "cuda": 8192, "mps": 4096}
COLUMNS = ["i", "j", "clip_cosine", "vision_cosine"]
_UNIT = 1e-3  # how far from 1 a length may lie: float16 is as far
_PROBES = 32  # cells of FAISS's index in which each image is looked for
_CHECKED = 256  # images for which FAISS's answer is compared with the exact one


def mine_blind_pairs(
    clip_embeddings: np.ndarray,
    vision_embeddings: np.ndarray,
    clip_above: float = 0.95,
    vision_below: float = 0.6,
    k: int | None = 1000,
    progress: bool = False,
    device: str | torch.device | None = None,
    engine: str = "auto",
    block_rows: int | None = None,
    probes: int = _PROBES,
) -> pd.DataFrame:
    """Find the pairs of images that are alike to CLIP and not to a vision-only encoder.

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
    progress : bool
        Show a progress bar.
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

    Raises
    ------
    ValueError
        If shapes do not fit, a row is not of unit length or not finite (it is named), or a number
        makes no sense.
    ImportError
        If FAISS is asked for and not installed.
    """
    _check_numbers(clip_above, vision_below, k, block_rows, probes)
    clip, vision = _checked(clip_embeddings, "clip"), _checked(vision_embeddings, "vision")
    if len(clip) != len(vision):
        raise ValueError(
            f"{len(clip)} CLIP and {len(vision)} vision-only embeddings: give both for each image"
        )
    place = _pick_device(device)
    engine = _pick_engine(engine, len(clip), place)
    found = _Found(clip, vision, clip_above, vision_below, k)
    if engine == "faiss":
        candidates = _by_faiss(clip, clip_above, probes, progress)
    else:
        rows = block_rows or BLOCK_ROWS.get(place.type, BLOCK_ROWS["cpu"])
        candidates = _by_blocks(clip, vision, clip_above, vision_below, place, rows, progress)
    for i, j in candidates:
        found.add(i, j)
    table = found.table()
    recall = found.recall() if engine == "faiss" else 1.0
    table.attrs.update(
        found=found.count, engine=engine, exact=engine == "blocks", recall=recall
    )  # fmt: skip
    return table


class _Found:
    """Pairs that passed the thresholds, the best `k` of them, and how many there were.

    Arrays are allocated once and grow by doubling: small ones that stay between large ones that go
    would keep the allocator from giving memory back.
    """

    CHUNK = 4096  # pairs whose float64 rows are held at once

    def __init__(self, clip, vision, clip_above: float, vision_below: float, k: int | None):
        self.clip, self.vision, self.k = clip, vision, k
        self.clip_above, self.vision_below = clip_above, vision_below
        self.count = 0
        self._candidates, self._waiting = np.empty((2, self.CHUNK), np.int64), 0
        self._places, self._cosines = np.empty((2, self.CHUNK), np.int64), np.empty((2, self.CHUNK))
        self._held = 0

    def add(self, i: np.ndarray, j: np.ndarray) -> None:
        """Take candidates, and decide about them when there are enough."""
        taken = 0
        while taken < len(i):
            n = min(len(i) - taken, self.CHUNK - self._waiting)
            place = slice(self._waiting, self._waiting + n)
            self._candidates[0, place] = i[taken : taken + n]
            self._candidates[1, place] = j[taken : taken + n]
            self._waiting += n
            taken += n
            if self._waiting == self.CHUNK:
                self._decide()

    def _decide(self) -> None:
        i, j = self._candidates[:, : self._waiting]
        self._waiting = 0
        clip, vision = (_cosines(rows, i, j) for rows in (self.clip, self.vision))
        blind = (clip > self.clip_above) & (vision < self.vision_below)
        n = int(blind.sum())
        self.count += n
        if self.k is not None and self._held + n > max(4 * self.k, 100_000):
            self._keep_best()
        if self._held + n > self._places.shape[1]:
            room = np.empty_like(self._places)
            self._places = np.concatenate([self._places, room], axis=1)
            self._cosines = np.concatenate([self._cosines, np.empty(room.shape)], axis=1)
        place = slice(self._held, self._held + n)
        self._places[:, place] = i[blind], j[blind]
        self._cosines[:, place] = clip[blind], vision[blind]
        self._held += n

    def _keep_best(self) -> None:
        order = self._order()[: self.k]
        self._held = len(order)
        self._places[:, : self._held] = self._places[:, order]
        self._cosines[:, : self._held] = self._cosines[:, order]

    def _order(self) -> np.ndarray:
        """Largest difference first; of equal ones, the first image, then the second."""
        (i, j), (clip, vision) = (a[:, : self._held] for a in (self._places, self._cosines))
        return np.lexsort((j, i, vision - clip))

    def table(self) -> pd.DataFrame:
        """The pairs in order."""
        if self._waiting:
            self._decide()
        order = self._order()[: self.k]
        columns = (*self._places[:, order], *self._cosines[:, order])
        return pd.DataFrame(dict(zip(COLUMNS, columns, strict=True)))

    def recall(self) -> float:
        """Share of the pairs of some images, found by comparing them with all, that were found.

        What `k` has cut cannot be known: pairs that would stand before the last are asked for.
        """
        rng = np.random.default_rng(0)
        sample = np.sort(rng.permutation(len(self.clip))[:_CHECKED])
        exact = _Found(self.clip, self.vision, self.clip_above, self.vision_below, None)
        margin = _margin(self.clip.shape[1])
        queries = torch.from_numpy(_unit_rows(self.clip, sample))
        for start in range(0, len(self.clip), BLOCK_ROWS["cpu"]):
            block = _block(self.clip, start, BLOCK_ROWS["cpu"], torch.device("cpu"))
            near = (queries @ block.T > self.clip_above - margin).nonzero().numpy()
            i, j = sample[near[:, 0]], near[:, 1] + start
            exact.add(np.minimum(i, j)[i != j], np.maximum(i, j)[i != j])
        wanted, mine = exact.table(), self.table()
        if self.k is not None and len(mine) == self.k:
            last = (mine["clip_cosine"] - mine["vision_cosine"]).min()
            wanted = wanted[wanted["clip_cosine"] - wanted["vision_cosine"] > last]
        pairs = set(zip(wanted["i"], wanted["j"], strict=True))
        if not pairs:
            return float("nan")
        return len(pairs & set(zip(mine["i"], mine["j"], strict=True))) / len(pairs)


# --- engines: candidates (i, j), all blind pairs among them ---------------------------------------

Candidates = Iterator[tuple[np.ndarray, np.ndarray]]


def _by_blocks(
    clip: np.ndarray,
    vision: np.ndarray,
    clip_above: float,
    vision_below: float,
    device: torch.device,
    rows: int,
    progress: bool,
) -> Candidates:
    """Each block with itself and those after it."""
    starts = range(0, len(clip), rows)
    total = len(starts) * (len(starts) + 1) // 2
    near = clip_above - _margin(clip.shape[1])
    far = vision_below + _margin(vision.shape[1])
    bar = tqdm(total=total, desc="pairs of blocks", disable=not progress, leave=False)
    room = torch.empty(min(rows, len(clip)) ** 2, device=device)  # one product after the other
    with bar, _full_precision():
        for first in starts:
            clip_first, vision_first = (_block(a, first, rows, device) for a in (clip, vision))
            for second in starts[first // rows :]:
                clip_second = _block(clip, second, rows, device)
                product = room[: len(clip_first) * len(clip_second)].view(len(clip_first), -1)
                alike = torch.mm(clip_first, clip_second.T, out=product) > near
                if first == second:
                    alike.triu_(1)
                # Only rows and columns with a candidate are compared under the other encoder.
                left, right = (alike.any(dim).nonzero().ravel() for dim in (1, 0))
                if len(left):
                    others = _block(vision, second, rows, device)[right]
                    unlike = vision_first[left] @ others.T < far
                    i, j = (alike[left][:, right] & unlike).nonzero(as_tuple=True)
                    yield (left[i] + first).cpu().numpy(), (right[j] + second).cpu().numpy()
                bar.update()


def _by_faiss(clip: np.ndarray, clip_above: float, probes: int, progress: bool) -> Candidates:
    """Each image's neighbours under CLIP, from an inverted file."""
    import faiss

    n, width = clip.shape
    cells = max(1, min(round(4 * n**0.5), n // 39))  # FAISS asks for 39 images a cell to train
    index = faiss.IndexIVFFlat(
        faiss.IndexFlatIP(width), width, cells, faiss.METRIC_INNER_PRODUCT
    )  # fmt: skip
    sample = np.sort(np.random.default_rng(0).permutation(n)[: 64 * cells])
    index.train(_unit_rows(clip, sample))
    index.nprobe = min(probes, cells)
    starts = range(0, n, BLOCK_ROWS["cpu"])
    blocks = [slice(start, min(start + BLOCK_ROWS["cpu"], n)) for start in starts]
    near = clip_above - _margin(width)
    with tqdm(total=n, desc="images", disable=not progress, leave=False) as bar:
        for block in blocks:
            # Images find those of this block and of the ones before: each pair is looked for once.
            rows = _unit_rows(clip, np.arange(block.start, block.stop))
            index.add(rows)
            limits, _, neighbours = index.range_search(rows, near)
            own = np.repeat(np.arange(block.start, block.stop), np.diff(limits.astype(np.int64)))
            earlier = neighbours < own
            yield neighbours[earlier], own[earlier]
            bar.update(len(rows))


# --- arrays --------------------------------------------------------------------------------------


def _checked(embeddings: Any, name: str) -> np.ndarray:
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
            row = int(wrong.argmax())
            length = lengths[row]
            what = f"has length {length:.4g}" if np.isfinite(length) else "is not finite"
            raise ValueError(
                f"row {start + row} of {name}_embeddings {what}: rows must have unit length. "
                "Divide each row by numpy.linalg.norm(row); if it is zero or not finite, look at "
                "the image and at the model's dtype"
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


# --- choices -------------------------------------------------------------------------------------


def _check_numbers(clip_above, vision_below, k, block_rows, probes) -> None:
    for name, value in (("clip_above", clip_above), ("vision_below", vision_below)):
        if not -1 <= value <= 1:
            raise ValueError(f"{name} is a cosine, between -1 and 1, not {value!r}")
    for name, value in (("k", k), ("block_rows", block_rows), ("probes", probes)):
        if value is not None and (value != int(value) or value < 1):
            raise ValueError(f"{name} must be a positive integer, not {value!r}")


def _pick_device(device: str | torch.device | None) -> torch.device:
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(device)


def _pick_engine(engine: str, n: int, device: torch.device) -> str:
    if engine not in ENGINES:
        raise ValueError(f"unknown engine {engine!r}; choose one of {', '.join(ENGINES)}")
    limit = BLOCK_LIMIT.get(device.type, BLOCK_LIMIT["cpu"])
    if engine == "blocks" or (engine == "auto" and n <= limit):
        return "blocks"
    try:
        import faiss  # noqa: F401
    except ImportError as error:
        if engine == "faiss":
            raise ImportError(
                "engine='faiss' needs the package faiss-cpu: pip install faiss-cpu; "
                "engine='blocks' does without"
            ) from error
        warnings.warn(
            f"comparing all pairs of {n} images takes long on {device}: with the package faiss-cpu "
            "(pip install faiss-cpu) it goes faster, and a GPU is faster still",
            stacklevel=3,
        )
        return "blocks"
    if engine == "auto":
        warnings.warn(
            f"{n} images: FAISS searches a part of the pairs and can miss some; attrs['recall'] "
            "says how many it found of a sample. engine='blocks' compares all",
            stacklevel=3,
        )
    return "faiss"
