"""The live figure of the first page: an object goes round a chair, and CLIP and LLaVA look on.

Measured with the shipped weights when the book is built, and kept beside the execution cache.
"""

from __future__ import annotations

import hashlib
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
from npm_package import ONNX_RUNTIME, PackageError, extract, fetch
from PIL import Image

from erragree_utils import load_clip, load_mllm, score
from erragree_utils.benchmarks import ImagePair
from erragree_utils.benchmarks.tabletop import MODEL_SIZE, tabletop_sets
from erragree_utils.plots.live import Live, Reading, drag
from erragree_utils.scale import SCALES
from erragree_utils.scoring.questions import VQA_QUESTION
from erragree_utils.tabletop.captions import benchmark_caption
from erragree_utils.tabletop.render import render_many, render_scene
from erragree_utils.tabletop.scenes import GAP_FURNITURE, Scene

#: The CLIP whose vision tower the LLaVA reads, and that LLaVA.
MINI = SCALES["mini"]
#: Chosen among the first forty of the benchmark for a clear picture and a high cosine all the way.
SET = 35
FRAMES = 33
SHOWN_SIZE = 400
#: How far in front of the furniture the way passes, in scene units.
DEPTH = 1.1
ORT_FILES = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")


def way() -> list[Scene]:
    """The scenes: the small thing goes from the left of the furniture, in front of it, round to
    the right; the first and the last are a pair of the benchmark."""
    scene = tabletop_sets("tabletop-a", 0, SET + 1)[SET][0]
    mover, furniture = scene.things
    angles = np.linspace(math.pi, 2 * math.pi, FRAMES)
    return [
        replace(scene, things=(
            replace(mover, x=GAP_FURNITURE * math.cos(a), z=DEPTH * math.sin(a)), furniture,
        ))
        for a in angles.tolist()
    ]  # fmt: skip


def figure(folder: Path, npm: Path) -> Live:
    """The figure; what "Run it live" needs goes into `folder`, from packages kept in `npm`."""
    scenes = way()
    mover, furniture = (thing.name for thing in scenes[0].things)
    captions = [benchmark_caption(mover, furniture, r) for r in ("left of", "right of")]
    seen = [Image.fromarray(pixels) for pixels in render_many(scenes, MODEL_SIZE)]
    shown = [Image.fromarray(pixels) for pixels in render_many(scenes, SHOWN_SIZE, 4)]

    clip, mllm = load_clip(MINI.clip), load_mllm(MINI.mllm)
    embeddings, texts = clip.embed_images(seen), clip.embed_texts(captions)
    cosines, matching = embeddings @ embeddings[0], embeddings @ texts.T
    pairs = [
        ImagePair(str(i), str(i), "left/right", tuple(captions), (image,))
        for i, image in enumerate(seen)
    ]
    scores = score(mllm, pairs, "vqascore")
    yes = [scores.loc[scores["option_index"] == k, "score"].to_numpy() for k in (0, 1)]

    most = 1.25 * float(matching.max())
    sides = ("left", "right")
    readings = [
        Reading("CLIP", "cosine to the start", cosines, drawn=True),
        *(Reading("CLIP", f"score, “{side} of”", matching[:, k], most=most)
          for k, side in enumerate(sides)),
        *(Reading("LLaVA", f"P(Yes), “{side} of”", yes[k], "share", drawn=k == 0)
          for k, side in enumerate(sides)),
    ]  # fmt: skip
    gaps = matching[:, 0] - matching[:, 1]
    caption = (
        f"Drag the {mover}, use the slider, or the arrow keys. Whichever caption fits, CLIP's "
        f"scores of “{captions[0]}” and “… to the right of …” stay within "
        f"{np.abs(gaps).max():.3f} of each other, and the cosine to the start above "
        f"{math.floor(1000 * cosines.min()) / 1000:.3f}. LLaVA reads the "
        f"patch tokens of the same encoder. Asked whether it shows “{captions[0]}”, it says Yes "
        f"with {yes[0][0]:.0%} at the start, {yes[0][FRAMES // 2]:.0%} halfway and "
        f"{yes[0][-1]:.0%} at the end. One scene, picked because it is clear, "
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
    return drag(shown, _places(scenes), readings, f"the {mover}", caption, live)


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


def _places(scenes: list[Scene]) -> list[float]:
    """Where the first thing's middle is in each picture, in shares of its width."""
    middles = [
        np.flatnonzero((render_scene(scene, 160, 1)[1] == 2).any(axis=0)).mean() for scene in scenes
    ]
    return [float((middle + 0.5) / 160) for middle in middles]


def _runtime(folder: Path, npm: Path) -> bool:
    """Put the browser's runtime into a folder; False, and a word why, where it is not to be had."""
    try:
        archive = fetch(ONNX_RUNTIME, npm)
    except PackageError as error:
        print(f"The first page is built without “Run it live”: {error}.", flush=True)
        return False
    extract(archive, {f"dist/{name}": name for name in ORT_FILES}, folder)
    return True
