"""The mini LLaVA that is shipped: it reads from the mini CLIP's tower what matching cannot.

The chapters' findings hold its numbers, and `make robust` their margins; here a draw that no
chapter shows is asked, with wide bounds.
"""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch
from transformers import LlavaForConditionalGeneration, LlavaProcessor, PreTrainedTokenizerFast

from erragree_utils import evaluate, load_benchmark, load_clip, load_mllm, score, summarize
from erragree_utils.decoding import TextContrast
from erragree_utils.measures.decisions import prefer
from erragree_utils.scoring.methods import Options
from erragree_utils.training.llava import ASSETS

SEED = 51


@pytest.fixture(scope="module")
def mllm():
    return load_mllm("mini")


@pytest.fixture(scope="module", params=["tabletop-a", "tabletop-b"])
def bench(request):
    return load_benchmark(request.param, seed=SEED, n_sets=60)


@pytest.fixture(scope="module")
def sides(bench):
    return bench.select("left/right")


@pytest.fixture(scope="module")
def scored(mllm, sides):
    return evaluate(mllm, sides, "vqascore")


@pytest.fixture(scope="module")
def patterns(mllm):
    """Scores about visual patterns, by method."""
    bench = load_benchmark("tabletop-mmvp", seed=SEED, n_pairs=10, mined=False)
    methods = {"plain": Options(), "contrast": Options(contrast=TextContrast())}
    return dict(list(score(mllm, bench, methods).groupby("method")))


def test_vqascore_tells_left_from_right(scored):
    row = summarize(scored).iloc[0]
    assert row["individual_accuracy"] >= 0.95
    assert row["pair_accuracy"] >= 0.9


def test_written_answers_do_too(mllm, sides):
    pred = evaluate(mllm, sides, "prompted")
    assert pred["correct"].mean() >= 0.9
    assert pred["parsed"].mean() >= 0.95


def test_answers_among_the_four_relations_of_a_set_do_too(mllm, bench):
    pred = evaluate(mllm, bench, "prompted-4way").query("relation == 'left/right'")
    assert pred["n_options"].eq(4).all()
    assert pred["correct"].mean() >= 0.9


def test_the_answer_does_not_come_from_the_words(mllm, sides, scored):
    """Blind, both images get the same scores, so that no pair is right; wrong images say "No"."""
    blind = summarize(evaluate(mllm, sides, "vqascore", blind=True)).iloc[0]
    assert blind["pair_accuracy"] == 0 and blind["individual_accuracy"] <= 0.5
    wrong = evaluate(mllm, sides.with_wrong_images(), "vqascore")
    assert wrong["score_own"].mean() < 0.3 < 0.6 < scored["score_own"].mean()


def test_turning_down_the_prior_helps_and_comparing_two_images_helps_most(patterns):
    plain, contrasted = (summarize(patterns[name]).iloc[0] for name in ("plain", "contrast"))
    relative = summarize(prefer(patterns["plain"])).iloc[0]["relative_accuracy"]
    assert plain["pair_accuracy"] < contrasted["pair_accuracy"] < relative - 0.2


def test_about_visual_patterns_it_prefers_the_common_answer(patterns):
    assert prefer(patterns["plain"])["bias"].gt(0).mean() > 0.75


def test_the_towers_features_are_the_mini_clips(sides):
    """In double precision, so that what is compared is the two models, not their rounding."""
    images = [image for pair in sides[:8] for image in pair.images]
    clip, processor = load_clip("mini"), LlavaProcessor.from_pretrained(ASSETS)
    clip.model.double()
    clip.dtype = torch.float64
    model = LlavaForConditionalGeneration.from_pretrained(ASSETS, dtype=torch.float64).eval()
    pixels = processor.image_processor(images, return_tensors="pt")["pixel_values"].double()
    with torch.no_grad():
        out = model.model.vision_tower(pixels, output_hidden_states=True)
    ours = out.hidden_states[model.config.vision_feature_layer][:, 1:].numpy()
    assert np.abs(ours - clip.patch_tokens(images)).max() <= 1e-5


def test_it_is_an_ordinary_transformers_checkpoint(mllm):
    assert type(mllm.model) is LlavaForConditionalGeneration
    assert type(mllm.processor) is LlavaProcessor
    assert isinstance(mllm.processor.tokenizer, PreTrainedTokenizerFast)
    model = LlavaForConditionalGeneration.from_pretrained(ASSETS)
    processor = LlavaProcessor.from_pretrained(ASSETS)
    image = load_benchmark("tabletop-a", n_sets=1)[0].images[0]
    inputs = processor(images=image, text=mllm.prompt("Describe the image."), return_tensors="pt")
    out = model.float().generate(**inputs, max_new_tokens=20, do_sample=False)
    text = processor.decode(out[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    assert text == mllm.generate([image], "Describe the image.", max_new_tokens=20)[0]
    assert re.match(r"an? \w+ \w+", text)


def test_the_folder_says_how_it_was_made_and_is_small():
    assert sum(f.stat().st_size for f in ASSETS.iterdir()) < 6e6
    settings = json.loads((ASSETS / "training.json").read_text())
    log = [json.loads(line) for line in (ASSETS / "training_log.jsonl").read_text().splitlines()]
    stages = ("text_steps", "alignment_steps", "tuning_steps")
    assert log[-1]["step"] == sum(settings[stage] for stage in stages)
    card = (ASSETS / "README.md").read_text()
    assert "python -m erragree_utils.training.llava" in card and "seed" in card
