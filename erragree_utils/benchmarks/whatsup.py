"""What'sUp, controlled images A and B (Kamath et al., EMNLP 2023, section 2).

Sets of four photographs of the same two objects that differ in a preposition alone. Files, format
and Google Drive ids: https://github.com/amitakamath/whatsup_vlms (``dataset_zoo``).
"""

from __future__ import annotations

import os
import re
import warnings
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from .base import (
    Benchmark,
    BenchmarkError,
    ImagePair,
    read_items,
    report_incomplete,
    warn_of_count,
    warn_of_orientation,
)
from .download import RemoteFile, published_folder

PAGE = "https://github.com/amitakamath/whatsup_vlms"
CACHE = "whatsup"  # all the project's files share a folder, as they do there

# The words for a relation in file names, and in captions.
FILE_WORDS = {
    "left": "left_of",
    "right": "right_of",
    "on": "on",
    "under": "under",
    "front": "in-front_of",
    "behind": "behind",
}
_PHRASES = {
    "left": r"(?:to|on) the left(?: side)? of|left of",
    "right": r"(?:to|on) the right(?: side)? of|right of",
    "front": r"in[ -]front of|front of",
    "behind": r"behind",
    "under": r"under|underneath",
    "on": r"on",
}
# One scan, longer phrases first: the "on" of "on the left of" is not a relation of its own.
_RELATION = re.compile(
    "|".join(rf"(?P<{name}>\b(?:{words})\b)" for name, words in _PHRASES.items()), re.IGNORECASE
)
_ITEM = '{"image_path": ".../mug_left_of_chair.jpeg", "caption_options": [four captions]}'


@dataclass(frozen=True)
class _Part:
    title: str
    json: RemoteFile
    images: RemoteFile
    pairs: tuple[tuple[str, str], ...]
    n_images: int

    @property
    def relations(self) -> tuple[str, ...]:
        return tuple(relation for pair in self.pairs for relation in pair)


PARTS = {
    "whatsup-a": _Part(
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
    "whatsup-b": _Part(
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
class _Item:
    path: Path
    first: str
    second: str
    relation: str
    captions: dict[str, str]  # by the relation they state
    true_is_first: bool

    @property
    def objects(self) -> tuple[str, str]:
        return self.first, self.second


def load_whatsup(
    name: str,
    folder: str | Path | None = None,
    download: bool = True,
    skip_incomplete: bool = False,
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
        Whether files that the cache lacks may be fetched.
    skip_incomplete : bool
        Leave out sets that lack an image or an entry, with a warning, instead of raising. A set
        goes as a whole, so that pair, set and four-way numbers are about the same images.

    Returns
    -------
    Benchmark
        Two pairs for each set, in the order of the JSON file.

    Raises
    ------
    BenchmarkError
        If files are missing, are not in the published format, or contradict each other.
    download.DownloadError
        If files could not be fetched.
    """
    part = PARTS[name]
    root = published_folder((part.json, part.images), CACHE, folder, download, PAGE)
    json_path, image_folder = root / part.json.name, root / part.images.result
    items = [
        _parse(entry, number, part, json_path, image_folder)
        for number, entry in enumerate(read_items(json_path, _ITEM))
    ]
    if folder is None:
        warn_of_count(name, len(items), part.n_images, json_path)
    _warn_of_order(items, json_path)
    pairs = _pairs(_sets(items, json_path), part, skip_incomplete, image_folder)
    warn_of_orientation(name, pairs)
    return Benchmark(name, pairs, part.title, f"{PAGE}, read from {root}")


def stated_relation(caption: str) -> str | None:
    """The relation a caption states: a key of `FILE_WORDS`, or None if there is not exactly one."""
    found = {match.lastgroup for match in _RELATION.finditer(" ".join(caption.split()))}
    return found.pop() if len(found) == 1 else None


def _parse(entry: Any, number: int, part: _Part, json_path: Path, images: Path) -> _Item:
    where = f"{json_path}, entry {number}"
    if not (
        isinstance(entry, dict)
        and isinstance(entry.get("image_path"), str)
        and isinstance(entry.get("caption_options"), list)
        and all(isinstance(option, str) for option in entry["caption_options"])
    ):
        raise BenchmarkError(f"{where}: expected {_ITEM}, found {str(entry)[:200]}")
    # The stored path is relative to the publisher's checkout; only its name is ours to use.
    file_name = PurePosixPath(entry["image_path"].replace("\\", "/")).name
    first, relation, second = _parse_name(file_name, part, where)
    options = entry["caption_options"]
    captions = _by_relation(options)
    needed = (relation, _opposite(relation, part))
    for wanted in needed:
        if wanted not in captions:
            raise BenchmarkError(
                f"{where}: {file_name} needs exactly one caption option that says "
                f"{FILE_WORDS[wanted].replace('_', ' ')!r}, the options are {options}"
            )
    true_is_first = captions[relation] == options[0]
    return _Item(images / file_name, first, second, relation, captions, true_is_first)


def _parse_name(file_name: str, part: _Part, where: str) -> tuple[str, str, str]:
    words = {FILE_WORDS[relation]: relation for relation in part.relations}
    match = re.fullmatch(rf"(.+?)_({'|'.join(words)})_(.+)\.jpe?g", file_name, re.IGNORECASE)
    if match is None:
        raise BenchmarkError(
            f"{where}: the image is called {file_name!r}, expected "
            f"OBJECT_RELATION_OBJECT.jpeg with a relation of {', '.join(words)}. "
            f"Is this the JSON file of {part.title!r}?"
        )
    return match[1], words[match[2].lower()], match[3]


def _by_relation(options: list[str]) -> dict[str, str]:
    """The options by the relation they state, without those that state none or the same."""
    stated = [stated_relation(option) for option in options]
    return {
        relation: option
        for relation, option in zip(stated, options, strict=True)
        if relation is not None and stated.count(relation) == 1
    }


def _opposite(relation: str, part: _Part) -> str:
    for one, other in part.pairs:
        if relation in (one, other):
            return other if relation == one else one
    raise KeyError(relation)


def _warn_of_order(items: list[_Item], json_path: Path) -> None:
    count = sum(not item.true_is_first for item in items)
    if count:
        warnings.warn(
            f"{json_path}: the true caption, by the image's file name, is not the first option in "
            f"{count} of {len(items)} entries. The file name is followed; the publisher's script "
            "takes the first option.",
            stacklevel=2,
        )


def _sets(items: list[_Item], json_path: Path) -> dict[tuple[str, str], dict[str, _Item]]:
    sets: dict[tuple[str, str], dict[str, _Item]] = {}
    for item in items:
        members = sets.setdefault(item.objects, {})
        if item.relation in members:
            raise BenchmarkError(f"{json_path} lists the image {item.path.name} twice")
        members[item.relation] = item
    return sets


def _pairs(
    sets: dict[tuple[str, str], dict[str, _Item]], part: _Part, skip: bool, images: Path
) -> tuple[ImagePair, ...]:
    pairs: list[ImagePair] = []
    problems: list[str] = []
    left_out = 0
    for objects, members in sets.items():
        missing = _missing(objects, members, part)
        if missing:
            left_out += 1
            problems += missing
            continue
        set_id = "__".join(objects)
        for one, other in part.pairs:
            pairs.append(_pair(members[one], members[other], set_id))
    report_incomplete(problems, left_out, len(sets), "sets", skip, images)
    return tuple(pairs)


def _missing(objects: tuple[str, str], members: dict[str, _Item], part: _Part) -> list[str]:
    label = " / ".join(objects)
    return [
        f"{label}: no entry for {FILE_WORDS[relation]!r}"
        for relation in part.relations
        if relation not in members
    ] + [
        f"{label}: the image {item.path.name} is missing"
        for item in members.values()
        if not os.path.isfile(item.path)  # takes names that no file system takes
    ]


def _pair(one: _Item, other: _Item, set_id: str) -> ImagePair:
    relation = f"{one.relation}/{other.relation}"
    for item, opposite in ((one, other), (other, one)):
        wrong, true = item.captions[opposite.relation], opposite.captions[opposite.relation]
        if _plain(wrong) != _plain(true):
            raise BenchmarkError(
                f"{item.path.name} and {opposite.path.name} are a pair, but the first offers the "
                f"caption {wrong!r} where the second's own is {true!r}: the captions of a pair "
                "must be each other's opposites"
            )
    return ImagePair(
        pair_id=f"{set_id}__{one.relation}-{other.relation}",
        set_id=set_id,
        relation=relation,
        captions=(one.captions[one.relation], other.captions[other.relation]),
        sources=(one.path, other.path),
        orientation="keep",
    )


def _plain(caption: str) -> str:
    """A caption without what tells no one anything: case, articles, spacing, a full stop."""
    words = re.sub(r"[.\s]+", " ", caption.casefold()).split()
    return " ".join(word for word in words if word not in ("a", "an", "the"))
