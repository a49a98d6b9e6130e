"""Results on disk, item by item: appended, never rewritten, and whole after a kill at any moment.

A store is a folder. Every process that writes into it has a file of its own there,
``results-*.jsonl``, which no later run opens again: what a kill left half written at the end of one
is never continued, it is ignored, and its items are scored anew. Reading merges the files, so files
of several machines may be copied together.

An item is the images of one set, the smallest part of a benchmark that every method can score by
itself. Results are filed under a key, the hash of all settings that decide them
(`setting_key`): results of different settings never mix. What does not decide them (hardware,
versions of libraries, time) is their provenance and stands in the first line of each file.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
import warnings
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock, Timeout

from .benchmarks.archive import DISK_FULL

FORMAT = 1
#: Bytes that a writer keeps free for the results it is about to have.
RESERVE = 1 << 20


class StoreError(RuntimeError):
    """A store cannot be read or written; the message says what to do."""


class DiskFull(StoreError):
    """There is no room for results; the message says which are stored."""


@dataclass(frozen=True)
class Item:
    """The results of one set of images.

    Parameters
    ----------
    name : str
        The `set_id`.
    place : int
        Of the set in its benchmark; tables are in this order, whoever scored what first.
    rows : mapping of str to list, optional
        Columns of the table that the method gave, without what the settings tell.
    seconds : float
        Time it took.
    skipped : str, optional
        Instead of rows: why the set could not be scored.
    """

    name: str
    place: int
    rows: Mapping[str, list[Any]] | None = None
    seconds: float = 0.0
    skipped: str | None = None


@dataclass
class Results:
    """What a store holds. Made by `read`.

    Attributes
    ----------
    runs : dict
        Name of a file to its provenance.
    settings : dict
        Key to the settings it is the hash of.
    about : dict
        Key to what else is worth telling of it, and decides nothing.
    items : dict
        Key to its items by name.
    skipped : dict
        Key to the reasons why items were skipped, by name; those scored later are not among them.
    sources : dict
        Key to the names of the files that hold its items.
    """

    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    about: dict[str, dict[str, Any]] = field(default_factory=dict)
    items: dict[str, dict[str, Item]] = field(default_factory=lambda: defaultdict(dict))
    skipped: dict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    sources: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def table(self, key: str) -> pd.DataFrame:
        """The rows of all items of a key, in the benchmark's order; empty if there are none."""
        items = sorted(self.items.get(key, {}).values(), key=lambda item: item.place)
        tables = [pd.DataFrame(dict(item.rows or {})) for item in items]
        return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()

    def seconds(self, key: str) -> float:
        """Time that all items of a key took."""
        return sum(item.seconds for item in self.items.get(key, {}).values())


def setting_key(settings: Mapping[str, Any]) -> str:
    """A name for settings: the beginning of the SHA-256 hash of their canonical JSON.

    Parameters
    ----------
    settings : mapping
        Of plain values: what JSON can hold, without NaN.

    Returns
    -------
    str
        16 hexadecimal digits.
    """
    return hashlib.sha256(_json(settings, sort=True).encode()).hexdigest()[:16]


def read(folder: str | Path) -> Results:
    """Everything that a store holds, merged from its files. A folder that is absent holds nothing.

    Parameters
    ----------
    folder : str or pathlib.Path

    Returns
    -------
    Results
        An item that occurs twice counts once, as the first file by name has it.

    Warns
    -----
    UserWarning
        If a line is damaged other than by being cut at the end of a file: what it held is missing,
        and the next run scores it again.

    Raises
    ------
    StoreError
        If a file cannot be read, or is of another version's format.
    """
    results = Results()
    for path in sorted(Path(folder).glob("results-*.jsonl")):
        try:
            data = path.read_bytes()
        except OSError as error:
            raise StoreError(f"{path} cannot be read ({error})") from error
        _merge(results, path, data)
    return results


def _merge(results: Results, path: Path, data: bytes) -> None:
    # What follows the last end of line was cut off while it was written.
    for number, line in enumerate(data.split(b"\n")[:-1], 1):
        try:
            record = json.loads(line)
            kind = record["type"]
            if kind == "run":
                _check_format(record, path)
                results.runs[path.name] = record["provenance"]
            elif kind == "setting":
                results.settings.setdefault(record["key"], record["settings"])
                results.about.setdefault(record["key"], record["about"])
            else:
                _merge_item(results, record, path.name)
        except (ValueError, KeyError, TypeError) as error:
            warnings.warn(
                f"{path}, line {number} is damaged and left out; the next run scores again what it "
                f"held ({type(error).__name__}: {error})",
                stacklevel=3,
            )


def _check_format(record: Mapping[str, Any], path: Path) -> None:
    if record["format"] != FORMAT:
        raise StoreError(
            f"{path} has format {record['format']}, this version reads {FORMAT}: choose another "
            "folder, or the version of this package that wrote it"
        )


def _merge_item(results: Results, record: Mapping[str, Any], source: str) -> None:
    key, item = record["key"], Item(**record["item"])
    if key not in results.settings:
        raise ValueError(f"its settings {key} are missing")
    if item.skipped is not None:
        if item.name not in results.items[key]:
            results.skipped[key][item.name] = item.skipped
        return
    results.items[key].setdefault(item.name, item)
    results.skipped[key].pop(item.name, None)
    results.sources[key].add(source)


class Writer:
    """Appends items to a store; a context manager.

    Parameters
    ----------
    folder : str or pathlib.Path
        Made if it does not exist.
    provenance : callable
        Gives the provenance of what this process does, as plain values; called when the first items
        are added.
    rank, world : int
        Number of this process, and how many write into the store together.

    Raises
    ------
    StoreError
        On entering, if the folder cannot be written, or another run is writing into it.
    DiskFull
        On entering, if the disk is full.
    """

    def __init__(
        self,
        folder: str | Path,
        provenance: Callable[[], Mapping[str, Any]],
        rank: int = 0,
        world: int = 1,
    ):
        self.folder, self.provenance, self.world = Path(folder), provenance, world
        now = datetime.now(UTC)
        self.path = self.folder / f"results-{now:%Y%m%dT%H%M%S}-{rank}-{uuid.uuid4().hex[:8]}.jsonl"
        self._reserve = self.folder / f".writer-{rank}.reserve"
        self._lock = FileLock(self.folder / f".writer-{rank}.lock")
        self._file: int | None = None
        self._known: set[str] = set()  # keys whose settings this file holds

    def __enter__(self) -> Writer:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._take_locks()
        except OSError as error:
            raise StoreError(f"the folder {self.folder} cannot be written ({error})") from error
        try:
            # Room is taken before anything is scored, and given up when results need it.
            _write_file(self._reserve, os.urandom(RESERVE))
        except OSError as error:
            self.__exit__()
            if error.errno in DISK_FULL:
                raise DiskFull(
                    f"the disk is full: {self.folder} has no room for results. Nothing was scored. "
                    "Make room, or choose another folder."
                ) from error
            raise StoreError(f"the folder {self.folder} cannot be written ({error})") from error
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
        self._reserve.unlink(missing_ok=True)
        self._lock.release()

    def add(
        self,
        key: str,
        settings: Mapping[str, Any],
        items: Sequence[Item],
        about: Mapping[str, Any] | None = None,
    ) -> None:
        """Append items; when this returns, they survive a kill and a loss of power.

        Parameters
        ----------
        key : str
            ``setting_key(settings)``.
        settings : mapping
        items : sequence of Item
        about : mapping, optional
            What else is worth telling of the key.

        Raises
        ------
        DiskFull
            If the disk is full. The items given are stored all the same, in the room kept for them,
            unless the message says otherwise.
        StoreError
            If the file cannot be written for another reason.
        """
        lines = [{"type": "item", "key": key, "item": _fields(item)} for item in items]
        if key not in self._known:
            entry = {"type": "setting", "key": key, "settings": settings, "about": about or {}}
            lines.insert(0, entry)
        if not self._known:
            lines.insert(0, {"type": "run", "format": FORMAT, "provenance": self.provenance()})
        self._append("".join(_json(line) + "\n" for line in lines).encode(), len(items))
        self._known.add(key)

    def _append(self, data: bytes, n_items: int) -> None:
        try:
            self._write(data)
        except OSError as error:
            if error.errno not in DISK_FULL:
                raise StoreError(f"{self.path} cannot be written ({error})") from error
            self._reserve.unlink(missing_ok=True)
            try:
                self._write(data)
                kept = "All that was scored is stored"
            except OSError:
                kept = f"All that was scored is stored, but for the last {n_items} items"
            raise DiskFull(
                f"the disk is full: there is no more room in {self.folder}. {kept}. Make room and "
                "run the same command again: it goes on from there."
            ) from error

    def _write(self, data: bytes) -> None:
        if self._file is None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
            self._file = os.open(self.path, flags, 0o666)
        size = os.fstat(self._file).st_size
        try:
            _write_all(self._file, data)
            os.fsync(self._file)
        except OSError:
            os.ftruncate(self._file, size)  # no other line may follow half a line
            raise

    def _take_locks(self) -> None:
        """This process's lock; and none may be held by a process of an earlier, larger run."""
        busy = StoreError(
            f"another run is writing into {self.folder}: wait until it is done, or choose another "
            "folder"
        )
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise busy from None
        for path in self.folder.glob(".writer-*.lock"):
            if int(path.stem.rpartition("-")[2]) < self.world:
                continue
            try:
                with FileLock(path, timeout=0):
                    pass
            except Timeout:
                self._lock.release()
                raise busy from None


def _fields(item: Item) -> dict[str, Any]:
    return {name: value for name, value in vars(item).items() if value is not None}


def _json(value: Any, sort: bool = False) -> str:
    return json.dumps(value, sort_keys=sort, separators=(",", ":"), allow_nan=False)


def _write_all(file: int, data: bytes) -> None:
    while data:
        data = data[os.write(file, data) :]


def _write_file(path: Path, data: bytes) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        _write_all(file, data)
        os.fsync(file)
    finally:
        os.close(file)
