"""The mini CLIP, which the mini LLaVA reads: a good one that shows the book's first findings.

The chapters' findings hold its numbers, and `make robust` their margins; here a draw that no
chapter shows is asked, with wide bounds.
"""

from __future__ import annotations

import json

import numpy as np
import open_clip
import pytest
from safetensors import safe_open

from erragree_utils import evaluate, load_benchmark, load_clip, summarize
from erragree_utils.benchmarks.tabletop import tabletop_things
from erragree_utils.scoring.embeddings import image_embeddings, pair_cosines, random_pair_cosines
from erragree_utils.scoring.retrieval import evaluate_retrieval, zero_shot
from erragree_utils.tabletop import captions, shapes
from erragree_utils.training.clip import ASSETS

SEED = 51


@pytest.fixture(scope="module")
def clip():
    return load_clip("mini")


@pytest.fixture(scope="module", params=["tabletop-a", "tabletop-b"])
def bench(request):
    return load_benchmark(request.param, seed=SEED, n_sets=100)


def test_left_right_pairs_agree_and_random_pairs_do_not(clip, bench):
    embeddings = image_embeddings(clip, bench)
    cosines = pair_cosines(clip, bench, embeddings=embeddings)
    assert cosines.query("relation == 'left/right'")["cosine"].mean() > 0.985
    random = random_pair_cosines(clip, bench, n=1000, embeddings=embeddings)
    assert random["cosine"].mean() < cosines["cosine"].mean() - 0.03


def test_left_right_matching_is_at_chance_and_pairs_are_far_below_it(clip, bench):
    row = summarize(evaluate(clip, bench.select("left/right"))).iloc[0]
    assert 0.4 < row["individual_accuracy"] < 0.6
    assert row["pair_accuracy_high"] < 0.25


def test_objects_are_found_among_those_of_a_hundred_sets(clip, bench):
    retrieval = evaluate_retrieval(clip, bench)
    assert retrieval["n_options"].unique().tolist() == [100]
    hits = retrieval.groupby("relation")["correct"].mean()
    assert hits["left/right"] >= 0.9
    assert retrieval["correct"].mean() >= 0.85  # under and behind things, objects are half hidden


def test_colours_and_kinds_of_unseen_instances_are_named(clip):
    """Zero-shot, from 8 colours and 24 kinds: chance is 12.5% and 4.2%."""
    images, labels = tabletop_things(seed=SEED)
    colours, kinds = list(shapes.COLOURS), list(shapes.SMALL)
    colour = zero_shot(clip, images, colours, [f"a photo of a {{}} {kind}" for kind in kinds])
    kind = zero_shot(clip, images, kinds, ["a photo of a {}"])
    assert np.mean(labels["colour"] == np.array(colours)[colour]) > 0.9
    assert np.mean(labels["kind"] == np.array(kinds)[kind]) > 0.8


def test_it_is_an_ordinary_open_clip_checkpoint(clip):
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{ASSETS}")
    image = load_benchmark("tabletop-a", n_sets=1)[0].images[0]
    direct = model.eval().encode_image(preprocess(image)[None], normalize=True).detach().numpy()
    assert np.allclose(direct, clip.embed_images([image]), atol=1e-5)


def test_its_words_are_those_of_the_world(clip, recwarn):
    clip.embed_texts(
        [captions.benchmark_caption("red mug", "orange table", r) for r in captions.WORDS]
    )
    assert not recwarn.list


def test_the_folder_says_how_it_was_made_and_is_small():
    assert sum(f.stat().st_size for f in ASSETS.iterdir()) < 4e6
    settings = json.loads((ASSETS / "training.json").read_text())
    log = [json.loads(line) for line in (ASSETS / "training_log.jsonl").read_text().splitlines()]
    assert log[-1]["step"] == settings["steps"]
    card = (ASSETS / "README.md").read_text()
    assert "python -m erragree_utils.training.clip" in card and "seed" in card
    with safe_open(ASSETS / "open_clip_model.safetensors", "np") as weights:
        assert weights.get_tensor("logit_scale") == pytest.approx(np.log(100), abs=0.01)
