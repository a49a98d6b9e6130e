"""Feed damaged files to the package: benchmark lists in CSV and JSON, and stored results.

Every input must end in a result, or in an error of the package's own classes that names the file.
Of a store, what is not damaged must come back unchanged, and what is lost be told and restored.

Run: python tools/fuzz_files.py [inputs of each kind] [seed]
"""

from __future__ import annotations

import csv
import io
import json
import random
import shutil
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from erragree_utils.benchmarks import BenchmarkError, ImageError, load_benchmark
from erragree_utils.study.store import Item, StoreError, Writer, read, setting_key

# --- lists of benchmarks -------------------------------------------------------------------------

WORDS = {"left_of": "to the left of", "right_of": "to the right of", "on": "on", "under": "under"}
ODD = ("", " ", "\0", "\ufeff", "\x1a", "NaN", "-1", "1e400", "9" * 400, "(a)", "(a) x (b) y (c) z",
       "Option B", "../../etc/passwd", "\u202e", "\ud83d\ude00", '"', ",", "\n", "a" * 200_000,
       "[" * 100_000, "{", "null", "é".encode("latin-1").decode("latin-1"))  # fmt: skip


def write_lists(folder: Path) -> dict[str, Path]:
    """Small stand-ins of published benchmarks; returns the list of each by its name."""
    for i in range(1, 9):
        _picture(folder / "mmvp" / "MMVP Images" / f"{i}.jpg")
    rows = [["Index", "Question", "Options", "Correct Answer"]]
    rows += [
        [i, f"Is it {(i + 1) // 2}?", "(a) Yes (b) No", "(a)" if i % 2 else "(b)"]
        for i in range(1, 9)
    ]
    _csv(folder / "mmvp" / "Questions.csv", rows)
    rows = [["Question ID", "Type", "Statement"], *([i, "Any", f"thing {i}"] for i in range(1, 9))]
    _csv(folder / "mmvp" / "Questions-clip.csv", rows)
    rows = rows[:1]
    for i in range(1, 9):
        _picture(folder / "mmvp-vlm" / "MLLM_VLM Images" / "Color" / f"{i}.jpg")
        rows.append([i, "Color", f"a picture of {i}"])
    _csv(folder / "mmvp-vlm" / "Questions.csv", rows)
    entries = []
    for thing in ("mug", "bowl"):
        texts = {word: f"A {thing} {phrase} a chair" for word, phrase in WORDS.items()}
        for word in WORDS:
            name = f"{thing}_{word}_chair.jpeg"
            _picture(folder / "whatsup-a" / "controlled_images" / name)
            options = [texts[word], *(text for text in texts.values() if text != texts[word])]
            entries.append({"image_path": f"data/controlled_images/{name}",
                            "caption_options": options})  # fmt: skip
    whatsup = folder / "whatsup-a" / "controlled_images_dataset.json"
    whatsup.write_text(json.dumps(entries), "utf-8")
    spatial = folder / "coco-spatial" / "coco_qa_one_obj.json"
    for i in (139, 285):
        _picture(folder / "coco-spatial" / "val2017" / f"{i:012}.jpg")
    items = [[i, "A dog on the left", "A dog on the right"] for i in (139, 285)]
    spatial.write_text(json.dumps(items), "utf-8")
    lists = {name: folder / name / "Questions.csv" for name in ("mmvp", "mmvp-vlm")}
    return lists | {"whatsup-a": whatsup, "coco-spatial": spatial}


def _picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), (90, 90, 90)).save(path)


def _csv(path: Path, rows: list[list[Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)


def mutate_bytes(data: bytes, rng: random.Random) -> bytes:
    """Flipped, lost, doubled and foreign bytes, other encodings, an early end."""
    for _ in range(rng.choice((1, 1, 2, 8))):
        at = rng.randrange(len(data) + 1)
        end = min(len(data), at + rng.choice((1, 2, 7, 40)))
        piece = data[at:end]
        data = rng.choice((
            lambda d, a, e, p: d[:a] + bytes([b ^ (1 << rng.randrange(8)) for b in p]) + d[e:],
            lambda d, a, e, p: d[:a] + d[e:],
            lambda d, a, e, p: d[:a] + p + p + d[e:],
            lambda d, a, e, p: d[:a] + rng.randbytes(len(p)) + d[e:],
            lambda d, a, e, p: d[:a] + rng.choice(ODD).encode("utf-8", "replace") + d[a:],
            lambda d, a, e, p: d[:a],
            lambda d, a, e, p: d.decode("utf-8", "replace").encode("utf-16"),
            lambda d, a, e, p: b"\xef\xbb\xbf" + d,
        ))(data, at, end, piece)  # fmt: skip
    return data


def mutate_csv(data: bytes, rng: random.Random) -> bytes:
    """A cell, row or column changed; still CSV."""
    rows = list(csv.reader(io.StringIO(data.decode("utf-8"))))
    row = rng.choice(rows)
    kind = rng.randrange(5)
    if kind == 0:
        row[rng.randrange(len(row))] = rng.choice(ODD)
    elif kind == 1:
        row[:] = rng.sample(row, len(row))
    elif kind == 2:
        rows.insert(rng.randrange(len(rows)), list(rng.choice(rows)))
    elif kind == 3:
        rows.remove(row)
    else:
        row[:] = row[: rng.randrange(len(row))] if rng.random() < 0.5 else [*row, "more"]
    out = io.StringIO()
    csv.writer(out).writerows(rows)
    return out.getvalue().encode("utf-8", "replace")


def mutate_json(data: bytes, rng: random.Random) -> bytes:
    """A value anywhere replaced, lost, doubled or nested; still JSON."""
    value = json.loads(data)
    holder, place = [value], 0
    while isinstance(holder[place], (list, dict)) and holder[place] and rng.random() < 0.8:
        holder = holder[place]
        place = rng.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
    kind, old = rng.randrange(4), holder[place]
    new = rng.choice((None, True, -1, 1.5, 10**400, [], {}, [[]], {"a": []}, *ODD))
    holder[place] = (new, [old], {"x": old}, old)[kind]
    if kind == 3 and isinstance(holder, list):
        holder.insert(place, old)
    elif kind == 3:
        del holder[place]
    deep = rng.random() < 0.02
    return (b"[" * 100_000 + b"]" * 100_000) if deep else json.dumps(value).encode("utf-8")


def _load(name: str, folder: Path) -> str:
    options = {"objects": "one"} if name == "coco-spatial" else {}
    try:
        for pair in load_benchmark(name, folder=folder, **options):
            _ = pair.images, pair.captions, getattr(pair, "prompt", None)
    except (BenchmarkError, ImageError) as error:
        text = str(error)
        if str(folder) not in text and "pair " not in text:
            raise AssertionError(f"the error names no file and no pair: {text[:300]}") from error
        return "refused"
    return "read"


def damage_lists(folder: Path, n_inputs: int, seed: int) -> Counter[str]:
    """Damaged lists of four benchmarks, as many together as asked for; counts what came of them.

    Raises
    ------
    Exception
        The first one that is not of the package's own; notes say which input.
    """
    rng, lists, counts = random.Random(seed), write_lists(folder), Counter()
    whole = {name: path.read_bytes() for name, path in lists.items()}
    for number in range(n_inputs):
        name = rng.choice(list(lists))
        kinds: tuple[Callable[[bytes, random.Random], bytes], ...]
        kinds = (mutate_bytes, mutate_csv if lists[name].suffix == ".csv" else mutate_json)
        mutate = rng.choice(kinds)
        lists[name].write_bytes(mutate(whole[name], rng))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                counts[f"{name}, {mutate.__name__}: {_load(name, lists[name].parent)}"] += 1
        except Exception as error:
            error.add_note(f"input {number} of seed {seed}: {name}, {mutate.__name__}")
            raise
        lists[name].write_bytes(whole[name])
    return counts


# --- stored results ------------------------------------------------------------------------------


def write_store(folder: Path, n_items: int = 60) -> dict[str, tuple[dict[str, Any], list[Item]]]:
    """A store of two keys; returns settings and items by key."""
    rng, content = random.Random(0), {}
    for method in ("matching", "greedy"):
        settings = {"benchmark": {"name": "tabletop-a"}, "model": {"name": "mini"},
                    "method": {"name": method}}  # fmt: skip
        items = [
            Item(f"s{i}", i, {
                "pair_id": [f"{i}-{k // 2}" for k in range(4)], "set_id": [f"s{i}"] * 4,
                "score_own": [rng.random() for _ in range(4)], "correct": [True, False] * 2,
                "answer": ["the mug is to the left of the chair"] * 4,
            }, 0.5, images="0123456789abcdef")
            for i in range(n_items)
        ]  # fmt: skip
        content[setting_key(settings)] = settings, items
    _score(folder, content)
    return content


def _score(folder: Path, content: dict[str, tuple[dict[str, Any], list[Item]]]) -> Counter[str]:
    """Store what a store lacks; counts items."""
    counts: Counter[str] = Counter()
    with Writer(folder, lambda: {"hardware": "abacus"}) as writer:
        for key, (settings, items) in content.items():
            lacking = [item for item in items if item.name not in writer.stored.items[key]]
            if lacking or key not in writer.stored.settings:
                for start in range(0, max(1, len(lacking)), 8):
                    writer.add(key, settings, lacking[start : start + 8], {"asked": "mini"})
            counts[key] = len(lacking)
    return counts


def flip_bits(folder: Path, n_flips: int, seed: int) -> Counter[str]:
    """Flip a bit of a store, read it, run on, read it again; so many times. Counts what came of it.

    Raises
    ------
    AssertionError
        If something that was not damaged changed, or a loss was not told.
    """
    rng, counts, whole, work = random.Random(seed), Counter(), folder / "whole", folder / "work"
    content = write_store(whole)
    expected = {key: read(whole).table(key) for key in content}
    files = sorted(whole.glob("*.sqlite"))
    for number in range(n_flips):
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(whole, work)
        path = work / rng.choices(files, [file.stat().st_size for file in files])[0].name
        data = bytearray(path.read_bytes())
        bit = rng.randrange(8 * len(data))
        data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        try:
            counts[_after_damage(work, path, content, expected)] += 1
        except Exception as error:
            error.add_note(f"flip {number} of seed {seed}: bit {bit} of {path.name}")
            raise
    return counts


def _after_damage(
    work: Path, path: Path, content: dict[str, Any], expected: dict[str, pd.DataFrame]
) -> str:
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            results = read(work)
    except StoreError as error:
        assert path.name in str(error), "the error does not name the file"
        return "refused"
    told = " ".join(str(warning.message) for warning in caught)
    assert not told or path.name in told, "the warning does not name the file"
    lost = set()
    for key, (settings, items) in content.items():
        kept = results.items[key]
        lost |= {item.name for item in items if item.name not in kept}
        rows = expected[key]["set_id"].isin(set(kept))
        pd.testing.assert_frame_equal(
            results.table(key), expected[key][rows].reset_index(drop=True), check_exact=True
        )
        assert results.settings.get(key, settings) == settings
    assert told or not lost, f"{lost} are lost without a word"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert _score(work, content).total() == len(lost), "other items were scored than those lost"
        warnings.simplefilter("error")
        mended = read(work)
    for key, table in expected.items():
        pd.testing.assert_frame_equal(mended.table(key), table, check_exact=True)
    if not told:
        return "no content damaged"
    if not lost:
        return "told, nothing lost"
    return "named" if all(f"'{name}'" in told for name in lost) else "file named, items not"


def main() -> None:
    """Print what came of each kind of input."""
    n_inputs = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    for fuzz in (damage_lists, flip_bits):
        with tempfile.TemporaryDirectory() as folder:
            counts = fuzz(Path(folder), n_inputs, seed)
        print(f"{fuzz.__name__}: {counts.total()} inputs")
        for what, count in sorted(counts.items()):
            print(f"  {count:5} {what}")


if __name__ == "__main__":
    main()
