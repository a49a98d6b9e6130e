"""Tabletop-mmvp: mined pairs of nine visual patterns, with questions."""

from __future__ import annotations

import json
import sys

import mine_tabletop
import numpy as np
import pytest

from erragree_utils import load_clip
from erragree_utils.benchmarks import Benchmark, BenchmarkError, load_benchmark
from erragree_utils.benchmarks import tabletop_mmvp as tm
from erragree_utils.scoring.embeddings import pair_cosines
from erragree_utils.tabletop.patterns import PATTERNS, statements
from erragree_utils.tabletop.scenes import is_held_out

SIZE = 24


class Raw:
    """An encoder that knows nothing: a picture's own pixels, without their mean."""

    name = "pixels"

    def embed_images(self, images, batch_size=64):
        rows = np.stack([np.asarray(image, np.float32).ravel() for image in images])
        return rows - rows.mean(axis=1, keepdims=True)


@pytest.fixture(scope="module")
def clip():
    return load_clip("mini", device="cpu")


@pytest.fixture
def record(tmp_path, monkeypatch):
    """Write a record: the same numbers for every pattern, or some other content."""
    path = tmp_path / "tabletop-mmvp.json"
    monkeypatch.setattr(tm, "RECORD", path)

    def write(numbers=(3, 8, 9), patterns=PATTERNS, seed=0):
        content = {
            "clip": "mini", "vision": "mini", "clip_above": 0.95, "vision_below": 0.6,
            "seeds": {str(seed): {pattern: list(numbers) for pattern in patterns}},
        }  # fmt: skip
        path.write_text(json.dumps(content))

    return write


def ids(bench) -> list[str]:
    return [pair.pair_id for pair in bench]


def test_each_of_the_nine_patterns_has_its_pairs_in_turn():
    bench = load_benchmark("tabletop-mmvp", n_pairs=2, size=SIZE, mined=False)
    assert bench.relations == tuple(PATTERNS) and len(bench) == 18
    assert ids(bench)[:3] == ["orientation-0000", "orientation-0001", "feature-0000"]
    for pair in bench:
        first, second = pair.images
        assert first.size == second.size == (SIZE, SIZE)
        assert pair.question.endswith("?") and pair.options[0] != pair.options[1]
    assert bench.source == f"tabletop world, seed 0, {SIZE} px, not mined"


def test_images_answers_and_statements_belong_together():
    (pair,) = tm.candidates("quantity", [5], size=48)
    contrast = tm.draw_candidate("quantity", 5)
    assert [len(scene.things) for scene in contrast.scenes] == [2, 3]
    assert (pair.options, pair.captions) == (("two", "three"), ("two things", "three things"))
    (alone,) = tm.candidates("quantity", [5], size=48)
    for mine, again in zip(pair.images, alone.images, strict=True):
        assert np.array_equal(mine, again)


def test_a_candidate_is_the_same_whichever_others_are_drawn():
    several = tm.candidates("state", [0, 7, 3], size=SIZE)
    (alone,) = tm.candidates("state", [7], size=SIZE)
    assert (several[1].pair_id, several[1].question) == (alone.pair_id, alone.question)
    assert all(np.array_equal(a, b) for a, b in zip(several[1].images, alone.images, strict=True))
    assert tm.draw_candidate("state", 7) != tm.draw_candidate("state", 7, seed=1)
    assert tm.draw_candidate("state", 7) != tm.draw_candidate("state", 8)


def test_no_training_scene_shows_a_candidates_things():
    for pattern in PATTERNS:
        for number in range(10):
            things = [t for s in tm.draw_candidate(pattern, number).scenes for t in s.things]
            assert all(is_held_out(thing.instance) for thing in things)


def test_the_two_statements_of_a_pair_name_its_thing_and_differ():
    for pattern in PATTERNS:
        for number in range(60):
            contrast = tm.draw_candidate(pattern, number)
            first, second = statements(contrast)
            assert first != second and "{" not in first + second
            if pattern != "quantity":
                assert contrast.scenes[0].things[0].kind in first
            if pattern == "colour":
                assert first.split()[1] == contrast.options[0]


# --- the record ----------------------------------------------------------------------------------


def test_mined_pairs_are_those_on_record(record):
    record()
    bench = load_benchmark("tabletop-mmvp", n_pairs=2, size=SIZE)
    assert ids(bench.select("state")) == ["state-0003", "state-0008"]
    assert "mined: cosine above 0.95 under mini, below 0.6 under mini" in bench.source
    assert ids(load_benchmark("tabletop-mmvp", n_pairs=1, size=SIZE, mined=False))[0].endswith("0")


def test_without_a_record_of_the_seed_candidates_are_given_with_a_warning(record):
    with pytest.warns(UserWarning, match="no mined pairs of seed 0.*seeds with them: none"):
        bench = load_benchmark("tabletop-mmvp", n_pairs=1, size=SIZE)
    assert "not mined" in bench.source
    record(seed=4)
    with pytest.warns(UserWarning, match=r"seed 0.*seeds with them: 4.*keep=keep_blind"):
        load_benchmark("tabletop-mmvp", n_pairs=1, size=SIZE)


def test_more_pairs_than_on_record_are_an_error(record):
    record()
    with pytest.raises(BenchmarkError, match="3 mined pairs of the pattern 'orientation'"):
        load_benchmark("tabletop-mmvp", n_pairs=4, size=SIZE)
    record(patterns=("smell",))
    with pytest.raises(BenchmarkError, match=r"other patterns.*tools/mine_tabletop\.py"):
        load_benchmark("tabletop-mmvp", n_pairs=1, size=SIZE)


# --- mining --------------------------------------------------------------------------------------


def test_cosines_are_those_of_each_pairs_two_images(clip):
    pairs = tm.candidates("colour", range(4))
    table = tm.blind_cosines(pairs, clip, Raw())
    assert list(table.columns) == ["pair_id", "pattern", "clip_cosine", "vision_cosine"]
    for name, model in (("clip_cosine", clip), ("vision_cosine", Raw())):
        expected = pair_cosines(model, Benchmark("candidates", tuple(pairs)))["cosine"]
        assert table[name].to_numpy() == pytest.approx(expected.to_numpy(), abs=1e-6)


def test_blind_pairs_are_above_one_threshold_and_below_the_other(clip):
    pairs = [pair for pattern in PATTERNS for pair in tm.candidates(pattern, range(3))]
    table = tm.blind_cosines((pair for pair in pairs), clip, Raw())
    above, below = table["clip_cosine"].median(), table["vision_cosine"].median()
    decisions = tm.keep_blind(clip, Raw(), above, below)([pair.images for pair in pairs])
    blind = (table["clip_cosine"] > above) & (table["vision_cosine"] < below)
    assert list(decisions) == list(blind) and 0 < sum(blind) < len(pairs)


def test_keep_chooses_among_candidates_in_their_order(record):
    record()

    def bright(images):
        return [np.mean(first) > 120 for first, _ in images]

    bench = load_benchmark("tabletop-mmvp", n_pairs=2, keep=bright)
    assert len(bench) == 18 and bench.source.endswith("mined now")
    expected = [
        pair.pair_id
        for pair in tm.candidates("viewpoint", range(30))
        if np.mean(pair.images[0]) > 120
    ]
    assert ids(bench.select("viewpoint")) == expected[:2]


def test_how_many_candidates_were_looked_at_is_told():
    seen = []

    def every_fifth(images):
        start = sum(seen)
        seen.append(len(images))
        return [(start + place) % 5 == 4 for place in range(len(images))]

    assert tm.find_blind("state", 0, 3, every_fifth) == ([4, 9, 14], 15)


@pytest.fixture
def tool(record, monkeypatch):
    """``tools/mine_tabletop.py`` with another vision-only encoder."""
    monkeypatch.setattr(mine_tabletop, "load_vision", lambda name: Raw())
    options = ["mine", "--pairs", "2", "--seeds", "3", "--output", str(tm.RECORD)]

    def run(*more):
        monkeypatch.setattr(sys, "argv", [*options, *more])
        mine_tabletop.main()

    return run


def test_the_tool_writes_what_the_loader_reads(tool, clip, capsys):
    tool("--clip-above", "0.85", "--vision-below", "0.99")
    assert "viewpoint       2 of" in capsys.readouterr().out
    bench = load_benchmark("tabletop-mmvp", seed=3, n_pairs=2)
    assert "above 0.85 under mini, below 0.99 under pixels" in bench.source
    table = tm.blind_cosines(bench, clip, Raw())
    assert (table["clip_cosine"] > 0.85).all() and (table["vision_cosine"] < 0.99).all()


def test_the_tool_writes_nothing_if_pairs_are_lacking(tool, monkeypatch):
    monkeypatch.setattr(tm, "TRIES", 4)
    with pytest.raises(SystemExit, match="fewer than 2 pairs of .*colour.*nothing is written"):
        tool("--clip-above", "0.999", "--vision-below", "0")
    assert not tm.RECORD.exists()


def test_too_few_candidates_are_an_error(monkeypatch):
    monkeypatch.setattr(tm, "TRIES", 10)
    with pytest.raises(BenchmarkError, match="0 of 2 pairs of the pattern 'orientation' among 20"):
        load_benchmark("tabletop-mmvp", n_pairs=2, keep=lambda images: [False] * len(images))
    with pytest.raises(ValueError, match="a decision for each of 8 pairs"):
        load_benchmark("tabletop-mmvp", n_pairs=2, keep=lambda images: True)


def test_wrong_numbers_and_names_are_refused():
    with pytest.raises(ValueError, match="n_pairs must be positive"):
        load_benchmark("tabletop-mmvp", n_pairs=0)
    with pytest.raises(KeyError, match="no pattern 'smell'; there are orientation"):
        tm.draw_candidate("smell", 0)


def test_each_form_asks_for_its_own_kind_of_answer():
    word, said, letter = (
        tm.load_tabletop_mmvp(seed=7, n_pairs=2, mined=False, form=form)
        for form in ("word", "sentence", "letter")
    )
    for one, two, three in zip(word, said, letter, strict=True):
        assert one.pair_id == two.pair_id == three.pair_id
        assert one.prompt == one.question
        assert two.prompt == f"{one.question} Answer in a sentence."
        assert len(set(two.options)) == 2 and all(text.endswith(".") for text in two.options)
        assert three.prompt == three.multiple_choice and three.options == one.options
    assert {pair.first_listed for pair in letter} == {0, 1}
    with pytest.raises(ValueError, match="letter"):
        tm.load_tabletop_mmvp(form="poem")
