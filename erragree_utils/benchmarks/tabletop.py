"""Tabletop benchmarks: What'sUp's two controlled subsets, made of rendered scenes.

Same interface as the real ones: sets of four images that differ in the relation alone, as two pairs
that share a `set_id`.
"""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
from PIL import Image

from ..tabletop import captions, render, scenes, shapes
from .base import Benchmark, ImagePair

#: Pixels a side at which the mini models see the world.
MODEL_SIZE = 80
FAMILIES = {"tabletop-a": "a", "tabletop-b": "b"}
#: The two pairs of a set: places of their images among the relations, and what they are about.
PAIRS = {
    "a": (((0, 1), "left/right"), ((2, 3), "on/under")),
    "b": (((0, 1), "left/right"), ((2, 3), "front/behind")),
}


def tabletop_sets(
    name: str, seed: int = 0, n_sets: int = 100, gap: float | None = None
) -> list[tuple[scenes.Scene, ...]]:
    """The scenes of a tabletop benchmark: `n_sets` sets of four, each of its own two objects.

    Raises
    ------
    ValueError
        For a name that is not a tabletop benchmark, a gap that is not positive, no sets, or more
        than half as many as there are (so that drawing them ends soon).
    """
    if name not in FAMILIES:
        raise ValueError(f"no tabletop benchmark {name!r}; there are {', '.join(FAMILIES)}")
    available = len(_combinations(FAMILIES[name])) * len(shapes.COLOURS) ** 2
    if not 1 <= n_sets <= available // 2:
        raise ValueError(f"n_sets must lie between 1 and {available // 2}, got {n_sets}")
    if gap is not None and gap <= 0:
        raise ValueError(f"gap must be positive, got {gap}")
    rng = np.random.default_rng((scenes.TEST, seed, ord(FAMILIES[name])))
    sets: dict[tuple[str, ...], tuple[scenes.Scene, ...]] = {}
    while len(sets) < n_sets:
        four = scenes.benchmark_set(FAMILIES[name], rng, gap)
        sets.setdefault(tuple(sorted(thing.name for thing in four[0].things)), four)
    return list(sets.values())


def _combinations(family: str) -> list[tuple[str, str]]:
    """Pairs of kinds that this family of benchmark sets can show."""
    second = shapes.FURNITURE if family == "a" else shapes.SMALL
    return [
        pair
        for pair in itertools.product(shapes.SMALL, second)
        if pair[0] < pair[1] or family == "a"
        if scenes.is_held_out_pair(*pair)
    ]


def load_tabletop(
    name: str,
    seed: int = 0,
    n_sets: int = 100,
    size: int | None = None,
    supersample: int = 2,
    gap: float | None = None,
    relation: str | None = None,
) -> Benchmark:
    """Render a tabletop benchmark.

    Parameters
    ----------
    name : {"tabletop-a", "tabletop-b"}
        A: a small object left of, right of, on and under a piece of furniture. B: two small
        objects, one left of, right of, in front of and behind the other.
    seed : int
        Random stream; no training scene comes from any of these streams.
    n_sets : int
        Sets of four images; each shows another pair of coloured objects.
    size : int, optional
        Pixels a side; by default what the mini models read. Figures use 336 and more.
    supersample : int
        Rays per side of a pixel at edges.
    gap : float, optional
        Distance between the centres of the two things, in scene units, to try others than the
        benchmark's own.
    relation : str, optional
        Make these pairs alone, as `select` would choose them, in half the time.

    Returns
    -------
    Benchmark
        Two pairs for each set, or one.

    Raises
    ------
    ValueError
        For an unknown name or relation, or a number that is not positive.
    """
    size = MODEL_SIZE if size is None else size
    sets = tabletop_sets(name, seed, n_sets, gap)
    made = [(places, r) for places, r in PAIRS[FAMILIES[name]] if relation in (None, r)]
    if not made:
        raise ValueError(f"{name!r} has no relation {relation!r}")
    scenes_of = [four[p] for four in sets for places, _ in made for p in places]
    pictures = render.render_many(scenes_of, size, supersample)
    images = iter([Image.fromarray(p) for p in pictures])
    pairs = []
    for i, four in enumerate(sets):
        first, second = (thing.name for thing in four[0].things)
        for places, named in made:
            pairs.append(
                ImagePair(
                    pair_id=f"{i:04d}-{named}",
                    set_id=f"{i:04d}",
                    relation=named,
                    captions=tuple(
                        captions.benchmark_caption(first, second, four[p].relation) for p in places
                    ),
                    sources=tuple(next(images) for _ in places),
                )
            )
    what = "What'sUp A" if FAMILIES[name] == "a" else "What'sUp B"
    return Benchmark(
        name=name,
        pairs=tuple(pairs),
        description=f"{n_sets} sets of four rendered images after {what}",
        source=f"tabletop world, seed {seed}, {size} px",
    )


def load_changes(
    name: str, what: str, seed: int = 0, n_sets: int = 100, size: int | None = None
) -> Benchmark:
    """Pairs in which one object changes its colour or kind and nothing moves: a control.

    Parameters
    ----------
    name : {"tabletop-a", "tabletop-b"}
        Whose sets: the first image of each pair is the *left of* image of a set.
    what : {"colour", "kind"}
        What is another in the second image, for the first thing: its colour, or what it is, drawn
        from the small kinds that training never shows beside the second thing. A set of two small
        objects for which there is no such kind is left out, and another drawn.
    seed, n_sets, size
        As in `load_tabletop`.

    Returns
    -------
    Benchmark
        One pair for each set, of the relation ``"colour"`` or ``"kind"``; both captions say *to the
        left of*.

    Raises
    ------
    ValueError
        As `load_tabletop`; also if `what` is neither.
    """
    if what not in ("colour", "kind"):
        raise ValueError(f"cannot change {what!r}; choose 'colour' or 'kind'")
    rng = np.random.default_rng((scenes.TEST, seed, ord(what[0])))
    drawn = []
    for scene, choices in _changeable(name, what, seed, n_sets):
        changed = replace(scene.things[0], **{what: str(rng.choice(choices))})
        drawn += [scene, replace(scene, things=(changed, scene.things[1]))]
    pictures = render.render_many(drawn, MODEL_SIZE if size is None else size)
    images = [Image.fromarray(p) for p in pictures]
    pairs = [
        ImagePair(
            pair_id=f"{i:04d}-{what}",
            set_id=f"{i:04d}",
            relation=what,
            captions=tuple(
                captions.benchmark_caption(*(t.name for t in scene.things), scene.relation)
                for scene in drawn[2 * i : 2 * i + 2]
            ),
            sources=tuple(images[2 * i : 2 * i + 2]),
        )
        for i in range(n_sets)
    ]
    return Benchmark(
        name=f"{name}-{what}",
        pairs=tuple(pairs),
        description=f"{n_sets} pairs in which one object has another {what}",
        source=f"tabletop world, seed {seed}",
    )


def _changeable(
    name: str, what: str, seed: int, n_sets: int
) -> list[tuple[scenes.Scene, list[str]]]:
    """First scenes of sets, and what their first thing may become; sets without are skipped."""
    drawn = n_sets
    while True:
        firsts = [four[0] for four in tabletop_sets(name, seed, drawn)]
        found = [(scene, choices) for scene in firsts if (choices := _choices(scene, what))]
        if len(found) >= n_sets:
            return found[:n_sets]
        drawn += n_sets - len(found)


def _choices(scene: scenes.Scene, what: str) -> list[str]:
    thing, other = scene.things
    if what == "colour":
        return [colour for colour in shapes.COLOURS if colour not in (thing.colour, other.colour)]
    return [
        kind
        for kind in shapes.SMALL
        if kind not in (thing.kind, other.kind) and scenes.is_held_out_pair(kind, other.kind)
    ]


def tabletop_things(
    seed: int = 0, size: int | None = None
) -> tuple[list[Image.Image], pd.DataFrame]:
    """Every small kind of object in every colour, alone and near, to ask a model what it is.

    Parameters
    ----------
    seed : int
        Decides instance, place and light. Instances are those that no training scene shows.
    size : int, optional
        Pixels a side; by default what the mini models read.

    Returns
    -------
    images : list of PIL.Image.Image
    labels : pandas.DataFrame
        ``kind`` and ``colour`` of each.
    """
    rng = np.random.default_rng((scenes.TEST, seed, len(shapes.KINDS)))
    drawn = []
    for kind, colour in itertools.product(shapes.SMALL, shapes.COLOURS):
        thing = replace(scenes.draw_thing(rng, kind, held_out=True), colour=colour)
        surrounding = scenes.draw_surrounding(rng)
        surrounding["view"] = replace(surrounding["view"], distance=5.5, look_y=0.45)
        drawn.append(scenes.Scene((thing,), **surrounding))
    pictures = render.render_many(drawn, MODEL_SIZE if size is None else size)
    labels = [(s.things[0].kind, s.things[0].colour) for s in drawn]
    return [Image.fromarray(p) for p in pictures], pd.DataFrame(labels, columns=["kind", "colour"])
