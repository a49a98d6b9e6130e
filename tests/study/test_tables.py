"""The tables as data: what mirrors what, and that every cell can be filled and compared."""

from __future__ import annotations

import pytest

from erragree_utils.scale import SCALES
from erragree_utils.scoring import METHODS
from erragree_utils.study import TABLES
from erragree_utils.study.tables import SEEDS

#: For benchmarks beside the paper's: matching in both directions, by either kind of model.
OTHERS = {"group-score", "vqascore-text-to-image"}


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
class TestEveryTable:
    def test_each_mini_benchmark_mirrors_one_of_the_papers(self, table):
        assert set(table.benchmarks) <= set(SCALES) and "paper" in table.benchmarks
        assert len({len(names) for names in table.benchmarks.values()}) == 1

    def test_its_methods_are_known_and_of_one_chance_level(self, table):
        assert set(table.methods) <= set(METHODS)
        assert len({METHODS[name].decides for name in table.methods}) == 1
        assert len({"4way" in name or "-all" in name for name in table.methods}) == 1

    def test_what_is_compared_stands_in_it(self, table):
        assert {method for pair in table.compare for method in pair} <= set(table.methods)
        for first, second in table.compare:
            assert first != second or len(METHODS[first].roles) == 2

    def test_relations_are_shown_in_a_way_that_there_is(self, table):
        assert table.relations in ("rows", "apart", "")
        assert table.sets == any("whatsup" in name for name in table.benchmarks["paper"])


def test_what_the_mini_benchmarks_mirror():
    assert {
        pair
        for table in TABLES
        if "mini" in table.benchmarks
        for pair in zip(table.benchmarks["mini"], table.benchmarks["paper"], strict=True)
    } == {
        ("tabletop-a", "whatsup-a"), ("tabletop-b", "whatsup-b"), ("tabletop-mmvp", "mmvp"),
        ("tabletop-mmvp", "mmvp-vlm"),
    }  # fmt: skip


def test_every_method_for_the_papers_benchmarks_stands_in_a_table_once():
    names = [name for table in TABLES for name in table.methods]
    assert set(names) == set(METHODS) - OTHERS
    twice = {name for name in names if names.count(name) > 1}
    # Of captions in sets, of single images, of MMVP's questions and of its statements.
    assert twice == {"matching", "matching-text-to-image", "vqascore"}


def test_a_method_that_draws_tokens_is_run_with_several_seeds():
    drawing = {n for n, method in METHODS.items() if getattr(method, "temperature", 0) > 0}
    assert set(SEEDS) == drawing and min(SEEDS.values()) > 1
