"""The live figure of the first page: an object goes round a chair, and CLIP and LLaVA look on.

Measured with the shipped weights when the book is built, and kept beside the execution cache.
"""

from __future__ import annotations

import hashlib
import math
import shutil
from pathlib import Path

import numpy as np
from npm_package import ONNX_RUNTIME, PackageError, extract, fetch

from erragree_utils import load_clip, load_mllm
from erragree_utils.benchmarks.tabletop import MODEL_SIZE
from erragree_utils.benchmarks.way import way
from erragree_utils.plots.live import Live, drag, readings
from erragree_utils.plots.live_parts import address
from erragree_utils.scale import SCALES
from erragree_utils.scoring.frames import read_frames
from erragree_utils.scoring.questions import VQA_QUESTION

MINI = SCALES["mini"]
#: Chosen among the first forty of the benchmark for a clear picture and a high cosine all the way.
SET = 35
FRAMES = 33
SHOWN_SIZE = 400
ORT_FILES = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")


def figure(folder: Path, npm: Path) -> Live:
    """The figure; what "Run it live" needs goes into `folder`, from packages kept in `npm`."""
    round_it = way(SET, n_frames=FRAMES)
    captions, seen = list(round_it.captions), round_it.images()
    clip, mllm = load_clip(MINI.clip), load_mllm(MINI.mllm)
    read = read_frames(clip, mllm, seen, round_it.captions)
    gap, yes = (read["score_0"] - read["score_1"]).abs().max(), list(read["yes_0"])
    caption = (
        f"Drag the {round_it.mover}, use the slider, or the arrow keys. Whichever caption fits, "
        f"CLIP's scores of “{captions[0]}” and “… to the right of …” stay within "
        f"{gap:.3f} of each other, and the cosine to the start above "
        f"{math.floor(1000 * read['cosine'].min()) / 1000:.3f}. LLaVA reads the "
        f"patch tokens of the same encoder. Asked whether it shows “{captions[0]}”, its "
        f"probability of Yes is {yes[0]:.0%} at the start, {yes[FRAMES // 2]:.0%} halfway and "
        f"{yes[-1]:.0%} at the end. One scene, picked because it is clear, "
        "and two small models; the chapters count over whole benchmarks."
    )
    live = None
    if _runtime(folder, npm):
        from live_models import export  # needs onnx, which nothing else does

        questions = [VQA_QUESTION.format(caption=text) for text in captions]
        made = export(clip, mllm, seen, captions, questions, "Yes", folder)
        (folder / "frames.bin").write_bytes(np.stack(seen).tobytes())
        megabytes = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
        live = {**made, "megabytes": round(megabytes), "size": MODEL_SIZE}
    else:
        caption += (
            " This copy was built without models for the browser; the values are from when it was "
            "built."
        )
    shown, mover = round_it.images(SHOWN_SIZE, 4), f"the {round_it.mover}"
    return drag(shown, round_it.places, readings(read), mover, caption, live)


def pair() -> tuple[list[str], list[str], float]:
    """Where the way begins and ends: two images, as addresses; their captions, CLIP's cosine."""
    round_it = way(SET, n_frames=2)
    shown = round_it.images(SHOWN_SIZE, 4)
    first, second = load_clip(MINI.clip).embed_images(round_it.images())
    alike = float(first @ second)  # of unit length
    return [address(image, 85) for image in shown], list(round_it.captions), alike


def kept_figure(cache: Path, npm: Path) -> tuple[str, Path]:
    """The HTML of the `figure` and the folder with its files, made if there is none in `cache`."""
    tools = Path(__file__).parent
    code = b"".join((tools / f"{name}.py").read_bytes() for name in ("first_page", "live_models"))
    folder = cache / f"first-page-{hashlib.sha256(code).hexdigest()[:16]}"
    page = folder / "figure.html"
    if not page.is_file():
        files = folder / "files"
        shutil.rmtree(folder, ignore_errors=True)
        files.mkdir(parents=True)
        page.write_text(figure(files, npm).html, "utf-8")
    return page.read_text("utf-8"), folder / "files"


def _runtime(folder: Path, npm: Path) -> bool:
    """Put the browser's runtime into a folder; False, and a word why, where it is not to be had."""
    try:
        archive = fetch(ONNX_RUNTIME, npm)
    except PackageError as error:
        print(f"The first page is built without “Run it live”: {error}.", flush=True)
        return False
    extract(archive, {f"dist/{name}": name for name in ORT_FILES}, folder)
    return True
