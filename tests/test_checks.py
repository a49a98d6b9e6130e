"""Checks of arguments that many functions share."""

from __future__ import annotations

import pytest
from PIL import Image

from erragree_utils.checks import brief, listed


@pytest.mark.parametrize("single", [Image.new("L", (2, 2)), "text", b"bytes", 3, None])
def test_a_single_thing_is_no_list(single):
    kind = type(single).__name__
    with pytest.raises(
        TypeError, match=rf"images is a list, not a single {kind}: wrap .* in \[ \]"
    ):
        listed(single, "images")


def test_lists_and_generators_go_through_untouched():
    generator = (x for x in "ab")
    assert listed(generator, "texts") is generator
    assert list(generator) == ["a", "b"]  # nothing was drawn from it
    assert listed([], "texts") == []


def test_what_is_long_is_shown_in_brief():
    assert brief("mug") == "'mug'"
    assert len(brief(b"\xff" * 10_000)) == 200 and brief(b"\xff" * 10_000).endswith("...")
