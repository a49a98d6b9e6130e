"""Random inputs end in a result or are refused by name; `python tools/fuzz.py` tries many more."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from erragree_utils.images import ImageError


@pytest.fixture(scope="module")
def fuzz(root: Path) -> ModuleType:
    """tools/fuzz.py, as a module."""
    spec = importlib.util.spec_from_file_location("fuzz", root / "tools" / "fuzz.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["fuzz"] = module  # its data classes look themselves up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["fuzz"]


@pytest.mark.parametrize(
    ("part", "n"),
    [("images", 60), ("names", 8), ("folders", 12), ("options", 30), ("answers", 100)],
)
def test_every_input_ends_in_a_result_or_is_refused_by_name(fuzz, part, n):
    counts, faults = fuzz.run([part], n, seed=7)
    assert faults == []
    assert counts[part].total() == n
    assert (
        counts[part]["result"] < n or part == "answers"
    )  # some are refused, so something is tried


def refuse(error: Exception) -> None:
    raise error


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        (lambda: 1, "result"),
        (lambda: refuse(ImageError("mug cannot be read")), "ImageError"),
        (lambda: refuse(ImageError("it cannot be read")), "FAULT"),  # which one?
        (lambda: refuse(ImageError("mug " + "\0" * 5000)), "FAULT"),  # bytes are poured out
        (lambda: refuse(OSError("mug is truncated")), "FAULT"),  # somebody else's error
        (lambda: {}["mug"], "FAULT"),
    ],
)
def test_what_counts_as_a_refusal_by_name(fuzz, call, kind):
    assert fuzz.outcome(fuzz.Case(call, ("mug",)))[0] == kind


def test_a_result_that_is_none_is_a_fault(fuzz):
    assert fuzz.outcome(fuzz.Case(lambda: [], (), check=bool))[0] == "FAULT"


def test_an_input_is_the_same_whichever_others_are_drawn(fuzz, tmp_path):
    first, again = (fuzz.drawn("answers", 0, 5, tmp_path / "case").about for _ in "12")
    assert first == again != fuzz.drawn("answers", 0, 6, tmp_path / "case").about
