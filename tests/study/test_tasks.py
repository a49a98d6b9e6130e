"""What there is to do at a scale, or a part of it."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from erragree_utils.decoding import M3ID, VCD
from erragree_utils.scale import get_scale
from erragree_utils.scoring import METHODS, Answer, Options
from erragree_utils.study import ModelChoice, Task, default_models, plan
from erragree_utils.study.tables import SEEDS
from erragree_utils.study.tasks import with_decoding
from tests.study.test_tables import OTHERS


def asdict_text(method) -> str:
    """What results are filed by."""
    return json.dumps(asdict(method))


def test_the_mini_scale_has_every_method():
    tasks = plan(get_scale("mini"))
    assert {task.method for task in tasks} == {*METHODS, "sweep"} - OTHERS
    for name in ("tabletop-a", "tabletop-b"):
        assert {t.method for t in tasks if t.benchmark == name} == {
            "matching", "matching-all", "vqascore", "vqascore-all", "vqascore-authors", "options",
            "prompted", "prompted-4way", "prompted-v1",
        }  # fmt: skip


def test_question_pairs_are_answered_scored_and_compared():
    tasks = plan(get_scale("paper"), ["mmvp", "mmvp-vlm"])
    assert [(t.benchmark, t.model.role, t.method) for t in tasks] == [
        ("mmvp", "clip", "matching"), ("mmvp", "clip", "matching-text-to-image"),
        ("mmvp", "clip", "relative-preference"),
        ("mmvp-vlm", "clip", "matching-text-to-image"),
        *(("mmvp", "mllm", method) for method in (
            "question-options", "greedy", *["sampled"] * SEEDS["sampled"], "vcd", "m3id",
            "m3id-always", "text-contrast", "adaptvis", "two-images", "relative-preference",
            "sweep",
        )),
    ]  # fmt: skip


def test_the_paper_scale_adds_single_images_with_captions_as_wholes():
    single = [t for t in plan(get_scale("paper")) if t.benchmark.endswith("spatial")]
    assert {(t.benchmark, t.method) for t in single} == {
        (b, m) for b in ("coco-spatial", "gqa-spatial") for m in ("matching", "vqascore")
    }


def test_every_model_is_loaded_once_and_every_task_done_once():
    tasks = plan(get_scale("paper"))
    roles = [task.model.role for task in tasks]
    assert roles == sorted(roles) and set(roles) == {"clip", "mllm"}
    assert len(set(tasks)) == len(tasks)
    assert {task.model for task in tasks} == set(default_models(get_scale("paper")))


def test_a_method_for_both_kinds_of_models_is_run_by_each():
    tasks = plan(get_scale("mini"), methods=["relative-preference"])
    assert [task.model.role for task in tasks] == ["clip", "mllm"]


def test_a_part_is_chosen_by_name():
    chosen = plan(get_scale("mini"), ["tabletop-b"], methods=["matching", "prompted"])
    assert [str(task) for task in chosen] == [
        "tabletop-b, clip mini, matching", "tabletop-b, mllm mini, prompted",
    ]  # fmt: skip


def test_another_model_takes_the_place_of_the_scales():
    (task,) = plan(get_scale("mini"), ["tabletop-a"], [ModelChoice("clip", "x")], ["matching"])
    assert task.model.name == "x"


def test_a_model_is_loaded_by_its_kind_with_its_options():
    for role, kind in (("clip", "Clip"), ("mllm", "Mllm")):
        model = ModelChoice(role, "mini", {"device": "cpu", "dtype": "bfloat16"}).load()
        assert type(model).__name__ == kind and str(model.dtype) == "torch.bfloat16"


def test_names_that_are_not_in_the_study_are_refused():
    with pytest.raises(ValueError, match="no benchmark 'whatsup-a' .*'mini'; choose among tab"):
        plan(get_scale("mini"), ["whatsup-a"])
    with pytest.raises(ValueError, match="no method 'guess' .*matching, vqascore"):
        plan(get_scale("mini"), methods=["guess"])
    with pytest.raises(ValueError, match="nothing to do"):
        plan(get_scale("mini"), models=[ModelChoice("clip", "x")], methods=["vqascore"])


class TestDecoding:
    """Other settings of a method's decoding, by the name of the method."""

    def test_they_take_the_place_of_the_contrasts_and_of_the_drawing(self):
        assert with_decoding("m3id", {"t0": 0, "threshold": 1}).contrast == M3ID(t0=0, threshold=1)
        assert with_decoding("vcd", {"alpha": 0.5}).contrast == VCD(alpha=0.5)
        changed = with_decoding("m3id", {"temperature": 0.2, "seed": 3, "max_new_tokens": 64})
        assert (changed.temperature, changed.seed, changed.max_new_tokens) == (0.2, 3, 64)
        assert changed.contrast == M3ID() and METHODS["m3id"].temperature == 0
        assert with_decoding("greedy", {}) == METHODS["greedy"]

    def test_what_equals_the_default_is_the_default_however_it_is_written(self):
        for settings in ({"t0": 10.0}, {"threshold": 0.3}, {"seed": 0.0}):
            changed = with_decoding("m3id", settings)
            assert asdict_text(changed) == asdict_text(METHODS["m3id"])
        assert asdict_text(with_decoding("m3id", {"t0": 5})) == asdict_text(
            with_decoding("m3id", {"t0": 5.0})
        )

    @pytest.mark.parametrize(
        ("method", "settings", "message"),
        [
            ("m3id", {"alpha": 1}, "m3id has no setting 'alpha'.*choose among decay, threshold, t"),
            ("vqascore", {"t0": 1}, "vqascore has no setting 't0' .*it does not decode"),
            ("greedy", {"seed": 1.5}, "greedy.seed must be a whole number from 0 on, not 1.5"),
            ("greedy", {"temperature": -1}, "temperature must be a number from 0 on, not -1"),
            ("greedy", {"max_new_tokens": 0}, "max_new_tokens must be a whole number from 1 on"),
            ("vcd", {"noise_step": 0.5}, "vcd.noise_step must be a whole number, not 0.5"),
            ("vcd", {"noise_step": 5000}, "from 0 to 999"),
            ("vcd", {"alpha": "much"}, "vcd.alpha must be a number, not 'much'"),
            ("vcd", {"alpha": True}, "vcd.alpha must be a number, not True"),
            ("m3id", {"threshold": float("inf")}, "threshold must be a number, not inf"),
            ("m3id", {"threshold": 2}, "threshold must be a number between 0 and 1"),
        ],
    )
    def test_what_is_none_is_refused(self, method, settings, message):
        with pytest.raises(ValueError, match=message):
            with_decoding(method, settings)

    def test_a_plan_has_them_and_says_so(self):
        (task,) = plan(get_scale("mini"), methods=["m3id"], decoding={"m3id": {"t0": 0}})
        assert task.methods == {"m3id": Answer(contrast=M3ID(t0=0))}
        assert str(task) == "tabletop-mmvp, mllm mini, m3id, t0=0"
        with pytest.raises(ValueError, match="no method 'vcd' .*choose among m3id"):
            plan(get_scale("mini"), methods=["m3id"], decoding={"vcd": {"alpha": 1}})
        with pytest.raises(ValueError, match="sweep has all its settings already"):
            plan(get_scale("mini"), decoding={"sweep": {"t0": 1}})

    def test_sampled_answers_are_drawn_with_several_seeds_unless_one_is_named(self):
        def seeds(**decoding):
            tasks = plan(get_scale("mini"), methods=["sampled"], decoding={"sampled": decoding})
            return [(t.methods["sampled"].seed, t.methods["sampled"].temperature) for t in tasks]

        assert seeds() == [(seed, 0.2) for seed in range(SEEDS["sampled"])]
        assert seeds(temperature=0.7) == [(seed, 0.7) for seed in range(SEEDS["sampled"])]
        assert seeds(seed=11) == [(11, 0.2)]


class TestSweep:
    def test_it_scores_options_under_every_setting_of_every_family(self):
        methods = Task("mmvp", ModelChoice("mllm", "x"), "sweep").methods
        assert methods["VCD: 0.5"] == Options(contrast=VCD(alpha=0.5, beta=0))
        assert {type(method) for method in methods.values()} == {Options}
        assert {name.partition(":")[0] for name in methods} == {"VCD", "text contrast", "M3ID"}

    def test_images_are_read_once_for_each_second_stream(self):
        def passes(method):
            return Task("mmvp", ModelChoice("mllm", "x"), method).passes

        assert passes("sweep") == passes("vcd") + passes("text-contrast") == 4
        assert (passes("greedy"), passes("m3id"), passes("two-images")) == (1, 2, 2)
