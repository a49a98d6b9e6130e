"""Test a mini LLaVA during training: each skill, and what the chapters measure, pair by pair."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import LlavaForConditionalGeneration as Llava

from ..tabletop import captions, patterns, questions, render, scenes
from ..tabletop.questions import Question
from .clip import VALIDATION_SEED
from .data import training_scenes
from .llava_model import Settings, patch_tokens, shared_tokenizer
from .packing import answer_logits, pack

BATCH = 32


@dataclass(frozen=True)
class Sheet:
    """Images, as patch tokens (N, patches, width), and the questions about each.

    If there are `pairs`, a name for each, then every two consecutive images are a pair. Each image
    has one question, or those of :func:`benchmark_questions`.
    """

    features: torch.Tensor
    rows: list[list[Question]]
    pairs: Sequence[str] = ()


def set_exam(model: Llava, settings: Settings) -> Iterator[Sheet]:
    """Scenes, benchmark sets and contrasts that neither training nor the chapters use.

    The scenes come alone and two at once.
    """

    def tokens(drawn: Sequence[scenes.Scene]) -> torch.Tensor:
        size = model.config.vision_config.image_size
        return patch_tokens(model, render.render_many(drawn, size))

    seed, first = settings.data_seed, settings.scenes
    held_out = training_scenes(seed, first, first + settings.validation_scenes)
    rng = np.random.default_rng((seed, first))
    rows = [
        [q for skill in questions.SKILLS if (q := questions.ask(scene, skill, rng))]
        for scene in held_out
    ]
    alone = Sheet(tokens(held_out), rows)
    yield alone
    two = zip(held_out[::2], held_out[1::2], strict=True)
    rows = [questions.draw_questions_of_two(pair, rng, 4) for pair in two]
    yield Sheet(torch.cat([alone.features[::2], alone.features[1::2]], dim=1), rows)
    for family, other in (("a", "on/under"), ("b", "front/behind")):
        rng = np.random.default_rng((scenes.TEST, VALIDATION_SEED, ord(family)))
        sets = [scenes.benchmark_set(family, rng) for _ in range(settings.validation_sets)]
        drawn = [scene for four in sets for scene in four]
        rows = [benchmark_questions(scene, family) for scene in drawn]
        yield Sheet(tokens(drawn), rows, [f"{family} left/right", f"{family} {other}"] * len(sets))
    rng = np.random.default_rng((scenes.TEST, VALIDATION_SEED, len(patterns.PATTERNS)))
    contrasts = [
        patterns.draw_contrast(name, rng, held_out=True)
        for name in patterns.PATTERNS
        for _ in range(settings.validation_contrasts)
    ]
    rows = [[Question(c.pattern, c.question, answer)] for c in contrasts for answer in c.options]
    features = tokens([scene for c in contrasts for scene in c.scenes])
    yield Sheet(features, rows, [f"pattern {c.pattern}" for c in contrasts])


def benchmark_questions(scene: scenes.Scene, family: str) -> list[Question]:
    """The scene's caption and its opposite as VQAScore prompts, and two-way and four-way prompts.

    They come in this order. `family` is that of the benchmark set, ``"a"`` or ``"b"``.
    """
    first, second = (thing.name for thing in scene.things)
    relations = scene.relation, scenes.OPPOSITE[scene.relation]
    own, false = (
        questions.VQASCORE.format(caption=captions.benchmark_caption(first, second, relation))
        for relation in relations
    )
    answer, other = (questions.ANSWERS[relation] for relation in relations)
    two_way, four_way = (
        questions.RELATION.format(options=options, first=first, second=second)
        for options in (" or ".join(sorted((answer, other))), questions.OPTIONS[family])
    )
    return [
        Question("verify", own, "Yes"),
        Question("verify", false, "No"),
        Question("relation", two_way, answer),
        Question("relation", four_way, answer),
    ]


@torch.no_grad()
def examine(model: Llava, sheet: Sheet) -> list[list[tuple[bool, float]]]:
    """Ask each image its questions.

    Returns, for each question, whether greedy decoding gives exactly the answer, and the
    probability that the answer begins with "Yes".
    """
    yes, marks = shared_tokenizer().convert_tokens_to_ids("yes"), []
    for i in range(0, len(sheet.rows), BATCH):
        rows, features = sheet.rows[i : i + BATCH], sheet.features[i : i + BATCH]
        packed = pack(rows, features.shape[1]).to(model.device)
        where, logits = answer_logits(model, features.float(), packed)
        right, chance = torch.zeros_like(where), torch.zeros(where.shape)
        right[where] = logits.argmax(-1) == packed.targets[where]
        chance[where] = logits.softmax(-1)[:, yes]
        for r, row in enumerate(rows):
            spots = [where[r] & (packed.segments[r] == k + 1) for k in range(len(row))]
            marks.append([(bool(right[r][s].all()), chance[r][s][0].item()) for s in spots])
    return marks


def validate(model: Llava, exam: list[Sheet]) -> dict[str, float]:
    """Accuracy on each skill, and what the chapters measure, pair by pair.

    Keys are skills; then family, relation and protocol, such as ``"a left/right pair"``
    (``individual`` and ``pair`` by VQAScore, ``two-way`` and ``four-way`` prompted); and for the
    visual patterns, by greedy answers, ``"pattern text pair"`` and the like.
    """
    model.eval()
    right: dict[str, list[bool]] = defaultdict(list)
    for sheet in exam:
        marks = examine(model, sheet)
        if not sheet.pairs:
            for row, row_marks in zip(sheet.rows, marks, strict=True):
                for question, (correct, _) in zip(row, row_marks, strict=True):
                    right[question.skill].append(correct)
        for name, *pair in zip(sheet.pairs, marks[::2], marks[1::2], strict=False):
            several = len(pair[0]) > 1
            chosen = [own[1] > pair_other[0][1] if several else own[0] for own, *pair_other in pair]
            right[f"{name} individual"] += chosen
            right[f"{name} pair"].append(all(chosen))
            for k, protocol in ((2, "two-way"), (3, "four-way")) if several else ():
                right[f"{name} {protocol}"] += [image[k][0] for image in pair]
    model.train()
    return {key: float(np.mean(values)) for key, values in right.items()}
