"""What there is to do at a scale, or a part of it."""

from __future__ import annotations

import pytest

from erragree_utils.scale import get_scale
from erragree_utils.scoring import METHODS
from erragree_utils.study import ModelChoice, default_models, plan


def test_the_mini_scale_has_every_method():
    tasks = plan(get_scale("mini"))
    assert {task.method for task in tasks} == set(METHODS)
    for name in ("tabletop-a", "tabletop-b"):
        assert {t.method for t in tasks if t.benchmark == name} == {
            "matching", "matching-all", "vqascore", "vqascore-all", "options", "prompted",
            "prompted-4way",
        }  # fmt: skip


def test_question_pairs_are_answered_scored_and_compared():
    tasks = plan(get_scale("paper"), ["mmvp", "mmvp-vlm"])
    assert [(t.benchmark, t.model.role, t.method) for t in tasks] == [
        ("mmvp", "clip", "matching"), ("mmvp", "clip", "relative-preference"),
        ("mmvp-vlm", "clip", "matching-text-to-image"),
        *(("mmvp", "mllm", method) for method in (
            "question-options", "greedy", "vcd", "m3id", "text-contrast", "two-images",
            "relative-preference",
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
