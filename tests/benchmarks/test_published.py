"""What published benchmarks share: their lists, and warnings about them."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from erragree_utils.benchmarks import BenchmarkError, ImagePair
from erragree_utils.benchmarks.published import read_items, warn_of_orientation


def picture() -> Image.Image:
    return Image.new("RGB", (8, 6))


def pair(pair_id: str, sources: tuple[Path, ...]) -> ImagePair:
    return ImagePair(pair_id, "s", "left/right", ("a left of b", "a right of b"), sources)


def turned(path: Path) -> Path:
    exif = Image.Exif()
    exif[0x0112] = 6  # "rotate by 90 degrees to view"
    picture().save(path, exif=exif)
    return path


def test_one_warning_tells_how_many_published_photos_a_viewer_would_turn(tmp_path: Path):
    paths = [turned(tmp_path / f"{i}.jpeg") for i in range(3)]
    picture().save(tmp_path / "plain.jpeg")
    pairs = [pair(path.stem, sources=(path, tmp_path / "plain.jpeg")) for path in paths]
    with pytest.warns(
        UserWarning, match=r"toy: 3 of 4 images have an orientation.*0\.jpeg \(6\)"
    ) as w:
        warn_of_orientation("toy", pairs)
    assert len(w) == 1


@pytest.mark.filterwarnings("error")
def test_there_is_none_for_plain_photos_nor_for_files_that_cannot_be_read(tmp_path: Path):
    picture().save(tmp_path / "plain.jpeg")
    warn_of_orientation("toy", [pair("p", sources=(tmp_path / "plain.jpeg", tmp_path / "gone"))])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<html>quota</html>", "cannot be read as JSON"),
        (b"\xff\xfe\x00", "cannot be read as JSON"),
        (b'{"a": 1}', "holds a JSON dict"),
        (b"[]", "empty list"),
    ],
)
def test_a_wrong_json_file_says_what_was_expected_and_where(tmp_path: Path, content, message):
    path = tmp_path / "data.json"
    path.write_bytes(content)
    with pytest.raises(BenchmarkError, match=rf"(?s)data\.json.*{message}.*expected.* of numbers"):
        read_items(path, "numbers")
