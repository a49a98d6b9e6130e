"""What each benchmark takes is told of all of them."""

from __future__ import annotations

from erragree_utils.benchmarks import BENCHMARKS, cvbench, naturalbench, sugarcrepe, vsr, winoground
from erragree_utils.benchmarks.needs import NEEDS


def test_every_benchmark_is_told_of_and_none_else():
    assert set(NEEDS) == set(BENCHMARKS)


def test_the_numbers_are_those_of_the_loaders():
    expected = {
        "winoground": winoground.N_PAIRS,
        "naturalbench": naturalbench.N_SETS,
        "sugarcrepe": sum(sugarcrepe.N_ITEMS.values()),
        "vsr": vsr.N_ITEMS["random"],
        "cv-bench": sum(cvbench.N_ITEMS.values()),
    }
    for name, number in expected.items():
        assert NEEDS[name].contents.startswith(f"{number} "), name


def test_what_is_gated_says_how_one_gets_in():
    gated = [name for name, needs in NEEDS.items() if needs.access.startswith("gated")]
    assert gated == ["winoground"] and "log in" in winoground.DATA.access
