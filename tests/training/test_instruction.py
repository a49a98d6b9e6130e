"""What the mini LLaVA is asked in training."""

import numpy as np

from erragree_utils.tabletop import patterns, questions
from erragree_utils.training import data, instruction
from erragree_utils.training.llava_model import shared_tokenizer

SCENES = data.training_scenes(3, 0, 60)


def text_rows(imbalance=0.9, left_right=True, read=True, n=8):
    rng = np.random.default_rng(1)
    return instruction.text_rows(
        SCENES, data.draw_contrast, rng, n, imbalance, left_right, read
    )  # fmt: skip


def test_yes_or_no_comes_seldom_at_first_and_relations_most_at_last():
    early, late = instruction.shares(0, False), instruction.shares(2000, False)
    assert late == instruction.TUNING
    assert early["verify"] < 0.5 * late["verify"]
    assert early["colour"] == late["colour"]
    assert instruction.shares(2000, True)["relation"] > 2 * late["relation"]


def test_the_common_answer_is_right_as_often_as_the_setting_says():
    words = {"two": True, "front": True, "three": False, "above": False}
    drawn = [q for row in text_rows(read=False, n=40) for q in row]
    common = [words[q.answer] for q in drawn if q.skill in ("quantity", "viewpoint")
              and q.answer in words]  # fmt: skip
    assert len(common) > 40 and abs(np.mean(common) - 0.9) < 0.12


def test_half_of_the_text_rows_read_a_description():
    told = {questions.describe(scene).capitalize() for scene in SCENES}
    read = [row for row in text_rows() if row[0].text.split(".")[0] in told]
    assert 0.2 < len(read) / len(SCENES) < 0.6
    for row in read:
        assert all(q.skill in instruction.READABLE for q in row)
    unread = [q for row in text_rows(read=False) for q in row]
    assert not any(q.text.split(".")[0] in told for q in unread)


def test_the_words_of_all_rows_are_known():
    tokenizer = shared_tokenizer(instructed=True)
    for row in text_rows():
        for q in row:
            assert tokenizer.unk_token_id not in tokenizer(f"{q.text} {q.answer}").input_ids


def test_without_left_and_right_no_text_tells_sides_of_two_things():
    rng = np.random.default_rng(2)
    rows = [instruction.about(s, rng, 8, instruction.TUNING, False) for s in SCENES]
    rows += text_rows(left_right=False)
    drawn = [q for row in rows for q in row if instruction.tells_sides(q)]
    assert {q.skill for q in drawn} == {"place", "orientation"}
    assert not {"describe", "edge"} & {q.skill for row in rows for q in row}
    sided = [instruction.about(s, rng, 8, instruction.TUNING, True) for s in SCENES]
    assert any(instruction.tells_sides(q) and q.skill == "verify" for row in sided for q in row)


def test_of_two_images_the_one_that_is_asked_about_has_the_answer():
    rng = np.random.default_rng(3)
    for _ in range(30):
        contrast = patterns.draw_contrast("state", rng, held_out=False)
        order = int(rng.integers(2))
        question = instruction.of_pattern_among_two(contrast, order, rng)
        place = [
            questions.OF_TWO.split("{")[0] + which in question.text for which in questions.WHICH
        ]
        shown = (order, 1 - order)[place.index(True)]
        assert question.answer == contrast.options[shown]
