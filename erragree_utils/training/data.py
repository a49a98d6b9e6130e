"""Training pictures: rendered once, kept on disk, continued after a killed run."""

from __future__ import annotations

import ast
import hashlib
import json
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from open_clip.constants import OPENAI_DATASET_MEAN as MEAN
from open_clip.constants import OPENAI_DATASET_STD as STD
from tqdm.auto import tqdm

from ..tabletop import captions, patterns, places, render, scenes, shapes, trace

PORTION = 128  # scenes that one process renders at a time
STATED = 0.5  # share of a pattern scene's captions that state what the pattern is about
# Numbers of random streams. Captions and patterns share one, which does no harm, since they draw
# different things from it. The shipped models were trained this way.
_STREAMS = {
    "scene": 5, "caption": 7, "pattern": 7, "near-duplicates": 11, "twin": 13,
    "pattern with caption": 17, "room": 19, "softening": 23,
}  # fmt: skip


def stream(seed: int, i: int, what: str) -> np.random.Generator:
    """The random generator of training scene `i` for one purpose."""
    return np.random.default_rng((scenes.TRAIN, seed, i, _STREAMS[what]))


# --- scenes --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TrainingScenes:
    """`n` scenes of a training stream; each depends only on its own number.

    With `twins`, scenes come two by two from the same place. If the first is arranged left to
    right, then with this probability the second is the first with left and right exchanged. The
    last `patterns` scenes show visual patterns, and half of their captions state what the pattern
    is about.
    """

    seed: int
    n: int
    twins: float = 0.0
    patterns: int = 0

    def place(self, i: int) -> int:
        """Number of the place of scene `i`."""
        return (i // 2 if self.twins else i) % len(places.PLACES)

    def scene(self, i: int) -> scenes.Scene:
        """Scene `i`."""
        return self._example(i)[0]

    def _example(self, i: int) -> tuple[scenes.Scene, str | None]:
        """A scene and, if it shows a visual pattern, what the pattern is about."""
        place = list(places.PLACES)[self.place(i)]
        if i >= self.n - self.patterns:
            rng = stream(self.seed, i, "pattern with caption")
            contrast, which = draw_contrast(rng), int(rng.integers(2))
            scene = replace(contrast.scenes[which], place=place)
            return scene, patterns.statement(contrast, which)
        if self.twins and i % 2 and stream(self.seed, i, "twin").random() < self.twins:
            first = self.scene(i - 1)
            if first.relation in captions.SIDEWAYS:
                return scenes.opposite(first), None
        return scenes.training_scene(stream(self.seed, i, "scene"), place), None

    def captions(self, i: int, n: int, wording: captions.Wording) -> list[str]:
        """`n` captions of scene `i`."""
        scene, statement = self._example(i)
        rng, window = stream(self.seed, i, "caption"), "left"
        if wording.turned and stream(self.seed, i, "room").random() < wording.turned:
            window = "right"
        texts = [captions.training_caption(scene, rng, wording, window) for _ in range(n)]
        if statement is None:
            return texts
        if rng.random() < wording.elsewhere:
            statement = captions.from_across(statement)
        return [statement if rng.random() < STATED else text for text in texts]

    def pictures(self, folder: Path, size: int) -> np.ndarray:
        """The scenes' pictures (n, size, size, 3); those missing from `folder` are rendered."""
        more = f"-{self.twins:g}-{self.patterns}" if self.twins or self.patterns else ""
        world = _world(*([patterns.__file__] if self.patterns else []))
        name = f"tabletop-{world}-{self.seed}-{self.n}-{size}{more}"
        return _pictures(folder / f"{name}.npy", self.scene, self.n, size)


def training_scenes(seed: int, start: int, stop: int, twins: float = 0.0) -> list[scenes.Scene]:
    """Scenes `start` to `stop` of a training stream."""
    return list(map(TrainingScenes(seed, stop, twins).scene, range(start, stop)))


def sideways_pairs(
    draw: Callable[[int], scenes.Scene], n: int, first: int = 0
) -> list[scenes.Scene]:
    """`n` scenes that were arranged left to right, of those that `draw` gives from number `first`
    on, each followed by itself with left and right exchanged.
    """
    pairs: list[scenes.Scene] = []
    while len(pairs) < 2 * n:
        scene = draw(first)
        if scene.relation in captions.SIDEWAYS:
            pairs += [scene, scenes.opposite(scene)]
        first += 1
    return pairs


def pattern_contrast(seed: int, i: int) -> patterns.Contrast:
    """A contrast of one of the visual patterns."""
    return draw_contrast(stream(seed, i, "pattern"))


def near_duplicates(seed: int, i: int) -> tuple[scenes.Scene, scenes.Scene]:
    """Two scenes that differ in a single respect.

    Odd numbers give contrasts of a visual pattern; even ones give a training scene of two objects
    and the same scene with the opposite relation.
    """
    rng = stream(seed, i, "near-duplicates")
    if i % 2:
        return draw_contrast(rng).scenes
    scene = scenes.training_scene(rng)
    while scene.relation is None:
        scene = scenes.training_scene(rng)
    return scene, scenes.opposite(scene)


def draw_contrast(rng: np.random.Generator) -> patterns.Contrast:
    """A contrast of a random pattern, with the training set's objects."""
    name = list(patterns.PATTERNS)[int(rng.integers(len(patterns.PATTERNS)))]
    return patterns.draw_contrast(name, rng, held_out=False)


# --- pictures ------------------------------------------------------------------------------------


def load_contrasts(folder: Path, seed: int, n: int, size: int) -> np.ndarray:
    """Both pictures of `n` contrasts, rendering those that are missing: (2 n, size, size, 3)."""
    path = folder / f"contrasts-{_world(patterns.__file__)}-{seed}-{n}-{size}.npy"
    return _pictures(path, partial(_contrast_scene, seed), 2 * n, size)


def load_near_duplicates(folder: Path, seed: int, n: int, size: int) -> np.ndarray:
    """`n` pairs of near-duplicates, rendering those that are missing: (2 n, size, size, 3)."""
    path = folder / f"near-duplicates-{_world(patterns.__file__)}-{seed}-{n}-{size}.npy"
    return _pictures(path, partial(_near_duplicate, seed), 2 * n, size)


def _contrast_scene(seed: int, i: int) -> scenes.Scene:
    return pattern_contrast(seed, i // 2).scenes[i % 2]


def _near_duplicate(seed: int, i: int) -> scenes.Scene:
    return near_duplicates(seed, i // 2)[i % 2]


def _world(*more: str) -> str:
    """A short hash of the code that draws the pictures, regardless of comments and layout.

    Pictures from older code are not used again. `more` names files besides the usual ones.
    """
    modules = (places, render, scenes, shapes, trace)
    files = (*(module.__file__ for module in modules), *more)
    code = "".join(ast.dump(ast.parse(Path(f).read_text())) for f in files)
    code += shapes.TABLE.read_text()
    return hashlib.sha256(code.encode()).hexdigest()[:8]


def _pictures(path: Path, draw: Callable[[int], scenes.Scene], n: int, size: int) -> np.ndarray:
    """Pictures of the scenes that `draw` returns, rendered once and kept in a file."""
    return keep(path, (n, size, size, 3), np.uint8, partial(_rendered, draw, n, size))


def keep(
    path: Path, shape: tuple[int, ...], dtype: type, parts: Callable[[int], Iterable[np.ndarray]]
) -> np.ndarray:
    """An array in a file, computed once; after a kill, it continues where it stopped.

    `parts` yields the rows from a given number on, in order, some at a time.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    mark = path.with_suffix(".json")
    with FileLock(path.with_suffix(".lock")):  # a second process waits, then finds them done
        done = json.loads(mark.read_text())["done"] if mark.exists() and path.exists() else 0
        rows = np.lib.format.open_memmap(path, "r+" if done else "w+", dtype, shape)
        with tqdm(total=len(rows), initial=done, desc=path.stem) as bar:
            for part in parts(done):
                rows[done : done + len(part)] = part
                rows.flush()
                done += len(part)
                mark.write_text(json.dumps({"done": done}))
                bar.update(len(part))
    return np.load(path, mmap_mode="c")  # writable for PyTorch; the file doesn't change


def _rendered(
    draw: Callable[[int], scenes.Scene], n: int, size: int, done: int
) -> Iterator[np.ndarray]:
    """Pictures from number `done` on, in order, a few at a time.

    Several processes share the work: drawing scenes is Python, so threads would block each other.
    """
    starts, cores = range(done, n, PORTION), os.cpu_count() or 1
    portion = partial(_render_portion, draw, n, size)
    if cores == 1 or len(starts) < 2 * cores:
        yield from map(portion, starts)
        return
    # Forked processes inherit the compiled renderer; outside Linux, forking isn't safe.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else None)
    render.render_scene(draw(done), 8)
    with ProcessPoolExecutor(cores, context) as pool:
        yield from pool.map(portion, starts)


def _render_portion(draw: Callable[[int], scenes.Scene], n: int, size: int, start: int):
    drawn = [draw(i) for i in range(start, min(start + PORTION, n))]
    return render.render_many(drawn, size, threads=1)


# --- what models see of them ---------------------------------------------------------------------


def crop(pictures: Sequence[np.ndarray], corners: np.ndarray, size: int) -> np.ndarray:
    """A square of `size` pixels from each picture, with its corner (N, 2) as row and column."""
    pairs = zip(pictures, corners, strict=True)
    return np.stack([picture[y : y + size, x : x + size] for picture, (y, x) in pairs])


def normalise(images: torch.Tensor) -> torch.Tensor:
    """Turn pictures (N, H, W, 3) in [0, 255] into CLIP's input (N, 3, H, W)."""
    scaled = images.float().clamp(0, 255) / 255.0
    mean, std = _statistics(images.device)
    return ((scaled - mean) / std).permute(0, 3, 1, 2).contiguous()


@lru_cache
def _statistics(device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor(MEAN, device=device), torch.tensor(STD, device=device)
