"""Training pictures: rendered once, kept on disk, resumed after a killed run."""

from __future__ import annotations

import ast
import hashlib
import json
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from filelock import FileLock
from tqdm.auto import tqdm

from ..tabletop import captions, patterns, places, render, scenes, shapes, trace
from ..tabletop.questions import Question

CHUNK = 1024  # pictures whose features are computed at a time
PORTION = 128  # scenes that one process renders at a time; even, so that pairs stay together
_STATED = 0.5  # share of a pattern scene's captions that state what the pattern is about


@dataclass(frozen=True)
class TrainingSet:
    """Pictures (N, size, size, 3) uint8 on disk, their scenes' captions, and the place of each."""

    images: np.ndarray
    captions: list[list[str]]
    places: np.ndarray


def training_scenes(seed: int, start: int, stop: int, twins: float = 0.0) -> list[scenes.Scene]:
    """Scenes `start` to `stop` of a training stream; each depends on its own number alone.

    With `twins`, scenes come two by two from one place, and that share of the second ones (where
    the first was arranged left to right) is the first with left and right exchanged.
    """
    return [_training_scene(seed, i, twins) for i in range(start, stop)]


def _training_scene(seed: int, i: int, twins: float) -> scenes.Scene:
    names = list(places.PLACES)
    place = names[_place(i, twins)]
    if twins and i % 2 and _stream(seed, i, "twin").random() < twins:
        first = _training_scene(seed, i - 1, twins)
        if first.relation in captions.SIDEWAYS:
            return scenes.opposite(first)
    return scenes.training_scene(_stream(seed, i, "scene"), place)


def _place(i: int, twins: float) -> int:
    return (i // 2 if twins else i) % len(places.PLACES)


def sideways_pairs(seed: int, first: int, n: int) -> list[scenes.Scene]:
    """`n` scenes of a stream, from number `first` on, that were arranged left to right, each
    followed by itself with left and right exchanged.
    """
    found: list[scenes.Scene] = []
    while len(found) < 2 * n:
        scene = _training_scene(seed, first, 0.0)
        if scene.relation in captions.SIDEWAYS:
            found += [scene, scenes.opposite(scene)]
        first += 1
    return found


def pattern_examples(seed: int, start: int, stop: int) -> list[tuple[scenes.Scene, Question]]:
    """Examples `start` to `stop` of the visual patterns, each a scene and its question."""
    return [patterns.training_example(_stream(seed, i, "pattern")) for i in range(start, stop)]


def load_training_set(
    folder: Path,
    seed: int,
    n: int,
    size: int,
    n_captions: int,
    wording: captions.Wording = captions.PLAIN,
    twins: float = 0.0,
    n_patterns: int = 0,
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
    wording : captions.Wording
        How captions speak of places.
    twins : float
        Of :func:`training_scenes`.
    n_patterns : int
        So many of the `n` scenes, the last ones, show one of the visual patterns, and half of
        their captions state what it is about.
    """
    more = f"-{twins:g}-{n_patterns}" if twins or n_patterns else ""
    world = _world(*([patterns.__file__] if n_patterns else []))
    path = folder / f"tabletop-{world}-{seed}-{n}-{size}{more}.npy"
    images = _kept(path, partial(_draw_training, seed, n - n_patterns, twins), n, size)
    texts = training_captions(seed, n, n_captions, wording, twins, n_patterns)
    return TrainingSet(images, texts, np.array([_place(i, twins) for i in range(n)]))


def training_captions(
    seed: int,
    n: int,
    n_captions: int,
    wording: captions.Wording = captions.PLAIN,
    twins: float = 0.0,
    n_patterns: int = 0,
) -> list[list[str]]:
    """`n_captions` captions of each scene of :func:`load_training_set`; none give no rows."""
    texts: list[list[str]] = []
    for i in range(n if n_captions else 0):
        scene, statement = _training_example(seed, n - n_patterns, twins, i)
        rng, window = _stream(seed, i, "caption"), "left"
        if wording.turned and _stream(seed, i, "room").random() < wording.turned:
            window = "right"
        told = [captions.training_caption(scene, rng, wording, window) for _ in range(n_captions)]
        if statement:
            if rng.random() < wording.elsewhere:
                statement = captions.from_across(statement)
            told = [statement if rng.random() < _STATED else text for text in told]
        texts.append(told)
    return texts


def _draw_training(
    seed: int, plain: int, twins: float, start: int, stop: int
) -> list[scenes.Scene]:
    return [_training_example(seed, plain, twins, i)[0] for i in range(start, stop)]


def _training_example(
    seed: int, plain: int, twins: float, i: int
) -> tuple[scenes.Scene, str | None]:
    """A training scene and, beyond the first `plain` ones, what its visual pattern is about."""
    if i < plain:
        return _training_scene(seed, i, twins), None
    rng = _stream(seed, i, "told pattern")
    names = list(patterns.PATTERNS)
    contrast = patterns.draw_contrast(names[int(rng.integers(len(names)))], rng, held_out=False)
    which = int(rng.integers(2))
    scene = replace(contrast.scenes[which], place=list(places.PLACES)[_place(i, twins)])
    return scene, patterns.statement(contrast, which)


def load_pattern_pictures(folder: Path, seed: int, n: int, size: int) -> np.ndarray:
    """Render what is missing of the pictures of :func:`pattern_examples`: (n, size, size, 3)."""
    path = folder / f"patterns-{_world(patterns.__file__)}-{seed}-{n}-{size}.npy"
    return _kept(path, partial(_pattern_scenes, seed), n, size)


def _pattern_scenes(seed: int, start: int, stop: int) -> list[scenes.Scene]:
    return [scene for scene, _ in pattern_examples(seed, start, stop)]


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
    return _kept(path, partial(_near_duplicates, seed), 2 * n, size)


def _near_duplicates(seed: int, start: int, stop: int) -> list[scenes.Scene]:
    found = near_duplicates(seed, start // 2, (stop + 1) // 2)
    return found[start % 2 : start % 2 + stop - start]


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
        with tqdm(total=n, initial=done, desc="training pictures") as bar:
            for start, pictures in _rendered(draw, done, n, size):
                images[start : start + len(pictures)] = pictures
                images.flush()
                mark.write_text(json.dumps({"done": start + len(pictures)}))
                bar.update(len(pictures))
    return np.load(path, mmap_mode="r")


def _rendered(
    draw: Callable[[int, int], Sequence[scenes.Scene]], done: int, n: int, size: int
) -> Iterator[tuple[int, np.ndarray]]:
    """Pictures from number `done` on, in order, a portion at a time with its first number.

    Processes share the work: drawing scenes is Python, where threads would wait for each other.
    """
    starts, cores = range(done, n, PORTION), os.cpu_count() or 1
    part = partial(_render_portion, draw, n, size)
    if cores == 1 or len(starts) < 2 * cores:
        yield from zip(starts, map(part, starts), strict=True)
        return
    # Forked processes have the compiled renderer at once; elsewhere than on Linux that is not safe.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else None)
    render.render_scene(draw(done, done + 1)[0], 8)
    with ProcessPoolExecutor(cores, context) as pool:
        yield from zip(starts, pool.map(part, starts), strict=True)


def _render_portion(draw, n: int, size: int, start: int) -> np.ndarray:
    return render.render_many(draw(start, min(start + PORTION, n)), size, threads=1)


# Numbers of random streams. Captions and patterns share theirs, which binds neither: their draws
# mean different things. The shipped models were trained so.
_STREAMS = {
    "scene": 5, "caption": 7, "pattern": 7, "near-duplicates": 11, "twin": 13, "told pattern": 17,
    "room": 19,
}  # fmt: skip


def _stream(seed: int, index: int, what: str) -> np.random.Generator:
    return np.random.default_rng((scenes.TRAIN, seed, index, _STREAMS[what]))


def _world(*more: str) -> str:
    """A short hash of the code that draws the pictures, comments and layout aside.

    Pictures of an older world are not used again. `more` names files beside the usual ones.
    """
    modules = (places, render, scenes, shapes, trace)
    files = (*(module.__file__ for module in modules), *more)
    code = "".join(ast.dump(ast.parse(Path(f).read_text())) for f in files)
    code += shapes.TABLE.read_text()
    return hashlib.sha256(code.encode()).hexdigest()[:8]
