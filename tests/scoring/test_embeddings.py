"""Images embedded once, and cosines within pairs and between sets."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from erragree_utils.benchmarks import Benchmark, ImagePair
from erragree_utils.scoring import embeddings
from erragree_utils.scoring.captions import side_examples


class Pixels:
    """An embedding that can be computed by hand: the colour of the first pixel."""

    def __init__(self):
        self.encoded = 0

    def embed_images(self, images, batch_size=64):
        rows = [np.asarray(image, np.float32)[0, 0] for image in images]
        self.encoded += len(rows)
        return np.stack(rows)


def picture(colour) -> Image.Image:
    return Image.new("RGB", (4, 4), colour)


def bench(*colours, sets=None) -> Benchmark:
    pairs = [
        ImagePair(f"p{i}", f"s{sets[i] if sets else i}", "left/right", ("l", "r"),
                  tuple(picture(colour) for colour in pair))
        for i, pair in enumerate(colours)
    ]  # fmt: skip
    return Benchmark("colours", tuple(pairs))


RED, GREEN, YELLOW = (255, 0, 0), (0, 255, 0), (255, 255, 0)


def test_pair_cosines_have_a_row_for_each_pair_in_order():
    table = embeddings.pair_cosines(Pixels(), bench((RED, RED), (RED, YELLOW), (RED, GREEN)))
    assert list(table.columns) == ["pair_id", "relation", "cosine"]
    assert table["pair_id"].tolist() == ["p0", "p1", "p2"]
    np.testing.assert_allclose(table["cosine"], [1, 0.5**0.5, 0], atol=1e-6)


def test_random_pairs_are_of_different_sets():
    # Within a set everything is alike, between sets nothing is.
    colours = bench((RED, RED), (RED, RED), (GREEN, GREEN), (GREEN, GREEN), sets=[0, 0, 1, 1])
    table = embeddings.random_pair_cosines(Pixels(), colours, n=200)
    assert len(table) == 200
    assert set(table["relation"]) == {"random"}
    np.testing.assert_allclose(table["cosine"], 0, atol=1e-6)


def test_random_pairs_follow_the_seed():
    colours = bench((RED, YELLOW), (GREEN, RED), (YELLOW, GREEN))
    draw = lambda seed: embeddings.random_pair_cosines(Pixels(), colours, n=20, seed=seed)  # noqa: E731
    assert draw(1).equals(draw(1))
    assert not draw(1).equals(draw(2))
    assert len(embeddings.random_pair_cosines(Pixels(), colours)) == 3


def test_an_image_that_pairs_share_is_encoded_once(tmp_path):
    path = tmp_path / "red.png"
    picture(RED).save(path)
    shared = picture(GREEN)
    pairs = tuple(
        ImagePair(f"p{i}", f"s{i}", "left/right", ("l", "r"), (path, shared)) for i in range(3)
    )
    model = Pixels()
    embedded = embeddings.image_embeddings(model, Benchmark("shared", pairs))
    assert model.encoded == 2
    assert all(rows.tolist() == [[255, 0, 0], [0, 255, 0]] for rows in embedded.values())


def test_embeddings_at_hand_are_not_computed_again():
    colours, model = bench((RED, YELLOW), (GREEN, RED)), Pixels()
    embedded = embeddings.image_embeddings(model, colours)
    again = embeddings.pair_cosines(model, colours, embeddings=embedded)
    embeddings.random_pair_cosines(model, colours, embeddings=embedded)
    assert model.encoded == 4
    assert again.equals(embeddings.pair_cosines(Pixels(), colours))


def test_benchmarks_without_pairs_or_sets_are_refused():
    with pytest.raises(ValueError, match="'p0' has one image"):
        embeddings.pair_cosines(Pixels(), bench((RED,)))
    with pytest.raises(ValueError, match="no pairs"):
        embeddings.pair_cosines(Pixels(), bench())
    with pytest.raises(ValueError, match="there are 1 sets"):
        embeddings.random_pair_cosines(Pixels(), bench((RED, GREEN)))


def test_what_is_asked_about_is_the_named_thing_less_the_other():
    class Letters:
        def embed_texts(self, texts):
            return np.array([[text.count("u"), text.count("e")] for text in texts], float)

    examples = side_examples(["A mug to the left of a sphere", "A sphere to the left of a mug"])
    asked = embeddings.asked_about(Letters(), examples)
    np.testing.assert_array_equal(asked, [[1, -2], [-1, 2]])
