"""What the mini LLaVA's log says."""

import json

import numpy as np

from erragree_utils.tabletop import patterns, questions, scenes
from erragree_utils.training.llava_exam import benchmark_questions


def test_the_log_holds_every_skill_and_what_the_chapters_measure(trained_llava):
    log = [json.loads(line) for line in (trained_llava[1] / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == [1, 2, 3, 4, 5, 6, 8]
    measured = {
        f"{pair} {what}"
        for pair in ("a left/right", "a on/under", "b left/right", "b front/behind")
        for what in ("individual", "pair", "two-way", "four-way")
    }
    measured |= {
        f"pattern {p} {what}" for p in patterns.PATTERNS for what in ("individual", "pair")
    }
    assert measured | set(questions.SKILLS) | {"two images"} <= set(log[0])
    assert all(0 <= value <= 1 for key, value in log[0].items() if key in measured)


def test_questions_of_benchmark_scenes_are_the_protocols():
    scene = scenes.benchmark_set("a", np.random.default_rng(0))[1]  # right of
    first, second = (thing.name for thing in scene.things)
    own, false, two_way, four_way = benchmark_questions(scene, "a")
    assert f"to the right of a {second}".replace(" a o", " an o") in own.text
    assert own.text.replace("right", "left") == false.text
    assert (own.answer, false.answer) == ("Yes", "No")
    assert four_way.text == (
        f"Where is the {first} in relation to the {second}? Answer with left, right, on or under."
    )
    assert two_way.text.endswith("Answer with left or right.")
    assert two_way.answer == four_way.answer == "right"
