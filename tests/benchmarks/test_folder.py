"""Your own pairs: what a table may look like, and that whatever is wrong with it is said by row."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from PIL import Image

from erragree_utils import load_benchmark
from erragree_utils.benchmarks import BenchmarkError, ImagePair, QuestionPair
from erragree_utils.benchmarks.folder import load_folder, write_example

HEAD = "image_1,image_2,caption_1,caption_2"
ROW = "a.png,b.png,a mug left of a chair,a mug right of a chair"
ASKED = f"{HEAD},question,option_1,option_2"


@pytest.fixture
def folder(tmp_path):
    """A folder with three images of different colours and a table that each test writes."""
    for name, colour in (("a", "red"), ("b", "blue"), ("c", "green")):
        Image.new("RGB", (12, 8), colour).save(tmp_path / f"{name}.png")
    return tmp_path


def load(folder, *lines, **options):
    """The benchmark of a table of these lines."""
    content = "\n".join(lines)
    data = content if isinstance(content, bytes) else content.encode("utf-8")
    (folder / "pairs.csv").write_bytes(data)
    return load_benchmark("folder", folder=folder, **options)


class TestWhatATableMayHold:
    def test_captions_make_image_pairs(self, folder):
        (pair,) = load(folder, HEAD, ROW)
        assert isinstance(pair, ImagePair)
        assert pair.captions == ("a mug left of a chair", "a mug right of a chair")
        assert [image.getpixel((0, 0)) for image in pair.images] == [(255, 0, 0), (0, 0, 255)]
        assert (pair.pair_id, pair.relation) == ("row 2", "all")

    def test_questions_make_question_pairs_that_clip_reads_by_their_captions(self, folder):
        (pair,) = load(folder, ASKED, f"{ROW},Is the mug left or right of the chair?,left,right")
        assert isinstance(pair, QuestionPair)
        assert pair.options == ("left", "right") and pair.captions[0] == "a mug left of a chair"

    @pytest.mark.parametrize("question, options, lettered", [
        ("Is it left or right?", "left,right", False),
        ("Is it left?", "Yes,No", False),
        ("Where is it?", "left,right", True),
    ])  # fmt: skip
    def test_options_get_letters_where_the_question_does_not_name_them(
        self, folder, question, options, lettered
    ):
        (pair,) = load(folder, ASKED, f"{ROW},{question},{options}")
        assert pair.lettered is lettered

    def test_the_group_or_else_the_relation_is_what_tables_are_grouped_by(self, folder):
        both = load(folder, f"{HEAD},relation,group", f"{ROW},left/right,kitchen", f"{ROW},on,")
        assert both.relations == ("kitchen", "on")

    def test_without_a_second_image_items_are_single(self, folder):
        (item,) = load(folder, HEAD, "a.png,,a red mug,a blue mug")
        assert len(item.images) == 1 and item.captions == ("a red mug", "a blue mug")

    @pytest.mark.parametrize("separator", [",", ";", "\t"])
    @pytest.mark.parametrize("mark", ["", "\ufeff"])
    def test_spreadsheets_of_all_countries_are_read(self, folder, separator, mark):
        lines = [line.replace(",", separator) for line in (HEAD, ROW)]
        assert len(load(folder, mark + lines[0].upper(), lines[1], "", "")) == 1

    def test_texts_may_hold_separators_quotes_line_breaks_and_any_script(self, folder):
        caption = '"a ""mug"", left\nof a chair"'
        (pair,) = load(folder, HEAD, f"a.png,b.png,{caption},ein Becher über dem Stuhl 椅子")
        assert pair.captions[0] == 'a "mug", left\nof a chair'
        assert pair.captions[1].endswith("椅子")

    def test_the_table_itself_may_be_given(self, folder):
        load(folder, HEAD, ROW)
        (folder / "pairs.csv").rename(folder / "mine.csv")
        assert len(load_folder(folder=folder / "mine.csv")) == 1

    def test_a_photograph_is_turned_and_that_is_said(self, folder):
        exif = Image.Exif()
        exif[274] = 6
        Image.new("RGB", (12, 8), "red").save(folder / "a.jpg", exif=exif)
        with pytest.warns(UserWarning, match=r"1 photographs are turned .* a\.jpg"):
            (pair,) = load(folder, HEAD, ROW.replace("a.png", "a.jpg"))
        assert pair.images[0].size == (8, 12)

    @pytest.mark.parametrize("kind", ["I;16", "P", "CMYK", "RGBA", "L"])
    def test_images_of_all_usual_kinds_are_read(self, folder, kind):
        if kind == "I;16":
            image = Image.fromarray(np.full((8, 12), 40_000, np.uint16))
        else:
            image = Image.new(kind, (12, 8))
        image.save(folder / ("a.tif" if kind == "CMYK" else "a.png"))
        name = "a.tif" if kind == "CMYK" else "a.png"
        (pair,) = load(folder, HEAD, ROW.replace("a.png", name))
        assert pair.images[0].mode == "RGB"


BAD = {
    "no rows": ([HEAD], "no rows"),
    "nothing at all": ([""], "is empty"),
    "an empty first line": (["", HEAD, ROW], "is empty"),
    "a missing column": (["image_1,image_2,caption_1", "a.png,b.png,x"], "lacks .* caption_2"),
    "a misspelled column": (
        [HEAD.replace("caption_2", "caption2"), ROW],
        "unknown column 'caption2'; did you mean 'caption_2'",
    ),
    "a column twice": ([f"{HEAD},caption_1", f"{ROW},x"], "'caption_1' twice"),
    "options without a question": (
        [f"{HEAD},option_1,option_2", f"{ROW},l,r"],
        "lacks the column question",
    ),
    "too few cells": ([HEAD, "a.png,b.png,x"], "line 2: 3 cells in a row, 4 columns"),
    "too many cells": ([HEAD, f"{ROW}, on the left"], "line 2: 5 cells .* quotes"),
    "a quote that does not end": ([HEAD, 'a.png,b.png,"x,y'], "line 2: unexpected end"),
    "an image that is not there": ([HEAD, ROW, ROW.replace("b.png", "d.png")],
                                   r"row 3: image_2: there is no file d\.png"),
    "no first image": ([HEAD, ROW.replace("a.png", "")], "row 2: image_1 is empty"),
    "one image twice": ([HEAD, ROW.replace("b.png", "a.png")], "row 2: .* same file"),
    "an empty caption": ([HEAD, "a.png,b.png,,y"], "row 2: caption_1 is empty"),
    "captions that say the same": ([HEAD, "a.png,b.png,A mug.,a mug"], "row 2: .* the same"),
    "a question with one option": ([ASKED, f"{ROW},Which?,left,"], "row 2: option_2 is empty"),
    "options that say the same": ([ASKED, f"{ROW},Which?,Left,left."], "row 2: option_1 and"),
    "an option without a question": ([ASKED, f"{ROW},,left,right"], "an option and no question"),
    "some rows with a question": (
        [ASKED, f"{ROW},Which?,left,right", f"{ROW},,,"],
        "some rows have a question",
    ),
    "some rows with one image": ([HEAD, ROW, "a.png,,x,y"], "some rows have one image"),
    "a question about one image": ([ASKED, "a.png,,x,y,Which?,left,right"], "about two images"),
    "a name that no file system takes": ([HEAD, f"{'x' * 5000}.png,b.png,x,y"], "row 2: image_1"),
}  # fmt: skip


class TestWhatIsWrongIsSaid:
    @pytest.mark.parametrize("lines, message", BAD.values(), ids=BAD)
    def test_in_the_table(self, folder, lines, message):
        with pytest.raises(BenchmarkError, match=message):
            load(folder, *lines)

    @pytest.mark.parametrize("data, message", [
        ("größe".encode("latin-1"), "not UTF-8 .*byte 2"),
        (b"PK\x03\x04\x00\x00", "not a text"),
    ])  # fmt: skip
    def test_in_its_bytes(self, folder, data, message):
        (folder / "pairs.csv").write_bytes(data)
        with pytest.raises(BenchmarkError, match=message):
            load_folder(folder=folder)

    def test_in_an_image(self, folder):
        (folder / "b.png").write_bytes((folder / "b.png").read_bytes()[:40])
        with pytest.raises(BenchmarkError, match=r"row 2: the image .*b\.png cannot be read"):
            load(folder, HEAD, ROW)
        assert len(load(folder, HEAD, ROW, check_images=False)) == 1

    def test_of_all_rows_at_once(self, folder):
        bad = [ROW.replace("a.png", f"{i}.png") for i in range(3)]
        with pytest.raises(BenchmarkError, match="3 of 4 rows") as error:
            load(folder, HEAD, ROW, *bad)
        assert all(f"row {i}:" in str(error.value) for i in (3, 4, 5))

    def test_and_bad_rows_can_be_left_out(self, folder):
        with pytest.warns(UserWarning, match="left out 1 of 2 rows"):
            bench = load(folder, HEAD, ROW, ROW.replace("b.png", "d.png"), skip_incomplete=True)
        assert len(bench) == 1

    @pytest.mark.parametrize("where", [None, "nowhere", "."])
    def test_where_there_is_no_table(self, tmp_path, where):
        with pytest.raises(BenchmarkError, match="folder"):
            load_folder(folder=where and tmp_path / where)


class TestExample:
    def test_it_loads_as_it_is_written(self, tmp_path):
        path = write_example(tmp_path / "mine", size=64)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            bench = load_folder(folder=path)
        assert len(bench) == 12 and bench.relations[0] == "left/right"
        assert all(pair.question and pair.images[0].size == (64, 64) for pair in bench)
        assert all(pair.lettered is False for pair in bench)

    def test_nobodys_table_is_written_over(self, folder):
        load(folder, HEAD, ROW)
        with pytest.raises(BenchmarkError, match="there already"):
            write_example(folder)
        assert (folder / "pairs.csv").read_text().endswith(ROW)
