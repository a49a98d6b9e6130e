"""Live histograms, read back from their HTML."""

from __future__ import annotations

import json

import numpy as np
import pytest
from bs4 import BeautifulSoup
from PIL import Image

from erragree_utils.benchmarks import ImagePair
from erragree_utils.plots import live


def parsed(figure: live.Live) -> tuple[BeautifulSoup, dict]:
    """The figure's markup and its data."""
    soup = BeautifulSoup(figure.html, "html.parser")
    return soup, json.loads(soup.select_one("script[type='application/json']").string)


class TestDirection:
    scores = {
        0: np.array([[0.1, -0.1], [-0.1, 0.1], [0.1, -0.1], [-0.1, 0.1]]),
        45: np.array([[0.5, -0.5], [0.5, -0.5], [0.5, -0.5], [-0.5, 0.5]]),
        90: np.array([[1.0, -1.0]] * 4),
    }

    def test_tells_for_each_angle_in_how_many_pairs_the_first_image_is_ahead(self):
        _, data = parsed(live.direction({"hidden": self.scores}, ("left", "right")))
        assert [text.split(" in ")[1] for text in data["summary"][0]] == [
            "50% of 4 pairs",
            "75% of 4 pairs",
            "100% of 4 pairs",
        ]
        assert data["summary"][0][1].startswith("hidden, 45°: left lies further along")

    def test_its_bars_part_as_the_clouds_do(self):
        _, data = parsed(live.direction({"hidden": self.scores}))
        first, second = (np.array(heights) for heights in data["heights"][0][2])
        assert first.nonzero()[0].min() > second.nonzero()[0].max()
        first, second = (np.array(heights) for heights in data["heights"][0][0])
        assert (first == second).all()

    def test_offers_every_model_where_there_are_several(self):
        turned = {angle: -places for angle, places in self.scores.items()}
        soup, data = parsed(live.direction({"hidden": self.scores, "lost": turned}))
        assert [tag.get_text() for tag in soup.select("option")] == ["hidden", "lost"]
        assert data["heights"][1][2] == data["heights"][0][2][::-1]
        assert "0% of 4 pairs" in data["summary"][1][2]
        assert not parsed(live.direction({"CLIP": self.scores}))[0].select("select")

    def test_without_scripts_it_shows_the_ends_and_the_middle_of_each_model(self):
        soup, data = parsed(live.direction({"hidden": self.scores, "lost": self.scores}))
        assert [svg["aria-label"] for svg in soup.select("svg")] == sum(data["summary"], [])

    def test_needs_angles_the_same_for_all(self):
        with pytest.raises(ValueError, match="at least one angle"):
            live.direction({})
        with pytest.raises(ValueError, match="'lost' has other angles"):
            live.direction({"hidden": self.scores, "lost": {0: self.scores[0]}})


class TestPick:
    @pytest.fixture
    def pairs(self) -> list[ImagePair]:
        sources = tuple(Image.new("RGB", (80, 80), colour) for colour in ("red", "blue"))
        return [
            ImagePair(f"p{i}", f"s{i}", "left/right", (f"left {i}", f"right {i}"), sources)
            for i in range(3)
        ]

    @pytest.fixture
    def embeddings(self) -> np.ndarray:
        rows = np.random.default_rng(0).normal(size=(3, 2, 8))
        return rows / np.linalg.norm(rows, axis=-1, keepdims=True)

    def test_carries_the_cosine_of_every_two_images(self, embeddings, pairs):
        soup, data = parsed(live.pick(embeddings, pairs, {"random": [0.2, 0.5]}, shown=2))
        assert len(soup.select("button")) == 4
        flat = embeddings[:2].reshape(4, 8)
        assert np.allclose(data["cosines"], flat @ flat.T, atol=1e-5)
        assert data["names"] == ["left 0", "right 0", "left 1", "right 1"]
        assert f"Cosine {data['cosines'][0][1]:.4f}: left 0, and right 0" in soup.get_text()

    def test_the_axis_holds_all_that_is_drawn(self, embeddings, pairs):
        soup, data = parsed(
            live.pick(embeddings, pairs, {"pairs": [0.99, 0.98], "random": [0.2, 0.5]})
        )
        assert data["low"] == pytest.approx(0.2)
        drawn = [len(group.select("rect[height='96.0']")) for group in soup.select("svg g")]
        assert all(drawn)

    def test_needs_embeddings_of_what_is_shown(self, embeddings, pairs):
        with pytest.raises(ValueError, match="embeddings of every pair"):
            live.pick(embeddings[:1], pairs, {"random": [0.5]})
