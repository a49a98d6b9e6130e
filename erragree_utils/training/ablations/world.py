"""What the ablations see: pictures of two things, captions of four sorts, batches of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from ...tabletop import captions, places, questions
from ...tabletop.scenes import OPPOSITE, TRAIN, Scene
from .. import clip, llava
from ..data import TrainingScenes
from ..llava_model import shared_tokenizer
from .experiments import Settings

_CAPTIONS = 0x6162  # a word of the captions' random streams that no other has


@dataclass(frozen=True)
class World:
    """Scenes of two things with their pictures and tokens of their captions.

    `scenes` are N, `images` (N, size, size, 3) uint8, `places` (N,). Of the captions' tokens, each
    (N, captions, context) and padded on the right, `plain` state no relation, `stating` do,
    `opposite` are those with the relation turned round, `asking` are questions with their answers.
    """

    scenes: list[Scene]
    images: np.ndarray
    places: np.ndarray
    plain: torch.Tensor
    stating: torch.Tensor
    opposite: torch.Tensor
    asking: torch.Tensor


def encode(texts: Sequence[str], context: int) -> torch.Tensor:
    """Tokens (N, context) of texts between start and end, padded on the right."""
    tokenizer = shared_tokenizer()
    whole = [f"<s>{text}</s>" for text in texts]
    tokens = np.full((len(texts), context), tokenizer.pad_token_id)
    encoded = tokenizer.backend_tokenizer.encode_batch(whole, add_special_tokens=False)
    for row, text in zip(tokens, encoded, strict=True):
        ids = text.ids[:context]
        row[: len(ids)] = [*ids[:-1], tokenizer.eos_token_id]
    return torch.from_numpy(tokens)


def opposite_caption(caption: str) -> str | None:
    """The caption with its relation turned round, or None if it states none."""
    masked = f" {caption} "
    for setting in (*places.PLACES.values(), *places.LIGHTS.values()):
        masked = masked.replace(f" {setting.phrase} ", f" {'_' * len(setting.phrase)} ")
    ways = [(text, r, i) for r, texts in captions.WORDS.items() for i, text in enumerate(texts)]
    for text, relation, i in sorted(ways, key=lambda way: -len(way[0])):
        at = masked.find(f" {text} ")
        if at >= 0:
            others = captions.WORDS[OPPOSITE[relation]]
            return caption[:at] + others[min(i, len(others) - 1)] + caption[at + len(text) :]
    return None


@lru_cache(maxsize=2)
def load_world(folder: Path, scenes: int, size: int, n: int, context: int) -> World:
    """Render what `folder` lacks of the pictures, keep those of two things, and write captions.

    So many `scenes` are drawn, with `n` captions of each sort, cut to `context` tokens.
    """
    drawn = TrainingScenes(0, scenes)
    images = drawn.pictures(folder, size)
    index, kept, texts = [], [], []
    for i in range(scenes):
        scene = drawn.scene(i)
        four = draw_captions(scene, np.random.default_rng((TRAIN, 0, i, _CAPTIONS)), n)
        if four:
            index.append(i)
            kept.append(scene)
            texts.append(four)
    tokens = [
        encode([text for four in texts for text in four[k]], context).view(len(kept), n, context)
        for k in range(4)
    ]
    return World(kept, images[index], np.array([drawn.place(i) for i in index]), *tokens)


def draw_captions(scene: Scene, rng: np.random.Generator, n: int) -> tuple[list[str], ...] | None:
    """`n` captions of each sort: plain, with the relation, with the opposite one, questions.

    None for a scene without a relation that is plain to see.
    """
    if scene.relation is None:
        return None
    plain: list[str] = []
    stating: list[str] = []
    for _ in range(40 * n):  # few scenes have none to state
        text = captions.training_caption(scene, rng)
        (stating if captions.states_relation(text) else plain).append(text)
        if min(len(plain), len(stating)) >= n:
            break
    else:
        return None
    asking = questions.draw_questions(scene, rng, n, llava.TUNING)
    opposite = [str(opposite_caption(text)) for text in stating[:n]]
    return plain[:n], stating[:n], opposite, [f"{q.text} {q.answer}" for q in asking]


class Batches(clip.Batches):
    """Batches as the mini CLIP's, with captions by the experiment's shares.

    Seed, step and batch size alone decide which pictures come: experiments of one seed see the
    same ones.
    """

    def __init__(self, world: World, settings: Settings):
        super().__init__(world.images, world.places, world.plain, settings)
        self.world = world
        sizes = sorted(len(place) for place in self.by_place)
        room = sum(sizes[: settings.places_per_batch])
        if room < settings.batch:
            raise ValueError(
                f"a batch of {settings.batch} does not fit: {settings.places_per_batch} places may "
                f"have {room} pictures; draw more scenes than {settings.scenes}"
            )

    def draw(self, step: int) -> tuple:
        """Images, texts and opposites of one step, which depends on seed and step alone."""
        images, texts = super().draw(step)
        return images, *texts

    def texts(
        self, index: np.ndarray, rng: np.random.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Captions (N, length), and opposites (M, length) of those with a relation, M >= 0."""
        s, world, at = self.settings, self.world, torch.from_numpy(index)
        column = torch.from_numpy(rng.integers(0, s.captions, len(index)))
        stating = torch.from_numpy(rng.random(len(index)) < s.relation_share)
        asking = torch.from_numpy(rng.random(len(index)) < s.question_share)
        texts = torch.where(stating[:, None], world.stating[at, column], world.plain[at, column])
        texts = torch.where(asking[:, None], world.asking[at, column], texts)
        negative = world.opposite[at, column][stating & ~asking & s.hard_negatives]
        both = torch.cat([texts, negative])
        length = int((both != shared_tokenizer().pad_token_id).sum(1).max())
        return texts[:, :length], negative[:, :length]


class QuestionBatches(Batches):
    """The same pictures with questions and answers, in the shares of the mini LLaVA's training."""

    def texts(
        self, index: np.ndarray, rng: np.random.Generator
    ) -> tuple[list[list[questions.Question]], None]:
        """The questions about each picture; they may be more than a row has room for."""
        most = llava.Settings.tuning_length // 10  # few are shorter than ten tokens
        drawn = (self.world.scenes[i] for i in index)
        return [questions.draw_questions(scene, rng, most, llava.TUNING) for scene in drawn], None
