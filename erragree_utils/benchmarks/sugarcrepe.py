"""SugarCrepe (Hsieh et al., NeurIPS 2023): photographs, each with a caption and a hard negative.

Files and format: https://github.com/RAIVNLab/sugar-crepe; the photographs are COCO's.
"""

from __future__ import annotations

import re
from pathlib import Path

from ..checks import brief
from .base import Benchmark, BenchmarkError, ImagePair
from .published import complete, published_folder, warn_of_count
from .records import read_rows, texts
from .spatial import SOURCES
from .transfer import RemoteFile
from .whatsup import CACHE

PAGE = "https://github.com/RAIVNLab/sugar-crepe"
IMAGES = SOURCES["coco-spatial"].images
#: Entries of each category, as published.
N_ITEMS = {
    "add_att": 692,
    "add_obj": 2062,
    "replace_att": 788,
    "replace_obj": 1652,
    "replace_rel": 1406,
    "swap_att": 666,
    "swap_obj": 245,
}
#: No checksum of them is known, so what is fetched is the branch as it is then.
FILES = {
    category: RemoteFile(
        f"{category}.json",
        url=f"https://raw.githubusercontent.com/RAIVNLab/sugar-crepe/main/data/{category}.json",
        objects=True,
    )
    for category in N_ITEMS
}
COLUMNS = {name: (name,) for name in ("filename", "caption", "negative_caption")}


def load_sugarcrepe(
    name: str = "sugarcrepe",
    folder: str | Path | None = None,
    download: bool = True,
    skip_incomplete: bool = False,
    category: str = "all",
) -> Benchmark:
    """SugarCrepe: one image per entry, with a true and a false caption; relations are categories.

    Parameters
    ----------
    folder : str or pathlib.Path, optional
        A folder with the publisher's JSON files beside COCO's ``val2017``. By default the files are
        fetched, once, into the cache; COCO-spatial has the same photographs.
    download : bool
        Whether to fetch files that aren't in the cache.
    skip_incomplete : bool
        Leave out entries whose image is missing, with a warning, instead of raising.
    category : str
        One of the seven, such as ``"swap_obj"``, or ``"all"``.
    """
    if category not in ("all", *FILES):
        raise ValueError(f"category is {category!r}; choose one of all, {', '.join(FILES)}")
    chosen = FILES if category == "all" else {category: FILES[category]}
    root = published_folder((*chosen.values(), IMAGES), CACHE, folder, download, PAGE)
    images, pairs = root / IMAGES.result, []
    for kind, remote in chosen.items():
        rows = read_rows(root / remote.name, COLUMNS)
        if folder is None:
            warn_of_count(f"{name} ({kind})", len(rows), N_ITEMS[kind], root / remote.name)
        for number, (where, fields) in enumerate(rows):
            file, true, false = texts(fields, tuple(COLUMNS), where)
            if not re.fullmatch(r"[\w-]+\.\w+", file):  # it becomes part of a path
                raise BenchmarkError(f"{where}: {brief(file)} is no name of an image")
            if true == false:
                raise BenchmarkError(f"{where}: both captions are {true!r}")
            pair_id = f"{kind}-{number:04d}"
            pairs.append(
                ImagePair(
                    pair_id, pair_id, kind, (true, false), (images / file,), orientation="keep"
                )
            )
    kept = complete(name, pairs, "entries", skip_incomplete, images)
    title = "SugarCrepe: photographs, each with its caption and a plausible false one"
    return Benchmark(name, kept, title, f"{PAGE}, read from {root}")
