"""Training pictures: rendered once, kept on disk, resumed after a killed run."""

from __future__ import annotations

import ast
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from ..tabletop import captions, places, render, scenes, shapes

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


def load_training_set(folder: Path, seed: int, n: int, size: int, n_captions: int) -> TrainingSet:
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
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"tabletop-{_world()}-{seed}-{n}-{size}.npy"
    mark = path.with_suffix(".json")
    shape = (n, size, size, 3)
    done = json.loads(mark.read_text())["done"] if mark.exists() and path.exists() else 0
    images = np.lib.format.open_memmap(path, "r+" if done else "w+", np.uint8, shape)
    texts: list[list[str]] = []
    for start in tqdm(range(0, n, CHUNK), desc="training pictures", unit="k"):
        stop = min(start + CHUNK, n)
        chunk = training_scenes(seed, start, stop)
        for i, scene in enumerate(chunk, start):
            rng = _stream(seed, i, "caption")
            texts.append([captions.training_caption(scene, rng) for _ in range(n_captions)])
        if stop > done:
            images[start:stop] = render.render_many(chunk, size)
            images.flush()
            mark.write_text(json.dumps({"done": stop}))
    where = np.arange(n) % len(places.PLACES)
    return TrainingSet(np.load(path, mmap_mode="r"), texts, where)


def _stream(seed: int, index: int, what: str) -> np.random.Generator:
    return np.random.default_rng((scenes.TRAIN, seed, index, len(what)))


def _world() -> str:
    """A short hash of the code that draws the pictures, comments and layout aside.

    Pictures of an older world are not used again.
    """
    files = (places.__file__, render.__file__, scenes.__file__, shapes.__file__)
    code = "".join(ast.dump(ast.parse(Path(f).read_text())) for f in files)
    return hashlib.sha256(code.encode()).hexdigest()[:8]
