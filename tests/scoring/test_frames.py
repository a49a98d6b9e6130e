"""Both readers look at each image of a sequence."""

from __future__ import annotations

import numpy as np
import pytest

from erragree_utils import load_clip, score
from erragree_utils.benchmarks import load_benchmark
from erragree_utils.scoring.frames import read_frames


def test_frames_are_read_as_pairs_are(tiny):
    clip, pair = load_clip("mini"), load_benchmark("tabletop-a", n_sets=1)[0]
    read = read_frames(clip, tiny, pair.images, pair.captions)
    assert len(read) == 2 and read["cosine"][0] == pytest.approx(1, abs=1e-5)
    for names, model, method in (
        (["score_0", "score_1"], clip, "matching"), (["yes_0", "yes_1"], tiny, "vqascore"),
    ):  # fmt: skip
        expected = score(model, [pair], method).pivot(
            index="image_index", columns="option_index", values="score"
        )
        assert np.allclose(read[names], expected, atol=1e-5)
