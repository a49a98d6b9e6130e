"""Train the mini LLaVA: ``python -m erragree_utils.training.llava``.

A small Llama reads the mini CLIP's patch tokens through a two-layer projector, as in LLaVA-1.5
(Liu et al. 2023, "Improved Baselines with Visual Instruction Tuning"): the vision tower is the mini
CLIP's own, bit by bit, and stays frozen; its tokens come from the last block but one.

Two stages as there: *alignment* on descriptions and captions, then *instruction tuning* on varied
questions. The language model starts from nothing, so it learns its words in the first stage too,
where LLaVA-1.5 trains the projector alone.

The vision tower runs once over all pictures and its tokens are kept on disk. Several questions
share one image in a row: each attends to the image and to itself, at the positions it would have
alone, so that a packed row computes what single prompts would. The loss counts answers only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from transformers import LlavaForConditionalGeneration as Llava

from ..tabletop import questions
from . import clip
from .data import (
    TrainingScenes,
    crop,
    keep,
    load_pattern_pictures,
    pattern_example,
)
from .llava_exam import set_exam, validate
from .llava_model import TEMPLATE as TEMPLATE
from .llava_model import Settings, build_model, build_tokenizer, patch_tokens, save, standardise
from .llava_model import build_processor as build_processor
from .loop import Run, command_line, copy_log, parse
from .packing import Packed, answer_loss, pack

ASSETS = clip.ALL_ASSETS / "mini-llava"
TOWER = clip.ALL_ASSETS / "mini-clip-tower"  # the CLIP whose tower it reads
CHUNK = 1024  # pictures whose patch tokens are computed at a time

#: Relative frequency of the skills in the two stages.
ALIGNMENT = {"describe": 1.0, "caption": 1.0}
TUNING = {
    "verify": 4.5, "check": 1.5, "relation": 2.0, "two-way": 0.7, "beside": 1.0, "edge": 0.5,
    "place": 0.8, "colour": 1.0, "kind": 0.8, "presence": 0.8, "count": 0.2, "scenery": 0.2,
    "describe": 0.7, "caption": 0.2,
}  # fmt: skip
#: Skills that need the others: they come seldom at first, and in full from this share of the steps.
LATE, FULL_AT = ("verify", "check"), 0.3


def cache_features(
    model: Llava, pictures: np.ndarray, crops: int, seed: int, path: Path
) -> np.ndarray:
    """Patch tokens of random crops of pictures, computed once and kept in a file.

    float16, shape (N, crops, patches, width). A killed run goes on where it stopped.
    """
    vision = model.config.vision_config
    shape = (len(pictures), crops, model.config.image_seq_length, vision.hidden_size)

    def chunks(done: int) -> Iterator[np.ndarray]:
        for start in range(done, len(pictures), CHUNK):
            rng, chunk = np.random.default_rng((seed, start)), pictures[start : start + CHUNK]
            features = np.empty((len(chunk), *shape[1:]), np.float16)
            for i in range(0, len(chunk), 128):
                part = chunk[i : i + 128]
                for c in range(crops):
                    high = pictures.shape[1] - vision.image_size + 1
                    corners = rng.integers(0, high, (len(part), 2))
                    tokens = patch_tokens(model, crop(part, corners, vision.image_size))
                    features[i : i + len(part), c] = tokens.numpy().astype(np.float16)
            yield features

    return keep(path, shape, np.float16, chunks)


class Batches:
    """Random batches: patch tokens of pictures, each with its questions packed.

    The pictures are the CLIP's own training pictures, and `special` ones, of the visual patterns,
    whose scenes come with a question each.
    """

    def __init__(self, model: Llava, settings: Settings, clip_folder: Path, runs: Path):
        self.settings = settings
        encoder = clip.Settings(**json.loads((clip_folder / "training.json").read_text()))
        drawn = TrainingScenes(encoder.data_seed, encoder.scenes)
        size, pictures = encoder.image_size + encoder.margin, runs / "pictures"
        weights = (clip_folder / "open_clip_model.safetensors").read_bytes()
        mark = f"{hashlib.sha256(weights).hexdigest()[:8]}-{settings.seed}-{settings.crops}.npy"

        def read(images: np.ndarray) -> np.ndarray:
            path = runs / "features" / f"{Path(images.filename).stem}-{mark}"
            return cache_features(model, images, settings.crops, settings.seed, path)

        self.features = read(drawn.pictures(pictures, size))
        self.scenes = list(map(drawn.scene, range(drawn.n)))
        self.special = read(load_pattern_pictures(pictures, settings.seed, settings.patterns, size))
        self.examples = [pattern_example(settings.seed, i) for i in range(settings.patterns)]
        several = np.array([len(scene.things) > 1 for scene in self.scenes])
        self.several, self.lone = np.flatnonzero(several), np.flatnonzero(~several)

    def draw(self, step: int) -> tuple[torch.Tensor, Packed]:
        """The batch of one step; it depends on seed and step alone, so that runs resume exactly."""
        s = self.settings
        rng = np.random.default_rng((s.seed, step))
        aligning = step < s.alignment_steps
        length = s.alignment_length if aligning else s.tuning_length
        most = length // 10  # few questions are shorter than ten tokens
        if not aligning and rng.random() < s.two_images:
            first, second = self._choose(rng, s.batch), self._choose(rng, s.batch)
            both = [self._see(self.features, index, rng) for index in (first, second)]
            features = np.concatenate(both, axis=1)
            pairs = [(self.scenes[i], self.scenes[j]) for i, j in zip(first, second, strict=True)]
            rows = [questions.draw_questions_of_two(pair, rng, most) for pair in pairs]
        else:
            few = 0 if aligning else int(rng.binomial(s.batch, s.pattern_share))
            skills, index = shares(step, s), self._choose(rng, s.batch - few)
            features = self._see(self.features, index, rng)
            rows = [questions.draw_questions(self.scenes[i], rng, most, skills) for i in index]
            if few:
                index = rng.choice(len(self.examples), few)
                features = np.concatenate([features, self._see(self.special, index, rng)])
                for scene, question in (self.examples[i] for i in index):
                    rows.append([question, *questions.draw_questions(scene, rng, most, skills)])
        plain = rng.random(s.batch) < s.plain
        packed = pack(rows, features.shape[1], length, plain)
        return torch.from_numpy(features).float(), packed

    def _choose(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Random ordinary pictures, few of them with one thing."""
        lone = int(rng.binomial(n, self.settings.lone)) if len(self.lone) else 0
        return np.concatenate([rng.choice(self.lone, lone), rng.choice(self.several, n - lone)])

    def _see(self, features: np.ndarray, index: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        crops = rng.integers(0, self.settings.crops, len(index))
        return np.stack([features[i, c] for i, c in zip(index, crops, strict=True)])


def shares(step: int, settings: Settings) -> dict[str, float]:
    """Relative frequency of each skill at a step."""
    if step < settings.alignment_steps:
        return ALIGNMENT
    progress = (step - settings.alignment_steps) / settings.tuning_steps
    late = min(1.0, 0.25 + 0.75 * progress / FULL_AT)
    return {skill: n * late if skill in LATE else n for skill, n in TUNING.items()}


def train(
    settings: Settings, folder: Path, clip_folder: Path, every: int = 500, compiled: bool = False
) -> Llava:
    """Train, or go on with, the model of a run folder, which reads the CLIP of another; returns it.

    A checkpoint is written every `every` steps, beside a log (``log.jsonl``) of the loss and what
    :func:`validate` measures. With `compiled`, PyTorch compiles the Llama's layers: a fifth faster,
    but it needs a C++ compiler.
    """
    model = build_model(settings, clip_folder, build_tokenizer())
    run = Run(folder, settings, model, ("language_model.layers", "projector"))
    batches = Batches(model, settings, clip_folder, folder.parent)
    if run.start == 0:
        standardise(model, torch.from_numpy(np.array(batches.features[:256, 0])))
    exam = list(set_exam(model, settings, len(batches.scenes)))
    if compiled:
        for layer in model.model.language_model.layers:
            layer.compile(dynamic=False)

    def loss(features: torch.Tensor, packed: Packed) -> torch.Tensor:
        reduced = settings.precision == "bfloat16"
        with torch.autocast("cpu", torch.bfloat16) if reduced else nullcontext():
            return answer_loss(model, features, packed)

    @torch.compiler.set_stance("force_eager")  # its rows differ in length
    def measures() -> dict[str, float]:
        return validate(model, exam)

    with ThreadPoolExecutor(1) as ahead:  # questions are drawn while the last ones are learned
        coming = {run.start: ahead.submit(batches.draw, run.start)}

        def draw(step: int) -> tuple[torch.Tensor, Packed]:
            if step + 1 < settings.steps:
                coming[step + 1] = ahead.submit(batches.draw, step + 1)
            return coming.pop(step).result()

        run.fit(loss, draw, measures, every)
    return model


def main(arguments: list[str] | None = None) -> None:
    """Command line: train and write the weights."""
    what = "Train the mini LLaVA (an hour and a half on two cores that do other work too)."
    parser = command_line(what, "mini-llava", Settings())
    parser.add_argument("--clip", type=Path, default=TOWER, help="folder of the CLIP to read")
    parser.add_argument("--compile", action="store_true", help="faster; needs a C++ compiler")
    options, settings = parse(parser, Settings, arguments)
    model = train(settings, options.run, options.clip, compiled=options.compile)
    save(model, build_tokenizer(), settings, options.out)
    copy_log(options.run, options.out)


if __name__ == "__main__":
    main()
