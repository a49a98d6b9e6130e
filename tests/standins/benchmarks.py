"""Published benchmarks at small counts: the published layouts, filled with rendered photographs."""

from __future__ import annotations

import csv
import json
import re
import tarfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from PIL import Image

from erragree_utils.benchmarks import Benchmark, load_benchmark
from erragree_utils.benchmarks.whatsup import PARTS, stated_relation

WORDS = {
    "left": "left_of",
    "right": "right_of",
    "on": "on",
    "under": "under",
    "front": "in-front_of",
    "behind": "behind",
}
BETWEEN = r" (?:to the left of|to the right of|on|under|in front of|behind) an? "
#: MMVP-VLM's types, which name its folders, and the tabletop's patterns.
TYPES = {
    "Orientation and Direction": "orientation",
    "Presence of Specific Features": "feature",
    "State and Condition": "state",
    "Quantity and Count": "quantity",
    "Positional and Relational Context": "relation",
    "Color and Appearance": "colour",
    "Structural and Physical Characteristics": "structure",
    "Texts": "text",
    "Viewpoint and Perspective": "viewpoint",
}
SIZE = 96  # pixels of a rendered picture: quick to draw


def photograph(picture: Image.Image) -> Image.Image:
    """A 4:3 photograph with the picture in its middle."""
    photo = Image.new("RGB", (picture.width * 4 // 3, picture.height), picture.getpixel((0, 0)))
    photo.paste(picture, ((photo.width - picture.width) // 2, 0))
    return photo


def write_whatsup(folder: Path, name: str, n_sets: int) -> None:
    """The list of What'sUp A or B beside its archive of photographs, as one saves them by hand."""
    folder.mkdir(parents=True, exist_ok=True)
    part, entries = PARTS[name], []
    images = folder / part.images.result
    images.mkdir()
    scenes = load_benchmark(name.replace("whatsup", "tabletop"), n_sets=n_sets, size=SIZE)
    for set_id in dict.fromkeys(pair.set_id for pair in scenes):
        members = [pair for pair in scenes if pair.set_id == set_id]
        captions = [caption for pair in members for caption in pair.captions]
        for caption, picture in zip(captions, (i for p in members for i in p.images), strict=True):
            relation = WORDS[stated_relation(caption)]
            first, second = re.split(BETWEEN, caption.removeprefix("A "))
            file = f"{first}_{relation}_{second}.jpeg"
            photograph(picture).save(images / file, quality=90)
            others = [other for other in captions if other != caption]
            entries.append({
                "image_path": f"data/{images.name}/{file}", "caption_options": [caption, *others]
            })  # fmt: skip
    (folder / part.json.name).write_text(json.dumps(entries))
    with tarfile.open(folder / part.images.name, "w:gz") as archive:
        archive.add(images, images.name)
    for path in images.iterdir():
        path.unlink()
    images.rmdir()


def write_mmvp(folder: Path, n_pairs: int) -> None:
    """MMVP as it is kept: a short list of questions, and the statements, beside 300 pictures."""
    pairs = candidates()[::2][:n_pairs]
    rows = [["Index", "Question", "Options", "Correct Answer"]]
    for index, pair, place in numbered(pairs):
        options = f"(a) {pair.options[0]} (b) {pair.options[1]}"
        rows.append([index, pair.question, options, "(a)" if place == 0 else "(b)"])
        save(pair.images[place], folder / "MMVP Images" / f"{index}.jpg")
    write_csv(folder / "Questions.csv", rows)
    rows = [["Question ID", "Type", "Statement"]]
    rows += [[index, "Unknown", pair.statements[place]] for index, pair, place in numbered(pairs)]
    write_csv(folder / "Questions-clip.csv", rows)
    fill(folder / "MMVP Images", range(2 * n_pairs + 1, 301))


def write_mmvp_vlm(folder: Path, per_type: int) -> None:
    """MMVP-VLM as it is kept: a short list of statements beside 270 pictures in nine types."""
    patterns = {name: type_ for type_, name in TYPES.items()}
    pairs = [pair for pair in candidates() if int(pair.pair_id[-4:]) < per_type]
    rows = [["Question ID", "Type", "Statement"]]
    for index, pair, place in numbered(pairs):
        type_ = patterns[pair.pattern]
        rows.append([index, type_, pair.statements[place]])
        save(pair.images[place], folder / "MLLM_VLM Images" / type_ / f"{index}.jpg")
    write_csv(folder / "Questions.csv", rows)
    fill(folder / "MLLM_VLM Images" / type_, range(2 * len(pairs) + 1, 271))


@cache
def candidates() -> Benchmark:
    """Two rendered pairs of each pattern."""
    return load_benchmark("tabletop-mmvp", n_pairs=2, size=SIZE, mined=False)


def numbered(pairs: Iterable) -> Iterable[tuple]:
    """Every image of the pairs: its index, which counts from 1, its pair, its place there."""
    return ((2 * k + i + 1, pair, i) for k, pair in enumerate(pairs) for i in (0, 1))


def save(picture: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.resize((224, 224)).save(path, quality=90)


def fill(folder: Path, indices: Iterable[int]) -> None:
    """Pictures that no list names: with fewer files than were published a folder is incomplete."""
    for index in indices:
        Image.new("RGB", (8, 8)).save(folder / f"{index}.jpg")


def write_csv(path: Path, rows: list[list]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
