"""The first page's figure: what is shown, and the graphs that compute it in a browser."""

from __future__ import annotations

import json

import first_page
import live_models
import numpy as np
import onnxruntime
import pytest
from bs4 import BeautifulSoup
from npm_package import PackageError
from PIL import Image

from erragree_utils import load_benchmark, load_clip, load_mllm
from erragree_utils.tabletop.render import render_many

CAPTIONS = ["A red mug to the left of a blue stool", "A red mug to the right of a blue stool"]


def test_the_way_begins_and_ends_with_a_pair_of_the_benchmark():
    scenes = first_page.way()
    assert len(scenes) == first_page.FRAMES
    pair = load_benchmark("tabletop-a", n_sets=first_page.SET + 1, relation="left/right")[-1]
    ends = render_many([scenes[0], scenes[-1]], first_page.MODEL_SIZE)
    for image, own in zip(ends, pair.images, strict=True):
        assert np.abs(image.astype(int) - np.asarray(own).astype(int)).mean() < 0.5


def test_where_the_runtime_is_not_to_be_had_the_page_says_so(tmp_path, monkeypatch, capsys):
    def refuse(*arguments):
        raise PackageError("no network")

    monkeypatch.setattr(first_page, "fetch", refuse)
    monkeypatch.setattr(first_page, "FRAMES", 3)
    monkeypatch.setattr(first_page, "SHOWN_SIZE", 40)
    html, files = first_page.kept_figure(tmp_path, tmp_path / "npm")
    assert "built without “Run it live”: no network" in capsys.readouterr().out
    assert "built without models for the browser" in html and list(files.iterdir()) == []
    data = json.loads(BeautifulSoup(html, "html.parser").select_one("figure script").string)
    assert data["live"] is None and len(data["frames"]) == 3
    assert data["places"] == sorted(data["places"])

    monkeypatch.setattr(first_page, "figure", refuse)  # the second time it is not made again
    assert first_page.kept_figure(tmp_path, tmp_path / "npm") == (html, files)


@pytest.fixture(scope="module")
def models():
    return load_clip("mini"), load_mllm("mini-prior")


class TestGraphs:
    @pytest.fixture
    def images(self) -> list[Image.Image]:
        noise = np.random.default_rng(0).integers(0, 256, (2, 80, 80, 3), dtype=np.uint8)
        return [Image.fromarray(pixels) for pixels in noise]

    def export(self, models, images, folder, **changes):
        given = {"captions": CAPTIONS, "questions": ["Is it?", "Was it?"], "answer": "Yes"}
        return live_models.export(*models, images, folder=folder, **given | changes)

    def test_compute_what_the_models_do(self, models, images, tmp_path):
        made = self.export(models, images, tmp_path)
        assert made["deviation"] < live_models.TOLERANCE
        session = onnxruntime.InferenceSession(tmp_path / "clip-image.onnx")
        pixels = np.asarray(images[1], np.float32)[None]
        embedding = session.run(None, {"pixels": pixels})[0]
        assert np.allclose(embedding, models[0].embed_images(images[1:]), atol=1e-5)
        session = onnxruntime.InferenceSession(tmp_path / "clip-text.onnx")
        texts = session.run(None, {"tokens": np.array(made["captions"])})[0]
        assert np.allclose(texts, models[0].embed_texts(CAPTIONS), atol=1e-5)

    def test_read_answers_as_the_book_does(self, models, images, tmp_path):
        made = self.export(models, images, tmp_path)
        tower, answer = (
            onnxruntime.InferenceSession(tmp_path / f"llava-{part}.onnx")
            for part in ("tower", "answer")
        )
        tokens = tower.run(None, {"pixels": np.asarray(images[0], np.float32)[None]})[0]
        found = answer.run(None, {"tokens": np.array(made["questions"]), "image": tokens})[0]
        rows = [[("Is it?", "Yes"), ("Was it?", "Yes")]]
        expected = [np.exp(x.total) for x in models[1].answer_logprobs(images[:1], rows)[0]]
        assert np.allclose(found, expected, atol=1e-4)

    def test_that_deviate_are_refused(self, models, images, tmp_path, monkeypatch):
        monkeypatch.setattr(live_models, "TOLERANCE", 0.0)
        with pytest.raises(live_models.DeviationError, match="off the models"):
            self.export(models, images, tmp_path)

    def test_need_questions_of_one_length_and_an_answer_of_one_token(
        self, models, images, tmp_path
    ):
        with pytest.raises(ValueError, match="different numbers of tokens"):
            self.export(models, images, tmp_path, questions=["Is it?", "Is it a mug?"])
        with pytest.raises(ValueError, match="has 2 tokens"):
            self.export(models, images, tmp_path, answer="Yes No")
