"""Rows of published lists, as JSON, JSON lines or parquet, and the images that rows hold."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from PIL import Image

from ..checks import brief
from .base import BenchmarkError, ImageError

#: Each column's name in messages with the names it may have, in lower case.
Columns = Mapping[str, tuple[str, ...]]


def read_rows(path: Path, columns: Columns) -> list[tuple[str, dict[str, Any]]]:
    """Place and fields of each row of a file.

    JSON is a list of objects, or an object of them by number; of JSON lines, each is an object.

    Raises
    ------
    BenchmarkError
        If the file cannot be read, or lacks a column; it names both.
    """
    if path.suffix == ".parquet":
        return read_parquet(path, columns)
    try:
        text = path.read_text(encoding="utf-8")
        one = path.suffix != ".jsonl"
        rows = (
            json.loads(text) if one else list(map(json.loads, filter(str.strip, text.split("\n"))))
        )
    # Both not UTF-8 and not JSON are ValueErrors; thousands of brackets end the recursion.
    except (ValueError, OSError, RecursionError) as error:
        raise BenchmarkError(f"{path} cannot be read as JSON ({error})") from error
    rows = list(rows.values()) if isinstance(rows, dict) else rows
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise BenchmarkError(
            f"{path} holds no list of objects: expected rows of {', '.join(columns)}"
        )
    return list(_rows(path, rows, columns))


def _rows(
    path: Path, rows: Sequence[dict[str, Any]], columns: Columns
) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, row in enumerate(rows, 1):
        where = f"{path}, row {number}"
        values = list(row.values())
        found = places(list(row), columns, where)
        yield where, {field: values[place] for field, place in found.items()}


def read_parquet(path: Path, columns: Columns) -> list[tuple[str, dict[str, Any]]]:
    """Place and fields of each row of a parquet file, which needs the package pyarrow."""
    import pandas as pd  # other layouts need none of it

    try:
        table = pd.read_parquet(path)
    except ImportError as error:
        raise BenchmarkError(
            f"{path} is a parquet file, and reading it needs the package pyarrow: "
            "pip install pyarrow"
        ) from error
    except Exception as error:  # pyarrow's own, in many kinds
        raise BenchmarkError(
            f"{path} cannot be read as parquet ({error}): delete it and fetch it again"
        ) from error
    found = places(list(table.columns), columns, path)
    return [
        (f"{path}, row {number}", {field: values[place] for field, place in found.items()})
        for number, values in enumerate(table.itertuples(index=False), 1)
    ]


def places(header: Sequence[str], columns: Columns, where: str | Path) -> dict[str, int]:
    """Place of each column in a header; case, outer spaces and underscores do not matter."""
    names = [_name(name) for name in header]
    found = {}
    for field, spellings in columns.items():
        place = next((names.index(_name(x)) for x in spellings if _name(x) in names), None)
        if place is None:
            raise BenchmarkError(
                f"{where} has no column {field!r}: it has {', '.join(map(repr, header))}, expected "
                f"{', '.join(columns)}"
            )
        found[field] = place
    return found


def _name(text: str) -> str:
    return str(text).strip().casefold().replace("_", " ")


def texts(fields: Mapping[str, Any], names: Sequence[str], where: str) -> list[str]:
    """The named fields, which have to be texts with words."""
    for name in names:
        if not isinstance(fields[name], str) or not fields[name].strip():
            raise BenchmarkError(f"{where}: {name} is {brief(fields[name])}, not a text")
    return [fields[name].strip() for name in names]


def decoded(value: Any, where: str) -> Image.Image:
    """The image of a parquet cell: its file's bytes, as the hub stores images."""
    data = _bytes(value, where)
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            return image.copy()  # with its tags, which `images` heeds or not
    except Exception as error:  # decoders raise anything on damaged data
        raise _damaged(where, error) from error


def image_file(value: Any, where: str, folder: Path, cache: Path) -> Path:
    """The file of a row's image: named by the row, below `folder`, or `saved` in `cache`."""
    if not isinstance(value, str):
        return saved(value, where, cache)
    name = PurePosixPath(value)
    if not value or name.is_absolute() or ".." in name.parts or "\\" in value:
        raise BenchmarkError(f"{where}: {brief(value)} names no image below {folder}")
    return folder.joinpath(*name.parts)


def saved(value: Any, where: str, folder: Path) -> Path:
    """The image of a parquet cell as a file in `folder`, which is named by its content.

    Thousands of decoded photographs would fill the memory, and files can be told apart by what is
    in them. Only the head of the image is looked at here.
    """
    data = _bytes(value, where)
    try:
        with Image.open(io.BytesIO(data)) as image:
            ending = str(image.format).lower()
    except Exception as error:
        raise _damaged(where, error) from error
    path = folder / f"{hashlib.sha256(data).hexdigest()[:24]}.{ending}"
    if not path.exists():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            part = path.with_name(f"{path.name}.{os.getpid()}.part")
            part.write_bytes(data)
            os.replace(part, path)
        except OSError as error:
            raise BenchmarkError(
                f"images cannot be written into {folder} ({error}); the environment variable "
                "ERRAGREE_CACHE moves the cache to another place"
            ) from error
    return path


def _bytes(value: Any, where: str) -> bytes:
    data = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(data, bytes):
        raise BenchmarkError(f"{where}: the image cell holds no bytes but {brief(value)}")
    return data


def _damaged(where: str, error: Exception) -> ImageError:
    return ImageError(
        f"{where}: the image cannot be decoded ({error}). The file is probably damaged: "
        "delete it and fetch it again."
    )
