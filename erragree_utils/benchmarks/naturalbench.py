"""NaturalBench (Li et al., NeurIPS 2024): two images and two questions, each answered oppositely.

Its accuracies are counted by `accuracy.summarize_questions`. Data and format:
https://huggingface.co/datasets/BaiqiL/NaturalBench; the suffixes are those of its evaluation.
"""

from __future__ import annotations

from pathlib import Path

from ..checks import brief
from .base import Benchmark, BenchmarkError, QuestionPair
from .hub import DataSet
from .published import complete, warn_of_count
from .records import image_file, read_rows, texts

REPOSITORY = "BaiqiL/NaturalBench"
PAGE = f"https://huggingface.co/datasets/{REPOSITORY}"
#: Of a commit that is known to have the files; what its checksums are is not known.
DATA = DataSet(
    REPOSITORY, "naturalbench", ("data/*.parquet",), 3, "data/train-*.parquet", PAGE,
    revision="21c415e3d60cdbabad4a02feaa2e4643789612f4",
)  # fmt: skip
N_SETS = 1900
#: What follows a question, and the answers there are, by its type.
TYPES = {
    "yes_no": ("Please answer Yes or No.", ("Yes", "No")),
    "multiple_choice": (
        "Please output the letter corresponding to the correct option.", ("A", "B"),
    ),
}  # fmt: skip
COLUMNS = {
    name: (name,)
    for name in (
        "Image_0", "Image_1", "Question_0", "Question_1", "Image_0_Question_0",
        "Image_1_Question_0", "Image_0_Question_1", "Image_1_Question_1", "Question_Type",
    )
}  # fmt: skip


def load_naturalbench(
    name: str = "naturalbench",
    folder: str | Path | None = None,
    download: bool = True,
    skip_incomplete: bool = False,
) -> Benchmark:
    """NaturalBench as question pairs, two of the same two images a set; the relation is their type.

    It is for models that answer. What CLIP would read are questions with their answers, which is
    not what the authors score CLIP by: the captions of NaturalBench-Retrieval, which is not read.

    Parameters
    ----------
    folder : str or pathlib.Path, optional
        A local copy of the parquet files. By default they are fetched. Their images are unpacked
        into the cache (see `download.cache_folder`).
    download : bool
        Whether to fetch files that aren't in the cache.
    skip_incomplete : bool
        Leave out questions that lack an image, with a warning, instead of raising.
    """
    root = DATA.folder(folder, download)
    files = DATA.tables(root, folder)
    cache = DATA.place(None) / "images"
    pairs: list[QuestionPair] = []
    for where, fields in (row for file in files for row in read_rows(file, COLUMNS)):
        kind = fields["Question_Type"]
        if kind not in TYPES:
            known = ", ".join(TYPES)
            raise BenchmarkError(f"{where}: Question_Type is {brief(kind)}, not one of {known}")
        cells = (fields["Image_0"], fields["Image_1"])
        sources = tuple(image_file(cell, where, files[0].parent, cache) for cell in cells)
        set_id = f"{len(pairs) // 2:04d}"
        pairs += [_pair(fields, k, kind, set_id, sources, where) for k in (0, 1)]
    if folder is None:
        warn_of_count(name, len(pairs) // 2, N_SETS, root)
    kept = complete(name, pairs, "questions", skip_incomplete, root)
    title = "NaturalBench: two images and two questions, each with opposite answers"
    return Benchmark(name, kept, title, f"{PAGE}, read from {root}")


def _pair(
    fields: dict, k: int, kind: str, set_id: str, sources: tuple[Path, ...], where: str
) -> QuestionPair:
    suffix, answers = TYPES[kind]
    (question,) = texts(fields, (f"Question_{k}",), where)
    stated = texts(fields, (f"Image_0_Question_{k}", f"Image_1_Question_{k}"), where)
    options = tuple(
        next((answer for answer in answers if answer.casefold() == text.casefold()), None)
        for text in stated
    )
    if set(options) != set(answers):
        raise BenchmarkError(
            f"{where}: the answers to question {k} are {stated[0]!r} and {stated[1]!r}, expected "
            f"{' and '.join(answers)} in either order"
        )
    return QuestionPair(
        pair_id=f"{set_id}-q{k}",
        pattern=kind,
        question=f"{question} {suffix}",
        options=options,
        sources=sources,
        first_listed=0 if options == answers else 1,
        lettered=False,
        orientation="keep",
        set_id=set_id,
    )
