"""MMVP and MMVP-VLM (Tong et al., CVPR 2024, "Eyes Wide Shut?", sections 3 and 4).

MMVP: 150 pairs of images that CLIP takes for nearly the same, each with one question and opposite
answers. MMVP-VLM: 135 pairs with statements, in nine visual patterns of 15, for models like CLIP.
Files and formats: https://github.com/tsb0601/MMVP and, on the Hugging Face hub, the data sets
MMVP/MMVP, MMVP/MMVP_VLM and lmms-lab-eval/MMVP.
"""

from __future__ import annotations

import csv
import io
import os
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from string import ascii_lowercase
from typing import Any

from PIL import Image

from ..checks import brief
from .base import (
    Benchmark,
    BenchmarkError,
    HasImages,
    ImageError,
    report_incomplete,
    warn_of_count,
    warn_of_orientation,
)
from .download import DownloadError, cache_folder

PAGE = "https://github.com/tsb0601/MMVP"
CSV = "Questions.csv"
#: Folders of MMVP's images; the others are spelt so in the publisher's scripts.
IMAGES = ("MMVP Images", "MMVP_Images", "MMVP Imgaes")
VLM_IMAGES = "MLLM_VLM Images"
#: Data sets on the hub: as first published, and with its answers corrected.
REPOSITORIES = ("MMVP/MMVP", "lmms-lab-eval/MMVP")
VLM_REPOSITORY = "MMVP/MMVP_VLM"
LABELS = ("corrected", "original")
#: What CLIP reads before a statement of MMVP-VLM (the publisher's ``scripts/evaluate_vlm.py``).
PREFIX = "a photo of "
#: `pattern` of MMVP's pairs: which pattern each shows was not published.
NOT_ANNOTATED = "not annotated"


@dataclass(frozen=True)
class _Erratum:
    """A pair whose answers were published the wrong way round (issues 14 and 30 of `PAGE`)."""

    word: str  # in its question, so that another list of questions is not "corrected"
    original: tuple[int, int]  # places of the right options of the two images

    def answers(self, labels: str) -> tuple[int, int]:
        return self.original if labels == "original" else self.original[::-1]


#: By the number of the pair's first row: an elephant's tusks, an elderly person's posture.
ERRATA = {99: _Erratum("tusks", (0, 1)), 279: _Erratum("elderly", (0, 1))}


@dataclass(frozen=True)
class QuestionPair(HasImages):
    """Two images that differ in one respect, a question about it, and the answer each image has.

    Image `i`'s answer is ``options[i]``. It has `set_id`, `relation` and `captions` too, so that
    what works on a benchmark of `ImagePair` works here.

    Parameters
    ----------
    pair_id : str
        Unique in the benchmark.
    pattern : str
        Visual pattern, such as ``"orientation"``.
    question : str
        Empty where there are statements alone (MMVP-VLM).
    options : tuple of two str
        Different ones.
    sources : tuple of two pathlib.Path or PIL.Image.Image
        Files are opened when `images` is read, not before.
    statements : tuple of two str, optional
        The answers as statements, for models that match an image with a text.
    first_listed : {0, 1}
        Which option is listed first: (a) in print. It must not depend on the image.
    lettered : bool
        Whether a model is asked the `multiple_choice`, with letters for its options, or the
        question alone, which then has to name them.
    orientation : {"apply", "keep"}
        Whether `images` turns photographs as their orientation tags say.

    Raises
    ------
    BenchmarkError, ImageError
        If there are not two different options, two images or two statements, or they are of other
        kinds.
    """

    pair_id: str
    pattern: str
    question: str
    options: tuple[str, str]
    sources: tuple[Path | Image.Image, Path | Image.Image]
    statements: tuple[str, str] | None = None
    first_listed: int = 0
    lettered: bool = True
    orientation: str = "apply"

    def __post_init__(self) -> None:
        stated = {} if self.statements is None else {"statements": (2,)}
        self._settle(options=(2,), sources=(2,), **stated)
        if _plain(self.options[0]) == _plain(self.options[1]):
            raise BenchmarkError(
                f"pair {self.pair_id!r} needs two different options, not {self.options!r}"
            )
        if self.first_listed not in (0, 1):
            raise BenchmarkError(f"pair {self.pair_id!r}: first_listed is 0 or 1")

    @property
    def set_id(self) -> str:
        """A pair is a set of its own."""
        return self.pair_id

    @property
    def relation(self) -> str:
        """What tables are grouped by: the pattern."""
        return self.pattern

    @property
    def captions(self) -> tuple[str, str]:
        """What CLIP reads: the statements or, without them, the question followed by the answer."""
        if self.statements is not None:
            return self.statements
        return tuple(f"{self.question} {option}" for option in self.options)

    @property
    def listed(self) -> tuple[str, str]:
        """The options in the order of print, which is the same for both images."""
        return self.options if self.first_listed == 0 else self.options[::-1]

    @property
    def multiple_choice(self) -> str:
        """The question with its options, as the publisher's script asks it."""
        return f"{self.question} (a) {self.listed[0]} (b) {self.listed[1]}".strip()

    @property
    def prompt(self) -> str:
        """What a multimodal language model is asked; the same for both images."""
        return self.multiple_choice if self.lettered else self.question


def load_mmvp(
    name: str = "mmvp",
    folder: str | Path | None = None,
    download: bool = True,
    skip_incomplete: bool = False,
    labels: str = "corrected",
    repository: str = REPOSITORIES[0],
) -> Benchmark:
    """MMVP as question pairs, from either of its published layouts.

    Rows 2i - 1 and 2i of the list, by their index, are a pair.

    Parameters
    ----------
    name : str
        ``"mmvp"``.
    folder : str or pathlib.Path, optional
        A local copy: ``Questions.csv`` beside ``MMVP Images/``, or the parquet files of
        ``lmms-lab-eval/MMVP`` (reading these needs the package pyarrow). By default the files are
        fetched, once, into the cache (see `download.cache_folder`).
    download : bool
        Whether files that the cache lacks may be fetched.
    skip_incomplete : bool
        Leave out pairs that lack a row or an image or whose rows contradict each other, with a
        warning, instead of raising.
    labels : {"corrected", "original"}
        The answers of 99/100 and 279/280 were published the wrong way round. Whichever copy is
        read, these pairs get the answers asked for; `Benchmark.source` says which.
    repository : {"MMVP/MMVP", "lmms-lab-eval/MMVP"}
        What to fetch.

    Returns
    -------
    Benchmark
        Of `QuestionPair`, in the order of their indices.

    Raises
    ------
    ValueError
        If `labels` or `repository` is none of those named.
    BenchmarkError
        If files are missing, are not in a published format, or contradict each other.
    ImageError
        If an image in a parquet file cannot be decoded. Files are opened later.
    download.DownloadError
        If files could not be fetched.
    """
    _check_choice("labels", labels, LABELS)
    _check_choice("repository", repository, REPOSITORIES)
    layout = _MMVP_CSV if repository == REPOSITORIES[0] else _MMVP_PARQUET
    root = _folder(layout, repository, folder, download)
    if (root / CSV).is_file():
        where = root / CSV
        images = next((root / name for name in IMAGES if (root / name).is_dir()), root / IMAGES[0])
        rows = [_csv_row(number, row, images, where) for number, row in _read_csv(where, _FIELDS)]
    else:
        files = _parquet_files(root)
        if not files:
            raise BenchmarkError(_needed(_MMVP_CSV, root, folder is not None))
        images = where = root
        rows = _read_parquet(files)
    by_index = _by_index(rows, where)
    if folder is None:
        warn_of_count(name, len(rows), 300, where)
    pairs, problems = _pairs(by_index, _question_pair)
    total = len(pairs) + len(problems)
    report_incomplete(_flat(problems), len(problems), total, "pairs", skip_incomplete, images)
    pairs = tuple(_with_labels(pair, labels) for pair in pairs)
    _warn_of_errata(pairs, labels, where)
    warn_of_orientation(name, pairs)
    return Benchmark(
        name,
        pairs,
        "MMVP: pairs of images that CLIP takes for nearly the same, with questions",
        f"{PAGE}, read from {root}, {labels} labels",
    )


def load_mmvp_vlm(
    name: str = "mmvp-vlm",
    folder: str | Path | None = None,
    download: bool = True,
    skip_incomplete: bool = False,
    prefix: str = PREFIX,
) -> Benchmark:
    """MMVP-VLM: pairs of images with a statement each, in nine visual patterns.

    The publisher scores it from text to image: each statement must prefer its own image to the
    pair's other one.

    Parameters
    ----------
    name : str
        ``"mmvp-vlm"``.
    folder : str or pathlib.Path, optional
        A local copy: ``Questions.csv`` beside ``MLLM_VLM Images/``.
    download, skip_incomplete : bool
        As in `load_mmvp`.
    prefix : str
        What stands before each statement in `captions`.

    Returns
    -------
    Benchmark
        Of `QuestionPair` without a question; its options are the statements.

    Raises
    ------
    BenchmarkError
        If files are missing, are not in the published format, or contradict each other.
    download.DownloadError
        If files could not be fetched.
    """
    root = _folder(_VLM, VLM_REPOSITORY, folder, download)
    where, images = root / CSV, root / VLM_IMAGES
    if not where.is_file():
        raise BenchmarkError(_needed(_VLM, root, folder is not None))
    rows = [_vlm_row(number, row, images, where) for number, row in _read_csv(where, _VLM_FIELDS)]
    by_index = _by_index(rows, where)
    if folder is None:
        warn_of_count(name, len(rows), 270, where)
    pairs, problems = _pairs(by_index, lambda *both: _statement_pair(*both, prefix))
    total = len(pairs) + len(problems)
    report_incomplete(_flat(problems), len(problems), total, "pairs", skip_incomplete, images)
    warn_of_orientation(name, pairs)
    counts = Counter(pair.pattern for pair in pairs)
    if folder is None and sorted(counts.values()) != [15] * 9:
        warnings.warn(
            f"{where}: patterns have {dict(counts)} pairs, as published there are nine of 15",
            stacklevel=3,
        )
    return Benchmark(
        name,
        tuple(pairs),
        "MMVP-VLM: pairs of images that CLIP takes for nearly the same, with statements",
        f"{PAGE}, read from {root}",
    )


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} is {value!r}; choose one of {', '.join(map(repr, choices))}")


# --- rows ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Row:
    """One image with what is asked about it; `answer` is the place of its option."""

    index: int
    question: str
    options: tuple[str, str]
    answer: int
    source: Path | Image.Image
    pattern: str = NOT_ANNOTATED

    @property
    def right(self) -> str:
        return self.options[self.answer]


# Names of the columns, compared without case and outer spaces; the first is for messages.
_FIELDS = {
    "Index": ("index", "lndex", "idx"),  # one published file begins with a small L
    "Question": ("question",),
    "Options": ("options",),
    "Correct Answer": ("correct answer", "answer"),
}
_VLM_FIELDS = {
    "Question ID": ("question id", "index"),
    "Type": ("type",),
    "Statement": ("statement",),
}
_LETTER = re.compile(r"\(\s*([a-z])\s*\)", re.IGNORECASE)
_ANSWER = re.compile(r"\(?\s*([ab])\s*\)?\.?", re.IGNORECASE)


def _read_csv(path: Path, fields: dict[str, tuple[str, ...]]) -> list[tuple[int, dict[str, str]]]:
    """Number and fields of each row after the header, empty rows left out."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = list(csv.reader(file, skipinitialspace=True, strict=True))
    except (OSError, ValueError, csv.Error) as error:
        raise BenchmarkError(f"{path} cannot be read as CSV in UTF-8 ({error})") from error
    if len(lines) < 2:
        raise BenchmarkError(f"{path} has no rows: expected the columns {', '.join(fields)}")
    columns = _columns(lines[0], fields, path)
    found = []
    for number, line in enumerate(lines[1:], 2):
        if not any(cell.strip() for cell in line):
            continue
        if len(line) != len(lines[0]):
            raise BenchmarkError(
                f"{path}, line {number}: expected {len(lines[0])} fields ({', '.join(lines[0])}), "
                f"found {len(line)}: {','.join(line)[:200]}"
            )
        found.append((number, {field: line[place].strip() for field, place in columns.items()}))
    return found


def _columns(header: Sequence[str], fields: dict[str, tuple[str, ...]], path: Path) -> dict:
    """Place of each field in the header."""
    names = [str(name).strip().casefold() for name in header]
    places = {}
    for field, spellings in fields.items():
        place = next((names.index(name) for name in spellings if name in names), None)
        if place is None:
            raise BenchmarkError(
                f"{path} has no column {field!r}: it has {', '.join(map(repr, header))}, expected "
                f"{', '.join(fields)}"
            )
        places[field] = place
    return places


def _csv_row(number: int, row: dict[str, str], images: Path, path: Path) -> _Row:
    where = f"{path}, line {number}"
    index = _index(row["Index"], where)
    return _asked(index, row, images / f"{index}.jpg", where)


def _vlm_row(number: int, row: dict[str, str], images: Path, path: Path) -> _Row:
    where = f"{path}, line {number}"
    index, kind, statement = _index(row["Question ID"], where), row["Type"], row["Statement"]
    if not statement or not kind or kind in (".", "..") or re.search(r"[\\/:]", kind):
        raise BenchmarkError(
            f"{where}: expected a type that names a folder, and a statement, found {kind!r} and "
            f"{statement!r}"
        )
    # The folder of the images, and the statement as its own answer; the pair has the other one.
    return _Row(index, "", (statement, ""), 0, images / kind / f"{index}.jpg", kind)


def _asked(index: int, row: dict[str, Any], source: Path | Image.Image, where: str) -> _Row:
    question = str(row["Question"]).strip()
    listed = row["Options"]
    if not isinstance(listed, str):  # parquet has arrays, and None for what is missing
        listed = list(listed) if isinstance(listed, Iterable) else []
    options = _options(listed)
    answer = _ANSWER.fullmatch(str(row["Correct Answer"]).strip())
    if not question or options is None or answer is None:
        raise BenchmarkError(
            f"{where}: expected a question, two options such as '(a) Open (b) Closed' and an "
            f"answer '(a)' or '(b)', found {brief(question)}, "
            f"{brief(listed)} and {brief(row['Correct Answer'])}"
        )
    return _Row(index, question, options, "ab".index(answer[1].lower()), source)


def _options(value: str | list[Any]) -> tuple[str, str] | None:
    """The two options of ``"(a) Open (b) Closed"`` or of a list, or None if there are not two."""
    if not isinstance(value, str):
        # As in print, so that a third option is found in either form.
        value = " ".join(
            f"({letter}) {re.sub(rf'^ *[(] *{letter} *[)]', '', str(part), flags=re.IGNORECASE)}"
            for letter, part in zip(ascii_lowercase, value, strict=False)
        )
    before, *listed = _LETTER.split(value)
    letters, parts = listed[::2], listed[1::2]
    if before.strip() or [letter.lower() for letter in letters] != ["a", "b"]:
        return None
    options = tuple(" ".join(part.split()) for part in parts)
    different = len({_plain(option) for option in options}) == 2
    return options if all(options) and different else None


def _index(value: Any, where: str) -> int:
    try:
        index = int(str(value).strip())
    except ValueError:
        index = -1
    if index < 0:
        raise BenchmarkError(f"{where}: the index is {value!r}, expected a whole number")
    return index


def _parquet_files(root: Path) -> list[Path]:
    for place in (root, root / "data"):
        if place.is_dir() and (files := sorted(place.glob("*.parquet"))):
            return files
    return []


def _read_parquet(files: Iterable[Path]) -> list[_Row]:
    import pandas as pd  # the CSV layout needs none of it

    rows: list[_Row] = []
    for path in files:
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
        fields = {**_FIELDS, "image": ("image",)}
        columns = _columns(list(table.columns), fields, path)
        for number, values in enumerate(table.itertuples(index=False), 1):
            where = f"{path}, row {number}"
            row = {field: values[place] for field, place in columns.items()}
            index = _index(row["Index"], where)
            rows.append(_asked(index, row, _decoded(row["image"], where), where))
    if rows and min(row.index for row in rows) == 0:  # counted from 0 there, from 1 in the CSV
        rows = [_Row(**{**vars(row), "index": row.index + 1}) for row in rows]
    return rows


def _decoded(value: Any, where: str) -> Image.Image:
    """The image of a parquet cell: its file's bytes, as the hub stores images."""
    data = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(data, bytes):
        raise BenchmarkError(f"{where}: the image cell holds no bytes but {brief(value)}")
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            return image.copy()  # with its tags, which `images` heeds or not
    except Exception as error:  # decoders raise anything on damaged data
        raise ImageError(
            f"{where}: the image cannot be decoded ({error}). The file is probably damaged: "
            "delete it and fetch it again."
        ) from error


# --- pairs ---------------------------------------------------------------------------------------


class _Contradiction(Exception):
    """Why two rows are not a pair."""


def _by_index(rows: list[_Row], where: Path) -> dict[int, _Row]:
    found: dict[int, _Row] = {}
    for row in rows:
        if row.index in found:
            raise BenchmarkError(f"{where} has two rows with the index {row.index}")
        if row.index < 1:
            raise BenchmarkError(f"{where} has the index {row.index}; images count from 1")
        found[row.index] = row
    if list(found) != sorted(found):
        warnings.warn(
            f"{where}: rows are not in the order of their indices. The index is followed; the "
            "publisher's script counts rows.",
            stacklevel=3,
        )
    return found


def _pairs(
    rows: dict[int, _Row], make: Callable[[_Row, _Row], QuestionPair]
) -> tuple[list[QuestionPair], dict[str, list[str]]]:
    """The pairs, and the problems of each that is not complete."""
    pairs: list[QuestionPair] = []
    problems: dict[str, list[str]] = {}
    for first in sorted({index - 1 + index % 2 for index in rows}):
        both = [rows.get(first), rows.get(first + 1)]
        name = f"{first}-{first + 1}"
        missing = [
            f"pair {name}: no row with the index {first + place}"
            if row is None
            else f"pair {name}: the image {row.source.name} is missing"
            for place, row in enumerate(both)
            # Unlike `Path.is_file`, this takes names that no file system takes.
            if row is None or (isinstance(row.source, Path) and not os.path.isfile(row.source))
        ]
        if missing:
            problems[name] = missing
            continue
        try:
            pairs.append(make(*both))
        except _Contradiction as contradiction:
            problems[name] = [f"pair {name}: {contradiction}"]
    return pairs, problems


def _question_pair(first: _Row, second: _Row) -> QuestionPair:
    if _plain(first.question) != _plain(second.question):
        raise _Contradiction(
            f"the two rows ask different questions, {first.question!r} and {second.question!r}"
        )
    if {_plain(o) for o in first.options} != {_plain(o) for o in second.options}:
        raise _Contradiction(
            f"the two rows have different options, {first.options} and {second.options}"
        )
    if _plain(first.right) == _plain(second.right):
        raise _Contradiction(f"both images have the answer {first.right!r}; it must be opposite")
    return QuestionPair(
        pair_id=f"{first.index}-{second.index}",
        pattern=first.pattern,
        question=first.question,
        options=(first.right, first.options[1 - first.answer]),
        sources=(first.source, second.source),
        first_listed=first.answer,
        orientation="keep",
    )


def _statement_pair(first: _Row, second: _Row, prefix: str) -> QuestionPair:
    if first.pattern != second.pattern:
        raise _Contradiction(
            f"the two rows have different types, {first.pattern!r} and {second.pattern!r}"
        )
    if _plain(first.right) == _plain(second.right):
        raise _Contradiction(f"both images have the statement {first.right!r}")
    return QuestionPair(
        pair_id=f"{first.index}-{second.index}",
        pattern=first.pattern,
        question="",
        options=(first.right, second.right),
        sources=(first.source, second.source),
        statements=(prefix + first.right, prefix + second.right),
        orientation="keep",
    )


def _with_labels(pair: QuestionPair, labels: str) -> QuestionPair:
    """The pair with the answers asked for, if it is one of those published the wrong way round."""
    erratum = _erratum(pair)
    if erratum is None:
        return pair
    listed, answers = pair.listed, erratum.answers(labels)
    options = tuple(listed[place] for place in answers)
    return replace(pair, options=options, first_listed=answers.index(0))


def _erratum(pair: QuestionPair) -> _Erratum | None:
    erratum = ERRATA.get(int(pair.pair_id.partition("-")[0]))
    known = erratum is not None and erratum.word in pair.question.casefold()
    return erratum if known else None


def _warn_of_errata(pairs: Sequence[QuestionPair], labels: str, where: Path) -> None:
    unknown = [
        pair.pair_id
        for pair in pairs
        if int(pair.pair_id.partition("-")[0]) in ERRATA and _erratum(pair) is None
    ]
    if unknown:
        warnings.warn(
            f"{where}: the question of {' and '.join(unknown)} is not MMVP's, so its answers are "
            f"taken as they stand, whatever {labels!r} labels are",
            stacklevel=3,
        )


def _plain(text: str) -> str:
    """A text without case, spacing and final punctuation, which tell no one anything."""
    return " ".join(text.casefold().split()).rstrip(" .?!")


def _flat(problems: dict[str, list[str]]) -> list[str]:
    return [line for lines in problems.values() for line in lines]


# --- files ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Layout:
    """How a data set lies in its folder: what to fetch, and when it is all there."""

    cache: str
    patterns: tuple[str, ...]
    needed: str
    n_files: int


_MMVP_CSV = _Layout(
    "mmvp", (CSV, f"{IMAGES[0]}/*.jpg"), f"{CSV} beside {IMAGES[0]}/1.jpg to 300.jpg", 301
)
_MMVP_PARQUET = _Layout("mmvp-lmms", ("data/*.parquet",), "data/train-*.parquet", 1)
_VLM = _Layout(
    "mmvp-vlm", (CSV, f"{VLM_IMAGES}/*/*.jpg"), f"{CSV} beside {VLM_IMAGES}/TYPE/1.jpg and on", 271
)


def _folder(layout: _Layout, repository: str, folder: str | Path | None, download: bool) -> Path:
    """The folder with the files, fetched if need be."""
    if folder is not None:
        root = Path(folder).expanduser()
        if not root.is_dir():
            raise BenchmarkError(_needed(layout, root, local=True))
        return root
    root = cache_folder() / layout.cache
    if sum(1 for pattern in layout.patterns for _ in root.glob(pattern)) < layout.n_files:
        if not download:
            raise BenchmarkError(_needed(layout, root, local=False))
        _fetch(repository, layout, root)
    return root


def _needed(layout: _Layout, root: Path, local: bool) -> str:
    state = "lacks files" if root.is_dir() else "does not exist"
    other = "leave folder out" if local else "give download=True"
    return (
        f"the folder {root} {state}. Needed: {layout.needed}, as described at {PAGE}. To have "
        f"them fetched, {other}. By hand: hf download REPOSITORY --repo-type dataset --local-dir "
        f"{root}, where REPOSITORY is one of {', '.join((*REPOSITORIES, VLM_REPOSITORY))}."
    )


def _fetch(repository: str, layout: _Layout, root: Path) -> None:
    """Files of the data set from the hub; what is there already is not fetched again."""
    from huggingface_hub import snapshot_download

    try:
        snapshot_download(
            repository,
            repo_type="dataset",
            allow_patterns=list(layout.patterns),
            local_dir=root,
        )
    # The client raises errors of its HTTP library, which is another one in each major version.
    except Exception as error:
        told: BaseException = error
        while told.__cause__ is not None:  # the client wraps a refusal; its first cause says why
            told = told.__cause__
        raise DownloadError(
            f"{repository} could not be fetched ({type(told).__name__}: {told}). Check the "
            f"network and run the same line again: files that are complete are kept in {root}.\n"
            f"To get it by hand, run: hf download {repository} --repo-type dataset --local-dir "
            "FOLDER\nand give folder='FOLDER'."
        ) from error
