"""Tabletop benchmarks: What'sUp's two controlled subsets, made of rendered scenes.

They have the same interface as the real ones: sets of four images that differ only in the relation,
as two pairs that share a `set_id`. No training scene comes from these random streams.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pandas as pd
from PIL import Image

from ..tabletop import captions, render, scenes, shapes
from ..tabletop.scenes import Scene
from .base import Benchmark, ImagePair

#: Pixels per side at which the mini models see the world.
MODEL_SIZE = 80
FAMILIES = {"tabletop-a": "a", "tabletop-b": "b"}
#: What the two pairs of a set are about; they show its first two scenes and its last two.
RELATIONS = {"a": ("left/right", "on/under"), "b": ("left/right", "front/behind")}


def tabletop_sets(
    name: str, seed: int = 0, n_sets: int = 100, gap: float | None = None
) -> list[tuple[Scene, ...]]:
    """The scenes of a tabletop benchmark: `n_sets` sets of four, each of its own two objects."""
    if name not in FAMILIES:
        raise ValueError(f"no tabletop benchmark {name!r}; there are {', '.join(FAMILIES)}")
    family = FAMILIES[name]
    kinds = itertools.product(shapes.SMALL, shapes.FURNITURE if family == "a" else shapes.SMALL)
    drawable = sum((a < b or family == "a") and scenes.is_held_out_pair(a, b) for a, b in kinds)
    most = drawable * len(shapes.COLOURS) ** 2 // 2  # half of all, so that drawing them ends soon
    if not 1 <= n_sets <= most:
        raise ValueError(f"n_sets must lie between 1 and {most}, got {n_sets}")
    if gap is not None and gap <= 0:
        raise ValueError(f"gap must be positive, got {gap}")
    rng = np.random.default_rng((scenes.TEST, seed, ord(family)))
    sets: dict[tuple[str, ...], tuple[Scene, ...]] = {}
    while len(sets) < n_sets:
        four = scenes.benchmark_set(family, rng, gap)
        sets.setdefault(tuple(sorted(thing.name for thing in four[0].things)), four)
    return list(sets.values())


def pictures(sequence: Iterable[Scene], size: int, supersample: int = 2) -> list[Image.Image]:
    """The scenes, rendered."""
    return [Image.fromarray(image) for image in render.render_many(sequence, size, supersample)]


def load_tabletop(
    name: str,
    seed: int = 0,
    n_sets: int = 100,
    size: int = MODEL_SIZE,
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
    n_sets : int
        Sets of four images; each shows another pair of coloured objects.
    size : int
        Pixels per side. Figures use 336 and more.
    supersample : int
        Rays per side of a pixel at edges.
    gap : float, optional
        Distance between the centres of the two things, in scene units, to try others than the
        benchmark's own.
    relation : str, optional
        Make these pairs alone, as `select` would choose them, in half the time.
    """
    sets = tabletop_sets(name, seed, n_sets, gap)
    whole = RELATIONS[FAMILIES[name]]
    if relation not in (None, *whole):
        raise ValueError(f"{name!r} has no relation {relation!r}")
    contrasts = [
        (f"{i:04d}", about, two)
        for i, four in enumerate(sets)
        for about, two in zip(whole, (four[:2], four[2:]), strict=True)
        if relation in (None, about)
    ]
    return Benchmark(
        name,
        _rendered(contrasts, size, supersample),
        f"{n_sets} sets of four rendered images after What'sUp {FAMILIES[name].upper()}",
        f"tabletop world, seed {seed}, {size} px",
    )


def _rendered(
    contrasts: list[tuple[str, str, tuple[Scene, Scene]]], size: int, supersample: int = 2
) -> tuple[ImagePair, ...]:
    """The pairs of these set ids, relations and scenes."""
    images = pictures([scene for _, _, two in contrasts for scene in two], size, supersample)
    return tuple(
        ImagePair(
            pair_id=f"{set_id}-{about}",
            set_id=set_id,
            relation=about,
            captions=tuple(
                captions.benchmark_caption(*(thing.name for thing in scene.things), scene.relation)
                for scene in two
            ),
            sources=tuple(images[2 * place : 2 * place + 2]),
        )
        for place, (set_id, about, two) in enumerate(contrasts)
    )


#: What `load_changes` changes: what captions speak of, and what tells no caption from another.
CHANGES = ("colour", "kind", "camera", "shift", "light")


def load_changes(
    name: str, what: str, seed: int = 0, n_sets: int = 100, size: int = MODEL_SIZE
) -> Benchmark:
    """Pairs in which one thing changes but no relation, to compare with left and right.

    Both captions say *to the left of*. They are the same where the change is none of the objects',
    so that there is nothing to match.

    Parameters
    ----------
    name : {"tabletop-a", "tabletop-b"}
        Whose sets: the first image of each pair is the *left of* image of a set.
    what : {"colour", "kind", "camera", "shift", "light"}
        What is another in the second image, and the pair's relation. Of the first thing: its
        ``"colour"``, or its ``"kind"``, drawn from the small kinds that training never shows beside
        the second thing (a set of two small objects for which there is no such kind is left out,
        and another drawn). Of the whole scene: the ``"camera"``, turned and tilted by a degree;
        where the things stand, all moved sideways by a ``"shift"`` of 0.2 scene units; the
        ``"light"``, noon for night.
    seed, n_sets, size
        As in `load_tabletop`.
    """
    if what not in CHANGES:
        raise ValueError(f"cannot change {what!r}; choose one of {', '.join(map(repr, CHANGES))}")
    rng = np.random.default_rng((scenes.TEST, seed, ord(what[0])))
    firsts = _changeable(name, what, seed, n_sets)
    contrasts = [
        (f"{i:04d}", what, (scene, _changed(scene, what, rng))) for i, scene in enumerate(firsts)
    ]
    return Benchmark(
        f"{name}-{what}",
        _rendered(contrasts, size),
        f"{n_sets} pairs that differ in {what}",
        f"tabletop world, seed {seed}",
    )


def _changed(scene: Scene, what: str, rng: np.random.Generator) -> Scene:
    if what in ("colour", "kind"):
        changed = replace(scene.things[0], **{what: str(rng.choice(_choices(scene, what)))})
        return replace(scene, things=(changed, *scene.things[1:]))
    if what == "light":
        return replace(scene, light=next(x for x in scenes.BENCHMARK_LIGHTS if x != scene.light))
    sign, view = rng.choice([-1.0, 1.0]), scene.view
    if what == "camera":
        turned = replace(view, azimuth=view.azimuth + sign, elevation=view.elevation + 1.0)
        return replace(scene, view=turned)
    return replace(scene, things=tuple(replace(t, x=t.x + 0.2 * sign) for t in scene.things))


def _changeable(name: str, what: str, seed: int, n_sets: int) -> list[Scene]:
    """First scenes of sets; those whose first thing can become no other kind are skipped."""
    n_drawn = n_sets
    while True:
        firsts = [four[0] for four in tabletop_sets(name, seed, n_drawn)]
        changeable = [scene for scene in firsts if what != "kind" or _choices(scene, what)]
        if len(changeable) >= n_sets:
            return changeable[:n_sets]
        n_drawn += n_sets - len(changeable)


def _choices(scene: Scene, what: str) -> list[str]:
    """Other colours or kinds that the first thing may have."""
    thing, other = scene.things
    if what == "colour":
        return [colour for colour in shapes.COLOURS if colour not in (thing.colour, other.colour)]
    return [
        kind
        for kind in shapes.SMALL
        if kind not in (thing.kind, other.kind) and scenes.is_held_out_pair(kind, other.kind)
    ]


def tabletop_things(
    seed: int = 0, size: int = MODEL_SIZE
) -> tuple[list[Image.Image], pd.DataFrame]:
    """Every small kind of object in every colour, alone and close up, for naming.

    Returns
    -------
    images : list of PIL.Image.Image
        Of instances that no training scene shows.
    labels : pandas.DataFrame
        ``kind`` and ``colour`` of each.
    """
    rng = np.random.default_rng((scenes.TEST, seed, len(shapes.KINDS)))
    views, labels = [], list(itertools.product(shapes.SMALL, shapes.COLOURS))
    for kind, colour in labels:
        thing = replace(scenes.draw_thing(rng, kind, held_out=True), colour=colour)
        empty = scenes.draw_empty_scene(rng)
        view = replace(empty.view, distance=5.5, look_y=0.45)
        views.append(replace(empty, things=(thing,), view=view))
    return pictures(views, size), pd.DataFrame(labels, columns=["kind", "colour"])
