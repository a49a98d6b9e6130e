"""What CLIP reads about MMVP's images: a statement for each, from the authors' later repository.

MMVP itself has questions, which we can't ask CLIP. File and format: ``additional_questions`` of
https://github.com/lst627/CLIP-Embeds, whose code puts "a photo of " before each statement.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from .base import BenchmarkError, QuestionPair, plain
from .download import DownloadError, ensure
from .mmvp_rows import STATEMENT_COLUMNS, Row, read_csv
from .published import warn_of_count
from .transfer import RemoteFile

LIST = RemoteFile(
    "Questions-clip.csv",
    url="https://raw.githubusercontent.com/lst627/CLIP-Embeds/"
    "666321fe8cc3a8c15e714df0a4e4fa6100f39c16/additional_questions/Questions-clip.csv",
)
#: What CLIP reads before a statement, here as in MMVP-VLM (``scripts/evaluate_vlm.py`` there).
PREFIX = "a photo of "


def by_hand(root: Path) -> str:
    """How to put the list beside MMVP's own."""
    return f"The statements that CLIP reads: save {LIST.page} as {root / LIST.name}"


def read_statements(name: str, root: Path, fetch: bool) -> dict[int, str] | None:
    """The statements by the index of their image, or None, with a warning, if the list is absent.

    With `fetch` it is fetched into the folder `root` if need be.
    """
    path, reason = root / LIST.name, ""
    if fetch:
        try:
            ensure(LIST, root)
        except DownloadError as error:
            reason = f" {error}"
    if not path.is_file():
        warnings.warn(
            f"{name}: the list of statements is not there, so CLIP reads each question with its "
            f"answer instead, and its published numbers are for another text.{reason} "
            f"{by_hand(root)}. To do without it, give statements='none'.",
            stacklevel=3,
        )
        return None
    statements: dict[int, str] = {}
    try:
        for line, fields in read_csv(path, STATEMENT_COLUMNS):
            row = Row.of_statement(fields, line, root)
            if row.index in statements:
                raise BenchmarkError(f"{line}: a second statement for image {row.index}")
            statements[row.index] = row.right
    except BenchmarkError as error:
        again = "Delete the file, and it is fetched again" if fetch else by_hand(root)
        error.args = (f"{error}. {again}.",)
        raise
    if fetch:
        warn_of_count(f"the list of {name}'s statements", len(statements), 300, path)
    return statements


def with_statements(
    pair: QuestionPair, statements: Mapping[int, str], erratum: bool, where: Path
) -> QuestionPair:
    """The pair with the statements of its two images.

    Of an `erratum`, the list's order is that of the original answers: each image gets the
    statement that holds its answer's word, whichever answers were asked for.
    """
    indices = [int(index) for index in pair.pair_id.split("-")]
    missing = [str(index) for index in indices if index not in statements]
    if missing:
        raise BenchmarkError(
            f"{where / LIST.name} has no statement for {' and '.join(missing)}: delete it, or give "
            "statements='none', so that CLIP reads each question with its answer"
        )
    own, other = (PREFIX + statements[index] for index in indices)
    if erratum:
        words = [plain(option) for option in pair.options]
        if all(word in text.casefold() for word, text in zip(words, (other, own), strict=True)):
            own, other = other, own
    return replace(pair, statements=(own, other))
