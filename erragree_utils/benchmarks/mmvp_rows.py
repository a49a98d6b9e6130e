"""The rows of MMVP's lists: one image each, from CSV or parquet, as untidy as published."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from string import ascii_lowercase
from typing import Any

from ..checks import brief
from .base import BenchmarkError, Source, plain
from .records import decoded, places, read_parquet

CSV = "Questions.csv"
# Names of the columns, compared without case and outer spaces; the first is for messages.
QUESTION_COLUMNS = {
    "Index": ("index", "lndex", "idx"),  # one published file begins with a small L
    "Question": ("question",),
    "Options": ("options",),
    "Correct Answer": ("correct answer", "answer"),
}
STATEMENT_COLUMNS = {
    "Index": ("question id", "index"),
    "Type": ("type",),
    "Statement": ("statement",),
}
_LETTER = re.compile(r"\(\s*([a-z])\s*\)", re.IGNORECASE)
_ANSWER = re.compile(r"\(?\s*([ab])\s*\)?\.?", re.IGNORECASE)


@dataclass(frozen=True)
class Row:
    """One image with what is asked about it; `answer` is the place of its option."""

    index: int
    source: Source
    options: tuple[str, ...]
    answer: int = 0
    question: str = ""
    pattern: str = ""

    @property
    def right(self) -> str:
        """The option that is right for the image."""
        return self.options[self.answer]

    @classmethod
    def of_question(cls, fields: dict[str, Any], where: str, images: Path | None = None) -> Row:
        """A row of `QUESTION_COLUMNS`; without a folder of images it has its own in ``image``."""
        index = _index(fields["Index"], where)
        question = str(fields["Question"]).strip()
        listed = fields["Options"]
        if not isinstance(listed, str):  # parquet has arrays, and None for what is missing
            listed = list(listed) if isinstance(listed, Iterable) else []
        options = _options(listed)
        answer = _ANSWER.fullmatch(str(fields["Correct Answer"]).strip())
        if not question or options is None or answer is None:
            raise BenchmarkError(
                f"{where}: expected a question, two options such as '(a) Open (b) Closed' and an "
                f"answer '(a)' or '(b)', found {brief(question)}, "
                f"{brief(listed)} and {brief(fields['Correct Answer'])}"
            )
        source = images / f"{index}.jpg" if images else decoded(fields["image"], where)
        return cls(index, source, options, "ab".index(answer[1].lower()), question)

    @classmethod
    def of_statement(cls, fields: dict[str, str], where: str, images: Path) -> Row:
        """A row of `STATEMENT_COLUMNS`: its type names a folder, its statement is its answer."""
        index, kind, statement = _index(fields["Index"], where), fields["Type"], fields["Statement"]
        if not statement or not kind or kind in (".", "..") or re.search(r"[\\/:]", kind):
            raise BenchmarkError(
                f"{where}: expected a type that names a folder, and a statement, found {kind!r} "
                f"and {statement!r}"
            )
        return cls(index, images / kind / f"{index}.jpg", (statement,), pattern=kind)


def read_csv(path: Path, columns: dict[str, tuple[str, ...]]) -> list[tuple[str, dict[str, str]]]:
    """Place and fields of each row after the header, empty rows left out."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header, *lines = list(csv.reader(file, skipinitialspace=True, strict=True)) or [[]]
    except (OSError, ValueError, csv.Error) as error:
        raise BenchmarkError(f"{path} cannot be read as CSV in UTF-8 ({error})") from error
    if not lines:
        raise BenchmarkError(f"{path} has no rows: expected the columns {', '.join(columns)}")
    found = places(header, columns, path)
    rows = []
    for number, line in enumerate(lines, 2):
        where = f"{path}, line {number}"
        if not any(cell.strip() for cell in line):
            continue
        if len(line) != len(header):
            raise BenchmarkError(
                f"{where}: expected {len(header)} fields ({', '.join(header)}), "
                f"found {len(line)}: {','.join(line)[:200]}"
            )
        rows.append((where, {field: line[place].strip() for field, place in found.items()}))
    return rows


def read_questions(path: Path) -> list[Row]:
    """The rows of one parquet file, with their images."""
    columns = QUESTION_COLUMNS | {"image": ("image",)}
    return [Row.of_question(fields, where) for where, fields in read_parquet(path, columns)]


def _options(value: str | list[Any]) -> tuple[str, str] | None:
    """The two options of ``"(a) Open (b) Closed"`` or of a list, or None if there are not two."""
    if not isinstance(value, str):
        # As in print, so that a third option is found in either form.
        value = " ".join(
            f"({letter}) {re.sub(rf'^ *[(] *{letter} *[)]', '', str(part), flags=re.IGNORECASE)}"
            for letter, part in zip(ascii_lowercase, value, strict=False)
        )
    before, *rest = _LETTER.split(value)
    letters, options = rest[::2], tuple(" ".join(part.split()) for part in rest[1::2])
    if before.strip() or [letter.lower() for letter in letters] != ["a", "b"]:
        return None
    different = plain(options[0]) != plain(options[1])
    return options if all(options) and different else None


def _index(value: Any, where: str) -> int:
    try:
        index = int(str(value).strip())
    except ValueError:
        index = -1
    if index < 0:
        raise BenchmarkError(f"{where}: the index is {value!r}, expected a whole number")
    return index
