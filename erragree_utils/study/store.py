"""Results on disk: they survive a kill at any moment, and damage is detected and reported.

A store is a folder with an SQLite database for each combination of settings. The processes of a run
write to the same databases. Files from several machines may be put into one folder, under any
names.

An item is the images of one set, the smallest part of a benchmark that every method can score by
itself. Results are stored under a key, the hash of all settings that determine them
(`setting_key`), so results of different settings never mix. What doesn't determine them (hardware,
versions of libraries, time) is their provenance.

A database is one table of records, each a JSON text with a checksum. Records don't depend on each
other or on their order, so whatever can still be read of a damaged file remains valid.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sqlite3
import tempfile
import uuid
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock, Timeout

from ..benchmarks.archive import DISK_FULL

FORMAT = 3
#: Bytes that a writer reserves for upcoming results.
RESERVE = 1 << 20
_PAGE = 1 << 14  # of a database: a longer record is lost if its file is damaged
_BUSY_S = 60.0  # how long a process waits while another writes
_NO_ROOM = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)  # an exceeded quota shows as the second


class StoreError(RuntimeError):
    """A store cannot be read or written; the message says what to do."""


class DiskFull(StoreError):
    """There is no room for more results; the message says which are stored."""


@dataclass(frozen=True)
class Item:
    """The results of one set of images, or the reason why it has none.

    Parameters
    ----------
    name
        The `set_id`.
    place
        Place of the set in its benchmark; tables keep this order, whatever was scored first.
    rows
        Columns of the method's table, without those that the settings already contain.
    seconds
        How long it took.
    skipped
        Why the set has no results; takes the place of rows.
    images
        A hash of the image files that these results belong to. Empty if one was unreadable.
    run
        The run that made it, a key of `Results.runs`; `Writer.add` fills it in.
    """

    name: str
    place: int
    rows: Mapping[str, list[Any]] | None = None
    seconds: float = 0.0
    skipped: str | None = None
    images: str = ""
    run: str = ""


@dataclass
class Results:
    """The contents of a store, as `read` returns them.

    `runs` maps a run's name to its provenance. The others map each key to its `settings` (whose
    hash the key is), to what else is known `about` them, to the `items` with results by name, and
    to the reasons why other items were `skipped`.
    """

    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    about: dict[str, dict[str, Any]] = field(default_factory=dict)
    items: dict[str, dict[str, Item]] = field(default_factory=lambda: defaultdict(dict))
    skipped: dict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))

    def table(self, key: str) -> pd.DataFrame:
        """The rows of all items of a key, in the benchmark's order; empty if there are none."""
        items = sorted(self.items.get(key, {}).values(), key=lambda item: item.place)
        columns = [item.rows or {} for item in items]
        rows = [(some, row) for some in columns for row in zip(*some.values(), strict=True)]
        return pd.DataFrame([dict(zip(names, row, strict=True)) for names, row in rows])

    def seconds(self, key: str) -> float:
        """How long all items of a key took."""
        return sum(item.seconds for item in self.items.get(key, {}).values())

    def provenance(self, key: str) -> list[dict[str, Any]]:
        """Provenance of the runs that made the items of a key, the oldest first."""
        names = {item.run for item in self.items.get(key, {}).values()}
        return [self.runs[name] for name in sorted(names & self.runs.keys())]


def setting_key(settings: Mapping[str, Any]) -> str:
    """A name for settings of plain values: 16 hexadecimal digits of a hash of their JSON."""
    return _checksum(_json(settings, sort=True))


# --- reading -------------------------------------------------------------------------------------


def read(folder: str | Path, mend: bool = False) -> Results:
    """Everything in a store, merged from its files. A missing folder holds nothing.

    If an item occurs twice, the newest run's counts. A warning says where a file is damaged; with
    `mend`, the damaged file is kept as ``.damaged``, and a new one holds what can still be read.
    """
    results, items = Results(), []
    for path in _files(Path(folder)):
        for record in _records(path, mend):
            key = record["key"]
            if record["format"] != FORMAT:
                raise StoreError(
                    f"{path} has format {record['format']}, this version reads {FORMAT}: choose "
                    "another folder, or the version of this package that wrote it"
                )
            if "item" in record:
                items.append((key, Item(**record["item"])))
            elif "provenance" in record:
                results.runs[record["run"]] = record["provenance"]
            elif setting_key(record["settings"]) == key:
                results.settings[key], results.about[key] = record["settings"], record["about"]
            else:
                raise StoreError(f"{path}: the settings under {key} have another key; edited?")
    for key, item in sorted(items, key=lambda each: (each[1].run, each[1].skipped is None)):
        results.items[key].pop(item.name, None)
        results.skipped[key].pop(item.name, None)
        if item.skipped is None:
            results.items[key][item.name] = item
        else:
            results.skipped[key][item.name] = item.skipped
    for key in {key for key, _ in items} - results.settings.keys():
        warnings.warn(
            f"{folder}: the settings {key} of {len(results.items[key])} items are lost; the next "
            "run with the same settings brings them back",
            stacklevel=2,
        )
    return results


def _files(folder: Path) -> list[Path]:
    try:
        paths = sorted(folder.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StoreError(f"the folder {folder} cannot be read ({error})") from error
    if any(path.match("results-*.jsonl") for path in paths):
        raise StoreError(
            f"{folder} holds results-*.jsonl of an earlier version, which this one does not read: "
            "choose another folder, or the version of this package that wrote them"
        )
    return [path for path in paths if path.suffix == ".sqlite"]


def _records(path: Path, mend: bool) -> list[dict[str, Any]]:
    """The intact records of a file."""
    bodies, damage = [], []
    try:
        with closing(_connect(path, "rw")) as db:
            db.text_factory = lambda data: data.decode("latin-1")  # reads damaged bytes too
            for number, checksum, body in db.execute("SELECT rowid, checksum, body FROM record"):
                if checksum == _checksum(str(body)):
                    bodies.append(body)
                else:
                    name = re.search(r'"item":\{"name":"(.*?)"', str(body))
                    damage.append(f"row {number}" + (f", set {name[1]!r}" if name else ""))
            damage += [text for (text,) in db.execute("PRAGMA quick_check(1)") if text != "ok"]
    except (sqlite3.Error, MemoryError) as error:  # the length itself may be damaged
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY:
            raise StoreError(
                f"{path} has been in use by another process for too long ({error})"
            ) from error
        damage.append(str(error) or "out of memory")
    if damage:
        try:
            data = path.read_bytes()  # none if its first write was killed
            bodies = list(dict.fromkeys([*bodies, *_salvaged(data)]))
            if mend and data:
                _mend(path, bodies)
        except (OSError, sqlite3.Error) as error:
            raise StoreError(f"{path} cannot be read or mended ({error})") from error
        state = f"damaged ({'; '.join(damage)})" if data else "empty"
        warnings.warn(
            f"{path} is {state}: {len(bodies)} records are whole and kept, and the next run scores "
            "again what is lost",
            stacklevel=3,
        )
    return [json.loads(body) for body in bodies]


def _salvaged(data: bytes) -> Iterator[str]:
    """Records anywhere in the bytes of a database: a checksum, and the text that it fits."""
    text, decoder = data.decode("latin-1"), json.JSONDecoder()
    for match in re.finditer(r"[0-9a-f]{16}(?=\{)", text):
        try:
            body = text[match.end() : decoder.raw_decode(text, match.end())[1]]
        except (ValueError, RecursionError):
            continue
        if _checksum(body) == match[0]:
            yield body


def _mend(path: Path, bodies: Iterable[str]) -> None:
    new, kept = (path.with_name(path.name + end) for end in (".mended", ".damaged"))
    for old in (new, kept):
        old.unlink(missing_ok=True)
    _insert(new, bodies, "rwc")
    shutil.copyfile(path, kept)
    # A journal belongs to the damaged file, and would be replayed into the new one.
    path.with_name(path.name + "-journal").unlink(missing_ok=True)
    os.replace(new, path)


# --- writing -------------------------------------------------------------------------------------


class Writer:
    """Adds items to a store; a context manager.

    On entry it makes the folder and mends damaged files; `stored` is what the folder already holds.
    Process `rank` of `world` writes together with the others; a second run is refused. On exit, a
    `StoreError` reports if what was written has disappeared.
    """

    def __init__(
        self,
        folder: str | Path,
        provenance: Callable[[], Mapping[str, Any]],
        rank: int = 0,
        world: int = 1,
    ):
        self.folder, self.provenance = Path(folder), provenance
        self.rank, self.world = rank, world
        self.stored = Results()
        # Sorted by name, runs are sorted by time.
        self._run = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%f}-{rank}-{uuid.uuid4().hex[:8]}"
        self._paths: dict[str, Path] = {}  # keys that this process has written

    def __enter__(self) -> Writer:
        with ExitStack() as stack:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                for path in self._locks():
                    stack.enter_context(FileLock(path, timeout=0))
                # Reserve room before anything is scored, and release it when results need it.
                self._reserve = stack.enter_context(tempfile.TemporaryFile(dir=self.folder))
                self._reserve.write(os.urandom(RESERVE))
                self._reserve.flush()
                with FileLock(self.folder / ".mend.lock"):
                    self.stored = read(self.folder, mend=True)
            except Timeout:
                raise StoreError(
                    f"another run is writing into {self.folder}: wait for it, or choose another"
                ) from None
            except OSError as error:
                if error.errno in DISK_FULL:
                    raise DiskFull(
                        f"the disk is full: {self.folder} has no room for results. Nothing was "
                        "scored. Make room, or choose another folder."
                    ) from error
                raise StoreError(f"the folder {self.folder} cannot be written ({error})") from error
            self._open = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._open.close()
        if kind is None:
            self._check_there()

    def add(
        self,
        key: str,
        settings: Mapping[str, Any],
        items: Sequence[Item],
        about: Mapping[str, Any] | None = None,
    ) -> None:
        """Add items; when this returns, they survive a kill and a loss of power.

        The key is ``setting_key(settings)``; `about` holds other facts about it. If the disk is
        full, this raises `DiskFull`, but the items are stored in the reserved room, unless the
        message says otherwise.
        """
        self._check_there()
        records = [{"item": vars(replace(item, run=self._run))} for item in items]
        if key not in self._paths:
            run = {"run": self._run, "provenance": self.provenance()}
            records = [{"settings": settings, "about": about or {}}, run, *records]
        bodies = [_json({"format": FORMAT, "key": key} | record) for record in records]
        path = self._paths.get(key, self.folder / f"{_label(settings)}{key}.sqlite")
        mode = "rw" if key in self._paths else "rwc"  # don't recreate a file that has disappeared
        try:
            _insert(path, bodies, mode)
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _NO_ROOM:
                raise StoreError(f"{path} cannot be written ({error})") from error
            self._reserve.close()
            kept = "All that was scored is stored"
            try:
                _insert(path, bodies, mode)
            except sqlite3.Error:
                kept += f", but for the last {len(items)} items"
            full = error.sqlite_errorcode == sqlite3.SQLITE_FULL
            raise DiskFull(
                f"the disk is full{'' if full else ', over its quota, or fails'}: {self.folder} "
                f"({error}). {kept}. Make room and run the same command again."
            ) from error
        self._paths[key] = path

    def _check_there(self) -> None:
        """A deleted file that is still open accepts writes, and an hour's work would be lost."""
        for path in self._paths.values():
            if not path.exists():
                raise StoreError(
                    f"{path} is gone: it was deleted or moved during the run. Run the same command "
                    "again: what is missing is scored again."
                )

    def _locks(self) -> list[Path]:
        """This process's lock, and those that an earlier, larger run may have left behind."""
        names = (re.fullmatch(r"\.writer-(\d+)\.lock", path.name) for path in self.folder.iterdir())
        ranks = {self.rank, *(int(m[1]) for m in names if m and int(m[1]) >= self.world)}
        return [self.folder / f".writer-{rank}.lock" for rank in sorted(ranks)]


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    address = f"{path.absolute().as_uri()}?mode={mode}"
    return sqlite3.connect(address, uri=True, timeout=_BUSY_S, isolation_level=None)


def _insert(path: Path, bodies: Iterable[str], mode: str) -> None:
    """Write all of the records, or none."""
    with closing(_connect(path, mode)) as db:
        db.execute(f"PRAGMA page_size = {_PAGE}")  # of a new file
        db.execute("BEGIN IMMEDIATE")
        with db:
            db.execute("CREATE TABLE IF NOT EXISTS record (checksum TEXT, body TEXT)")
            rows = ((_checksum(body), body) for body in bodies)
            db.executemany("INSERT INTO record VALUES (?, ?)", rows)


def _label(settings: Mapping[str, Any]) -> str:
    """A readable label for anyone who looks into the folder."""
    parts = [settings[part] for part in ("benchmark", "model", "method") if part in settings]
    names = [part["name"] for part in parts]
    return "".join(f"{re.sub('[^a-zA-Z0-9.]+', '-', name)[-40:]}_" for name in names)


def _json(value: Any, sort: bool = False) -> str:
    return json.dumps(value, sort_keys=sort, separators=(",", ":"), allow_nan=False)


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
