"""Random inputs end in a result or are refused by name; the tool tries many more by hand."""

from __future__ import annotations

import fuzz_inputs
import pytest

from erragree_utils.images import ImageError


@pytest.mark.parametrize(
    ("part", "n"),
    [("images", 60), ("names", 8), ("folders", 12), ("options", 30), ("answers", 100)],
)
def test_every_input_ends_in_a_result_or_is_refused_by_name(part, n):
    counts, faults = fuzz_inputs.run([part], n, seed=7)
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
def test_what_counts_as_a_refusal_by_name(call, kind):
    assert fuzz_inputs.outcome(fuzz_inputs.Case(call, ("mug",)))[0] == kind


def test_a_result_that_is_none_is_a_fault():
    assert fuzz_inputs.outcome(fuzz_inputs.Case(lambda: [], (), check=bool))[0] == "FAULT"


def test_an_input_is_the_same_whichever_others_are_drawn(tmp_path):
    first, again = (fuzz_inputs.drawn("answers", 0, 5, tmp_path / "case").about for _ in "12")
    assert first == again != fuzz_inputs.drawn("answers", 0, 6, tmp_path / "case").about
