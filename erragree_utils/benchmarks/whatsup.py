"""What'sUp, controlled images A and B (Kamath et al., EMNLP 2023, section 2).

Sets of four photographs of the same two objects that differ only in a preposition. Files, format
and Google Drive ids: https://github.com/amitakamath/whatsup_vlms (``dataset_zoo``).
"""

from __future__ import annotations

import os
import re
import warnings
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from .base import Benchmark, BenchmarkError, ImagePair
from .published import (
    published_folder,
    read_items,
    report_incomplete,
    warn_of_count,
    warn_of_orientation,
)
from .transfer import RemoteFile

PAGE = "https://github.com/amitakamath/whatsup_vlms"
CACHE = "whatsup"  # all the project's files share a folder, as they do there

# The words for a relation: in file names, and in captions as a pattern.
_WORDS = {
    "left": ("left_of", r"(?:to|on) the left(?: side)? of|left of"),
    "right": ("right_of", r"(?:to|on) the right(?: side)? of|right of"),
    "front": ("in-front_of", r"in[ -]front of|front of"),
    "behind": ("behind", r"behind"),
    "under": ("under", r"under|underneath"),
    "on": ("on", r"on"),
}
# One scan, longer phrases first: the "on" of "on the left of" is not a relation of its own.
_RELATION = re.compile(
    "|".join(rf"(?P<{name}>\b(?:{words})\b)" for name, (_, words) in _WORDS.items()),
    re.IGNORECASE,
)
LABELS = ("published", "swapped")
#: The set of A whose left and right image a public report calls swapped; we have not seen them.
SWAPPED = ("pillow", "chair")
_ITEM = '{"image_path": ".../mug_left_of_chair.jpeg", "caption_options": [four captions]}'


@dataclass(frozen=True)
class Part:
    """One of the two subsets, with the relations of a set's two pairs."""

    title: str
    json: RemoteFile
    images: RemoteFile
    pairs: tuple[tuple[str, str], ...]
    n_images: int


PARTS = {
    "whatsup-a": Part(
        title="What'sUp A: an object left of, right of, on or under a larger one",
        json=RemoteFile(
            "controlled_images_dataset.json", drive_id="1ap8mmmpQjLIjPGuplkpBgc1hoEHCj4hm"
        ),
        images=RemoteFile(
            "controlled_images.tar.gz",
            drive_id="19KGYVQjrV3syb00GgcavB2nZTW5NXX0H",
            unpacks_to="controlled_images",
        ),
        pairs=(("left", "right"), ("on", "under")),
        n_images=412,
    ),
    "whatsup-b": Part(
        title="What'sUp B: an object left of, right of, in front of or behind another on a table",
        json=RemoteFile(
            "controlled_clevr_dataset.json", drive_id="1unNNosLbdy9NDjgj4l8fsQP3WiAAGA6z"
        ),
        images=RemoteFile(
            "controlled_clevr.tar.gz",
            drive_id="13jdBpg8t3NqW3jrL6FK8HO93vwsUjDxG",
            unpacks_to="controlled_clevr",
        ),
        pairs=(("left", "right"), ("front", "behind")),
        n_images=408,
    ),
}


@dataclass(frozen=True)
class _Photo:
    """An entry of the JSON file."""

    path: Path
    objects: tuple[str, str]
    relation: str
    captions: dict[str, str]  # by the relation they state
    true_is_first: bool


def load_whatsup(
    name: str,
    folder: str | Path | None = None,
    download: bool = True,
    skip_incomplete: bool = False,
    labels: str = "published",
) -> Benchmark:
    """What'sUp A or B as image pairs; the two pairs of a set share its `set_id`.

    The file name of an image gives its two objects and its relation; its true caption is the
    option that states this relation, whatever the order of the options.

    Parameters
    ----------
    name : str
        ``"whatsup-a"`` (left/right and on/under) or ``"whatsup-b"`` (left/right, front/behind).
    folder : str or pathlib.Path, optional
        A folder with the publisher's JSON file and image folder side by side. By default the files
        are fetched, once, into the cache (see `download.cache_folder`).
    download : bool
        Whether to fetch files that aren't in the cache.
    skip_incomplete : bool
        Leave out sets that lack an image or an entry, with a warning, instead of raising. A set
        goes as a whole, so that pair, set and four-way numbers are about the same images.
    labels : {"published", "swapped"}
        Of A: ``"swapped"`` exchanges the images ``pillow_left_of_chair`` and
        ``pillow_right_of_chair``. `Benchmark.source` says which labels were taken.
    """
    if labels not in LABELS or (labels == "swapped" and name != "whatsup-a"):
        raise ValueError(
            f"labels is {labels!r}; choose 'published' or, for whatsup-a alone, 'swapped'"
        )
    part = PARTS[name]
    root = published_folder((part.json, part.images), CACHE, folder, download, PAGE)
    json_path, images = root / part.json.name, root / part.images.result
    photos = [
        _parse(entry, part, images, f"{json_path}, entry {number}")
        for number, entry in enumerate(read_items(json_path, _ITEM))
    ]
    if folder is None:
        warn_of_count(name, len(photos), part.n_images, json_path)
    elsewhere = sum(not photo.true_is_first for photo in photos)
    if elsewhere:
        warnings.warn(
            f"{json_path}: the true caption, by the image's file name, is not the first option in "
            f"{elsewhere} of {len(photos)} entries. The file name is followed; the publisher's "
            "script takes the first option.",
            stacklevel=2,
        )
    sets: dict[tuple[str, str], dict[str, _Photo]] = {}
    for photo in photos:
        if sets.setdefault(photo.objects, {}).setdefault(photo.relation, photo) is not photo:
            raise BenchmarkError(f"{json_path} lists the image {photo.path.name} twice")
    problems = {
        " / ".join(objects): missing
        for objects, members in sets.items()
        if (missing := _missing(members, part))
    }
    report_incomplete(problems, len(sets), "sets", skip_incomplete, images)
    pairs = tuple(
        _pair(members[one], members[other])
        for objects, members in sets.items()
        if " / ".join(objects) not in problems
        for one, other in part.pairs
    )
    if labels == "swapped":
        pairs = _with_swapped_images(pairs, json_path)
    warn_of_orientation(name, pairs)
    return Benchmark(name, pairs, part.title, f"{PAGE}, read from {root}, {labels} labels")


def stated_relation(caption: str) -> str | None:
    """The relation a caption states, such as ``"left"``, or None if there is not exactly one."""
    relations = {match.lastgroup for match in _RELATION.finditer(" ".join(caption.split()))}
    return relations.pop() if len(relations) == 1 else None


def _parse(entry: Any, part: Part, images: Path, where: str) -> _Photo:
    match entry:
        case {"image_path": str(stored), "caption_options": [*options]} if all(
            isinstance(option, str) for option in options
        ):
            pass
        case _:
            raise BenchmarkError(f"{where}: expected {_ITEM}, found {str(entry)[:200]}")
    # The stored path is relative to the publisher's checkout; only its name is ours to use.
    file_name = PurePosixPath(stored.replace("\\", "/")).name
    opposites = {a: b for one, other in part.pairs for a, b in ((one, other), (other, one))}
    words = {_WORDS[relation][0]: relation for relation in opposites}
    in_name = re.fullmatch(rf"(.+?)_({'|'.join(words)})_(.+)\.jpe?g", file_name, re.IGNORECASE)
    if in_name is None:
        raise BenchmarkError(
            f"{where}: the image is called {file_name!r}, expected "
            f"OBJECT_RELATION_OBJECT.jpeg with a relation of {', '.join(words)}. "
            f"Is this the JSON file of {part.title!r}?"
        )
    first, relation, second = in_name.groups()
    relation = words[relation.lower()]
    relations = [stated_relation(option) for option in options]
    captions = {
        stated: option
        for stated, option in zip(relations, options, strict=True)
        if stated and relations.count(stated) == 1
    }
    for needed in (relation, opposites[relation]):
        if needed not in captions:
            raise BenchmarkError(
                f"{where}: {file_name} needs exactly one caption option that says "
                f"{_WORDS[needed][0].replace('_', ' ')!r}, the options are {options}"
            )
    true_is_first = captions[relation] == options[0]
    return _Photo(images / file_name, (first, second), relation, captions, true_is_first)


def _missing(members: dict[str, _Photo], part: Part) -> list[str]:
    relations = [relation for pair in part.pairs for relation in pair]
    entries = [f"no entry for {_WORDS[r][0]!r}" for r in relations if r not in members]
    return entries + [
        f"the image {photo.path.name} is missing"
        for photo in members.values()
        if not os.path.isfile(photo.path)  # takes names that no file system takes
    ]


def _pair(one: _Photo, other: _Photo) -> ImagePair:
    for photo, opposite in ((one, other), (other, one)):
        wrong, true = photo.captions[opposite.relation], opposite.captions[opposite.relation]
        if _plain(wrong) != _plain(true):
            raise BenchmarkError(
                f"{photo.path.name} and {opposite.path.name} are a pair, but the first offers the "
                f"caption {wrong!r} where the second's own is {true!r}: the captions of a pair "
                "must be each other's opposites"
            )
    set_id = "__".join(one.objects)
    return ImagePair(
        pair_id=f"{set_id}__{one.relation}-{other.relation}",
        set_id=set_id,
        relation=f"{one.relation}/{other.relation}",
        captions=(one.captions[one.relation], other.captions[other.relation]),
        sources=(one.path, other.path),
        orientation="keep",
    )


def _with_swapped_images(pairs: tuple[ImagePair, ...], where: Path) -> tuple[ImagePair, ...]:
    named = f"{'__'.join(SWAPPED)}__left-right"
    if named not in {pair.pair_id for pair in pairs}:
        raise BenchmarkError(
            f"{where} has no complete left/right pair of {' and '.join(SWAPPED)}, so there are no "
            "labels to swap: leave labels='swapped' out"
        )
    return tuple(
        replace(pair, sources=pair.sources[::-1]) if pair.pair_id == named else pair
        for pair in pairs
    )


def _plain(caption: str) -> str:
    """A caption without case, articles, spacing and full stops, to compare what two say."""
    words = re.sub(r"[.\s]+", " ", caption.casefold()).split()
    return " ".join(word for word in words if word not in ("a", "an", "the"))
