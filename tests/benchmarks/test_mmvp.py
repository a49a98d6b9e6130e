"""MMVP and MMVP-VLM, on stand-ins in the published formats."""

from __future__ import annotations

import csv
import io
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from erragree_utils.benchmarks import Benchmark, BenchmarkError, ImageError, load_benchmark, mmvp
from erragree_utils.benchmarks.base import QuestionPair

# Index, question, options, answer: as untidy as the published list.
ROWS = [
    ["1", "Are the wings open or closed?", "(a) Open (b) Closed", "(a)"],
    ["2", "Are the wings open or closed?", "(a) Open (b) Closed", "(b)"],
    ["3", "Is the dog, or the cat, asleep?", " (A)  The dog (B) the cat ", "(b) "],
    ["4", "Is the dog, or the cat, asleep? ", "(a) The dog (b) The cat", "a"],
    ["5", "How many eyes (in all) are there?", "(a)One (1)(b)Two (2)", "(B)"],
    ["6", "How many eyes (in all) are there?", "(a)One (1)(b)Two (2)", "(A)"],
]
ERRATA = [
    ["99", "Does the elephant have long or short tusks?", "(a) Long (b) Short", "(a)"],
    ["100", "Does the elephant have long or short tusks?", "(a) Long (b) Short", "(b)"],
    ["279", "Is the elderly person standing or sitting?", "(a) Standing (b) Sitting", "(a)"],
    ["280", "Is the elderly person standing or sitting?", "(a) Standing (b) Sitting", "(b)"],
]
HEADER = ["Index", "Question", "Options", "Correct Answer"]
# What CLIP reads, in the order of the original answers, as its list is.
STATEMENTS = [
    "a butterfly with wings open", "a butterfly with wings closed", "cat asleep", "dog asleep ",
    'animal with "two" eyes', "animal with one eye",
    *({99: "elephant with long tusks", 100: "elephant with short tusks",
       279: "elderly person standing", 280: "elderly person sitting"}.get(i, f"thing {i}")
      for i in range(7, 301)),
]  # fmt: skip


def picture(level: int) -> Image.Image:
    return Image.new("RGB", (16, 12), (level % 256,) * 3)


def jpeg(level: int) -> bytes:
    buffer = io.BytesIO()
    picture(level).save(buffer, "jpeg")
    return buffer.getvalue()


def grey(image: Image.Image) -> int:
    return round(float(np.asarray(image).mean()))


class StandIn:
    """A folder in the published layout; the grey level of an image is its index."""

    def __init__(self, root: Path, images: str = "MMVP Images") -> None:
        self.root, self.images = root, root / images
        self.images.mkdir(parents=True)
        self.header, self.rows = list(HEADER), [list(row) for row in ROWS]
        self.statements = [[i, "Unknown", text] for i, text in enumerate(STATEMENTS, 1)]
        self.save()

    def save(self) -> None:
        with (self.root / "Questions.csv").open("w", encoding="utf-8-sig", newline="") as file:
            csv.writer(file).writerows([self.header, *self.rows])
        with (self.root / "Questions-clip.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([["Question ID", "Type", "Statement"], *self.statements])
        for row in self.rows:
            if row and row[0].isdigit():
                (self.images / f"{row[0]}.jpg").write_bytes(jpeg(int(row[0])))

    def load(self, **options) -> Benchmark:
        return load_benchmark("mmvp", folder=self.root, **options)


@pytest.fixture
def stand_in(tmp_path: Path) -> StandIn:
    return StandIn(tmp_path / "mmvp")


def by_id(bench: Benchmark) -> dict[str, QuestionPair]:
    return {pair.pair_id: pair for pair in bench}


def test_two_rows_are_a_pair_with_one_question_and_opposite_answers(stand_in):
    bench = stand_in.load()
    assert [pair.pair_id for pair in bench] == ["1-2", "3-4", "5-6"]
    pair = bench[0]
    assert (pair.question, pair.options) == ("Are the wings open or closed?", ("Open", "Closed"))
    assert [grey(image) for image in pair.images] == [1, 2]
    assert "tsb0601/MMVP" in bench.source and str(stand_in.root) in bench.source


def test_the_first_option_is_the_first_images_answer_and_print_keeps_its_order(stand_in):
    swapped = by_id(stand_in.load())["3-4"]
    assert swapped.options == ("the cat", "The dog")
    assert swapped.listed == ("The dog", "the cat")
    assert swapped.multiple_choice == "Is the dog, or the cat, asleep? (a) The dog (b) the cat"
    other = by_id(stand_in.load())["1-2"]
    assert other.multiple_choice == "Are the wings open or closed? (a) Open (b) Closed"


def test_options_may_hold_parentheses_and_lack_spaces(stand_in):
    pair = by_id(stand_in.load())["5-6"]
    assert pair.options == ("Two (2)", "One (1)")


@pytest.mark.parametrize("name", ["Index", "lndex", "LNDEX ", " index"])
def test_the_index_may_be_spelled_in_either_way(stand_in, name):
    stand_in.header[0] = name
    stand_in.save()
    assert len(stand_in.load()) == 3


@pytest.mark.parametrize("name", ["MMVP Imgaes", "MMVP_Images"])
def test_the_publishers_spellings_of_the_image_folder_are_found(tmp_path, name):
    bench = StandIn(tmp_path / "m", name).load()
    assert [grey(image) for image in bench[0].images] == [1, 2]


def test_photographs_keep_their_pixels_and_one_warning_tells_of_their_tags(stand_in):
    exif = Image.Exif()
    exif[0x0112] = 6
    for index in (3, 4):
        picture(index).save(stand_in.images / f"{index}.jpg", exif=exif)
    with pytest.warns(UserWarning, match=r"mmvp: 2 of 6 images .* 3\.jpg|.*3\.jpg \(6\)") as w:
        bench = stand_in.load()
    assert len(w) == 1
    assert {image.size for pair in bench for image in pair.images} == {(16, 12)}


def test_empty_lines_are_no_rows(stand_in):
    stand_in.rows.insert(2, [])
    stand_in.rows.append(["", "", "", " "])
    stand_in.save()
    assert len(stand_in.load()) == 3


def test_rows_in_another_order_are_paired_by_index_and_a_warning_says_so(stand_in):
    before = stand_in.load()
    stand_in.rows[0], stand_in.rows[1] = stand_in.rows[1], stand_in.rows[0]
    stand_in.rows.append(stand_in.rows.pop(2))
    stand_in.save()
    with pytest.warns(UserWarning, match=r"not in the order.*index is followed"):
        after = stand_in.load()
    assert after.pairs == before.pairs


def test_the_published_order_loads_without_a_warning(stand_in):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        stand_in.load()


class TestErrata:
    @pytest.fixture
    def stand_in(self, stand_in):
        stand_in.rows += [list(row) for row in ERRATA]
        stand_in.save()
        return stand_in

    def test_corrected_labels_are_the_default_and_original_ones_can_be_had(self, stand_in):
        corrected, original = stand_in.load(), stand_in.load(labels="original")
        assert by_id(corrected)["99-100"].options == ("Short", "Long")
        assert by_id(original)["99-100"].options == ("Long", "Short")
        assert by_id(corrected)["279-280"].options == ("Sitting", "Standing")
        assert by_id(original)["279-280"].options == ("Standing", "Sitting")
        assert by_id(corrected)["1-2"] == by_id(original)["1-2"]
        assert ", corrected labels" in corrected.source
        assert ", original labels" in original.source

    def test_a_copy_with_corrected_answers_gives_the_same(self, stand_in):
        """lmms-lab-eval/MMVP is such a copy."""
        before = {labels: stand_in.load(labels=labels).pairs for labels in mmvp.LABELS}
        for row in stand_in.rows[-4:]:
            row[3] = {"(a)": "(b)", "(b)": "(a)"}[row[3]]
        stand_in.save()
        assert before == {labels: stand_in.load(labels=labels).pairs for labels in mmvp.LABELS}

    def test_images_and_the_order_of_print_stay_as_they_are(self, stand_in):
        for labels in mmvp.LABELS:
            pair = by_id(stand_in.load(labels=labels))["99-100"]
            assert [grey(image) for image in pair.images] == [99, 100]
            assert pair.listed == ("Long", "Short")

    def test_another_question_at_that_place_is_not_corrected(self, stand_in):
        for row in stand_in.rows[-4:-2]:
            row[1] = "Is the trunk long or short?"
        stand_in.save()
        with pytest.warns(UserWarning, match="99-100 is not MMVP's"):
            assert by_id(stand_in.load())["99-100"].options == ("Long", "Short")

    def test_statements_go_with_the_answers(self, stand_in):
        for labels in mmvp.LABELS:
            pairs = by_id(stand_in.load(labels=labels))
            for name in ("99-100", "279-280"):
                for answer, statement in zip(
                    pairs[name].options, pairs[name].statements, strict=True
                ):
                    assert answer.lower() in statement
            assert pairs["1-2"].captions[0] == "a photo of a butterfly with wings open"

    def test_a_list_of_corrected_statements_gives_the_same(self, stand_in):
        before = {labels: stand_in.load(labels=labels).pairs for labels in mmvp.LABELS}
        for first in (99, 279):
            own, other = stand_in.statements[first - 1 : first + 1]
            own[2], other[2] = other[2], own[2]
        stand_in.save()
        assert before == {labels: stand_in.load(labels=labels).pairs for labels in mmvp.LABELS}

    def test_other_labels_are_refused(self, stand_in):
        with pytest.raises(ValueError, match="labels is 'new'.*'corrected', 'original'"):
            stand_in.load(labels="new")


class TestStatements:
    def test_clip_reads_the_authors_statements_of_the_two_images(self, stand_in):
        bench = stand_in.load()
        assert bench[2].captions == (
            'a photo of animal with "two" eyes', "a photo of animal with one eye",
        )  # fmt: skip
        assert by_id(bench)["3-4"].statements[1] == "a photo of dog asleep"
        assert bench.source.endswith("for CLIP the authors' statements")
        assert by_id(bench)["3-4"].question == "Is the dog, or the cat, asleep?"

    def test_without_them_it_reads_question_and_answer(self, stand_in):
        bench = stand_in.load(statements="none")
        assert bench[0].statements is None
        assert bench[0].captions[0] == "Are the wings open or closed? Open"
        assert bench.source.endswith("for CLIP question with answer")
        with pytest.raises(ValueError, match="statements is 'mine'.*'authors', 'none'"):
            stand_in.load(statements="mine")

    def test_if_the_list_is_not_there_a_warning_says_what_is_read_and_what_to_do(self, stand_in):
        path = stand_in.root / "Questions-clip.csv"
        path.unlink()
        message = (
            r"mmvp: the list of statements is not there, so CLIP reads each question with its "
            rf"answer instead.*save https://raw\S*/Questions-clip\.csv as {path}\..*'none'"
        )
        with pytest.warns(UserWarning, match=message):
            bench = stand_in.load()
        assert bench.pairs == stand_in.load(statements="none").pairs
        assert bench.source.endswith("for CLIP question with answer")

    def test_a_missing_statement_is_named(self, stand_in):
        del stand_in.statements[3]
        stand_in.save()
        with pytest.raises(BenchmarkError, match=r"Questions-clip\.csv has no statement for 4: "):
            stand_in.load()

    @pytest.mark.parametrize(
        ("row", "message"),
        [
            ([3, "Unknown", "again"], "line 5: a second statement for image 3"),
            ([4, "Unknown", ""], "line 5: expected a type .* and a statement"),
            (["four", "Unknown", "x"], "line 5: the index is 'four'"),
        ],
    )
    def test_a_damaged_list_is_an_error_that_says_how_to_have_it_whole(
        self, stand_in, row, message
    ):
        stand_in.statements[3] = row
        stand_in.save()
        with pytest.raises(BenchmarkError, match=rf"Questions-clip\.csv, {message}.*save https"):
            stand_in.load()

    def test_a_place_without_mmvp_tells_of_both_lists(self, tmp_path):
        with pytest.raises(BenchmarkError, match=r"(?s)Questions\.csv beside.*save https") as error:
            load_benchmark("mmvp", folder=tmp_path / "nowhere")
        assert str(tmp_path / "nowhere" / "Questions-clip.csv") in str(error.value)
        with pytest.raises(BenchmarkError) as error:
            load_benchmark("mmvp", folder=tmp_path / "nowhere", statements="none")
        assert "Questions-clip" not in str(error.value)


# --- what can be wrong ---------------------------------------------------------------------------


def test_a_missing_image_is_an_error_that_names_it(stand_in):
    (stand_in.images / "4.jpg").unlink()
    message = r"(?s)1 of 3 pairs.*pair 3-4: the image 4\.jpg is missing.*skip_incomplete"
    with pytest.raises(BenchmarkError, match=message):
        stand_in.load()
    with pytest.warns(UserWarning, match="left out 1 of 3 pairs"):
        assert list(by_id(stand_in.load(skip_incomplete=True))) == ["1-2", "5-6"]


def test_a_damaged_image_is_found_when_it_is_opened(stand_in):
    path = stand_in.images / "4.jpg"
    path.write_bytes(path.read_bytes()[:-200])
    pair = by_id(stand_in.load())["3-4"]
    with pytest.raises(ImageError, match=r"(?s)pair '3-4'.*4\.jpg cannot be read.*fetch it again"):
        _ = pair.images


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (["4", "Is it?", "(a) Yes (b) No"], "expected 4 fields.*found 3"),
        (["4", "Is it?", "(a) Yes, (b) No", "(a)", "x"], "expected 4 fields.*found 5"),
        (["four", "Is it?", "(a) Yes (b) No", "(a)"], "the index is 'four'"),
        (["4", "", "(a) Yes (b) No", "(a)"], "expected a question, two options"),
        (["4", "Is it?", "Yes or no", "(a)"], "found 'Is it.', 'Yes or no'"),
        (["4", "Is it?", "(a) Yes (b) yes.", "(a)"], "expected a question, two options"),
        (["4", "Is it?", "(a) (b) No", "(a)"], "expected a question, two options"),
        (["4", "Is it?", "(a) Yes (b) No (c) Neither", "(a)"], r"two options.*\(c\) Neither"),
        (["4", "Is it?", "(a) Yes (b) No (a) Both", "(a)"], "two options"),
        (["4", "Is it?", "Well, (a) Yes (b) No", "(a)"], "two options"),
        (["4", "Is it?", "(a) Yes (b) No", "(c)"], r"answer '\(a\)' or '\(b\)'.*'\(c\)'"),
        (["4", "Is it?", "(a) Yes (b) No", "(a) (b)"], r"'\(a\) \(b\)'"),
    ],
)
def test_a_bad_row_is_named_by_its_line(stand_in, row, message):
    stand_in.rows[3] = row
    stand_in.save()
    with pytest.raises(BenchmarkError, match=rf"(?s)Questions\.csv, line 5: .*{message}"):
        stand_in.load()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({1: "Is the dog asleep?"}, "ask different questions, 'Is the dog, or the cat, asleep.'"),
        ({3: "(b)"}, "both images have the answer 'the cat'"),
        ({2: "(a) The dog (b) The bird"}, "different options"),
    ],
)
def test_rows_that_contradict_each_other_are_no_pair(stand_in, change, message):
    for place, text in change.items():
        stand_in.rows[3][place] = text
    stand_in.save()
    with pytest.raises(BenchmarkError, match=rf"(?s)1 of 3 pairs.*pair 3-4: .*{message}"):
        stand_in.load()
    with pytest.warns(UserWarning, match=message):
        assert len(stand_in.load(skip_incomplete=True)) == 2


def test_options_in_another_order_are_the_same_options(stand_in):
    stand_in.rows[3][2:] = ["(a) the cat (b) the dog", "(b)"]
    stand_in.save()
    assert by_id(stand_in.load())["3-4"].options == ("the cat", "The dog")


def test_a_missing_row_is_an_error_that_names_it(stand_in):
    del stand_in.rows[2]
    stand_in.save()
    with pytest.raises(BenchmarkError, match="pair 3-4: no row with the index 3"):
        stand_in.load()


def test_an_index_that_comes_twice_or_is_zero_is_an_error(stand_in):
    stand_in.rows.append(stand_in.rows[0])
    stand_in.save()
    with pytest.raises(BenchmarkError, match="two rows with the index 1"):
        stand_in.load()
    stand_in.rows[-1] = ["0", *stand_in.rows[0][1:]]
    stand_in.save()
    with pytest.raises(BenchmarkError, match="has the index 0; images count from 1"):
        stand_in.load()


def test_a_file_without_the_columns_says_which_it_has(stand_in):
    stand_in.header = ["Question ID", "Type", "Statement", "x"]
    stand_in.save()
    with pytest.raises(BenchmarkError, match="no column 'Index': it has 'Question ID', 'Type'"):
        stand_in.load()
    (stand_in.root / "Questions.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BenchmarkError, match="cannot be read as CSV"):
        stand_in.load()


def test_a_wrong_folder_says_what_belongs_there(tmp_path):
    incomplete = "is incomplete: it has 0 of 301 files"
    for folder, state in ((tmp_path / "nowhere", "does not exist"), (tmp_path, incomplete)):
        with pytest.raises(BenchmarkError, match=rf"{state}.*Questions\.csv beside MMVP Images"):
            load_benchmark("mmvp", folder=folder)
    with pytest.raises(BenchmarkError, match=r"Questions\.csv beside MLLM_VLM Images"):
        load_benchmark("mmvp-vlm", folder=tmp_path)


# --- the layout of lmms-lab-eval/MMVP ------------------------------------------------------------


class TestParquet:
    @pytest.fixture
    def write(self, tmp_path):
        pytest.importorskip("pyarrow")
        import pandas as pd

        def write(first: int = 1, **changes) -> Path:
            table = pd.DataFrame(ROWS, columns=HEADER)
            table["Index"] = table["Index"].astype(int) - 1 + first
            table["image"] = [{"bytes": jpeg(i), "path": f"{i}.jpg"} for i in range(1, 7)]
            for column, values in changes.items():
                table[column.replace("_", " ")] = values
            (tmp_path / "data").mkdir(exist_ok=True)
            for part, rows in enumerate((table[:3], table[3:])):  # a pair may straddle two files
                rows.to_parquet(tmp_path / "data" / f"train-0000{part}-of-00002.parquet")
            listed = "".join(f"{i},Unknown,thing {i}\n" for i in range(1, 7))
            (tmp_path / "Questions-clip.csv").write_text(f"Question ID,Type,Statement\n{listed}")
            return tmp_path

        return write

    @pytest.mark.parametrize("first", [0, 1])
    def test_it_gives_the_same_pairs_counted_from_0_or_1(self, write, stand_in, first):
        bench = load_benchmark("mmvp", folder=write(first))
        for mine, theirs in zip(bench, stand_in.load(), strict=True):
            assert (mine.pair_id, mine.options) == (theirs.pair_id, theirs.options)
            assert [grey(i) for i in mine.images] == [grey(i) for i in theirs.images]

    def test_photographs_keep_their_pixels_and_one_warning_tells_of_their_tags(self, write):
        exif, buffer = Image.Exif(), io.BytesIO()
        exif[0x0112] = 6
        picture(2).save(buffer, "jpeg", exif=exif)
        images = [{"bytes": jpeg(i)} for i in range(1, 7)]
        images[1] = {"bytes": buffer.getvalue()}
        folder = write(image=images)
        with pytest.warns(UserWarning, match=r"mmvp: 1 of 6 images .*in memory \(6\)"):
            bench = load_benchmark("mmvp", folder=folder)
        assert {image.size for pair in bench for image in pair.images} == {(16, 12)}

    def test_a_third_option_is_refused_in_a_list_as_in_print(self, write):
        for third in (["(a) Open", "(b) Closed", "(c) Ajar"], ["Open", "Closed", "Ajar"]):
            options = [third] * 2 + [["dog", "cat"]] * 2 + [["1", "2"]] * 2
            with pytest.raises(BenchmarkError, match=r"row 1: .*two options.*Ajar"):
                load_benchmark("mmvp", folder=write(Options=options))

    def test_options_may_be_a_list(self, write):
        options = [["(a) Open", "(b) Closed"]] * 2 + [["dog", "cat"]] * 2 + [["1", "2"]] * 2
        bench = load_benchmark("mmvp", folder=write(Options=options))
        assert [pair.options for pair in bench] == [("Open", "Closed"), ("cat", "dog"), ("2", "1")]

    def test_a_damaged_image_is_named_by_its_row(self, write):
        images = [{"bytes": jpeg(i)[: None if i != 5 else 300], "path": ""} for i in range(1, 7)]
        with pytest.raises(ImageError, match=r"00001-of-00002\.parquet, row 2: .*fetch it again"):
            load_benchmark("mmvp", folder=write(image=images))
        with pytest.raises(BenchmarkError, match="row 1: the image cell holds no bytes"):
            load_benchmark("mmvp", folder=write(image=["1.jpg"] * 6))

    def test_a_missing_column_is_named(self, write):
        path = write() / "data" / "train-00000-of-00002.parquet"
        import pandas as pd

        pd.read_parquet(path).drop(columns="Question").to_parquet(path)
        with pytest.raises(BenchmarkError, match="no column 'Question': it has 'Index', 'Options'"):
            load_benchmark("mmvp", folder=path.parents[1])
        path.write_bytes(b"PAR1 cut")
        with pytest.raises(BenchmarkError, match="cannot be read as parquet"):
            load_benchmark("mmvp", folder=path.parents[1])


# --- MMVP-VLM ------------------------------------------------------------------------------------


class VlmStandIn:
    """Four pairs in two patterns."""

    ROWS = (
        ("1", "Camera Perspective", "a cat seen from above"),
        ("2", "Camera Perspective", "a cat seen from the front"),
        ("3", "Camera Perspective", "a door, from outside"),
        ("4", "Camera Perspective", "a door, from inside"),
        ("5", "Color", "a red car"),
        ("6", "Color", "a blue car"),
        ("7", "Color", "a white wall"),
        ("8", "Color", "a black wall"),
    )

    def __init__(self, root: Path) -> None:
        self.root, self.images = root, root / "MLLM_VLM Images"
        self.header = ["Question ID", "Type", "Statement"]
        self.rows = [list(row) for row in self.ROWS]
        self.save()
        for index, kind, _ in self.ROWS:
            (self.images / kind).mkdir(parents=True, exist_ok=True)
            (self.images / kind / f"{index}.jpg").write_bytes(jpeg(int(index)))

    def save(self) -> None:
        self.root.mkdir(exist_ok=True)
        with (self.root / "Questions.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([self.header, *self.rows])

    def load(self, **options) -> Benchmark:
        return load_benchmark("mmvp-vlm", folder=self.root, **options)


class TestVlm:
    @pytest.fixture
    def vlm(self, tmp_path) -> VlmStandIn:
        return VlmStandIn(tmp_path / "vlm")

    def test_pairs_have_a_pattern_and_a_statement_for_each_image(self, vlm):
        bench = vlm.load()
        assert bench.relations == ("Camera Perspective", "Color")
        pair = by_id(bench)["5-6"]
        assert (pair.question, pair.options) == ("", ("a red car", "a blue car"))
        assert pair.captions == ("a photo of a red car", "a photo of a blue car")
        assert [grey(image) for image in pair.images] == [5, 6]
        assert vlm.load(prefix="")[0].captions[0] == "a cat seen from above"

    def test_a_missing_image_is_an_error_that_names_it(self, vlm):
        (vlm.images / "Color" / "6.jpg").unlink()
        with pytest.raises(BenchmarkError, match=r"pair 5-6: the image 6\.jpg is missing"):
            vlm.load()
        with pytest.warns(UserWarning, match="left out 1 of 4 pairs"):
            assert len(vlm.load(skip_incomplete=True)) == 3

    def test_a_damaged_image_is_found_when_it_is_opened(self, vlm):
        (vlm.images / "Color" / "6.jpg").write_bytes(b"not a photo")
        with pytest.raises(ImageError, match=r"pair '5-6'.*6\.jpg cannot be read"):
            _ = by_id(vlm.load())["5-6"].images

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({2: "A red car."}, "pair 5-6: both images have the statement 'a red car'"),
            ({1: "Text"}, "image 6.jpg is missing"),
            ({2: ""}, "line 7: expected a type .* and a statement, found 'Color' and ''"),
            ({1: "../.."}, "line 7: expected a type that names a folder"),
        ],
    )
    def test_a_row_that_does_not_fit_is_an_error(self, vlm, change, message):
        for place, text in change.items():
            vlm.rows[5][place] = text
        vlm.save()
        with pytest.raises(BenchmarkError, match=message):
            vlm.load()

    def test_a_missing_row_is_an_error_that_names_it(self, vlm):
        del vlm.rows[5]
        vlm.save()
        with pytest.raises(BenchmarkError, match="pair 5-6: no row with the index 6"):
            vlm.load()

    def test_the_two_rows_of_a_pair_have_one_type(self, vlm):
        vlm.rows[5][1] = "Text"
        vlm.save()
        (vlm.images / "Text").mkdir()
        (vlm.images / "Text" / "6.jpg").write_bytes(jpeg(6))
        with pytest.raises(BenchmarkError, match="different types, 'Color' and 'Text'"):
            vlm.load()

    def test_swapped_rows_are_paired_by_their_ids(self, vlm):
        before = vlm.load()
        vlm.rows[4:6] = vlm.rows[5:3:-1]
        vlm.save()
        with pytest.warns(UserWarning, match="index is followed"):
            assert vlm.load().pairs == before.pairs
