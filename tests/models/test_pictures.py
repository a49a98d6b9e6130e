"""How images of any size become what a family's model reads."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
import torch
from PIL import Image

from erragree_utils.models.inputs import EncodeError
from erragree_utils.models.pictures import Pictures, Shown, pictures
from tests.models.families import parts

WIDE, TALL = Image.new("RGB", (60, 40), "red"), Image.new("RGB", (40, 100), "blue")


@lru_cache
def reader(family: str, square: str | None = None) -> Pictures:
    model, processor = parts(family)
    return Pictures(
        family, processor, torch.device("cpu"), torch.float32, square, model.config.image_token_id,
        frozenset(),
    )  # fmt: skip


class TestEntries:
    def test_one_image_several_or_none(self):
        assert pictures(None, 0) == []
        assert pictures(WIDE, 0) == [WIDE] and pictures((WIDE, TALL), 0) == [WIDE, TALL]

    def test_images_become_rgb_and_what_is_none_is_named(self):
        assert pictures(WIDE.convert("L"), 0)[0].mode == "RGB"
        with pytest.raises(EncodeError, match="image 4"):
            pictures([WIDE, "mug.png"], 4)


class TestShown:
    def test_llava_takes_as_many_tokens_for_every_image(self):
        (one, rest), (two,), (none,) = reader("llava").shown(
            [(WIDE, "kept"), ([WIDE, TALL],), (None,)], 0
        )
        assert rest == "kept" and none.counts == []
        assert one.counts == [16] and two.counts == [16, 16]
        assert two.texts == ("<image>", "<image>")
        assert [seen.pixels["pixel_values"].shape for seen in two.seen] == [(1, 3, 32, 32)] * 2

    @pytest.mark.parametrize("family", ["idefics3", "internvl", "qwen2_5_vl"])
    def test_others_take_what_an_image_needs_whatever_stands_beside_it(self, family):
        ((alone,),) = reader(family).shown([(TALL,)], 0)
        ((wide,), (both,)) = reader(family).shown([(WIDE,), ([WIDE, TALL],)], 0)
        assert both.counts == wide.counts + alone.counts and wide.counts != alone.counts
        for key, value in alone.seen[0].pixels.items():
            assert torch.equal(both.seen[1].pixels[key], value)

    @pytest.mark.parametrize(("family", "around"), [
        ("internvl", "<img>{}</img>"), ("idefics3", "<fake_token_around_image><row_1_col_1>{}"),
    ])  # fmt: skip
    def test_marks_around_an_image_are_kept_with_one_token_for_each_run(self, family, around):
        found = reader(family)
        ((shown,),) = found.shown([(TALL,)], 0)
        assert shown.texts[0].startswith(around.format(found.sign))
        assert found.sign * 2 not in shown.texts[0]

    def test_what_was_shown_already_is_not_preprocessed_again(self):
        ((shown,),) = reader("llava").shown([(WIDE,)], 0)
        assert isinstance(shown, Shown) and reader("llava").shown([(shown,)], 0) == [(shown,)]

    def test_an_image_that_cannot_be_preprocessed_is_named_by_its_entry(self):
        line = Image.new("RGB", (2000, 1))
        told = r"image 8 \(RGB, 2000 x 1 px\) cannot be preprocessed"
        with pytest.raises(EncodeError, match=told) as caught:
            reader("qwen2_5_vl").shown([(WIDE,), (line,)], 7)
        assert caught.value.index == 8


class TestFrames:
    def test_padding_fills_up_with_the_mean_colour(self):
        framed = reader("llava", "pad").framed(WIDE)
        mean = reader("llava").processor.image_processor.image_mean
        assert framed.size == (60, 60) and framed.getpixel((30, 30)) == (255, 0, 0)
        assert framed.getpixel((0, 0)) == tuple(int(255 * share) for share in mean)

    def test_the_padded_square_is_what_the_model_reads(self):
        ((shown,),) = reader("llava", "pad").shown([(WIDE,)], 0)
        ((square,),) = reader("llava").shown([(reader("llava", "pad").framed(WIDE),)], 0)
        assert torch.equal(
            shown.seen[0].pixels["pixel_values"], square.seen[0].pixels["pixel_values"]
        )

    def test_else_an_image_stays_as_it_is(self):
        assert np.array_equal(reader("llava").framed(WIDE), WIDE)
