"""Methods as dataclasses: their names, their fields, and what tells one from another."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, asdict
from itertools import combinations

import pytest

from erragree_utils.decoding import M3ID, VCD, TextContrast
from erragree_utils.scoring import (
    METHODS,
    Answer,
    BothImages,
    GroupScore,
    Matching,
    Options,
    RelativePreference,
    VQAScore,
)
from erragree_utils.scoring.methods import name_of, named_methods, role_of
from erragree_utils.scoring.questions import RELATION_QUESTION


def filed(method) -> str:
    return json.dumps(asdict(method), sort_keys=True)


class TestNames:
    def test_each_of_the_usual_methods_is_known_by_its_name_and_by_its_fields(self):
        for name, method in METHODS.items():
            assert named_methods(name) == {name: method}
            assert named_methods(method) == {name: method}

    def test_a_method_of_ones_own_is_named_by_what_differs_from_the_defaults(self):
        assert name_of(Options(normalize=False)) == "Options(normalize=False)"
        assert name_of(VQAScore("set", blind=True)) == "VQAScore(options='set', blind=True)"
        assert name_of(Answer(contrast=VCD(alpha=3.0))).startswith("Answer(contrast=VCD(alpha=3.0")
        sweep = [Options(contrast=TextContrast(strength)) for strength in (0.5, 1.0, 2.0)]
        assert len(named_methods(sweep)) == 3

    def test_the_keys_of_a_mapping_are_names_of_ones_own(self):
        found = named_methods({"plain": "question-options", "noise": Options(contrast=VCD())})
        assert found == {"plain": Options(), "noise": Options(contrast=VCD())}
        assert named_methods({"blind": "vqascore"}, blind=True) == {"blind": VQAScore(blind=True)}

    def test_a_field_that_is_changed_shows_in_the_name(self):
        assert named_methods("greedy", blind=True, max_new_tokens=4) == {
            "greedy, blind=True, max_new_tokens=4": Answer(blind=True, max_new_tokens=4)
        }
        assert list(named_methods(["vqascore", VQAScore("set")], blind=True)) == [
            "vqascore, blind=True", "vqascore-all, blind=True",
        ]  # fmt: skip
        assert list(named_methods(Options(normalize=False), blind=True)) == [
            "Options(normalize=False), blind=True"
        ]

    def test_unknown_methods_and_fields_are_refused(self):
        with pytest.raises(ValueError, match="unknown method 'guess'; choose one of matching, m"):
            named_methods("guess")
        with pytest.raises(ValueError, match=r"Matching\(.*\) has no blind to choose"):
            named_methods(["vqascore", "matching"], blind=True)
        with pytest.raises(ValueError, match="has no nonsense or zeal to choose"):
            named_methods("vcd", zeal=1, nonsense=2, blind=False)


class TestFields:
    def test_what_results_are_filed_by_tells_methods_of_one_kind_apart(self):
        for (a, one), (b, other) in combinations(METHODS.items(), 2):
            if type(one) is type(other):
                assert filed(one) != filed(other), (a, b)

    def test_every_field_is_part_of_it(self):
        methods = [
            Answer(), Answer(RELATION_QUESTION), Answer(options="set"), Answer(blind=True),
            Answer(max_new_tokens=8), *(Answer(contrast=contrast) for contrast in (
                VCD(), VCD(beta=0.2), VCD(noise_step=400), M3ID(), M3ID(t0=0), TextContrast(),
                TextContrast(0), M3ID(strength=2),
            )),
        ]  # fmt: skip
        assert len(set(map(filed, methods))) == len(methods)
        assert asdict(METHODS["vcd"])["contrast"] == {
            "name": "VCD", "alpha": 1.0, "beta": 0.1, "noise_step": 500,
        }  # fmt: skip

    def test_nobody_changes_one_that_others_use(self):
        with pytest.raises(FrozenInstanceError):
            METHODS["vqascore"].blind = True
        assert hash(Options(contrast=VCD())) == hash(Options(contrast=VCD()))

    def test_a_prompt_for_two_images_says_which_one_is_meant_and_what_is_asked(self):
        BothImages("In the {which} picture: {question}")
        for prompt, field in (("{question}", "which"), ("Which {which}?", "question")):
            with pytest.raises(ValueError, match=f"has no {{{field}}}"):
                BothImages(prompt)

    @pytest.mark.parametrize("kind", [Options, Answer])
    def test_without_an_image_nothing_is_contrasted(self, kind):
        with pytest.raises(ValueError, match="nothing is contrasted"):
            kind(contrast=VCD(), blind=True)
        with pytest.raises(ValueError, match="nothing is contrasted"):
            named_methods({"x": kind(contrast=M3ID())}, blind=True)

    def test_what_is_read_twice_weighs_twice(self):
        twice = {name for name, method in METHODS.items() if method.weight == 2}
        assert twice == {"vcd", "m3id", "m3id-always", "text-contrast", "two-images"}
        assert Options(contrast=VCD()).weight == 2 and {m.weight for m in METHODS.values()} == {
            1,
            2,
        }


class TestRoles:
    def test_a_clip_embeds_and_a_language_model_answers(self, colours, tiny):
        assert (role_of(colours), role_of(tiny)) == ("clip", "mllm")
        with pytest.raises(TypeError, match="neither a Clip nor a Mllm"):
            role_of(object())

    def test_relative_preference_is_of_cosines_or_of_options_and_all_else_of_itself(self):
        relative = METHODS["relative-preference"]
        assert (relative.underlying("clip"), relative.underlying("mllm")) == (Matching(), Options())
        both = METHODS["group-score"]
        assert (both.underlying("clip"), both.underlying("mllm")) == (Matching(), VQAScore())
        assert [type(m) for m in METHODS.values() if m.decides == "pair"] == [RelativePreference]
        assert [type(m) for m in METHODS.values() if m.decides == "match"] == [GroupScore]
        for method in METHODS.values():
            for role in method.roles:
                assert method in (relative, both) or method.underlying(role) is method
