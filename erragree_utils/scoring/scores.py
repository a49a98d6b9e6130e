"""The table of scores of a model, a benchmark and a method; everything else follows from it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import pandas as pd

from ..decoding import Contrast
from ..measures.decisions import match, predict, prefer
from .methods import METHODS, Method, Options, named_methods, role_of
from .ways import WAYS


def score(
    models: Any,
    benchmarks: Any,
    methods: str | Method | Iterable[str | Method] | Mapping[str, str | Method] = "matching",
    batch_size: int = 32,
    **options: Any,
) -> pd.DataFrame:
    """How well does each text fit each image of a benchmark, according to a model?

    Parameters
    ----------
    models, benchmarks, methods
        One of each, several, or a mapping of names to them, which the table then has.
    batch_size : int
        At most this many images with a prompt at a time; fewer if the device runs out of memory.
        The model remembers how many fitted.
    **options
        Fields of the method with other values, such as ``blind=True``.

    Returns
    -------
    pandas.DataFrame
        A row for each pair, image and option: ``benchmark``, ``model``, ``method``, ``set_id``,
        ``pair_id``, ``relation``, ``image_index``, ``option_index``, ``own`` (whether it is the
        image's own), ``score``. From text to image, a caption takes the place of the image, and
        images are its options. Written answers add ``answer`` and ``parsed`` (whether it named one
        option); there the named option scores 1, others 0. Prompts of two images add ``position``:
        0 where the image that is asked about comes first.

    Raises
    ------
    ValueError
        If a method is unknown or not for the model, a benchmark is empty, or an item cannot be
        encoded or asked about (it is named).
    """
    chosen, tables = named_methods(methods, **options), []
    for bench_name, bench in named(benchmarks).items():
        pairs = list(bench)
        if not pairs:
            raise ValueError("the benchmark has no pairs")
        for model_name, model in named(models).items():
            for names, group in _together(chosen, model):
                size = max(1, batch_size // group[0].weight)
                scored = WAYS[type(group[0])](model, pairs, group, size)
                for name, table in zip(names, scored, strict=True):
                    head = {"benchmark": bench_name, "model": model_name, "method": name}
                    for place, (column, value) in enumerate(head.items()):
                        table.insert(place, column, value)
                    tables.append(table)
    return tables[0] if len(tables) == 1 else pd.concat(tables, ignore_index=True)


def evaluate(models: Any, benchmarks: Any, methods: Any = "matching", **options: Any):
    """Which text fits each image? `predict` of `score`, whose arguments it takes.

    Returns
    -------
    pandas.DataFrame
        A row for each image (see `measures.decisions.predict`); by relative preference, for each
        pair (`measures.decisions.prefer`), and so in both directions (`measures.decisions.match`).
    """
    decide = decider(methods, **options)
    return decide(score(models, benchmarks, methods, **options))


def decider(methods: Any, **options: Any) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """What turns scores of these methods into decisions: `predict`, `prefer` or `match`."""
    fields = {key: value for key, value in options.items() if key != "batch_size"}
    kinds = {method.decides for method in named_methods(methods, **fields).values()}
    if len(kinds) > 1:
        raise ValueError("methods that decide about images and about pairs: evaluate each apart")
    return {"image": predict, "pair": prefer, "match": match}[kinds.pop()]


def named(things: Any) -> dict[str, Any]:
    """Things by name: from a mapping, from their own names, or as bare pairs, which have none."""
    if isinstance(things, Mapping):
        return dict(things)
    if hasattr(things, "name"):
        return {things.name: things}
    things = list(things)
    if all(hasattr(thing, "sources") for thing in things):
        return {"": things}
    named = {thing.name: thing for thing in things}
    if len(named) < len(things):
        raise ValueError(
            f"several of {', '.join(thing.name for thing in things)} have one name: give a mapping "
            "of names of your own"
        )
    return named


def _together(
    methods: Mapping[str, Method], model: Any
) -> Iterator[tuple[list[str], list[Method]]]:
    """Names and methods that share a pass: options under contrasts with one second stream."""
    role = role_of(model)
    groups: dict[Hashable, tuple[list[str], list[Method]]] = {}
    for name, method in methods.items():
        if role not in method.roles:
            fitting = ", ".join(known for known, m in METHODS.items() if role in m.roles)
            raise ValueError(f"method {name!r} is not for {model!r}; choose one of {fitting}")
        method = method.underlying(role)
        key: Hashable = name
        if isinstance(method, Options) and isinstance(method.contrast, Contrast):
            key = (replace(method, contrast=None), method.contrast.noise_step)
        names, group = groups.setdefault(key, ([], []))
        names.append(name)
        group.append(method)
    yield from groups.values()
