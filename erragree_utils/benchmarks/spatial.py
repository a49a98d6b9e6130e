"""COCO-spatial and GQA-spatial of What'sUp (Kamath et al., EMNLP 2023, section 2).

Single natural images with a true and a false caption, about where one object is in the image or how
two objects are placed. Files, format and Google Drive ids:
https://github.com/amitakamath/whatsup_vlms (``dataset_zoo``); GQA-spatial is ``vg_qa`` there.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .base import Benchmark, BenchmarkError, ImagePair
from .published import complete, published_folder, read_items, warn_of_count
from .transfer import RemoteFile
from .whatsup import CACHE, PAGE

_ITEM = "[image id, true caption, false caption]"
# Looked for in this order: "on top of" is top, not on.
RELATIONS = ("left", "right", "top", "bottom", "above", "below", "front", "behind", "under", "on")


@dataclass(frozen=True)
class Source:
    """One of the two lists of photographs."""

    title: str
    json: dict[str, RemoteFile]
    n_items: dict[str, int]
    images: RemoteFile
    digits: int  # image ids are padded with zeros to this length


SOURCES = {
    "coco-spatial": Source(
        title="COCO-spatial: where an object is in a photo, or two objects to each other",
        json={
            "one": RemoteFile("coco_qa_one_obj.json", drive_id="1RsMdpE9mmwnK4zzMPpC1-wTU_hNis-dq"),
            "two": RemoteFile("coco_qa_two_obj.json", drive_id="1TCEoM0mgFmz8T4cF7PQ3XJmO6JjtiQ-s"),
        },
        n_items={"one": 2247, "two": 440},
        # COCO's own address: no quota, and a known checksum.
        images=RemoteFile(
            "val2017.zip",
            url="http://images.cocodataset.org/zips/val2017.zip",
            size=815585330,
            sha256="4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05",
            unpacks_to="val2017",
        ),
        digits=12,
    ),
    "gqa-spatial": Source(
        title="GQA-spatial: where an object is in a photo, or two objects to each other",
        json={
            "one": RemoteFile("vg_qa_one_obj.json", drive_id="1ARMRzRdohs9QTr1gpIfzyUzvW20wYp_p"),
            "two": RemoteFile("vg_qa_two_obj.json", drive_id="1sjVG5O3QMY8s118k7kQM8zzDZH12i_95"),
        },
        n_items={"one": 1160, "two": 291},
        images=RemoteFile(
            "vg_images.tar.gz",
            drive_id="1idW7Buoz7fQm4-670n-oERw9U-2JLJvE",
            unpacks_to="vg_images",
        ),
        digits=0,
    ),
}


def load_spatial(
    name: str,
    folder: str | Path | None = None,
    download: bool = True,
    skip_incomplete: bool = False,
    objects: str = "all",
) -> Benchmark:
    """COCO-spatial or GQA-spatial: one image per entry, with a true and a false caption.

    Every entry is a set of its own; its relation is the true one.

    Parameters
    ----------
    name : str
        ``"coco-spatial"`` or ``"gqa-spatial"``.
    folder : str or pathlib.Path, optional
        A folder with the publisher's JSON files and image folder (``val2017`` or ``vg_images``)
        side by side. By default the files are fetched, once, into the cache.
    download : bool
        Whether to fetch files that aren't in the cache.
    skip_incomplete : bool
        Leave out entries whose image is missing, with a warning, instead of raising.
    objects : {"all", "one", "two"}
        Entries about one object, about two, or both.
    """
    if objects not in ("all", "one", "two"):
        raise ValueError(f"objects is {objects!r}; choose one of 'all', 'one', 'two'")
    source = SOURCES[name]
    parts = ("one", "two") if objects == "all" else (objects,)
    needed = (*(source.json[part] for part in parts), source.images)
    root = published_folder(needed, CACHE, folder, download, PAGE)
    pairs: list[ImagePair] = []
    for part in parts:
        path = root / source.json[part].name
        items = read_items(path, _ITEM)
        if folder is None:
            warn_of_count(f"{name} ({part} object)", len(items), source.n_items[part], path)
        pairs += [
            _pair(item, f"{part}-{number:04d}", source, root, f"{path}, entry {number}")
            for number, item in enumerate(items)
        ]
    images = root / source.images.result
    kept = complete(name, pairs, "entries", skip_incomplete, images)
    return Benchmark(name, kept, source.title, f"{PAGE}, read from {root}")


def true_relation(true: str, false: str) -> str:
    """The relation that the true caption states and the false one does not.

    Only words by which the captions differ count, so that an object's name ("left shoe") cannot be
    mistaken for one. A relation outside of `RELATIONS` is named by those words.
    """
    words, others = (Counter(re.findall(r"[\w-]+", text.casefold())) for text in (true, false))
    differing = list((words - others).elements()) or list(words.elements())
    return next((word for word in RELATIONS if word in differing), " ".join(differing))


def _pair(item: Any, pair_id: str, source: Source, root: Path, where: str) -> ImagePair:
    match item:
        # The id becomes part of a path.
        case [int() | str() as image_id, str(true), str(false)] if re.fullmatch(
            r"\w+", str(image_id)
        ):
            pass
        case _:
            raise BenchmarkError(f"{where}: expected {_ITEM}, found {str(item)[:200]}")
    if true == false:
        raise BenchmarkError(f"{where}: the true and the false caption are the same: {true!r}")
    image = root / source.images.result / f"{str(image_id).zfill(source.digits)}.jpg"
    return ImagePair(
        pair_id, pair_id, true_relation(true, false), (true, false), (image,), orientation="keep"
    )
