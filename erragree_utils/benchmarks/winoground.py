"""Winoground (Thrush et al., CVPR 2022): two images, and two captions of the same words.

Text, image and group score are those of `decisions.match`. Data and format:
https://huggingface.co/datasets/facebook/winoground.
"""

from __future__ import annotations

from pathlib import Path

from .archive import unpack
from .base import Benchmark, BenchmarkError, ImagePair
from .hub import DataSet
from .published import complete, warn_of_count
from .records import image_file, read_rows, texts

REPOSITORY = "facebook/winoground"
PAGE = f"https://huggingface.co/datasets/{REPOSITORY}"
DATA = DataSet(
    REPOSITORY, "winoground", ("data/*.parquet", "data/examples.jsonl", "data/images.zip"), 1,
    "data/test-*.parquet, or data/examples.jsonl beside data/images/", PAGE,
    access=f"It is gated: log in at {PAGE}, agree to its licence (research alone), then "
    "run: hf auth login",
)  # fmt: skip
N_PAIRS = 400
COLUMNS = {
    "image_0": ("image_0",),
    "image_1": ("image_1",),
    "caption_0": ("caption_0",),
    "caption_1": ("caption_1",),
    "collapsed_tag": ("collapsed_tag", "tag"),
}


def load_winoground(
    name: str = "winoground",
    folder: str | Path | None = None,
    download: bool = True,
    skip_incomplete: bool = False,
) -> Benchmark:
    """Winoground as image pairs; the relation is what its captions swap: objects, relations, both.

    Parameters
    ----------
    folder : str or pathlib.Path, optional
        A local copy: parquet files, or ``examples.jsonl`` beside the unpacked ``images``. By
        default the files are fetched, for which the hub asks for a login. Images in parquet files
        are unpacked into the cache (see `download.cache_folder`).
    download : bool
        Whether to fetch files that aren't in the cache.
    skip_incomplete : bool
        Leave out pairs that lack an image, with a warning, instead of raising.
    """
    root = DATA.folder(folder, download)
    files = DATA.tables(root, folder)
    cache, base = DATA.place(None) / "images", files[0].parent / "images"
    if (packed := base.with_suffix(".zip")).is_file() and not base.exists() and folder is None:
        unpack(packed, base)
    pairs = []
    for where, fields in (row for file in files for row in read_rows(file, COLUMNS)):
        one, other, kind = texts(fields, ("caption_0", "caption_1", "collapsed_tag"), where)
        if one == other:
            raise BenchmarkError(f"{where}: both captions are {one!r}")
        sources = []
        for cell in (fields["image_0"], fields["image_1"]):
            # The list names images without their ending.
            named = f"{cell}.png" if isinstance(cell, str) and "." not in cell else cell
            sources.append(image_file(named, where, base, cache))
        pair_id = f"{len(pairs):03d}"
        pairs.append(
            ImagePair(pair_id, pair_id, kind, (one, other), tuple(sources), orientation="keep")
        )
    if folder is None:
        warn_of_count(name, len(pairs), N_PAIRS, root)
    kept = complete(name, pairs, "pairs", skip_incomplete, base)
    title = "Winoground: two images, and two captions of the same words in another order"
    return Benchmark(name, kept, title, f"{PAGE}, read from {root}")
