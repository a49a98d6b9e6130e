"""Your own pairs: a folder of images and a ``pairs.csv`` that says what they show.

Reports everything that's wrong with the folder at once, row by row.
"""

from __future__ import annotations

import csv
import io
import warnings
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path

from ..images import ImageError, orientation_tag
from .base import Benchmark, BenchmarkError, ImagePair, QuestionPair, plain
from .published import report_incomplete

FILE = "pairs.csv"
NEEDED = ("image_1", "image_2", "caption_1", "caption_2")
OPTIONAL = ("question", "option_1", "option_2", "relation", "group")
_ASKED = ("question", "option_1", "option_2")
_SEPARATORS = (",", ";", "\t")


def load_folder(
    name: str = "folder",
    folder: str | Path | None = None,
    skip_incomplete: bool = False,
    check_images: bool = True,
) -> Benchmark:
    """Your own pairs, from ``pairs.csv`` and the images that it names.

    Its columns are `NEEDED` and, if you like, `OPTIONAL`; the table may be separated by commas,
    semicolons or tabs, in UTF-8. ``caption_1`` is true of ``image_1`` alone, ``caption_2`` of
    ``image_2`` alone, and so are the two options as answers to the question. Paths count from the
    folder of the table. A pair's `relation`, by which tables are grouped, is its ``group``, or else
    its ``relation``. With ``image_2`` left empty in every row, the items are single images, of
    which ``caption_1`` is true and ``caption_2`` is false.

    Parameters
    ----------
    folder : str or pathlib.Path
        With a ``pairs.csv``; or the table itself.
    skip_incomplete : bool
        Leave out rows that are wrong, with a warning, instead of raising.
    check_images : bool
        Open every image now, to find damaged ones before anything is scored.

    Raises
    ------
    BenchmarkError
        With every row that is wrong, and why.
    """
    path = _table(folder)
    rows = list(_rows(path))
    asked = {bool(row.get("question")) for _, row in rows}
    single = {not row["image_2"] for _, row in rows}
    for kinds, what in ((asked, "a question"), (single, "one image")):
        if len(kinds) > 1:
            raise BenchmarkError(
                f"{path}: some rows have {what} and others not; give each kind a table of its own"
            )
    pairs, problems, turned = {}, {}, []
    for number, row in rows:
        pair_id = f"row {number}"
        found = list(_problems(row, path.parent))
        if not found:
            pair = _pair(pair_id, row, path.parent)
            found = list(_damage(pair)) if check_images else []
            pairs[pair_id] = pair
            turned += [source.name for source in pair.sources if orientation_tag(source) != 1]
        if found:
            problems[pair_id] = found
    report_incomplete(problems, len(rows), "rows", skip_incomplete, path.parent)
    if turned:
        warnings.warn(
            f"{len(turned)} photographs are turned as their orientation tags say, such as "
            f"{turned[0]}",
            stacklevel=2,
        )
    good = tuple(pair for pair_id, pair in pairs.items() if pair_id not in problems)
    what = "single images" if single == {True} else "pairs"
    return Benchmark(name, good, f"{len(good)} {what} of your own", f"read from {path}")


def _table(folder: str | Path | None) -> Path:
    if folder is None:
        raise BenchmarkError(f"say where your pairs are: folder=, with a {FILE} and its images")
    path = Path(folder).expanduser()
    path = path / FILE if path.is_dir() else path
    if path.is_file():
        return path
    hint = "python -m erragree_utils template FOLDER writes an example"
    raise BenchmarkError(
        f"there is no table {path}: give a folder with a {FILE}, or a table; {hint}"
    )


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Number, as a spreadsheet shows it, and cells of each row that is not empty."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BenchmarkError(
            f"{path} is not UTF-8 (byte {error.start}): save it as CSV UTF-8"
        ) from None
    if "\0" in text:
        raise BenchmarkError(
            f"{path} is not a text: save the table as CSV UTF-8, not as a workbook"
        )
    lines = text.splitlines()
    if not lines or not lines[0].strip():
        raise BenchmarkError(f"{path} is empty: its first line names columns, {', '.join(NEEDED)}")
    separator = max(_SEPARATORS, key=lines[0].count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        header = [cell.strip().casefold() for cell in next(reader)]
        _check_header(header, path)
        any_row = False
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            any_row = True
            if len(cells) != len(header):
                raise BenchmarkError(
                    f"{path}, line {reader.line_num}: {len(cells)} cells in a row, {len(header)} "
                    "columns in the first line; put texts that hold a separator into quotes"
                )
            row = dict(zip(header, (cell.strip() for cell in cells), strict=True))
            yield reader.line_num, row
    except csv.Error as error:
        raise BenchmarkError(
            f"{path}, line {reader.line_num}: {error}; a quote inside of a quoted text is doubled"
        ) from None
    if not any_row:
        raise BenchmarkError(f"{path} has a first line and no rows")


def _check_header(header: list[str], path: Path) -> None:
    known = (*NEEDED, *OPTIONAL)
    double = {name for name in header if header.count(name) > 1}
    if double:
        raise BenchmarkError(f"{path} has the column {double.pop()!r} twice")
    for name in header:
        if name not in known:
            near = get_close_matches(name, known, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise BenchmarkError(f"{path}: unknown column {name!r}{hint} Known: {', '.join(known)}")
    asked = [name for name in _ASKED if name in header]
    missing = [name for name in NEEDED if name not in header]
    missing += [name for name in _ASKED if asked and name not in header]
    if missing:
        raise BenchmarkError(f"{path} lacks the column {', '.join(missing)}")


def _problems(row: dict[str, str], root: Path) -> Iterator[str]:
    """What is wrong with a row, as far as it shows without opening an image."""
    asked = bool(row.get("question"))
    for name in ("image_1", "caption_1", "caption_2", *(("option_1", "option_2") if asked else ())):
        if not row[name]:
            yield f"{name} is empty"
    if not asked and any(row.get(name) for name in _ASKED):
        yield "it has an option and no question"
    for what in ("caption", "option") if asked else ("caption",):
        first, second = row[f"{what}_1"], row[f"{what}_2"]
        if first and plain(first) == plain(second):
            yield f"{what}_1 and {what}_2 are the same: {first!r}"
    if row["image_1"] and row["image_1"] == row["image_2"]:
        yield f"image_1 and image_2 are the same file, {row['image_1']}"
    for name in ("image_1", "image_2"):
        if row[name] and not _is_file(root / row[name]):
            yield f"{name}: there is no file {row[name]}"
    if asked and not row["image_2"]:
        yield "a question is about two images; leave it out for single ones"


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # names that no file system takes
        return False


def _pair(pair_id: str, row: dict[str, str], root: Path) -> ImagePair | QuestionPair:
    sources = tuple(root / row[name] for name in ("image_1", "image_2") if row[name])
    texts = row["caption_1"], row["caption_2"]
    relation = row.get("group") or row.get("relation") or "all"
    if not row.get("question"):
        return ImagePair(pair_id, pair_id, relation, texts, sources)
    return QuestionPair(
        pair_id, relation, row["question"], (row["option_1"], row["option_2"]), sources, texts,
        lettered=not _names_both(row),
    )  # fmt: skip


def _names_both(row: dict[str, str]) -> bool:
    """Whether a question names its answers itself, or expects yes and no: no letters then."""
    question = plain(row["question"])
    options = plain(row["option_1"]), plain(row["option_2"])
    return set(options) == {"yes", "no"} or all(option in question for option in options)


def _damage(pair: ImagePair | QuestionPair) -> Iterator[str]:
    for place in range(len(pair.sources)):
        try:
            pair.image(place)
        except ImageError as error:
            yield str(error).removeprefix(f"pair {pair.pair_id!r}: ")


# --- an example ----------------------------------------------------------------------------------


def write_example(folder: str | Path, size: int = 336) -> Path:
    """Write a dozen rendered pairs and their table, for you to change; returns the table.

    Raises
    ------
    BenchmarkError
        If there's a table already; we never overwrite your pairs.
    """
    root = Path(folder).expanduser()
    path = root / FILE
    if path.exists():
        raise BenchmarkError(f"{path} is there already: choose another folder")
    (root / "images").mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow([*NEEDED, *_ASKED, "group"])
        for number, pair in enumerate(_example_pairs(size), 1):
            names = [f"images/{number:02d}-{place}.png" for place in (1, 2)]
            for name, image in zip(names, pair.images, strict=True):
                image.save(root / name)
            cells = [*names, *pair.captions, pair.question, *pair.options, pair.relation]
            table.writerow(cells)
    return path


def _example_pairs(size: int) -> Iterator[QuestionPair]:
    """Left/right and on/under, asked as questions, and one pair of each of six visual patterns."""
    from ..tabletop.questions import ANSWERS, TWO_WAY  # a renderer costs time to import
    from .tabletop import load_tabletop, tabletop_sets
    from .tabletop_mmvp import load_tabletop_mmvp

    sets = tabletop_sets("tabletop-a", seed=1, n_sets=4)
    pairs = load_tabletop("tabletop-a", seed=1, n_sets=4, size=size, supersample=3)
    for pair in (*pairs.select("left/right"), *pairs.select("on/under")[:2]):
        four = sets[int(pair.set_id)]
        two = four[:2] if pair.relation == "left/right" else four[2:]
        first, second = (thing.name for thing in two[0].things)
        options = tuple(ANSWERS[scene.relation] for scene in two)
        question = TWO_WAY[two[0].relation].format(first=first, second=second)
        yield QuestionPair(
            pair.pair_id, pair.relation, question, options, pair.sources, pair.captions
        )
    patterns = load_tabletop_mmvp(seed=1, n_pairs=1, size=size, supersample=3, mined=False)
    asked = ("orientation", "feature", "state", "quantity", "colour", "text")
    yield from (pair for pair in patterns if pair.relation in asked)
