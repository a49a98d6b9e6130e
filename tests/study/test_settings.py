"""What results are filed by: all that decides them, and nothing that does not."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from erragree_utils.benchmarks import Benchmark, ImagePair, QuestionPair
from erragree_utils.scoring import METHODS
from erragree_utils.study import ModelChoice, Task
from erragree_utils.study.settings import (
    bench_settings,
    changed_settings,
    files_digest,
    method_settings,
    model_settings,
    provenance,
    weights_digest,
)
from erragree_utils.study.store import setting_key
from erragree_utils.study.sweep import swept


def make_bench(seed: int = 0, folder: Path | None = None) -> Benchmark:
    """Two pairs, of images in memory or in files."""
    rng, pairs = np.random.default_rng(seed), []
    for i in range(2):
        images = [Image.new("RGB", (4, 4), tuple(rng.integers(0, 255, 3))) for _ in range(2)]
        if folder is not None:
            folder.mkdir(exist_ok=True)
            paths = [folder / f"{i}-{k}.png" for k in range(2)]
            for path, image in zip(paths, images, strict=True):
                image.save(path)
            images = paths
        pairs.append(ImagePair(str(i), f"s{i}", "left/right", ("left", "right"), tuple(images)))
    return Benchmark("tabletop-a", tuple(pairs))


def of(method: str, role: str = "mllm", **decoding) -> dict:
    """What the results of a method are filed by."""
    return method_settings(Task("b", ModelChoice(role, "m"), method, tuple(decoding.items())))


class TestMethods:
    def test_all_fields_are_among_them(self):
        assert of("prompted") == {
            "name": "prompted", "question": METHODS["prompted"].question, "options": "pair",
            "contrast": None, "max_new_tokens": 16, "blind": False, "temperature": 0.0, "seed": 0,
        }  # fmt: skip
        assert "figure show" in of("vqascore")["question"]
        assert "{which}" in of("two-images")["prompt"]
        assert of("vcd")["contrast"] == {
            "name": "VCD", "alpha": 1.0, "beta": 0.1, "noise_step": 500,
        }  # fmt: skip
        assert of("m3id")["contrast"]["t0"] == 10

    def test_a_method_for_both_kinds_of_models_has_settings_of_each(self):
        assert of("relative-preference")["normalize"] is True
        assert of("relative-preference", "clip")["direction"] == "image-to-text"

    def test_each_makes_a_key_of_its_own_whatever_it_is_called(self):
        named = {
            setting_key({"role": role, **of(name, role)})
            for name, method in METHODS.items()
            for role in method.roles
        }
        assert len(named) == sum(len(method.roles) for method in METHODS.values())

    def test_other_settings_of_its_decoding_make_another_key_and_are_told(self):
        assert setting_key(of("m3id", t0=5)) != setting_key(of("m3id"))
        assert changed_settings(of("m3id", t0=5, temperature=0.2), "mllm") == {
            "t0": 5.0, "temperature": 0.2,
        }  # fmt: skip
        assert changed_settings(of("m3id"), "mllm") == {}
        assert changed_settings(of("relative-preference", "clip"), "clip") == {}

    def test_a_sweep_has_those_of_every_setting(self):
        found = of("sweep")
        assert found["name"] == "sweep" and set(found["settings"]) == set(swept())
        assert found["settings"]["VCD: 2"]["contrast"]["alpha"] == 2
        assert changed_settings(found, "mllm") == {}


class TestModels:
    def test_what_decides_its_results_is_told(self):
        model = SimpleNamespace(
            name="m", revision="abc", dtype="torch.float16", quantization="4bit",
            square="pad", prompt=lambda question: f"USER: {question}",
        )  # fmt: skip
        assert model_settings(model, "mllm") == {
            "role": "mllm", "name": "m", "revision": "abc", "dtype": "float16",
            "quantization": "4bit", "square": "pad", "weights": None, "prompt": "USER: {question}",
        }  # fmt: skip

    def test_weights_are_told_apart_by_their_numbers(self):
        torch = pytest.importorskip("torch")
        layers = [torch.nn.Linear(100, 3) for _ in range(2)]
        digests = [weights_digest(layer) for layer in layers]
        assert digests[0] != digests[1]
        assert digests[0] == weights_digest(layers[0].to(torch.float64).float())
        layers[0].packed = torch.nn.Parameter(torch.ones(3, dtype=torch.int8), requires_grad=False)
        assert weights_digest(layers[0]) == digests[0]  # packing may differ between devices


class TestBenchmarks:
    def test_images_of_another_seed_are_told_apart_whatever_the_options_say(self):
        first, same, other = (bench_settings(make_bench(s), {}) for s in (0, 0, 1))
        assert first == same and first["items"] != other["items"]

    def test_where_files_are_decides_nothing(self, tmp_path):
        first, second = (
            bench_settings(make_bench(0, folder), {"folder": str(folder), "download": False})
            for folder in (tmp_path / "a", tmp_path / "b")
        )
        assert first == second and first["options"] == {}
        assert first["items"] != bench_settings(make_bench(0), {})["items"]

    def test_captions_names_and_orientation_do(self):
        pair = make_bench()[0]
        changes = (
            {}, {"captions": ("left", "wrong")}, {"pair_id": "x"}, {"set_id": "x"},
            {"relation": "x"}, {"orientation": "keep"}, {"sources": pair.sources[:1]},
        )  # fmt: skip
        benches = [Benchmark("b", (replace(pair, **change),)) for change in changes]
        assert len({bench_settings(bench, {})["items"] for bench in benches}) == len(changes)

    def test_questions_and_the_order_of_print_are_told_apart(self):
        images = tuple(Image.new("RGB", (4, 4)) for _ in range(2))
        pair = QuestionPair("p", "colour", "Is it red?", ("Yes", "No"), images, ("a", "b"))
        items = {
            bench_settings(Benchmark("mmvp", (replace(pair, **change),)), {})["items"]
            for change in ({}, {"question": "Is it blue?"}, {"first_listed": 1},
                           {"lettered": False}, {"options": ("No", "Yes")})
        }  # fmt: skip
        assert len(items) == 5

    def test_what_clip_reads_is_told(self):
        images = tuple(Image.new("RGB", (4, 4)) for _ in range(2))
        asked = QuestionPair("p", "colour", "Is it red?", ("Yes", "No"), images)
        stated = replace(asked, statements=("a", "b"))
        assert [
            bench_settings(Benchmark("b", pairs), {})["text"]
            for pairs in ((asked,), (stated,), (make_bench()[0],))
        ] == ["question with answer", "statements", "captions"]

    def test_what_is_in_files_is_told_apart_and_when_they_were_written_is_not(self, tmp_path):
        bench = make_bench(0, tmp_path / "a")
        before, path = files_digest(bench), bench[0].sources[0]
        os.utime(path)
        assert files_digest(bench) == before
        make_bench(1, tmp_path / "a")
        os.utime(path, ns=(1, 1))
        assert files_digest(bench) != before
        path.unlink()
        assert files_digest(bench) == ""  # nothing is known
        assert files_digest(make_bench()) == files_digest([])  # images in memory are left out


def test_provenance_says_where_and_with_what():
    found = provenance((1, 3))
    assert found["process"] == "2 of 3" and found["versions"]["numpy"] == np.__version__
    assert {"time", "hardware", "threads", "python", "platform", "source"} <= set(found)
