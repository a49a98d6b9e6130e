"""Questions packed behind one image compute what single prompts do."""

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import LlavaForConditionalGeneration, LlavaProcessor

from erragree_utils.models.tokens import SYSTEM
from erragree_utils.tabletop import questions, render
from erragree_utils.tabletop.questions import Question
from erragree_utils.training import packing
from erragree_utils.training.data import training_scenes
from erragree_utils.training.llava_model import patch_tokens, shared_tokenizer

PATCHES = 16


def prompt(text, system=f"{SYSTEM} "):
    return f"{system}USER: <image>\n{text} ASSISTANT:"


@pytest.fixture(scope="module")
def pictures(read_clip):
    return render.render_many(training_scenes(3, 0, 4), read_clip.image_size)


@pytest.mark.parametrize("blind", [False, True], ids=["with-image", "without-image"])
@pytest.mark.parametrize("plain", [False, True], ids=["with-system-line", "without"])
def test_a_packed_row_computes_what_single_prompts_do(saved_llava, pictures, plain, blind):
    """Logits of every answer, packed and by the model's own forward pass over pictures."""
    processor = LlavaProcessor.from_pretrained(saved_llava)
    model = LlavaForConditionalGeneration.from_pretrained(saved_llava, dtype=torch.float32).eval()
    rng = np.random.default_rng(0)
    shares = dict.fromkeys(questions.SKILLS, 1.0)
    drawn = training_scenes(3, 0, 2)
    rows = [questions.draw_questions(scene, rng, 5, shares) for scene in drawn]
    packed = packing.pack(rows, PATCHES, plain=[plain] * 2, blind=[blind] * 2)
    assert packed.segments.max(1).values.tolist() == [len(row) for row in rows]
    pictures = pictures[:2]
    with torch.no_grad():
        states = packing.packed_states(model, patch_tokens(model, pictures), packed)
        logits = model.lm_head(states)
        for r, row in enumerate(rows):
            for k, question in enumerate(row, start=1):
                system = "" if plain else f"{SYSTEM} "
                text = f"{prompt(question.text, system)} {question.answer}</s>"
                image = None if blind else Image.fromarray(pictures[r])
                text = text.replace("<image>\n", "") if blind else text
                inputs = processor(images=image, text=text, return_tensors="pt")
                alone = model(**inputs).logits[0]
                where = (packed.segments[r] == k) & (packed.targets[r] != packing.IGNORED)
                n = int(where.sum())
                assert torch.equal(packed.targets[r][where], inputs["input_ids"][0, -n:])
                assert (logits[r][where] - alone[-n - 1 : -1]).abs().max() <= 1e-4


def test_two_images_stand_in_one_prompt(saved_llava, pictures):
    """As above, with what two images add up to in place of one."""
    processor = LlavaProcessor.from_pretrained(saved_llava)
    model = LlavaForConditionalGeneration.from_pretrained(saved_llava, dtype=torch.float32).eval()
    drawn = training_scenes(3, 0, 2)
    row = questions.draw_questions_of_two(tuple(drawn), np.random.default_rng(0), 3)
    packed = packing.pack([row], 2 * PATCHES)
    with torch.no_grad():
        tokens = patch_tokens(model, pictures[:2])
        states = packing.packed_states(model, torch.cat([tokens[:1], tokens[1:]], dim=1), packed)
        text = f"{SYSTEM} USER: <image>\n<image>\n{row[1].text} ASSISTANT:"
        images = [Image.fromarray(p) for p in pictures[:2]]
        alone = model(**processor(images=images, text=text, return_tensors="pt")).logits[0, -1]
    (first, *_) = torch.nonzero(
        (packed.segments[0] == 2) & (packed.targets[0] != packing.IGNORED)
    ).flatten()
    assert (model.lm_head(states)[0, first] - alone).abs().max() <= 1e-4


def test_the_loss_counts_answers_only():
    row = [Question("colour", "What colour is the mug?", "red"), Question("x", "Is it?", "no")]
    packed = packing.pack([row], PATCHES)
    counted = packed.targets[packed.targets != packing.IGNORED]
    assert shared_tokenizer().convert_ids_to_tokens(counted.tolist()) == [
        "red",
        "</s>",
        "no",
        "</s>",
    ]


def test_questions_see_the_image_and_themselves_alone():
    row = [Question("colour", "What colour is the mug?", "red")] * 2
    packed = packing.pack([row, row[:1]], PATCHES, plain=[False, True])
    open_ = packed.mask()[:, 0] == 0
    start = PATCHES + 3
    first, second = (torch.nonzero(packed.segments[0] == k).flatten() for k in (1, 2))
    assert open_[0][second, :start].all() and not open_[0][second][:, first].any()
    assert not open_.triu(1).any()
    assert not open_[1][start:, 1].any() and open_[0][start:, 1].all()  # the system line
    assert packed.positions[0, second[0]] == start and packed.positions[1, first[0]] == start - 1


def test_a_question_that_does_not_fit_is_left_out():
    long = Question("describe", questions.DESCRIBE, "a red mug to the left of a blue table")
    short = Question("colour", "What colour is the mug?", "red")
    packed = packing.pack([[short, long, short]], PATCHES, length=20)
    answers = packed.targets[packed.targets != packing.IGNORED]
    words = shared_tokenizer().convert_ids_to_tokens(answers.tolist())
    assert words == ["red", "</s>", "red", "</s>"]
    assert packed.tokens.shape[1] == PATCHES + 3 + 20
    assert packed.segments.max() == 2
