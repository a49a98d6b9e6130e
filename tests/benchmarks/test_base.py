"""Image pairs and benchmarks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from erragree_utils import load_clip
from erragree_utils.benchmarks import (
    BENCHMARKS,
    Benchmark,
    BenchmarkError,
    ImageError,
    ImagePair,
    QuestionPair,
    load_benchmark,
)
from erragree_utils.scoring.embeddings import pair_cosines


def picture(level: int = 0, mode: str = "RGB") -> Image.Image:
    return Image.new(mode, (8, 6), level)


def pair(pair_id: str, relation: str = "left/right", set_id: str = "s", **changes) -> ImagePair:
    fields = {"captions": ("a left of b", "a right of b"), "sources": (picture(1), picture(2))}
    return ImagePair(pair_id, set_id, relation, **{**fields, **changes})


def test_images_in_memory_come_as_rgb():
    images = pair("p", sources=(picture(7, "L"), picture(9, "L"))).images
    assert [image.mode for image in images] == ["RGB", "RGB"]
    assert [np.asarray(image).max() for image in images] == [7, 9]


def test_files_are_opened_on_access_and_may_appear_late(tmp_path: Path):
    path = tmp_path / "x.png"
    lazy = pair("p", sources=(path,))
    picture(5).save(path)
    (image,) = lazy.images
    path.unlink()  # closed: the picture outlives its file
    assert image.size == (8, 6)


def test_a_missing_image_is_named_with_its_pair_and_what_to_do(tmp_path: Path):
    with pytest.raises(ImageError, match=r"(?s)'mug'.*gone\.jpeg is missing.*skip_incomplete"):
        _ = pair("mug", sources=(tmp_path / "gone.jpeg",)).images


@pytest.mark.parametrize("keep", [0, 3, 40, 0.5, 0.95], ids=str)
def test_a_damaged_image_is_named_with_its_pair_and_what_to_do(tmp_path: Path, keep: float):
    path = tmp_path / "cut.jpeg"
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole)) if isinstance(keep, float) else keep])
    with pytest.raises(ImageError, match=r"(?s)'mug'.*cut\.jpeg cannot be read.*fetch it again"):
        _ = pair("mug", sources=(path,)).images


def turned(path: Path) -> Path:
    exif = Image.Exif()
    exif[0x0112] = 6  # "rotate by 90 degrees to view"
    picture().save(path, exif=exif)
    return path


def test_ones_own_photos_are_turned_and_published_ones_are_kept(tmp_path: Path):
    path = turned(tmp_path / "turned.jpeg")
    for source in (path, str(path), Image.open(path)):
        assert pair("p", sources=(source,)).images[0].size == (6, 8)
        assert pair("p", sources=(source,), orientation="keep").images[0].size == (8, 6)
    with pytest.raises(BenchmarkError, match="'p': orientation is 'apply' or 'keep', not 'turn'"):
        pair("p", orientation="turn")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"captions": ("only one",)}, "two captions"),
        ({"captions": "ab"}, "two captions"),
        ({"captions": ("one", b"\0" * 999)}, r"captions\[1\] is a bytes, not a text"),
        ({"captions": 7}, "two captions, it has 1"),
        ({"sources": ()}, "one or two sources, it has 0"),
        ({"sources": (picture(),) * 3}, "one or two sources, it has 3"),
    ],
)
def test_a_pair_has_two_captions_and_one_or_two_images(changes, message):
    with pytest.raises(BenchmarkError, match=f"pair 'p'.*{message}"):
        pair("p", **changes)


@pytest.mark.parametrize("wrong", [np.zeros((6, 8, 3), np.uint8), b"\xff" * 9999, 3, None])
def test_what_is_no_image_is_named_with_its_pair_when_the_pair_is_made(wrong):
    kind = type(wrong).__name__
    with pytest.raises(ImageError, match=f"pair 'p': image 1 is a {kind}, not a path or a") as e:
        pair("p", sources=(picture(), wrong))
    assert len(str(e.value)) < 200  # bytes are not poured into it


def test_captions_and_images_may_come_from_generators():
    made = pair("p", captions=(c for c in "ab"), sources=(picture(i) for i in (1, 2)))
    assert made.captions == ("a", "b") and len(made.images) == 2


def test_a_damaged_image_in_memory_is_named_with_its_pair(tmp_path: Path):
    path = tmp_path / "cut.png"
    picture(9).resize((80, 60)).save(path)
    path.write_bytes(path.read_bytes()[:-60])
    broken = pair("mug", sources=(picture(), Image.open(path)))
    with pytest.raises(ImageError, match=r"pair 'mug': image 1 in memory \(.*cut\.png\) cannot be"):
        _ = broken.images


def benchmark() -> Benchmark:
    pairs = (pair("1"), pair("2", "on/under"), pair("3", set_id="t"), pair("4", "on/under", "t"))
    return Benchmark("toy", pairs, "a toy", "seed 0")


def test_a_benchmark_is_a_sequence_and_a_slice_is_a_benchmark():
    bench = benchmark()
    assert len(bench) == 4
    assert [p.pair_id for p in bench] == ["1", "2", "3", "4"]
    assert bench[-1].pair_id == "4"
    part = bench[1:3]
    assert isinstance(part, Benchmark)
    assert [p.pair_id for p in part] == ["2", "3"]
    assert (part.name, part.description, part.source) == ("toy", "a toy", "seed 0")
    with pytest.raises(IndexError):
        bench[4]


def test_select_keeps_one_relation_and_lists_them_when_unknown():
    bench = benchmark()
    assert [p.pair_id for p in bench.select("on/under")] == ["2", "4"]
    with pytest.raises(ValueError, match="no relation 'left'.*'left/right', 'on/under'"):
        bench.select("left")


def test_wrong_images_come_from_other_sets_of_the_same_relation():
    pairs = [
        pair(f"{relation} {i}", relation, f"set {i}", sources=(picture(i), picture(100 + i)))
        for relation in ("left/right", "on/under")
        for i in range(40)
    ]
    owner = {id(source): p for p in pairs for source in p.sources}
    bench = Benchmark("toy", tuple(pairs))
    wrong = bench.with_wrong_images(seed=1)
    assert [p.captions for p in wrong] == [p.captions for p in bench]
    sides = []
    for before, after in zip(bench, wrong, strict=True):
        for index, source in enumerate(after.sources):
            other = owner[id(source)]
            assert other.set_id != before.set_id and other.relation == before.relation
            sides.append(other.sources.index(source) == index)
    assert 0.3 < np.mean(sides) < 0.7  # either image of the other pair
    again = bench.with_wrong_images(seed=1)
    assert all(a.sources == b.sources for a, b in zip(wrong, again, strict=True))


def test_wrong_images_need_another_set():
    with pytest.raises(ValueError, match="no other set with 'left/right'"):
        Benchmark("toy", (pair("1"), pair("2"))).with_wrong_images()


def test_other_images_come_in_the_order_of_the_pairs_and_captions_stay():
    bench = benchmark()
    swapped = bench.with_images(reversed(p.sources) for p in bench)
    assert [p.sources for p in swapped] == [p.sources[::-1] for p in bench]
    assert [p.captions for p in swapped] == [p.captions for p in bench]
    assert (swapped.name, swapped.source) == (bench.name, bench.source)
    with pytest.raises(ValueError):
        bench.with_images([bench[0].sources])


def test_the_representation_is_one_short_line():
    assert repr(benchmark()) == "<Benchmark toy: 4 pairs, 2 sets (left/right, on/under)>"


def test_pair_ids_are_unique():
    with pytest.raises(ValueError, match="two pairs named '1'"):
        Benchmark("toy", (pair("1"), pair("1")))


def test_an_unknown_benchmark_lists_the_known_ones():
    with pytest.raises(ValueError, match="unknown benchmark 'whatsup'.*tabletop-a.*gqa-spatial"):
        load_benchmark("whatsup")
    assert set(BENCHMARKS) >= {"tabletop-a", "tabletop-b", "whatsup-a", "whatsup-b"}


def test_options_reach_the_loader():
    bench = load_benchmark("tabletop-a", seed=3, n_sets=2, size=32)
    assert (bench.name, len(bench), bench.n_sets) == ("tabletop-a", 4, 2)
    assert bench[0].images[0].size == (32, 32)
    with pytest.raises(TypeError, match="no_such_option"):
        load_benchmark("whatsup-a", no_such_option=1)


# --- question pairs ------------------------------------------------------------------------------


def question_pair(**changes) -> QuestionPair:
    fields = {"options": ("red", "blue"), "sources": (picture(1), picture(2))} | changes
    return QuestionPair("p", "colour", "Is it red or blue?", **fields)


def test_a_question_pair_serves_where_an_image_pair_does():
    bench = Benchmark("toy", (question_pair(),))
    assert (bench.relations, bench.n_sets) == (("colour",), 1)
    assert bench[0].captions == ("Is it red or blue? red", "Is it red or blue? blue")
    assert question_pair(statements=("a red mug", "a blue mug")).captions == (
        "a red mug",
        "a blue mug",
    )
    table = pair_cosines(load_clip("mini", device="cpu"), bench)
    assert list(table["relation"]) == ["colour"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"options": ("red", "Red ")}, "two different options"),
        ({"options": "ab"}, "two options"),
        ({"sources": (picture(1),) * 3}, "one or two sources"),
        ({"statements": ("one",)}, "two statements"),
        ({"first_listed": 2}, "first_listed is 0 or 1"),
    ],
)
def test_what_is_no_question_pair_is_refused(changes, message):
    with pytest.raises(ValueError, match=f"pair 'p'.*{message}"):
        question_pair(**changes)
