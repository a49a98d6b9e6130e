"""Shared by published benchmarks: their folders, their lists, and reports of what's missing."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ..images import orientation_tag
from .base import BenchmarkError, HasImages
from .download import cache_folder, ensure
from .transfer import RemoteFile


def published_folder(
    remotes: Sequence[RemoteFile], cache: str, folder: str | Path | None, download: bool, page: str
) -> Path:
    """The folder that holds the given published files, fetched if need be.

    Parameters
    ----------
    remotes : sequence of RemoteFile
        What has to be there; archives as the folders they hold.
    cache : str
        Folder below `cache_folder` to use where `folder` is None.
    folder : str or pathlib.Path, optional
        A local copy, which is only read; its ``data`` folder is looked into as well.
    page : str
        Address of the project that publishes the files, for messages.
    """
    root = cache_folder() / cache if folder is None else Path(folder).expanduser()
    if folder is None and download:
        for remote in remotes:
            ensure(remote, root)
        return root
    if not (root / remotes[0].result).exists() and (root / "data").is_dir():
        root = root / "data"  # a checkout of the publisher's repository
    missing = [remote for remote in remotes if not (root / remote.result).exists()]
    if missing:
        lines = [f"the folder {root} " + ("lacks:" if root.is_dir() else "does not exist. Needed:")]
        for remote in missing:
            unpacked = f", to be unpacked in {root}" if remote.unpacks_to else ""
            lines.append(f"  {remote.result}  <- {remote.name} from {remote.page}{unpacked}")
        other = "give download=True" if folder is None else "leave folder out"
        lines.append(f"The files are described at {page}. To have them fetched, {other}.")
        raise BenchmarkError("\n".join(lines))
    return root


def read_items(path: Path, item: str) -> list[Any]:
    """The list in a benchmark's JSON file; `item` says in errors what an entry looks like."""
    expected = f"expected a JSON list of {item}"
    try:
        items = json.loads(path.read_text(encoding="utf-8"))
    # Both not UTF-8 and not JSON are ValueErrors; thousands of brackets end the recursion.
    except (ValueError, OSError, RecursionError) as error:
        raise BenchmarkError(f"{path} cannot be read as JSON ({error}): {expected}") from error
    if not isinstance(items, list) or not items:
        kind = "an empty list" if items == [] else f"a JSON {type(items).__name__}"
        raise BenchmarkError(f"{path} holds {kind}: {expected}")
    return items


def report_incomplete(
    problems: dict[str, list[str]], total: int, unit: str, skip: bool, where: Path
) -> None:
    """Refuse what is incomplete, or warn that it is left out.

    Parameters
    ----------
    problems : dict of str to list of str
        What is missing, by the name of each set, pair or entry that is not complete.
    total : int
        How many there are, complete or not.
    unit : str
        What they are, in the plural, such as ``"sets"``.
    skip : bool
        Warn instead of raising, unless nothing would be left.
    where : pathlib.Path
        The folder with the images.
    """
    if not problems:
        return
    lines = [f"  {name}: {line}" for name, lines in problems.items() for line in lines]
    if len(lines) > 10:
        lines[10:] = [f"  and {len(lines) - 10} more"]
    listing, share = "\n".join(lines), f"{len(problems)} of {total} {unit}"
    if skip and len(problems) < total:
        warnings.warn(f"left out {share} that are not complete:\n{listing}", stacklevel=3)
        return
    hint = "" if skip else f"Complete them, or give skip_incomplete=True to leave those {unit} out."
    raise BenchmarkError(
        f"{share} are not complete (images are looked for in {where}):\n{listing}\n{hint}".rstrip()
    )


def complete(name: str, pairs: Sequence[HasImages], unit: str, skip: bool, where: Path) -> tuple:
    """The pairs whose image files are all there; the others are refused, or left out."""
    problems = {
        pair.pair_id: missing
        for pair in pairs
        # Unlike `Path.is_file`, this takes names that no file system takes.
        if (missing := [f"the image {x.name} is missing" for x in pair.sources
                        if not os.path.isfile(x)])
    }  # fmt: skip
    report_incomplete(problems, len(pairs), unit, skip, where)
    kept = tuple(pair for pair in pairs if pair.pair_id not in problems)
    warn_of_orientation(name, kept)
    return kept


def warn_of_orientation(name: str, pairs: Iterable[HasImages]) -> None:
    """Warn, once, if a published benchmark has photographs that a viewer would turn.

    Their pixels are kept (``orientation="keep"``). A file that cannot be read is none of them.
    """
    sources = {str(source): source for pair in pairs for source in pair.sources}.values()
    turned = [(source, tag) for source in sources if (tag := orientation_tag(source)) != 1]
    if turned:
        source, tag = turned[0]
        example = getattr(source, "name", "an image in memory")
        warnings.warn(
            f"{name}: {len(turned)} of {len(sources)} images have an orientation tag, such as "
            f"{example} ({tag}). Their pixels are taken as they are stored, as in the publisher's "
            "script; a viewer turns them.",
            stacklevel=3,
        )


def warn_of_count(name: str, count: int, published: int, path: Path) -> None:
    """Warn if a downloaded list does not have the number of entries that was published."""
    if count != published:
        warnings.warn(
            f"{path} has {count} entries, {name} as published has {published}: numbers may differ "
            "from those in papers. If the download is to blame, delete the file and load again.",
            stacklevel=3,
        )
