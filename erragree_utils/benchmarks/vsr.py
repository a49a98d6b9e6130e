"""VSR, visual spatial reasoning (Liu et al., TACL 2023): is a statement about a photograph true?

Files and format: https://github.com/cambridgeltl/visual-spatial-reasoning.
"""

from __future__ import annotations

import re
from pathlib import Path

from ..checks import brief
from .base import Benchmark, BenchmarkError, QuestionPair
from .published import complete, published_folder, warn_of_count
from .records import read_rows, texts
from .transfer import RemoteFile

PAGE = "https://github.com/cambridgeltl/visual-spatial-reasoning"
COMMIT = "af55c2c21a85aa18aeea131a8b6778c8875f26cf"
#: Test splits, and entries of each.
N_ITEMS = {"random": 2195, "zeroshot": 1222}
LISTS = {
    split: RemoteFile(
        f"{split}-test.jsonl",
        url="https://raw.githubusercontent.com/cambridgeltl/visual-spatial-reasoning/"
        f"{COMMIT}/data/splits/{split}/test.jsonl",
        objects=True,
    )
    for split in N_ITEMS
}
#: No checksum of it is known.
IMAGES = RemoteFile(
    "vsr_images.zip",
    url="https://www.dropbox.com/s/0s3bj25s62crjh2/vsr_images.zip?dl=1",
    unpacks_to="images",
)
COLUMNS = {name: (name,) for name in ("image", "caption", "label", "relation")}
#: In our words: the authors train classifiers, which are asked nothing.
QUESTION = 'Is this statement about the image true? "{caption}" Please answer yes or no.'


def load_vsr(
    name: str = "vsr",
    folder: str | Path | None = None,
    download: bool = True,
    skip_incomplete: bool = False,
    split: str = "random",
) -> Benchmark:
    """VSR's test set: one image per entry, with a question whether a statement is true of it.

    It is for models that answer: there is one statement an image, so that CLIP has nothing to
    choose from but the words yes and no.

    Parameters
    ----------
    folder : str or pathlib.Path, optional
        A folder with the publisher's list, as ``random-test.jsonl`` or ``zeroshot-test.jsonl``,
        beside ``images``. By default both are fetched, once, into the cache.
    download : bool
        Whether to fetch files that aren't in the cache.
    skip_incomplete : bool
        Leave out entries whose image is missing, with a warning, instead of raising.
    split : {"random", "zeroshot"}
    """
    if split not in LISTS:
        raise ValueError(f"split is {split!r}; choose one of {', '.join(LISTS)}")
    root = published_folder((LISTS[split], IMAGES), "vsr", folder, download, PAGE)
    images, path, pairs = root / IMAGES.result, root / LISTS[split].name, []
    for number, (where, fields) in enumerate(read_rows(path, COLUMNS)):
        file, caption, relation = texts(fields, ("image", "caption", "relation"), where)
        if not re.fullmatch(r"[\w-]+\.\w+", file):  # it becomes part of a path
            raise BenchmarkError(f"{where}: {brief(file)} is no name of an image")
        if fields["label"] not in (0, 1):
            raise BenchmarkError(f"{where}: label is {brief(fields['label'])}, expected 0 or 1")
        true = fields["label"] == 1
        pairs.append(
            QuestionPair(
                pair_id=f"{split}-{number:04d}",
                pattern=relation,
                question=QUESTION.format(caption=caption),
                options=("Yes", "No") if true else ("No", "Yes"),
                sources=(images / file,),
                first_listed=0 if true else 1,
                lettered=False,
                orientation="keep",
            )
        )
    if folder is None:
        warn_of_count(f"{name} ({split})", len(pairs), N_ITEMS[split], path)
    kept = complete(name, pairs, "entries", skip_incomplete, images)
    title = f"VSR, {split} split: whether a statement of a spatial relation is true of a photograph"
    return Benchmark(name, kept, title, f"{PAGE}, read from {root}")
