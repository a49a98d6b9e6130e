"""Train the mini LLaVA: ``python -m erragree_utils.training.llava``.

A small Llama reads a mini CLIP's patch tokens through a two-layer projector, as in LLaVA-1.5 (Liu
et al. 2023, "Improved Baselines with Visual Instruction Tuning"). The vision tower is the CLIP's
own, bit for bit, and stays frozen; its tokens come from the second-to-last block.

There are three stages. LLaVA-1.5 starts from a trained language model, so stage 0 trains one, on
text alone, with its own prior for each kind of question. Stage 1 trains only the *projector*, on
captions. Stage 2, *instruction tuning*, trains the projector and the language model on questions.
Its last steps are *mixed*: they include questions about the visual patterns, whose answers are
imbalanced, and text without an image. It costs little to vary these steps: ``--start`` continues
from where another run began them.

The vision tower runs once over all pictures, and its tokens are kept on disk. Several questions
share one image in a row. Each attends to the image and to itself, at the positions that it would
have alone, so a packed row computes the same as single prompts. The loss counts only answers.
"""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from transformers import LlavaForConditionalGeneration as Llava

from . import clip, instruction
from .data import TrainingScenes, draw_contrast, load_contrasts, pattern_contrast
from .features import cache_features, tower_mark
from .instruction import TUNING as TUNING
from .llava_exam import set_exam, validate
from .llava_model import TEMPLATE as TEMPLATE
from .llava_model import Settings, build_model, build_tokenizer, save, standardise
from .llava_model import build_processor as build_processor
from .loop import Run, command_line, copy_log, parse
from .packing import Packed, answer_loss, pack

ASSETS = clip.ALL_ASSETS / "mini-llava"
MARGIN = 8  # pictures are rendered larger by this many pixels and cropped at random
ASKED = 2  # questions for each image that shows a visual pattern
STAGES = ("text", "alignment", "tuning", "mixed")


class Batches:
    """Random batches: patch tokens of pictures, each with its packed questions.

    Scenes come with their twins. In the mixed steps, some rows show one scene of a contrast with a
    question about it, and some have no image.
    """

    def __init__(self, model: Llava, settings: Settings, clip_folder: Path, runs: Path):
        self.settings, s = settings, settings
        vision = model.config.vision_config
        drawn = TrainingScenes(s.data_seed, s.scenes, s.twins)
        size, pictures = vision.image_size + MARGIN, runs / "pictures"
        mark = f"{tower_mark(clip_folder)}-{s.crops}.npy"

        def read(images: np.ndarray) -> np.ndarray:
            path = runs / "features" / f"{Path(images.filename).stem}-{mark}"
            return cache_features(model, images, s.crops, s.data_seed, path)

        self.features = read(drawn.pictures(pictures, size))
        self.scenes = list(map(drawn.scene, range(drawn.n)))
        self.special = read(load_contrasts(pictures, s.data_seed, s.contrasts, size))
        self.contrasts = [pattern_contrast(s.data_seed, i) for i in range(s.contrasts)]
        self.several = np.array([len(scene.things) > 1 for scene in self.scenes])
        self.blank = np.zeros((s.batch, 0, vision.hidden_size), np.float16)

    def draw(self, step: int) -> tuple[torch.Tensor, ...]:
        """The batch of one step; it depends only on seed and step, so runs resume exactly.

        Patch tokens, and the four tensors of `Packed`.
        """
        s = self.settings
        rng = np.random.default_rng((s.seed, step))
        stage = STAGES[sum(step >= end for end in s.ends[:-1])]
        length = {"text": s.text_length, "alignment": s.alignment_length}.get(
            stage, s.tuning_length
        )
        most = length // 10  # few questions are shorter than 10 tokens
        blind = np.zeros(s.batch, bool)
        if stage == "text":
            rows = self._text(rng, s.batch, most, s.text_imbalance, True)
            features = self.blank
        elif stage == "alignment":
            features, rows = self._images(rng, s.batch, most, instruction.ALIGNMENT)
        else:
            began = s.text_steps + s.alignment_steps
            done = step - began
            skills = instruction.shares(done, done >= s.relations_after)
            if stage == "tuning":
                features, rows = self._images(rng, s.batch, most, skills)
            elif rng.random() < s.two_images:
                features, rows = self._two(rng, most)
            else:
                features, rows, blind = self._mixed(rng, most, skills)
        plain = rng.random(s.batch) < s.plain
        packed = pack(rows, features.shape[1], length, plain, blind)
        return torch.from_numpy(features).float(), *vars(packed).values()

    def _text(
        self, rng: np.random.Generator, n: int, most: int, imbalance: float, read: bool
    ) -> list:
        scenes = [self.scenes[i] for i in rng.choice(len(self.scenes), n)]
        left_right = bool(self.settings.left_right)
        return instruction.text_rows(scenes, draw_contrast, rng, most, imbalance, left_right, read)

    def _images(
        self, rng: np.random.Generator, n: int, most: int, skills: dict[str, float]
    ) -> tuple[np.ndarray, list]:
        index, left_right = self._choose(rng, n), bool(self.settings.left_right)
        rows = [instruction.about(self.scenes[i], rng, most, skills, left_right) for i in index]
        return self._see(self.features, index, rng), rows

    def _mixed(
        self, rng: np.random.Generator, most: int, skills: dict[str, float]
    ) -> tuple[np.ndarray, list, np.ndarray]:
        """Images, some of them of visual patterns or left out; and which ones are left out."""
        s = self.settings
        few, unseen = (
            int(rng.binomial(s.batch, share)) for share in (s.pattern_share, s.text_only)
        )
        few = min(few, s.batch - unseen)
        features, rows = self._images(rng, s.batch - unseen - few, most, skills)
        shown = rng.choice(len(self.contrasts), few)
        which = (rng.random(few) >= s.imbalance).astype(int)
        for i, k in zip(shown, which, strict=True):
            contrast = self.contrasts[i]
            asked = [instruction.of_pattern(contrast, k, rng) for _ in range(ASKED)]
            others = instruction.about(contrast.scenes[k], rng, most, skills, bool(s.left_right))
            rows.append([*asked, *others])
        rows += self._text(rng, unseen, most, s.imbalance, read=False)
        seen = self._see(self.special, 2 * shown + which, rng)
        nothing = np.zeros((unseen, *features.shape[1:]), features.dtype)
        blind = np.arange(s.batch) >= s.batch - unseen
        return np.concatenate([features, seen, nothing]), rows, blind

    def _two(self, rng: np.random.Generator, most: int) -> tuple[np.ndarray, list]:
        """Half of the rows show the two scenes of a contrast, half show any two scenes."""
        n = self.settings.batch
        shown = rng.choice(len(self.contrasts), n // 2)
        orders = rng.integers(0, 2, n // 2)
        first, second = (rng.choice(len(self.scenes), n - n // 2) for _ in range(2))
        rows = [
            [instruction.of_pattern_among_two(self.contrasts[i], order, rng) for _ in range(most)]
            for i, order in zip(shown, orders, strict=True)
        ] + [
            instruction.questions.draw_questions_of_two((self.scenes[i], self.scenes[j]), rng, most)
            for i, j in zip(first, second, strict=True)
        ]
        sides = [
            np.concatenate([self._see(self.special, 2 * shown + side, rng), other])
            for side, other in (
                (orders, self._see(self.features, first, rng)),
                (1 - orders, self._see(self.features, second, rng)),
            )
        ]
        return np.concatenate(sides, axis=1), rows

    def _choose(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Random ordinary pictures: a few with one object, the others with their twins."""
        lone, several = np.flatnonzero(~self.several), np.flatnonzero(self.several)
        alone = int(rng.binomial(n, self.settings.lone)) if len(lone) else 0
        first = rng.choice(several, n - alone)
        twins = first[: (n - alone) // 2] ^ 1
        twins = np.where(self.several[twins % len(self.several)], twins, first[: len(twins)])
        first[len(first) - len(twins) :] = twins
        return np.concatenate([rng.choice(lone, alone), first])

    def _see(self, features: np.ndarray, index: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        crops = rng.integers(0, self.settings.crops, len(index))
        return features[index, crops]


def freeze(model: Llava, stage: str) -> None:
    """Unfreeze what a stage trains: the Llama, the projector or both, but never the tower."""
    for name, p in model.named_parameters():
        if "vision_tower" not in name:
            projector = "projector" in name
            p.requires_grad_(
                projector if stage == "alignment" else stage != "text" or not projector
            )


def train(
    settings: Settings,
    folder: Path,
    clip_folder: Path,
    every: int = 500,
    compiled: bool = False,
    device: str = "cpu",
    origin: Path | None = None,
) -> Llava:
    """Train the model of a run folder, or continue; it reads the CLIP in `clip_folder`.

    Every `every` steps, it writes a checkpoint and logs (``log.jsonl``) the loss and what
    :func:`validate` measures. The checkpoint where the mixed steps begin is kept (``mixed.pt``). A
    new run with an `origin`, another run's folder, continues from there. With `compiled`, PyTorch
    compiles the Llama's layers, which is a fifth faster but needs a C++ compiler.
    """
    model = build_model(settings, clip_folder, build_tokenizer(instructed=True)).to(device)
    run = Run(
        folder, settings, model, ("language_model.layers", "projector"),
        origin and origin / "mixed.pt",
    )  # fmt: skip
    batches = Batches(model, settings, clip_folder, folder.parent)
    if run.start == 0:
        standardise(model, torch.from_numpy(np.array(batches.features[:256, 0])).to(device))
    exam = list(set_exam(model, settings))
    if compiled:
        for layer in model.model.language_model.layers:
            layer.compile(dynamic=False)

    def loss(features: torch.Tensor, *packed: torch.Tensor) -> torch.Tensor:
        reduced = settings.precision == "bfloat16"
        kind = features.device.type
        with torch.autocast(kind, torch.bfloat16) if reduced else nullcontext():
            return answer_loss(model, features, Packed(*packed))

    @torch.compiler.set_stance("force_eager")  # its rows differ in length
    def measures() -> dict[str, float]:
        return validate(model, exam)

    with ThreadPoolExecutor(1) as ahead:  # draws questions while the last ones are being learned
        coming = {run.start: ahead.submit(batches.draw, run.start)}

        def draw(step: int) -> list[torch.Tensor]:
            if step + 1 < settings.steps:
                coming[step + 1] = ahead.submit(batches.draw, step + 1)
            return [tensor.to(device) for tensor in coming.pop(step).result()]

        for stage, end in zip(STAGES, settings.ends, strict=True):
            if stage == "mixed" and run.start == settings.ends[-2] and not origin:
                shutil.copy(run.checkpoint, folder / "mixed.pt")
            if run.start < end:
                freeze(model, stage)
                run.fit(loss, draw, measures, every, end)
    return model


def main(arguments: list[str] | None = None) -> None:
    """Command line: train and write the weights."""
    what = "Train the mini LLaVA (on a CPU an hour or more)."
    parser = command_line(what, "mini-llava", Settings())
    parser.add_argument("--clip", type=Path, default=clip.ASSETS, help="folder of the CLIP to read")
    parser.add_argument("--compile", action="store_true", help="faster; needs a C++ compiler")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--start", type=Path, help="run whose mixed steps are done otherwise")
    options, settings = parse(parser, Settings, arguments)
    model = train(
        settings, options.run, options.clip, compiled=options.compile, device=options.device,
        origin=options.start,
    )  # fmt: skip
    save(model.cpu(), build_tokenizer(instructed=True), settings, options.out)
    copy_log(options.run, options.out)


if __name__ == "__main__":
    main()
