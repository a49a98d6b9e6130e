"""Small ablations that several test files share; pictures are rendered once."""

from __future__ import annotations

import pytest

from erragree_utils.training.ablations import experiments, train, world


@pytest.fixture(scope="session")
def small():
    """Settings that train in seconds."""
    return {
        "steps": 3, "scenes": 400, "batch": 8, "captions": 2, "places_per_batch": 3, "width": 32,
        "layers": 2, "text_layers": 1, "embed_dim": 16, "image_size": 24, "margin": 2, "n_sets": 4,
        "warmup": 1,
    }  # fmt: skip


@pytest.fixture(scope="session")
def settings(small):
    return experiments.Settings(**small)


@pytest.fixture(scope="session")
def metrics():
    return {
        "individual", "pair", "relative", "retrieval", "cosine", "cosine of random images",
    }  # fmt: skip


@pytest.fixture(scope="session")
def out(tmp_path_factory):
    """The folder of all runs."""
    folder = tmp_path_factory.mktemp("ablations")
    (folder / "pictures").mkdir()  # some tests link to it, whichever runs first
    return folder


@pytest.fixture(scope="session")
def seen(out, settings):
    """The training world of the small settings."""
    s = settings
    return world.load_world(
        out / "pictures", s.scenes, s.image_size + s.margin, s.captions, s.context
    )


@pytest.fixture(scope="session")
def recorded(out, small):
    """Two experiments with two seeds each, and the tables that were written."""
    train.run_many(["CLIP", "hard negatives"], [0, 1], out, **small)
    train.collect(out, out / "tables")
    return out / "tables"
