"""Live figures, read back from their HTML: the first state stands there, the rest goes along."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from PIL import Image

from erragree_utils.benchmarks import ImagePair, QuestionPair
from erragree_utils.plots import live


def parsed(figure: live.Live) -> tuple[BeautifulSoup, dict]:
    """The figure's markup and its data."""
    soup = BeautifulSoup(figure.html, "html.parser")
    return soup, json.loads(soup.select_one("script[type='application/json']").string)


def image(address: str) -> Image.Image:
    """The image that an address holds."""
    head, _, text = address.partition(",")
    assert head == "data:image/webp;base64"
    return Image.open(io.BytesIO(base64.b64decode(text)))


@pytest.fixture
def pairs(margins) -> list[ImagePair]:
    """Five pairs, one with a text that would end a script."""
    sources = tuple(Image.new("RGB", (80, 80), colour) for colour in ("red", "blue"))
    texts = [("left </script> one", "right one"), *[("left one", "right one")] * 4]
    return [ImagePair(f"p{i}", f"s{i}", "left/right", texts[i], sources) for i in range(5)]


@pytest.fixture
def questions() -> list[QuestionPair]:
    """Two patterns, two pairs of each."""
    sources = tuple(Image.new("RGB", (80, 60), colour) for colour in ("red", "blue"))
    return [
        QuestionPair(
            f"{pattern}-{i}", pattern, "Is it open or closed?", ("open", "closed"), sources
        )
        for pattern in ("state", "colour")
        for i in range(2)
    ]


class TestDrag:
    def figure(self, **changes) -> live.Live:
        readings = [
            live.Reading("CLIP", "cosine", [1.0, 0.99, 0.995], drawn=True),
            live.Reading("LLaVA", "P(Yes)", [0.96, 0.5, 0.004], "share", drawn=True),
        ]
        given = {
            "frames": [Image.new("RGB", (40, 40), c) for c in ("red", "green", "blue")],
            "places": [0.1, 0.5, 0.9],
            "readings": readings,
            "mover": "the mug",
            "caption": "Drag it.",
        }
        return live.drag(**given | changes)

    def test_shows_both_ends_of_the_way_where_no_script_runs(self):
        soup, data = parsed(self.figure())
        assert [tag["src"] for tag in soup.select("img")] == [data["frames"][0], data["frames"][-1]]
        values = [tag.get_text() for tag in soup.select(".live-value")]
        assert values == ["1.000", "0.995", "96%", "0%"]
        bars = [tag["style"] for tag in soup.select(".live-bar i")]
        assert bars == ["width:100.0%", "width:99.5%", "width:96.0%", "width:0.4%"]

    def test_carries_every_frame_and_value(self):
        _, data = parsed(self.figure())
        red, green, blue = (image(frame).getpixel((20, 20)) for frame in data["frames"])
        assert red[0] > 200 and green[1] > 100 and blue[2] > 200
        assert data["readings"][1]["shown"] == ["96%", "50%", "0%"]

    def test_offers_models_where_they_come_with_it(self):
        assert not parsed(self.figure())[0].select(".live-run")
        with_models, data = parsed(self.figure(live={"megabytes": 27}))
        assert "27 MB" in with_models.select_one(".live-run").get_text()
        assert data["live"] == {"megabytes": 27}

    def test_takes_what_both_readers_read(self):
        frames = pd.DataFrame({
            "cosine": [1.0, 0.99], "score_0": [0.4, 0.3], "score_1": [0.2, 0.4],
            "yes_0": [0.9, 0.1], "yes_1": [0.2, 0.7],
        })  # fmt: skip
        shown = live.readings(frames)
        assert [(r.reader, r.shown(1)) for r in shown] == [
            ("CLIP", "0.990"), ("CLIP", "0.300"), ("CLIP", "0.400"), ("LLaVA", "10%"),
            ("LLaVA", "70%"),
        ]  # fmt: skip
        assert shown[1].bar(0) == shown[2].bar(1) == 80
        with pytest.raises(ValueError, match="read_frames"):
            live.readings(frames.drop(columns="yes_1"))

    def test_refuses_what_does_not_belong_together(self):
        with pytest.raises(ValueError, match="3 frames at 2 places"):
            self.figure(places=[0.1, 0.9])
        with pytest.raises(ValueError, match="'cosine' has 1 values"):
            self.figure(readings=[live.Reading("CLIP", "cosine", [1.0])])


def preferred(signal: list[float], bias: list[float]) -> pd.DataFrame:
    """What `prefer` returns, as far as it is drawn."""
    ids = [f"p{i}" for i in range(len(signal))]
    return pd.DataFrame({"pair_id": ids, "signal": signal, "bias": bias})


def of_margins(margins: list[tuple[float, float]]) -> dict[float, pd.DataFrame]:
    """The one table of pairs whose images prefer their own text by so much."""
    first, second = np.array(margins).T
    return {0: preferred(list((first + second) / 2), list((first - second) / 2))}


class TestDots:
    def test_stand_where_signal_and_bias_are(self, margins, pairs):
        soup, data = parsed(live.signal_and_bias(of_margins(margins), pairs))
        x, y = data["x"][0], data["y"][0]
        middle = 220
        for k, (first, second) in enumerate(margins):
            assert (x[k] > middle) == (first + second > 1e-9)
            assert (y[k] < middle) == (first > second)
        assert data["right"] == [[1, 0, 0, 0, 0]]
        assert data["ahead"][0][0] == pytest.approx([first for first, _ in margins])
        assert len(soup.select(".live-dots circle.right")) == 1
        assert not soup.select("input")  # one state needs no slider
        assert "20% of 5 pairs" in soup.select_one(".live-summary").get_text()

    def test_lists_every_pair_for_those_who_cannot_click(self, margins, pairs):
        soup, _ = parsed(live.signal_and_bias(of_margins(margins), pairs))
        assert [tag.get_text() for tag in soup.select("option")] == [f"p{i}" for i in range(5)]

    def test_holds_both_images_of_every_pair(self, margins, pairs):
        soup, data = parsed(live.signal_and_bias(of_margins(margins), pairs))
        style = soup.select_one("figure")["style"]
        sheet = image(style.split("url(")[1].split(")")[0])
        for tile in range(10):
            place = [(tile % data["columns"] + 0.5) * 112, (tile // data["columns"] + 0.5) * 112]
            colour = sheet.getpixel((int(place[0]), int(place[1])))
            assert (colour[0] > 200, colour[2] > 200) == (tile % 2 == 0, tile % 2 == 1)

    def test_no_text_can_end_the_script(self, margins, pairs):
        _, data = parsed(live.signal_and_bias(of_margins(margins), pairs))
        assert data["pairs"][0]["texts"][0] == "left </script> one"

    def test_says_so_where_it_draws_some_pairs_of_many(self, margins, pairs):
        many = [replace(pairs[k % 5], pair_id=f"p{k}") for k in range(205)]
        soup, data = parsed(live.signal_and_bias(of_margins(margins * 41), many))
        assert "200 of the 205 pairs are drawn" in soup.get_text() and len(data["pairs"]) == 200
        assert "20% of 205 pairs" in soup.get_text()  # counted over all of them

    def test_refuses_another_benchmark(self, margins, pairs):
        with pytest.raises(ValueError, match="no pair 'p4'"):
            live.signal_and_bias(of_margins(margins), pairs[:4])


class TestSignalAndBias:
    def test_has_a_state_for_each_strength_divided_by_its_stretch(self, pairs):
        tables = {
            0.0: preferred([1.0, 1, 1, 1, -1], [0.0, 2, -2, 0.5, 0]),
            1.0: preferred([2.0, 2, 2, 2, -2], [0.0, 1, -4, 1.0, 0]),
        }
        soup, data = parsed(live.signal_and_bias(tables, pairs))
        assert data["states"] == ["0", "1"]
        assert data["x"][0] == data["x"][1]  # the same signal, once the stretch is taken out
        assert data["right"] == [[1, 0, 0, 1, 0], [1, 1, 0, 1, 0]]
        assert data["ahead"][1][0][1] == 1.5 and data["ahead"][1][1][1] == 0.5
        assert data["start"] == 1  # the pair that the correction repairs
        assert soup.select_one("input[type=range]")["max"] == "1"
        assert data["summary"][1] == "Strength 1. 60% of 5 pairs: both images right"


class TestQuiz:
    def answers(self, questions, right: list[tuple[bool, bool]]) -> pd.DataFrame:
        rows = [
            (pair.pair_id, k, correct[k], float(correct[k]), float(not correct[k]))
            for pair, correct in zip(questions, right, strict=True)
            for k in (0, 1)
        ]
        names = ["pair_id", "image_index", "correct", "score_own", "score_other"]
        return pd.DataFrame(rows, columns=names)

    def test_asks_about_the_first_pair_of_each_relation(self, questions):
        clip = self.answers(questions, [(True, False)] * 4)
        llava = self.answers(questions, [(True, True), (True, True), (False, True), (True, True)])
        soup, data = parsed(live.quiz(questions, {"CLIP": clip, "LLaVA": llava}))
        cards = soup.select(".live-card")
        assert len(cards) == 2
        assert "CLIP says “open” of both pictures" in cards[0].get_text()
        assert "LLaVA gets both pictures right" in cards[0].get_text()
        assert "LLaVA says “closed” of both pictures" in cards[1].get_text()
        assert data["right"] == [[False, False], [True, False]]

    def test_the_place_of_the_right_picture_changes(self, questions):
        table = self.answers(questions, [(True, True)] * 4)
        soup, _ = parsed(live.quiz(questions, {"CLIP": table}))
        places = [int(card["data-right"]) for card in soup.select(".live-card")]
        assert places == [1, 0]
        for card, place in zip(soup.select(".live-card"), places, strict=True):
            colour = image(card.select("img")[place]["src"]).getpixel((40, 40))
            assert colour[0] > 200  # red is image 1, whose answer is asked for

    def test_a_tie_is_no_answer(self, questions):
        table = self.answers(questions, [(False, False)] * 4).assign(score_other=0.0)
        soup, _ = parsed(live.quiz(questions, {"CLIP": table}))
        assert "CLIP cannot decide" in soup.get_text()

    def test_needs_an_answer_for_each_card(self, questions):
        table = self.answers(questions[:2], [(True, True)] * 2)
        with pytest.raises(ValueError, match="no one answer for each image of pair 'colour-0'"):
            live.quiz(questions, {"CLIP": table})
