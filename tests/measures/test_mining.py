"""Mining of CLIP-blind pairs, against a reference that compares everything with everything."""

from __future__ import annotations

import subprocess
import sys
import warnings
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
import torch

from erragree_utils.measures import mining
from erragree_utils.measures.mining import mine_blind_pairs


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def collection(
    n: int, groups: int, seed: int = 0, clip_width: int = 24, vision_width: int = 16
) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings in groups that CLIP sees near each other; the other encoder sees no groups."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(groups, clip_width))
    clip = centres[rng.integers(groups, size=n)] + 0.2 * rng.normal(size=(n, clip_width))
    return (
        unit(clip).astype(np.float32),
        unit(rng.normal(size=(n, vision_width))).astype(np.float32),
    )


def reference(clip, vision, clip_above=0.95, vision_below=0.6) -> pd.DataFrame:
    """Pair by pair, in float64."""
    rows = []
    for i, j in combinations(range(len(clip)), 2):
        a, b = (
            float(x[i] @ x[j] / np.linalg.norm(x[i]) / np.linalg.norm(x[j]))
            for x in (clip.astype(np.float64), vision.astype(np.float64))
        )
        if a > clip_above and b < vision_below:
            rows.append((i, j, a, b))
    table = pd.DataFrame(rows, columns=mining.COLUMNS)
    gap = table["vision_cosine"] - table["clip_cosine"]
    return table.assign(gap=gap).sort_values(["gap", "i", "j"], ignore_index=True)[mining.COLUMNS]


@pytest.mark.parametrize("rows", [1, 7, 64, 150, 151, 1000])
def test_blocks_of_any_size_find_what_comparing_all_finds(rows):
    clip, vision = collection(150, groups=5)
    expected = reference(clip, vision)
    assert 30 < len(expected) < 3000
    found = mine_blind_pairs(clip, vision, k=None, block_rows=rows)
    pd.testing.assert_frame_equal(found, expected, rtol=0, atol=1e-12)
    assert found.attrs == {
        "found": len(expected), "engine": "blocks", "exact": True, "recall": 1.0
    }  # fmt: skip


def test_both_thresholds_decide():
    clip, vision = collection(120, groups=5, seed=1)
    for clip_above, vision_below in ((0.9, 0.0), (0.97, 0.9), (-1, 0.2), (0.5, 1)):
        found = mine_blind_pairs(clip, vision, clip_above, vision_below, k=None, block_rows=50)
        expected = reference(clip, vision, clip_above, vision_below)
        pd.testing.assert_frame_equal(found, expected, rtol=0, atol=1e-12)


def test_k_keeps_the_pairs_whose_cosines_differ_most_and_counts_the_others():
    clip, vision = collection(200, groups=4, seed=2)
    everything = mine_blind_pairs(clip, vision, k=None)
    some = mine_blind_pairs(clip, vision, k=10, block_rows=30)
    pd.testing.assert_frame_equal(some, everything.head(10))
    assert some.attrs["found"] == len(everything) > 100
    gap = everything["clip_cosine"] - everything["vision_cosine"]
    assert (gap.diff().dropna() <= 0).all()


def test_pairs_that_k_drops_on_the_way_are_not_the_best():
    clip, vision = collection(700, groups=2, seed=3)
    everything = mine_blind_pairs(clip, vision, 0.8, 0.9, k=None, block_rows=100)
    assert len(everything) > 100_000  # so that `k` cuts before the end
    some = mine_blind_pairs(clip, vision, 0.8, 0.9, k=25, block_rows=100)
    pd.testing.assert_frame_equal(some, everything.head(25))


def test_a_cosine_at_a_threshold_is_neither_above_nor_below_it():
    clip = np.array([[0.6, 0.8], [0.8, 0.6], [1.0, 0.0]])
    vision = np.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    (pair,) = mine_blind_pairs(clip, vision, 0.9, 0.7).itertuples()
    above, below = pair.clip_cosine, pair.vision_cosine
    assert (above, below) == pytest.approx((0.96, 0.6))
    assert mine_blind_pairs(clip, vision, above, 0.7).empty
    assert mine_blind_pairs(clip, vision, 0.9, below).empty
    assert len(mine_blind_pairs(clip, vision, np.nextafter(above, 0), np.nextafter(below, 1))) == 1


def test_equal_images_are_alike_to_both_encoders_and_no_pair():
    clip, vision = collection(3, groups=1)
    clip, vision = np.repeat(clip[:1], 5, axis=0), np.repeat(vision[:1], 5, axis=0)
    assert mine_blind_pairs(clip, vision).empty


def test_the_same_gap_is_sorted_by_image():
    """Six images that CLIP cannot tell apart; the other encoder puts them at right angles."""
    found = mine_blind_pairs(np.ones((6, 1)), np.eye(6), block_rows=4)
    assert list(zip(found["i"], found["j"], strict=True)) == list(combinations(range(6), 2))
    assert set(found["clip_cosine"]) == {1.0} and set(found["vision_cosine"]) == {0.0}


def test_half_precision_and_memory_maps_are_read(tmp_path):
    clip, vision = (a.astype(np.float16) for a in collection(150, groups=5))
    for name, array in (("clip", clip), ("vision", vision)):
        np.save(tmp_path / f"{name}.npy", array)
    maps = (np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ("clip", "vision"))
    found = mine_blind_pairs(*maps, k=None, block_rows=64)
    pd.testing.assert_frame_equal(found, reference(clip, vision), rtol=0, atol=1e-12)


def test_inputs_and_pytorchs_settings_are_left_as_they_were():
    clip, vision = collection(40, groups=2)
    before = clip.copy(), torch.get_float32_matmul_precision()
    mine_blind_pairs(clip, vision)
    assert np.array_equal(before[0], clip)
    assert (
        torch.get_float32_matmul_precision() == before[1] and not torch.is_inference_mode_enabled()
    )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_the_gpu_finds_the_same():
    clip, vision = collection(3000, groups=40)
    torch.backends.cuda.matmul.allow_tf32 = True  # what a caller may have set
    found = mine_blind_pairs(clip, vision, device="cuda", k=None, block_rows=512)
    pd.testing.assert_frame_equal(found, mine_blind_pairs(clip, vision, device="cpu", k=None))


@pytest.mark.parametrize("name", ["clip", "vision"])
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.nan, "has length nan"),
        (np.inf, "has length inf"),
        (0.0, "has length 0"),
        (3.0, "has length 1"),
    ],
)
def test_a_row_without_unit_length_is_named(name, value, message):
    arrays = dict(zip(("clip", "vision"), collection(60, groups=3), strict=True))
    arrays[name][41] = value
    with pytest.raises(
        ValueError, match=rf"row 41 of {name}_embeddings {message}.*Divide each row"
    ):
        mine_blind_pairs(arrays["clip"], arrays["vision"])


def test_what_makes_no_sense_is_refused():
    clip, vision = collection(20, groups=2)
    with pytest.raises(ValueError, match="20 CLIP and 19 vision-only"):
        mine_blind_pairs(clip, vision[1:])
    for wrong in (clip[0], clip[:0], clip.astype(int)):
        with pytest.raises(ValueError, match=r"clip_embeddings must be floating.*\(N, D\)"):
            mine_blind_pairs(wrong, vision)
    for option in ({"k": 0}, {"k": 1.5}, {"block_rows": 0}, {"probes": -1}):
        with pytest.raises(ValueError, match=f"{next(iter(option))} must be a positive integer"):
            mine_blind_pairs(clip, vision, **option)
    with pytest.raises(ValueError, match="clip_above is a cosine"):
        mine_blind_pairs(clip, vision, clip_above=95)
    with pytest.raises(
        ValueError, match="unknown engine 'fais'; choose one of auto, blocks, faiss"
    ):
        mine_blind_pairs(clip, vision, engine="fais")


class TestFaiss:
    @pytest.fixture(autouse=True)
    def _installed(self):
        pytest.importorskip("faiss")

    def test_searching_all_cells_finds_everything(self):
        clip, vision = collection(3000, groups=300, seed=4)
        expected = mine_blind_pairs(clip, vision, k=None)
        found = mine_blind_pairs(clip, vision, k=None, engine="faiss", probes=1000)
        assert len(expected) > 300
        pd.testing.assert_frame_equal(found, expected)
        assert found.attrs["recall"] == 1 and not found.attrs["exact"]

    def test_recall_tells_what_share_was_found(self):
        clip, vision = collection(3000, groups=3, seed=5)
        expected = mine_blind_pairs(clip, vision, k=None)
        found = mine_blind_pairs(clip, vision, k=None, engine="faiss", probes=1)
        assert 0 < len(found) < len(expected)
        share = len(found) / len(expected)
        assert found.attrs["recall"] == pytest.approx(share, abs=0.05)
        assert len(found.merge(expected, on=["i", "j"])) == len(found)  # none that is not blind

    def test_a_large_collection_is_searched_and_the_warning_says_so(self, monkeypatch):
        monkeypatch.setitem(mining.BLOCK_LIMIT, "cpu", 500)
        clip, vision = collection(600, groups=30)
        with pytest.warns(UserWarning, match="600 images: FAISS.*can miss some.*'blocks'"):
            found = mine_blind_pairs(clip, vision, device="cpu")
        assert found.attrs["engine"] == "faiss"
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert mine_blind_pairs(clip, vision, engine="blocks").attrs["exact"]


def test_without_faiss_blocks_go_on_and_asking_for_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    monkeypatch.setitem(mining.BLOCK_LIMIT, "cpu", 50)
    clip, vision = collection(60, groups=3)
    with pytest.warns(UserWarning, match="60 images takes long on cpu.*pip install faiss-cpu"):
        assert mine_blind_pairs(clip, vision, device="cpu").attrs["exact"]
    with pytest.raises(ImportError, match="pip install faiss-cpu"):
        mine_blind_pairs(clip, vision, engine="faiss")


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of memory from /proc")
def test_memory_does_not_grow_with_the_square():
    """Twelve thousand images: one N x N matrix of float32 would take 576 MB."""
    script = """
from pathlib import Path
import numpy as np
from erragree_utils.measures.mining import mine_blind_pairs

def peak():
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024

rng = np.random.default_rng(0)
def grouped(cosine):
    out = rng.standard_normal((12_000, 128), dtype=np.float32) * (1 / cosine - 1) ** 0.5
    out += np.tile(rng.standard_normal((3000, 128)), (4, 1))
    return (out / np.linalg.norm(out, axis=1, keepdims=True)).astype(np.float32)
clip, vision = grouped(0.97), grouped(0.5)
mine_blind_pairs(clip[:3000], vision[:3000], block_rows=512)  # libraries and threads are there
before = peak()
table = mine_blind_pairs(clip, vision, block_rows=512, k=10)
print(peak() - before, table.attrs["found"])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    grown, found = map(float, done.stdout.split())
    assert found > 10_000
    assert grown < 60, f"{grown} MB more than for a quarter of the images"
