"""Feed the package random inputs: each must end in a result, or be refused by name.

Run from the top of the checkout:
    python tools/fuzz_inputs.py                        2,000 inputs, spread over all parts
    python tools/fuzz_inputs.py --part images -n 500
    python tools/fuzz_inputs.py --part images --only 17    the traceback of one input

A part draws inputs: a function of a random generator and an empty folder, which returns a `Case`.
Another one is added by writing it with `@part` above it, here or in a module that imports this one.
An input is refused by name if a class of the package's own, or a `raise` of its own, names the item
that is at fault. Anything else is a fault, and makes the exit code 1.
"""

from __future__ import annotations

import argparse
import io
import json
import linecache
import random
import shutil
import string
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from huggingface_hub import constants
from PIL import Image

import erragree_utils
from erragree_utils import load_benchmark, load_clip, load_mllm, score
from erragree_utils.benchmarks import ImagePair
from erragree_utils.benchmarks.whatsup import stated_relation
from erragree_utils.decoding import VCD
from erragree_utils.decoding.streams import contrastive_option_logprobs
from erragree_utils.images import read_image
from erragree_utils.models import ASSETS
from erragree_utils.models.states import encoder_states
from erragree_utils.models.vision import load_vision
from erragree_utils.scoring.answers import parse_answer, parse_option
from erragree_utils.scoring.captions import CaptionError, parse_caption

PACKAGE = Path(erragree_utils.__file__).parent
PIXELS = 250_000  # beyond it Pillow refuses to read, so that no damaged header fills the memory


@dataclass(frozen=True)
class Case:
    """One input: what is called with it, and how its item may be named where it is refused."""

    call: Callable[[], Any]
    names: tuple[str, ...]
    about: str = ""
    check: Callable[[Any], bool] = field(default=lambda result: True)


PARTS: dict[str, Callable[[random.Random, Path], Case]] = {}


def part(draw: Callable[[random.Random, Path], Case]) -> Callable[[random.Random, Path], Case]:
    PARTS[draw.__name__] = draw
    return draw


# --- images --------------------------------------------------------------------------------------

MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV",
         "LAB", "I", "F", "I;16", "I;16B", "I;16L", "I;16N")  # fmt: skip
FORMATS = {"PNG": "png", "JPEG": "jpg", "TIFF": "tif", "GIF": "gif", "BMP": "bmp", "PPM": "ppm",
           "WEBP": "webp", "TGA": "tga", "ICO": "ico"}  # fmt: skip
SIZES = ((1, 1), (1, 300), (300, 1), (7, 5), (40, 30), (33, 64), (200, 2), (0, 3))


def drawn_image(rng: random.Random) -> Image.Image:
    """An image of any mode and size, with or without pixels, tags and a palette's transparency."""
    mode, (width, height) = rng.choice(MODES), rng.choice(SIZES)
    noise = np.random.default_rng(rng.getrandbits(32))
    if mode == "F":
        scale = rng.choice([1, 1, 255, np.nan, -1])
        pixels = (noise.random((height, width)) * scale).astype(np.float32)
        image = Image.fromarray(pixels) if width and height else Image.new("F", (width, height))
    else:
        image = Image.new(mode, (width, height))
        if width and height:
            image.frombytes(noise.bytes(len(image.tobytes())))
    if rng.random() < 0.3:
        exif = Image.Exif()
        exif[0x0112] = rng.choice([1, 2, 3, 4, 5, 6, 7, 8, 0, 99])
        image.info["exif"] = exif.tobytes() if rng.random() < 0.8 else noise.bytes(20)
    if rng.random() < 0.15:
        image.info["transparency"] = rng.choice([0, 3, b"\0\x80", (1, 2, 3), "none", -1])
    return image


def damaged(rng: random.Random, data: bytes) -> bytes:
    """The bytes cut off, with bits turned, overwritten, or in the place of others."""
    way = rng.randrange(5)
    if way == 0:
        return data[: rng.randrange(len(data) + 1)]
    if way == 1:
        turned = bytearray(data)
        for _ in range(rng.randint(1, 8)):
            turned[rng.randrange(len(turned))] ^= 1 << rng.randrange(8)
        return bytes(turned)
    if way == 2:
        at = rng.randrange(len(data))
        return data[:at] + rng.randbytes(min(64, len(data) - at)) + data[at + 64 :]
    if way == 3:
        return rng.choice([b"", b"<html>Quota exceeded</html>", b"version https://git-lfs", b"\0"])
    return data[: rng.randrange(len(data))] * 2


def image_file(rng: random.Random, folder: Path) -> Path:
    """A file of an image, damaged or not, under a name that may be wrong."""
    image, kind = drawn_image(rng), rng.choice(list(FORMATS))
    buffer = io.BytesIO()
    try:
        image.save(buffer, kind, exif=image.info.get("exif", b""))
    except Exception:  # not every format takes every mode
        buffer = io.BytesIO()
        Image.new("RGB", (9, 7), "red").save(buffer, kind := "PNG")
    data = buffer.getvalue()
    path = folder / f"x.{FORMATS[kind] if rng.random() < 0.9 else 'jpeg'}"
    path.write_bytes(damaged(rng, data) if rng.random() < 0.6 else data)
    if rng.random() < 0.02:
        path.unlink()
    return path


@cache
def models() -> dict[str, Any]:
    return {name: load("mini", device="cpu") for name, load in LOADERS.items()}


LOADERS = {"clip": load_clip, "mllm": load_mllm, "vision": load_vision}


@part
def images(rng: random.Random, folder: Path) -> Case:
    """Images of all modes, sizes and damages, by every way into the package."""
    path = image_file(rng, folder)
    thing: Any = path
    if rng.random() < 0.6:
        try:
            # Opened and not read, as people pass it on.
            thing = Image.open(path) if rng.random() < 0.6 else drawn_image(rng)
        except Exception:
            thing = rng.choice([path, str(path), path.read_bytes() if path.exists() else None])
    if rng.random() < 0.03:
        thing = rng.choice(
            [None, 3, b"\xff" * 5000, np.zeros((4, 4, 3), np.uint8), [1], "gone.png"]
        )
    fine = Image.new("RGB", (20, 20), "blue")
    clip, mllm, vision = models()["clip"], models()["mllm"], models()["vision"]
    orientation = rng.choice(["apply", "keep"])
    ways: dict[str, Callable[[], Any]] = {
        "pair": lambda: ImagePair("mug", "s", "r", ("a", "b"), (fine, thing), orientation).images,
        "file": lambda: (read_image(path, orientation),),
    }
    if not isinstance(thing, str | Path):
        ways |= {
            "clip": lambda: clip.embed_images([fine, thing]),
            "patches": lambda: clip.patch_tokens([fine, thing]),
            "states": lambda: encoder_states(clip, [fine, thing])["embedding"],
            "vision": lambda: vision.embed_images([fine, thing]),
            "options": lambda: mllm.option_logprobs([fine, thing], "Why?", ["left", "right"]),
            "answer": lambda: mllm.generate([fine, thing], "Why?", max_new_tokens=1),
            "captions": lambda: _scores(clip, ("left", "right"), (fine, thing)),
        }
    way = rng.choice(list(ways))
    named = {"file": (path.name,)}.get(way, ("image 1",))
    if way in ("pair", "captions"):
        named = ("pair 'mug'",)
    return Case(ways[way], named, f"{way}: {str(thing)[:80]}", _is_sound)


def _scores(clip: Any, captions: Any, images: Any) -> list[float]:
    """Of both captions for each of a pair's images."""
    return score(clip, [ImagePair("mug", "s", "r", captions, images)])["score"].tolist()


def _is_sound(result: Any) -> bool:
    """Pictures are RGB without tags, numbers are numbers."""
    for value in result:
        if isinstance(value, Image.Image):
            if value.mode != "RGB" or "exif" in value.info:
                return False
        elif not isinstance(value, str) and not np.isfinite(np.asarray(value, float)).all():
            return False
    return True


# --- names and folders of models -----------------------------------------------------------------

KNOWN = (
    "mini", "mini-lost", "ViT-L-14-336", "ViT-B-32", "openai/clip-vit-large-patch14-336",
    "llava-hf/llava-1.5-7b-hf", "liuhaotian/llava-v1.5-7b", "hf-hub:laion/x", "whatsup-a", "mmvp",
    "tabletop-a", "local-dir:.", "vit_large_patch14_dinov2.lvd142m", "ViT-L/14@336px",
)  # fmt: skip
ODD = (None, "", " ", ".", "..", "/", "~", "~nobody", "a\0b", "x" * 300, "x/" * 200, "\ud800", 3,
       b"mini", ["mini"], {"mini"}, Path("gone"), Path("x" * 300), "é" * 200, "owner/",
       "/etc/hosts", "a b/c d", "../../mini", "mini\n")  # fmt: skip


def mutated(rng: random.Random, text: str) -> str:
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(text) + 1)
        insert = rng.choice(["", "", rng.choice(string.printable), "-", "/", "é", "%s", "{}"])
        text = text[:at] + insert + text[at + rng.randint(0, 2) :]
    return text


@part
def names(rng: random.Random, folder: Path) -> Case:
    """What people take for the name of a model or a benchmark, without a network."""
    name = rng.choice(ODD) if rng.random() < 0.4 else mutated(rng, rng.choice(KNOWN))
    loaders: dict[str, Callable] = {**LOADERS, "benchmark": load_benchmark}
    kind = rng.choice(list(loaders))
    options: dict[str, Any] = {"device": "cpu"}
    if kind == "benchmark":
        options = {"download": False} if not str(name).startswith("tabletop") else {"n_sets": 2}
    elif kind == "clip" and rng.random() < 0.4:
        options["pretrained"] = rng.choice([False, "openai", "x.pt", b"x", "a\0b", "y" * 300])
        if isinstance(name, str):
            name = "ViT-B-32" if options["pretrained"] is not False else name
    told = (str(name), repr(name)[:100], type(name).__name__, str(options.get("pretrained")))
    told += (str(Path.home()), "Needed")  # a folder that "~" means, a list of files to fetch
    return Case(lambda: loaders[kind](name, **options), told, f"{kind} {name!r:.80} {options}")


VALUES = (None, "", "x", -1, 0, 1, 3, 2.5, True, [], {}, [1], {"a": 1}, "../x", "left")
MODEL_FOLDERS = {"clip": "mini-clip", "mllm": "mini-llava", "vision": "mini-vision"}


@part
def folders(rng: random.Random, folder: Path) -> Case:
    """A model's folder in which one file is damaged, lacks something, or asks for code."""
    kind = rng.choice(list(MODEL_FOLDERS))
    copy = folder / "model"
    copy.mkdir()
    for path in (ASSETS / MODEL_FOLDERS[kind]).iterdir():
        if path.is_file() and path.suffix not in (".md", ".jsonl"):
            (copy / path.name).symlink_to(path)
    path = rng.choice(sorted(copy.iterdir()))
    data = path.read_bytes()
    path.unlink()
    way = rng.random()
    if path.suffix == ".json" and way < 0.7:
        path.write_text(json.dumps(_changed(rng, json.loads(data))))
    elif way < 0.95:
        path.write_bytes(damaged(rng, data))

    def use() -> Any:
        model = LOADERS[kind](copy, device="cpu")
        image = Image.new("RGB", (90, 60), "green")
        if kind == "mllm":
            return model.option_logprobs([image], "Where is it?", ["left", "right"])
        return model.embed_images([image])

    return Case(use, ("model", "image 0", "entry 0"), f"{kind}: {path.name}")


def _changed(rng: random.Random, settings: Any) -> Any:
    """Settings with one value, somewhere, replaced, removed, or joined by an `auto_map`."""
    places = [settings]
    for place in places:
        inner = place.values() if isinstance(place, dict) else place
        places += [value for value in inner if isinstance(value, dict) and value]
        if len(places) > 50:
            break
    place = rng.choice([p for p in places if isinstance(p, dict)])
    way = rng.random()
    if way < 0.1 or not place:
        place["auto_map"] = {"AutoConfig": "own.Own"}
    elif way < 0.3:
        del place[rng.choice(list(place))]
    else:
        place[rng.choice(list(place))] = rng.choice(VALUES)
    return settings


# --- questions, options, answers -----------------------------------------------------------------

TEXTS = ("left", "right", "in front of the mug", "Yes", "", " ", "\n", "é", "<image>", "a" * 400,
         "left " * 120, "\ud800", None, 3, b"left", "{}", "</s>")  # fmt: skip


def _texts(rng: random.Random, n: int) -> Any:
    """Several texts, or what is given in their place: a list, a generator, one text, nothing."""
    chosen = [rng.choice(TEXTS[:3] if rng.random() < 0.8 else TEXTS) for _ in range(n)]
    return rng.choice([chosen, chosen, tuple(chosen), iter(chosen), (x for x in chosen), chosen[0]])


@part
def options(rng: random.Random, folder: Path) -> Case:
    """Questions and options as lists, generators, single ones, or not as texts at all."""
    clip, mllm = models()["clip"], models()["mllm"]
    shown = [Image.new("RGB", (80, 80), colour) for colour in ("red", "blue")]
    entries = rng.choice([shown, iter(shown), [shown, shown], [None, shown[0]], shown[0], []])
    questions = rng.choice(["Where is it?", _texts(rng, 2), ["Where is it?"] * rng.randint(0, 3)])
    given = rng.choice([_texts(rng, 2), [_texts(rng, 2), _texts(rng, 1)], [], _texts(rng, 3)])
    ways = {
        "options": lambda: mllm.option_logprobs(entries, questions, given),
        "contrast": lambda: [
            row
            for (row,) in contrastive_option_logprobs(
                mllm, entries, questions, given, [VCD(beta=0)]
            )
        ],
        "answers": lambda: mllm.generate(entries, questions, max_new_tokens=2),
        "captions": lambda: _scores(clip, given, shown),
        "texts": lambda: clip.embed_texts(given),
    }
    way = rng.choice(list(ways))
    told = ("entry ", "text ", "image", "options", "question", "pair 'mug'", "texts", "lists")
    count = 0 if entries == [] else 2

    def is_whole(result: Any) -> bool:
        if way in ("texts", "captions"):
            return way == "texts" or len(result) == 4
        return len(result) == count and (way == "answers" or all(map(len, result)))

    return Case(
        ways[way], told, f"{way}: {entries!r:.40} {questions!r:.60} {given!r:.60}", is_whole
    )


WORDS = ("Open", "Closed", "open", "the", "A", "a", "B", "b", "(a)", "(b)", "(c)", "Option",
         "option", "or", "and", "not", "isn't", "answer is", "The correct answer:", "Answer", ".",
         ",", ":", "**", '"', "\n", "é", "", "\0", "left", "right", "to the left of", "on",
         "in front of", "mug", "wrong", "yes", "No", "(", ")", "I choose", "  ")  # fmt: skip


@part
def answers(rng: random.Random, folder: Path) -> Case:
    """Answers and captions put together from what models write."""
    text = " ".join(rng.choice(WORDS) for _ in range(rng.randint(0, 8)))
    both = ("Open", "Closed")
    listed = rng.choice([None, both, both[::-1]])

    def read() -> Any:
        try:
            statement = parse_caption(text)
        except CaptionError as error:
            statement = None
            if repr(text) not in str(error):
                raise
        forth, back = parse_option(text, both, listed), parse_option(text, both[::-1], listed)
        return statement, forth, back, parse_answer(text, ["left", "right"]), stated_relation(text)

    def mirrored(result: Any) -> bool:
        _, forth, back, word, _ = result
        same = forth is None and back is None or forth == 1 - back
        return same and word in (None, "left", "right")

    return Case(read, (repr(text),), repr(text), mirrored)


# --- running -------------------------------------------------------------------------------------


def outcome(case: Case) -> tuple[str, BaseException | None]:
    """``"result"``, the class of the package's refusal, or ``"FAULT"`` with what is wrong."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = case.call()
        if not case.check(result):
            return "FAULT", AssertionError(f"a result that is none: {result!r:.200}")
        return "result", None
    except BaseException as error:  # compiled code raises what is no Exception
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        named = any(name in str(error) for name in case.names)
        if _told_by_package(error) and named and len(str(error)) < 3000:
            return type(error).__name__, error
        return "FAULT", error


def _told_by_package(error: BaseException) -> bool:
    """Whether its class is the package's own, or a line of the package's own raised it."""
    if type(error).__module__.startswith("erragree_utils"):
        return True
    last = traceback.extract_tb(error.__traceback__)[-1]
    raised = linecache.getline(last.filename, last.lineno or 0).strip().startswith("raise")
    return raised and PACKAGE in Path(last.filename).parents


def drawn(name: str, seed: int, number: int, folder: Path) -> Case:
    """Input `number` of a part; the folder is emptied for it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return PARTS[name](random.Random(f"{seed} {name} {number}"), folder)


def run(parts: Sequence[str], n: int, seed: int = 0) -> tuple[dict[str, Counter], list[str]]:
    """Outcomes of `n` inputs, spread over parts, and a line for each fault. Nothing is fetched."""
    offline, largest = constants.HF_HUB_OFFLINE, Image.MAX_IMAGE_PIXELS
    constants.HF_HUB_OFFLINE, Image.MAX_IMAGE_PIXELS = True, PIXELS
    counts: dict[str, Counter] = {name: Counter() for name in parts}
    faults = []
    try:
        with tempfile.TemporaryDirectory() as place:
            for k in range(n):
                name, number = parts[k % len(parts)], k // len(parts)
                case = drawn(name, seed, number, Path(place) / "case")
                kind, error = outcome(case)
                counts[name][kind] += 1
                if kind == "FAULT":
                    told = f"{type(error).__name__}: {str(error)[:300]}"
                    faults.append(f"{name} {number} ({case.about}): {told}")
    finally:
        constants.HF_HUB_OFFLINE, Image.MAX_IMAGE_PIXELS = offline, largest
    return counts, faults


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--part", choices=PARTS, action="append", help="by default all of them")
    parser.add_argument("-n", type=int, default=2000, help="inputs in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, metavar="NUMBER", help="one input of a part")
    asked = parser.parse_args(arguments)
    parts = asked.part or list(PARTS)
    if asked.only is not None:
        with tempfile.TemporaryDirectory() as place:
            case = drawn(parts[0], asked.seed, asked.only, Path(place) / "case")
            print(case.about)
            print(case.call())
        return 0
    counts, faults = run(parts, asked.n, asked.seed)
    for name, found in counts.items():
        kinds = ", ".join(f"{kind} {n}" for kind, n in found.most_common())
        print(f"{name}: {found.total()} inputs: {kinds}")
    for line in faults:
        print(f"FAULT {ascii(line)}")
    print(f"{asked.n} inputs, {len(faults)} faults")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
