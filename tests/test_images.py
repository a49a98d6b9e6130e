"""Pixels as a viewer shows them: every mode of Pillow's, turned photographs, damaged files."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from erragree_utils.images import ImageError, as_rgb, orientation_tag, read_image

GREYS = np.random.default_rng(0).integers(0, 256, (5, 7), dtype=np.uint8)
COLOURS = np.random.default_rng(1).integers(0, 256, (5, 7, 3), dtype=np.uint8)
TURNED = {
    1: lambda a: a, 2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud,
    5: lambda a: a.swapaxes(0, 1), 6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1), 8: np.rot90,
}  # fmt: skip


def grey(mode: str = "L") -> Image.Image:
    return Image.fromarray(GREYS).convert(mode)


def sixteen(mode: str, order: str) -> Image.Image:
    wide = GREYS.astype(np.uint16) * 257  # 255 becomes 65535
    return Image.frombytes(mode, (7, 5), wide.astype(order).tobytes())


def stored(image: Image.Image, format: str, **options) -> Image.Image:
    """The image as it comes back from a file."""
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return Image.open(io.BytesIO(buffer.getvalue()))


def photo(tag: int, size: tuple[int, int] = (16, 8)) -> Image.Image:
    """A photograph with a bright left half."""
    pixels = Image.new("RGB", size)
    pixels.paste("white", (0, 0, size[0] // 2, size[1]))
    exif = Image.Exif()
    exif[0x0112] = tag
    return stored(pixels, "PNG", exif=exif)


@pytest.mark.parametrize(
    "image",
    [
        grey(), grey("LA"), grey("LA").convert("La"), grey("RGB"), grey("RGBA"), grey("RGBX"),
        grey("RGBA").convert("RGBa"), grey("RGB").convert("CMYK"), grey("RGB").convert("HSV"),
        grey("P"), grey("P").convert("PA"),
        sixteen("I;16", "<u2"), sixteen("I;16L", "<u2"), sixteen("I;16B", ">u2"),
        sixteen("I;16N", "=u2"),
        stored(sixteen("I;16", "<u2"), "PNG"), stored(sixteen("I;16B", ">u2"), "TIFF"),
        Image.fromarray(GREYS.astype(np.float32) / 255),
        stored(Image.fromarray(GREYS.astype(np.float32) / 255), "TIFF"),
    ],
    ids=lambda image: f"{image.mode} {image.format}",
)  # fmt: skip
def test_the_same_greys_come_out_of_every_mode(image):
    rgb = as_rgb(image)
    assert rgb.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(rgb), np.stack([GREYS] * 3, axis=-1))


@pytest.mark.parametrize(("mode", "error"), [("YCbCr", 3), ("LAB", 3)])
def test_colours_come_out_of_colour_spaces_as_near_as_eight_bits_allow(mode, error):
    image = Image.fromarray(COLOURS // 2 + 64)  # inside every space
    found = np.asarray(as_rgb(image.convert(mode))).astype(int)
    assert np.abs(found - np.asarray(image)).max() <= error


def test_black_and_white_are_black_and_white():
    image = Image.fromarray(GREYS > 127)
    assert image.mode == "1"
    np.testing.assert_array_equal(np.asarray(as_rgb(image))[..., 0], np.where(GREYS > 127, 255, 0))


def test_a_grey_map_of_sixteen_bits_is_read_though_its_mode_is_wider():
    data = b"P5 2 1 65535\n" + np.array([7 * 257, 65535], ">u2").tobytes()
    image = Image.open(io.BytesIO(data))
    assert image.mode == "I"
    assert np.asarray(as_rgb(image))[0, :, 0].tolist() == [7, 255]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (GREYS.astype(np.float32), "floats that are not all between 0 and 1"),
        (np.full((2, 2), np.nan, np.float32), "floats that are not all between 0 and 1"),
        (np.full((2, 2), -0.5, np.float32), "floats that are not all between 0 and 1"),
        (GREYS.astype(np.int32), "32-bit integers"),
    ],
)
def test_numbers_without_a_known_white_are_refused_by_name(values, kind):
    with pytest.raises(ImageError, match=f"mug holds {kind}, and which of them is white"):
        as_rgb(Image.fromarray(values), name="mug")


@pytest.mark.filterwarnings("error")
def test_transparent_parts_stand_on_white():
    half = Image.new("RGBA", (2, 1), (200, 0, 0, 255))
    half.putpixel((1, 0), (0, 0, 0, 0))
    palette = half.convert("RGB").convert("P")
    for image in (half, half.convert("RGBa"), stored(half, "PNG")):
        assert [as_rgb(image).getpixel((x, 0)) for x in (0, 1)] == [(200, 0, 0), (255, 255, 255)]
    hole = palette.getpixel((1, 0))
    alphas = bytes(0 if i == hole else 255 for i in range(256))
    for transparency in (hole, alphas):  # with the second, Pillow itself warns
        shown = as_rgb(stored(palette, "PNG", transparency=transparency))
        assert shown.getpixel((1, 0)) == (255, 255, 255) != shown.getpixel((0, 0))


@pytest.mark.parametrize("tag", range(1, 9))
def test_a_photograph_is_turned_as_its_tag_says_or_kept(tag):
    plain = np.asarray(photo(1))
    np.testing.assert_array_equal(np.asarray(as_rgb(photo(tag))), TURNED[tag](plain))
    np.testing.assert_array_equal(np.asarray(as_rgb(photo(tag), "keep")), plain)


def test_tag_3_swaps_left_and_right():
    assert as_rgb(photo(1)).getpixel((0, 0)) == as_rgb(photo(3)).getpixel((15, 7))
    assert as_rgb(photo(3)).getpixel((0, 0)) == (0, 0, 0)


@pytest.mark.parametrize("orientation", ["apply", "keep"])
def test_what_comes_out_is_not_turned_once_more(orientation):
    once = as_rgb(photo(3), orientation)
    assert orientation_tag(once) == 1
    np.testing.assert_array_equal(np.asarray(as_rgb(once)), np.asarray(once))


def test_a_copy_in_memory_keeps_its_tag_until_then():
    assert orientation_tag(photo(3).convert("RGB").copy()) == 3


def test_tiffs_which_pillow_turns_itself_are_turned_once():
    exif = Image.Exif()
    exif[0x0112] = 3
    image = stored(Image.fromarray(GREYS), "TIFF", exif=exif)
    np.testing.assert_array_equal(np.asarray(as_rgb(image))[..., 0], np.rot90(GREYS, 2))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")  # of Pillow
@pytest.mark.parametrize("exif", [b"Exif\0\0nonsense", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"\0"])
def test_broken_tags_turn_nothing(exif):
    image = grey()
    image.info["exif"] = exif
    np.testing.assert_array_equal(np.asarray(as_rgb(image))[..., 0], GREYS)


@pytest.mark.parametrize("tag", [0, 9, "left", 6.0])
def test_tags_that_mean_nothing_turn_nothing(tag):
    image = grey()
    image.getexif()[0x0112] = tag
    assert orientation_tag(image) == 1


class TestDamage:
    @pytest.fixture
    def cut(self, tmp_path) -> Path:
        path = tmp_path / "cut.jpg"
        noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path)
        path.write_bytes(path.read_bytes()[:-500])
        return path

    def test_files_are_named(self, cut):
        with pytest.raises(ImageError, match=r"cut\.jpg cannot be read \(.*truncated.*fetch it"):
            read_image(cut)

    def test_images_in_memory_are_named_though_their_files_were_opened_elsewhere(self, cut):
        with pytest.raises(ImageError, match="mug cannot be read"):
            as_rgb(Image.open(cut), name="mug")

    def test_missing_files(self, tmp_path):
        with pytest.raises(ImageError, match=r"gone\.png is missing"):
            read_image(tmp_path / "gone.png")

    def test_images_without_pixels(self):
        with pytest.raises(ImageError, match="the image has no pixels: 0 x 4"):
            as_rgb(Image.new("L", (0, 4)))

    def test_other_things_than_images(self):
        with pytest.raises(ImageError, match="is a ndarray, not a PIL image; .*fromarray"):
            as_rgb(COLOURS)

    def test_very_large_pictures_are_called_large_and_not_damaged(self, tmp_path):
        path = tmp_path / "poster.png"
        Image.new("1", (14_000, 14_000)).save(path)
        with pytest.raises(ImageError, match="more pixels than Pillow reads.*MAX_IMAGE") as error:
            read_image(path)
        assert "damaged" not in str(error.value) and "poster.png" in str(error.value)

    def test_orientations_that_do_not_exist(self):
        with pytest.raises(ValueError, match="orientation is 'apply' or 'keep', not 'turn'"):
            as_rgb(grey(), "turn")
