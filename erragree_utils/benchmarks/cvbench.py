"""The spatial part of CV-Bench (Tong et al., NeurIPS 2024, "Cambrian-1"): questions on photographs.

Data and format: https://huggingface.co/datasets/nyu-visionx/CV-Bench.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from ..checks import brief
from .base import Benchmark, BenchmarkError, QuestionPair
from .hub import DataSet
from .published import complete, warn_of_count
from .records import image_file, read_rows, texts

REPOSITORY = "nyu-visionx/CV-Bench"
PAGE = f"https://huggingface.co/datasets/{REPOSITORY}"
#: Of a commit that is known to have the file; later ones have two, one for each type.
DATA = DataSet(
    REPOSITORY, "cv-bench", ("test.parquet",), 1,
    "test.parquet, or test_2d.parquet and test_3d.parquet, or such .jsonl files beside img/", PAGE,
    revision="22409a927ab5cf68e3655023d51694587455fc99",
)  # fmt: skip
#: The tasks that ask where things are, and their entries; counting is left out.
N_ITEMS = {"Relation": 650, "Depth": 600, "Distance": 600}
COLUMNS = {name: (name,) for name in ("type", "task", "question", "choices", "answer")}
COLUMNS["image"] = ("image", "filename")


def load_cvbench(
    name: str = "cv-bench",
    folder: str | Path | None = None,
    download: bool = True,
    skip_incomplete: bool = False,
    task: str = "all",
) -> Benchmark:
    """CV-Bench's questions on relation, depth and distance: one image each, and two choices.

    We list the choices as (a) and (b), as for MMVP, which isn't exactly the authors' prompt.

    Parameters
    ----------
    folder : str or pathlib.Path, optional
        A local copy: the parquet files, or the ``.jsonl`` files beside ``img``. By default they are
        fetched. Images in parquet files are unpacked into the cache (see `download.cache_folder`).
    download : bool
        Whether to fetch files that aren't in the cache.
    skip_incomplete : bool
        Leave out entries whose image is missing, with a warning, instead of raising.
    task : {"all", "Relation", "Depth", "Distance"}
    """
    if task not in ("all", *N_ITEMS):
        raise ValueError(f"task is {task!r}; choose one of all, {', '.join(N_ITEMS)}")
    root = DATA.folder(folder, download)
    files = DATA.tables(root, folder)
    whole = [file for file in files if file.stem == "test"]  # which holds the rows of the others
    cache, pairs = DATA.place(None) / "images", []
    for where, fields in (row for file in whole or files for row in read_rows(file, COLUMNS)):
        kind = fields["task"]
        if kind not in N_ITEMS or task not in ("all", kind):
            continue
        image = image_file(fields["image"], where, files[0].parent, cache)
        pairs.append(_pair(fields, kind, f"{kind}-{len(pairs):04d}", image, where))
    if not pairs:
        raise BenchmarkError(f"{files[0]} has no rows of the task {task}: is it CV-Bench's?")
    if folder is None:
        expected = sum(N_ITEMS.values()) if task == "all" else N_ITEMS[task]
        warn_of_count(f"{name} ({task})", len(pairs), expected, files[0])
    kept = complete(name, pairs, "entries", skip_incomplete, files[0].parent)
    title = "CV-Bench, spatial part: questions on where things are in a photograph"
    return Benchmark(name, kept, title, f"{PAGE}, read from {root}")


def _pair(fields: dict, kind: str, pair_id: str, image: Path, where: str) -> QuestionPair:
    question, answer = texts(fields, ("question", "answer"), where)
    listed = fields["choices"]
    choices = list(listed) if isinstance(listed, Iterable) and not isinstance(listed, str) else []
    letter = re.fullmatch(r"\(?([AB])\)?", answer)
    if len(choices) != 2 or not all(isinstance(c, str) for c in choices) or letter is None:
        raise BenchmarkError(
            f"{where}: expected two choices and an answer '(A)' or '(B)', found {brief(listed)} "
            f"and {answer!r}"
        )
    place = "AB".index(letter[1])
    return QuestionPair(
        pair_id=pair_id,
        pattern=kind,
        question=question,
        options=(choices[place], choices[1 - place]),
        sources=(image,),
        first_listed=place,
        orientation="keep",
    )
