"""Training pictures: rendered once, kept on disk, resumed after a killed run."""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock
from tqdm.auto import tqdm

from ..tabletop import captions, patterns, places, render, scenes, shapes
from ..tabletop.questions import Question

CHUNK = 1024  # scenes rendered between two marks of progress


@dataclass(frozen=True)
class TrainingSet:
    """Pictures (N, size, size, 3) uint8 on disk, their scenes' captions, and the place of each."""

    images: np.ndarray
    captions: list[list[str]]
    places: np.ndarray


def training_scenes(seed: int, start: int, stop: int) -> list[scenes.Scene]:
    """Scenes `start` to `stop` of a training stream; each depends on its own number alone."""
    names = list(places.PLACES)
    return [
        scenes.training_scene(_stream(seed, i, "scene"), names[i % len(names)])
        for i in range(start, stop)
    ]


def pattern_examples(seed: int, start: int, stop: int) -> list[tuple[scenes.Scene, Question]]:
    """Examples `start` to `stop` of the visual patterns, each a scene and its question."""
    return [patterns.training_example(_stream(seed, i, "pattern")) for i in range(start, stop)]


def load_training_set(
    folder: Path, seed: int, n: int, size: int, n_captions: int, position_share: float = 0.0
) -> TrainingSet:
    """Render what is missing of the training pictures and write their captions.

    Parameters
    ----------
    folder : Path
        Where the pictures are kept; a file there is used again only for the same world, seed,
        count and size.
    seed, n, size : int
        Random stream, number of scenes, and pixels a side.
    n_captions : int
        Captions drawn for each scene.
    position_share : float
        Of :func:`captions.training_caption`.
    """
    path = folder / f"tabletop-{_world()}-{seed}-{n}-{size}.npy"
    images = _kept(path, lambda a, b: training_scenes(seed, a, b), n, size)
    texts: list[list[str]] = []
    for start in range(0, n if n_captions else 0, CHUNK):
        chunk = training_scenes(seed, start, min(start + CHUNK, n))
        for i, scene in enumerate(chunk, start):
            rng = _stream(seed, i, "caption")
            texts.append(
                [captions.training_caption(scene, rng, position_share) for _ in range(n_captions)]
            )
    return TrainingSet(images, texts, np.arange(n) % len(places.PLACES))


def load_pattern_pictures(folder: Path, seed: int, n: int, size: int) -> np.ndarray:
    """Render what is missing of the pictures of :func:`pattern_examples`: (n, size, size, 3)."""
    path = folder / f"patterns-{_world(patterns.__file__)}-{seed}-{n}-{size}.npy"
    return _kept(path, lambda a, b: [s for s, _ in pattern_examples(seed, a, b)], n, size)


def near_duplicates(seed: int, start: int, stop: int) -> list[scenes.Scene]:
    """Pairs `start` to `stop` of scenes that differ in one respect, one pair after the other.

    Every second one is a contrast of a visual pattern, the others are a training scene of two
    things and the same scene with the opposite relation.
    """
    found: list[scenes.Scene] = []
    for i in range(start, stop):
        rng = _stream(seed, i, "near-duplicates")
        if i % 2:
            name = list(patterns.PATTERNS)[int(rng.integers(len(patterns.PATTERNS)))]
            found.extend(patterns.draw_contrast(name, rng, held_out=False).scenes)
            continue
        scene = scenes.training_scene(rng)
        while scene.relation is None:
            scene = scenes.training_scene(rng)
        found.extend((scene, scenes.opposite(scene)))
    return found


def load_near_duplicates(folder: Path, seed: int, n: int, size: int) -> np.ndarray:
    """Render what is missing of `n` pairs of :func:`near_duplicates`: (2 n, size, size, 3)."""
    path = folder / f"near-duplicates-{_world(patterns.__file__)}-{seed}-{n}-{size}.npy"
    return _kept(path, lambda a, b: near_duplicates(seed, a // 2, b // 2), 2 * n, size)


def _kept(
    path: Path, draw: Callable[[int, int], Sequence[scenes.Scene]], n: int, size: int
) -> np.ndarray:
    """Pictures of the scenes that `draw` gives, rendered once and kept in a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mark = path.with_suffix(".json")
    shape = (n, size, size, 3)
    with FileLock(path.with_suffix(".lock")):  # a second process waits, and finds them rendered
        done = json.loads(mark.read_text())["done"] if mark.exists() and path.exists() else 0
        images = np.lib.format.open_memmap(path, "r+" if done else "w+", np.uint8, shape)
        for start in tqdm(range(done, n, CHUNK), desc="training pictures", unit="k"):
            stop = min(start + CHUNK, n)
            images[start:stop] = render.render_many(draw(start, stop), size)
            images.flush()
            mark.write_text(json.dumps({"done": stop}))
    return np.load(path, mmap_mode="r")


# Numbers of random streams. Captions and patterns share theirs, which binds neither: their draws
# mean different things. The shipped models were trained so.
_STREAMS = {"scene": 5, "caption": 7, "pattern": 7, "near-duplicates": 11}


def _stream(seed: int, index: int, what: str) -> np.random.Generator:
    return np.random.default_rng((scenes.TRAIN, seed, index, _STREAMS[what]))


def _world(*more: str) -> str:
    """A short hash of the code that draws the pictures, comments and layout aside.

    Pictures of an older world are not used again. `more` names files beside the usual ones.
    """
    files = (places.__file__, render.__file__, scenes.__file__, shapes.__file__, *more)
    code = "".join(ast.dump(ast.parse(Path(f).read_text())) for f in files)
    return hashlib.sha256(code.encode()).hexdigest()[:8]
