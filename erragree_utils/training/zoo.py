"""Test the diagnosis on models whose fault is known: ``python -m erragree_utils.training.zoo``.

A member of the zoo is a shipped model, either as it is or broken on purpose: its pictures lose
something before they are encoded, its image tokens lose something before they are read, or its
answers get a habit. How we made a member determines what the verdict should be. We record the
evidence and the verdicts that the rules draw from it, with the command that makes them.
"""

from __future__ import annotations

import argparse
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image, ImageOps

from ..benchmarks.base import Benchmark
from ..benchmarks.tabletop import load_changes, load_tabletop
from ..benchmarks.tabletop_mmvp import candidates
from ..diagnosis.evidence import clip_measures, flat_evidence, group_evidence, mllm_measures
from ..diagnosis.verdicts import ANSWERED, BLIND, IGNORES, MISALIGNED, POOLED, PRIOR
from ..models import load_clip
from ..models.mllm import load_mllm
from ..scoring.scores import score
from ..tabletop.patterns import PATTERNS
from . import zoo_record
from .zoo_record import MEASURED

#: Seeds of draws, two at a time; the two are also taken together. Rules were set on the first two.
SET, TEST = ((901, 902),), ((911, 912), (913, 914))
#: Kinds of change on which the rules were set; the others played no part.
SET_ON = ("left/right, A", "left/right, B")
SIZES = (20, 40, 60, 100)


def _pairs(letter: str, relation: str) -> Callable[[int, int], Benchmark]:
    return lambda seed, n: load_tabletop(f"tabletop-{letter}", seed, n, relation=relation)


def _pattern(name: str) -> Callable[[int, int], Benchmark]:
    return lambda seed, n: Benchmark(name, tuple(candidates(name, range(n), seed)))


#: Kinds of change: functions of a seed and a number of pairs that return a benchmark.
KINDS: Mapping[str, Callable[[int, int], Benchmark]] = {
    "left/right, A": _pairs("a", "left/right"),
    "left/right, B": _pairs("b", "left/right"),
    "on/under": _pairs("a", "on/under"),
    "front/behind": _pairs("b", "front/behind"),
    "kind": lambda seed, n: load_changes("tabletop-a", "kind", seed, n),
} | {pattern: _pattern(pattern) for pattern in PATTERNS}
SIDES, RELATIONS = SET_ON, ("on/under", "front/behind")
OTHERS = *RELATIONS, "colour", "kind"


# --- ways to break a model -----------------------------------------------------------------------


def mirrored(image: Image.Image) -> Image.Image:
    """A picture averaged with its mirror image, so that left and right are gone."""
    return Image.blend(image, ImageOps.mirror(image), 0.5)


def static(image: Image.Image) -> Image.Image:
    """Noise in place of a picture, different for each."""
    rng = np.random.default_rng(zlib.crc32(image.tobytes()))
    return Image.fromarray(rng.integers(0, 256, (*image.size[::-1], 3), np.uint8))


def averaged(tokens: torch.Tensor) -> torch.Tensor:
    """Image tokens (n, T, D), each replaced by their mean, so that places are gone."""
    return tokens.mean(dim=1, keepdim=True).expand_as(tokens)


def silent(tokens: torch.Tensor) -> torch.Tensor:
    """Image tokens (n, T, D) replaced by zeros, so that nothing of the image reaches the reader."""
    return torch.zeros_like(tokens)


@contextmanager
def connected(mllm: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Iterator[None]:
    """Inside this context, the language model reads the projector's output changed by `change`."""
    projector = mllm.model.model.multi_modal_projector
    handle = projector.register_forward_hook(lambda _, args, tokens: change(tokens))
    try:
        yield
    finally:
        handle.remove()


class Habitual:
    """A language model that avoids some answers, whatever the image.

    Parameters
    ----------
    habit : callable
        Takes the text of question and answer; returns the nats to subtract from its log-likelihood.
    """

    def __init__(self, mllm: Any, habit: Callable[[str], float]):
        self._mllm, self._habit = mllm, habit

    def __getattr__(self, name: str) -> Any:
        return getattr(self._mllm, name)

    def answer_logprobs(self, images: Iterable, branches: Iterable, **how: Any) -> list[list]:
        """As `Mllm.answer_logprobs`."""
        asked = [list(row) for row in branches]
        said = self._mllm.answer_logprobs(images, asked, **how)
        return [
            [
                answer._replace(total=answer.total - self._habit(" ".join(pair)) * answer.n_tokens)
                for pair, answer in zip(pairs, answers, strict=True)
            ]
            for pairs, answers in zip(asked, said, strict=True)
        ]


def no_left(text: str) -> float:
    """Nats by which any text that says left becomes less likely."""
    return 20.0 * ("left" in text)


def moody(text: str) -> float:
    """Nats by which a text becomes less likely: arbitrary, but the same for the same text."""
    return float(np.random.default_rng(zlib.crc32(text.encode())).exponential(40.0))


# --- the members ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Member:
    """A model with the verdict that it should get for each kind of change."""

    name: str
    part: str
    model: str
    truth: Mapping[str, str]
    about: str
    seen: Callable[[Image.Image], Image.Image] | None = None
    tokens: Callable[[torch.Tensor], torch.Tensor] | None = None
    habit: Callable[[str], float] | None = None

    def measures(self, bench: Benchmark) -> tuple[pd.DataFrame, Mapping[str, np.ndarray]]:
        """What `clip_measures` or `mllm_measures` say about it."""
        if self.seen is not None:
            bench = bench.with_images([[self.seen(x) for x in pair.images] for pair in bench])
        if self.part == "clip":
            clip = _clip(self.model)
            with clip.remembering():
                return clip_measures(clip, bench, score)
        mllm = _mllm(self.model)
        model = mllm if self.habit is None else Habitual(mllm, self.habit)
        with connected(mllm, self.tokens) if self.tokens else nullcontext():
            return mllm_measures(model, bench, score)


@cache
def _clip(name: str) -> Any:
    return load_clip(name, device="cpu")


@cache
def _mllm(name: str) -> Any:
    return load_mllm(name, device="cpu")


def _all(verdict: str, *kinds: str) -> dict[str, str]:
    return dict.fromkeys(kinds, verdict)


#: All three match colours and kinds; for on and under, or front and behind, we measure it.
CLIPS = _all(ANSWERED, "colour", "kind") | _all(MEASURED, *RELATIONS)
# To add a reader that learned a prior of its own, give its name for `load_mllm` here.
MEMBERS = (
    Member("hidden", "clip", "mini", _all(MISALIGNED, *SIDES) | CLIPS,
           "a CLIP whose embedding holds left and right, for which its texts do not ask"),
    Member("lost", "clip", "mini-lost", _all(POOLED, *SIDES) | CLIPS,
           "a CLIP whose patch tokens hold left and right, and whose embedding does not"),
    Member("aligned", "clip", "mini-aligned", _all(ANSWERED, *SIDES) | CLIPS,
           "a CLIP that matches left and right"),
    Member("mirrored", "clip", "mini", _all(BLIND, *SIDES),
           "hidden, shown each picture averaged with its mirror image", seen=mirrored),
    Member("static", "clip", "mini-aligned", _all(BLIND, "front/behind", "colour", "kind"),
           "aligned, shown noise in place of each picture", seen=static),
    Member("LLaVA", "mllm", "mini",
           _all(ANSWERED, *SIDES, *RELATIONS) | _all(MEASURED, "kind", *PATTERNS),
           "the mini LLaVA as it is"),
    Member("LLaVA, mirrored", "mllm", "mini", _all(BLIND, *SIDES),
           "shown each picture averaged with its mirror image", seen=mirrored),
    Member("LLaVA, static", "mllm", "mini", _all(BLIND, "on/under"),
           "shown noise in place of each picture", seen=static),
    Member("LLaVA, no left", "mllm", "mini", _all(PRIOR, *SIDES),
           "with a prior against whatever is said to be left", habit=no_left),
    Member("LLaVA, moody", "mllm", "mini", _all(PRIOR, *RELATIONS),
           "with a prior against each text, of a size drawn at random", habit=moody),
    Member("LLaVA, averaged", "mllm", "mini", _all(IGNORES, *SIDES),
           "whose projector's tokens are averaged over the picture", tokens=averaged),
    Member("LLaVA, silent", "mllm", "mini", _all(IGNORES, *OTHERS),
           "whose projector's tokens are all zero", tokens=silent),
)  # fmt: skip


# --- evidence and verdicts -----------------------------------------------------------------------


@dataclass
class _Run:
    """Rows of evidence in a growing file; what it already holds isn't measured again."""

    path: Path
    rows: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.path.is_file():
            self.rows = pd.read_csv(self.path).to_dict("records")

    def has(self, member: Member, kind: str, seed: int) -> bool:
        key = (member.name, member.part, kind, seed)
        return any((r["member"], r["part"], r["kind"], r["seed"]) == key for r in self.rows)

    def add(self, rows: list[dict[str, Any]]) -> None:
        self.rows += rows
        self.path.parent.mkdir(parents=True, exist_ok=True)
        pd.DataFrame(self.rows).to_csv(self.path, index=False, float_format="%.4g")


def measure(
    path: Path,
    seeds: Sequence[tuple[int, int]] = (*TEST, *SET),
    members: Sequence[Member] = MEMBERS,
    sizes: Sequence[int] = SIZES,
) -> None:
    """Measure and write the evidence on members, kinds, seeds and sizes that `path` lacks.

    For each two seeds, the largest numbers of pairs are also taken together, under the first seed.
    """
    run = _Run(path)
    for both in seeds:
        for kind, load in KINDS.items():
            if both in SET and kind not in SET_ON:
                continue
            open_ = [m for m in members if kind in m.truth and not run.has(m, kind, both[0])]
            benches = [load(seed, max(sizes)) for seed in both] if open_ else []
            for member in open_:
                found = [member.measures(bench) for bench in benches]
                rows = [
                    _evidence(member, kind, seed, n, bench, *measured)
                    for seed, bench, measured in zip(both, benches, found, strict=True)
                    for n in sizes
                ]
                tables, features = zip(*found, strict=True)
                joined = {name: np.concatenate([f[name] for f in features]) for name in features[0]}
                pairs = [pair for bench in benches for pair in bench]
                rows.append(_evidence(member, kind, both[0], len(pairs), pairs,
                                      pd.concat(tables), joined))  # fmt: skip
                run.add(rows)
                print(both[0], kind, member.name, flush=True)


def _evidence(
    member: Member,
    kind: str,
    seed: int,
    n: int,
    bench: Sequence,
    pairs: pd.DataFrame,
    features: Mapping[str, np.ndarray],
) -> dict[str, Any]:
    evidence = flat_evidence(group_evidence(bench, pairs, features, range(n)))
    return {"part": member.part, "member": member.name, "kind": kind, "seed": seed} | evidence


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is missing from the folder's evidence, judge all of it, and write the tables."""
    parser = argparse.ArgumentParser(
        prog="python -m erragree_utils.training.zoo", description=__doc__.splitlines()[0]
    )
    add = parser.add_argument
    add("--out", type=Path, default=zoo_record.FOLDER, metavar="FOLDER",
        help="evidence, verdicts and README (default: the shipped ones)")  # fmt: skip
    add("--judge", action="store_true", help="judge the evidence that is there, and measure none")
    options = parser.parse_args(arguments)
    path = options.out / zoo_record.FILE
    if not options.judge:
        measure(path)
    made = {(m.part, m.name, kind): v for m in MEMBERS for kind, v in m.truth.items()}
    table = zoo_record.judge(pd.read_csv(path), made, dict(SET + TEST))
    table.to_csv(path, index=False, float_format="%.4g")
    # Read it as written, since rounding may move a confidence across a bin's edge.
    readme = zoo_record.readme(
        zoo_record.recorded(path, tested=False), {m.name: m.about for m in MEMBERS}
    )
    (options.out / "README.md").write_text(readme, encoding="utf-8")
    print(readme)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
