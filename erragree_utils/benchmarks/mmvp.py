"""MMVP and MMVP-VLM (Tong et al., CVPR 2024, "Eyes Wide Shut?", sections 3 and 4).

MMVP: 150 pairs of images that look nearly the same to CLIP, each with one question and opposite
answers. MMVP-VLM: 135 pairs with statements, in nine visual patterns of 15, for models like CLIP.
Files and formats: https://github.com/tsb0601/MMVP and, on the Hugging Face hub, the data sets
MMVP/MMVP, MMVP/MMVP_VLM and lmms-lab-eval/MMVP.
"""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from .base import Benchmark, BenchmarkError, QuestionPair, plain
from .download import DownloadError
from .hub import DataSet
from .mmvp_rows import CSV, QUESTION_COLUMNS, STATEMENT_COLUMNS, Row, read_csv, read_questions
from .mmvp_statements import PREFIX, by_hand, read_statements, with_statements
from .published import report_incomplete, warn_of_count, warn_of_orientation

PAGE = "https://github.com/tsb0601/MMVP"
#: Folders of MMVP's images; the others are spelt so in the publisher's scripts.
IMAGES = ("MMVP Images", "MMVP_Images", "MMVP Imgaes")
VLM_IMAGES = "MLLM_VLM Images"
#: MMVP on the hub: as first published, and with its answers corrected.
DATA_SETS = {
    data.repository: data
    for data in (
        DataSet(
            "MMVP/MMVP", "mmvp", (CSV, f"{IMAGES[0]}/*.jpg"), 301,
            f"{CSV} beside {IMAGES[0]}/1.jpg to 300.jpg", PAGE,
        ),
        DataSet(
            "lmms-lab-eval/MMVP", "mmvp-lmms", ("data/*.parquet",), 1,
            "data/train-*.parquet", PAGE,
        ),
    )
}  # fmt: skip
VLM = DataSet(
    "MMVP/MMVP_VLM", "mmvp-vlm", (CSV, f"{VLM_IMAGES}/*/*.jpg"), 271,
    f"{CSV} beside {VLM_IMAGES}/TYPE/1.jpg and on", PAGE,
)  # fmt: skip
LABELS = ("corrected", "original")
STATEMENTS = ("authors", "none")
#: `pattern` of MMVP's pairs: which pattern each shows was not published.
NOT_ANNOTATED = "not annotated"
#: Pairs published with their answers the wrong way round (issues 14 and 30 of `PAGE`), by their
#: first index, with a word of their question: another list's questions are not "corrected". In
#: print, (a) is the first image's answer.
ERRATA = {99: "tusks", 279: "elderly"}


def load_mmvp(
    name: str = "mmvp",
    folder: str | Path | None = None,
    download: bool = True,
    skip_incomplete: bool = False,
    labels: str = "corrected",
    repository: str = "MMVP/MMVP",
    statements: str = "authors",
) -> Benchmark:
    """MMVP as question pairs, from either of its published layouts.

    Rows 2i - 1 and 2i of the list, by their index, are a pair.

    Parameters
    ----------
    folder : str or pathlib.Path, optional
        A local copy: ``Questions.csv`` beside ``MMVP Images/``, or the parquet files of
        ``lmms-lab-eval/MMVP`` (reading these needs the package pyarrow). By default the files are
        fetched, once, into the cache (see `download.cache_folder`).
    download : bool
        Whether to fetch files that aren't in the cache.
    skip_incomplete : bool
        Leave out pairs that lack a row or an image or whose rows contradict each other, with a
        warning, instead of raising.
    labels : {"corrected", "original"}
        The answers of 99/100 and 279/280 were published the wrong way round. Whichever copy is
        read, these pairs get the answers asked for; `Benchmark.source` says which.
    repository : {"MMVP/MMVP", "lmms-lab-eval/MMVP"}
        What to fetch.
    statements : {"authors", "none"}
        What CLIP reads: a statement for each image, from ``Questions-clip.csv`` of the paper's
        authors, which is fetched too, or lies in `folder` beside ``Questions.csv``. Where it is not
        to be had, a warning says so, and CLIP reads what it does with ``"none"``: the question with
        the answer. `Benchmark.source` says which. Statements go with the answers that `labels`
        asks for.
    """
    for option, value, choices in (
        ("statements", statements, STATEMENTS),
        ("labels", labels, LABELS),
        ("repository", repository, DATA_SETS),
    ):
        if value not in choices:
            raise ValueError(
                f"{option} is {value!r}; choose one of {', '.join(map(repr, choices))}"
            )
    data = DATA_SETS[repository]
    try:
        root = data.folder(folder, download)
    except (BenchmarkError, DownloadError) as error:
        if statements == "authors":
            error.args = (f"{error}\n{by_hand(data.place(folder))}",)
        raise
    where, images = root / CSV, root
    if where.is_file():
        images = next((root / name for name in IMAGES if (root / name).is_dir()), root / IMAGES[0])
        rows = [
            Row.of_question(fields, line, images)
            for line, fields in read_csv(where, QUESTION_COLUMNS)
        ]
    else:
        where = root
        files = sorted(root.glob("*.parquet")) or sorted(root.glob("data/*.parquet"))
        if not files:
            raise BenchmarkError(DATA_SETS["MMVP/MMVP"].needed(root, folder))
        rows = [row for file in files for row in read_questions(file)]
        if min((row.index for row in rows), default=1) == 0:  # counted from 0 there, else from 1
            rows = [replace(row, index=row.index + 1) for row in rows]
    if folder is None:
        warn_of_count(name, len(rows), 300, where)
    pairs = _pairs(rows, _question_pair, where, images, skip_incomplete)
    pairs = tuple(_relabelled(pair, labels, where) for pair in pairs)
    found = None
    if statements == "authors":
        found = read_statements(name, root, fetch=folder is None and download)
    if found is not None:
        pairs = tuple(with_statements(p, found, _is_erratum(p), root) for p in pairs)
    text = "question with answer" if found is None else "the authors' statements"
    warn_of_orientation(name, pairs)
    return Benchmark(
        name,
        pairs,
        "MMVP: pairs of images that CLIP takes for nearly the same, with questions",
        f"{PAGE}, read from {root}, {labels} labels, for CLIP {text}",
    )


def load_mmvp_vlm(
    name: str = "mmvp-vlm",
    folder: str | Path | None = None,
    download: bool = True,
    skip_incomplete: bool = False,
    prefix: str = PREFIX,
) -> Benchmark:
    """MMVP-VLM: pairs of images with a statement each, in nine visual patterns.

    The pairs have no question; their options are the statements. The publisher scores it from text
    to image: each statement must prefer its own image to the pair's other one.

    Parameters
    ----------
    folder : str or pathlib.Path, optional
        A local copy: ``Questions.csv`` beside ``MLLM_VLM Images/``.
    download, skip_incomplete : bool
        As in `load_mmvp`.
    prefix : str
        Goes before each statement in `captions`.
    """
    root = VLM.folder(folder, download)
    where, images = root / CSV, root / VLM_IMAGES
    if not where.is_file():
        raise BenchmarkError(VLM.needed(root, folder))
    rows = [
        Row.of_statement(fields, line, images)
        for line, fields in read_csv(where, STATEMENT_COLUMNS)
    ]
    if folder is None:
        warn_of_count(name, len(rows), 270, where)
    make = partial(_statement_pair, prefix=prefix)
    pairs = _pairs(rows, make, where, images, skip_incomplete)
    warn_of_orientation(name, pairs)
    counts = Counter(pair.pattern for pair in pairs)
    if folder is None and sorted(counts.values()) != [15] * 9:
        warnings.warn(
            f"{where}: patterns have {dict(counts)} pairs, as published there are nine of 15",
            stacklevel=2,
        )
    return Benchmark(
        name,
        pairs,
        "MMVP-VLM: pairs of images that CLIP takes for nearly the same, with statements",
        f"{PAGE}, read from {root}",
    )


class _Contradiction(Exception):
    """Why two rows are not a pair."""


def _pairs(
    rows: list[Row],
    make: Callable[[Row, Row], QuestionPair],
    where: Path,
    images: Path,
    skip: bool,
) -> tuple[QuestionPair, ...]:
    """What `make` makes of rows 1 and 2, 3 and 4, and so on, by their indices."""
    by_index: dict[int, Row] = {}
    for row in rows:
        if by_index.setdefault(row.index, row) is not row:
            raise BenchmarkError(f"{where} has two rows with the index {row.index}")
        if row.index < 1:
            raise BenchmarkError(f"{where} has the index {row.index}; images count from 1")
    if list(by_index) != sorted(by_index):
        warnings.warn(
            f"{where}: rows are not in the order of their indices. The index is followed; the "
            "publisher's script counts rows.",
            stacklevel=3,
        )
    pairs, problems = [], {}
    firsts = sorted({index - 1 + index % 2 for index in by_index})
    for first in firsts:
        missing = list(_missing(by_index, first))
        try:
            if not missing:
                pairs.append(make(by_index[first], by_index[first + 1]))
        except _Contradiction as contradiction:
            missing = [str(contradiction)]
        if missing:
            problems[f"pair {first}-{first + 1}"] = missing
    report_incomplete(problems, len(firsts), "pairs", skip, images)
    return tuple(pairs)


def _missing(rows: dict[int, Row], first: int) -> Iterator[str]:
    for index in (first, first + 1):
        if index not in rows:
            yield f"no row with the index {index}"
        # Unlike `Path.is_file`, this takes names that no file system takes.
        elif isinstance(path := rows[index].source, Path) and not os.path.isfile(path):
            yield f"the image {path.name} is missing"


def _question_pair(first: Row, second: Row) -> QuestionPair:
    if plain(first.question) != plain(second.question):
        raise _Contradiction(
            f"the two rows ask different questions, {first.question!r} and {second.question!r}"
        )
    if {plain(o) for o in first.options} != {plain(o) for o in second.options}:
        raise _Contradiction(
            f"the two rows have different options, {first.options} and {second.options}"
        )
    if plain(first.right) == plain(second.right):
        raise _Contradiction(f"both images have the answer {first.right!r}; it must be opposite")
    return QuestionPair(
        pair_id=f"{first.index}-{second.index}",
        pattern=NOT_ANNOTATED,
        question=first.question,
        options=(first.right, first.options[1 - first.answer]),
        sources=(first.source, second.source),
        first_listed=first.answer,
        orientation="keep",
    )


def _statement_pair(first: Row, second: Row, prefix: str) -> QuestionPair:
    if first.pattern != second.pattern:
        raise _Contradiction(
            f"the two rows have different types, {first.pattern!r} and {second.pattern!r}"
        )
    if plain(first.right) == plain(second.right):
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


def _erratum(pair: QuestionPair) -> str | None:
    return ERRATA.get(int(pair.pair_id.partition("-")[0]))


def _is_erratum(pair: QuestionPair) -> bool:
    word = _erratum(pair)
    return word is not None and word in pair.question.casefold()


def _relabelled(pair: QuestionPair, labels: str, where: Path) -> QuestionPair:
    """The pair with the answers asked for, if it is one of those published the wrong way round."""
    if _erratum(pair) is None:
        return pair
    if not _is_erratum(pair):
        warnings.warn(
            f"{where}: the question of {pair.pair_id} is not MMVP's, so its answers are taken as "
            f"they stand, whatever {labels!r} labels are",
            stacklevel=3,
        )
        return pair
    if labels == "original":
        return replace(pair, options=pair.listed, first_listed=0)
    return replace(pair, options=pair.listed[::-1], first_listed=1)
