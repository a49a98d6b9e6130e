"""Three forms of an answer."""

import numpy as np
import pytest

from erragree_utils.scoring.answers import parse_option
from erragree_utils.tabletop import forms, patterns


@pytest.mark.parametrize("pattern", patterns.PATTERNS)
def test_every_form_names_the_answer(pattern):
    rng = np.random.default_rng(0)
    for _ in range(20):
        contrast = patterns.draw_contrast(pattern, rng, held_out=False)
        for which in (0, 1):
            word, said, letter = (forms.ask(contrast, which, form, rng) for form in forms.FORMS)
            assert word.text == contrast.question and word.answer == contrast.options[which]
            assert said.text == f"{contrast.question} {forms.IN_A_SENTENCE}"
            assert 4 <= len(said.answer.split()) <= 8 and said.answer.endswith(".")
            listed = letter.text.removeprefix(f"{contrast.question} (a) ").split(" (b) ")
            assert listed["ab".index(letter.answer[1])] == contrast.options[which]
            if pattern != "feature":
                assert parse_option(said.answer, contrast.options) == which
        assert forms.sentence(contrast, 0) != forms.sentence(contrast, 1)


def test_letters_go_to_options_at_random():
    rng = np.random.default_rng(0)
    contrast = patterns.draw_contrast("quantity", rng, held_out=False)
    letters = [forms.ask(contrast, 0, "letter", rng).answer for _ in range(40)]
    assert 10 < letters.count("(a)") < 30
