"""What you need for each benchmark: its files, access to them, and their licence."""

from __future__ import annotations

from dataclasses import astuple, dataclass


@dataclass(frozen=True)
class Needs:
    """What you need for a benchmark, in words.

    Licences are those that the publishers name for the lists; photographs of COCO, Visual Genome
    and Flickr are under the terms of their owners.
    """

    contents: str
    files: str
    access: str
    licence: str


_HERE = ("drawn here", "nothing to fetch", "MIT, as this package")
_OPEN = "open"
_WHATSUP = ("Google Drive", _OPEN, "MIT")
_COCO = "the lists, and COCO's val2017 (0.8 GB)"
NEEDS = {
    "tabletop-a": Needs("image pairs, captions", *_HERE),
    "tabletop-b": Needs("image pairs, captions", *_HERE),
    "tabletop-mmvp": Needs("image pairs, a question and statements", *_HERE),
    "whatsup-a": Needs("206 image pairs, captions", *_WHATSUP),
    "whatsup-b": Needs("204 image pairs, captions", *_WHATSUP),
    "coco-spatial": Needs("2687 images, true and false captions", _COCO, _OPEN, "MIT"),
    "gqa-spatial": Needs("1451 images, true and false captions", *_WHATSUP),
    "mmvp": Needs("150 image pairs, a question each", "the hub", _OPEN, "see its page"),
    "mmvp-vlm": Needs("135 image pairs, statements", "the hub", _OPEN, "see its page"),
    "winoground": Needs(
        "400 image pairs, captions of the same words", "the hub",
        "gated: log in, agree to its licence on its page, then run: hf auth login",
        "Meta's, for research alone",
    ),
    "naturalbench": Needs(
        "1900 image pairs, two questions each", "the hub, 1.3 GB (pyarrow)", _OPEN, "Apache-2.0"
    ),
    "sugarcrepe": Needs("7511 captions of COCO images, true and false", _COCO, _OPEN, "MIT"),
    "vsr": Needs(
        "2195 statements on images, true or false (split: zeroshot, 1222)",
        "GitHub, and a zip of images from Dropbox", _OPEN, "CC BY 4.0",
    ),
    "cv-bench": Needs(
        "1850 questions on images: relation, depth, distance", "the hub, 0.4 GB (pyarrow)", _OPEN,
        "Apache-2.0",
    ),
    "folder": Needs("your own pairs", "pairs.csv and your images", "yours", "yours"),
}  # fmt: skip


def rows() -> list[list[str]]:
    """A row for each benchmark, below a row of names."""
    head = ["benchmark", "what it has", "files", "access", "licence"]
    return [head, *([name, *astuple(needs)] for name, needs in NEEDS.items())]
