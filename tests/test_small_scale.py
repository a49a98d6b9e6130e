"""The small scale runs and reports, on stand-ins of its benchmarks in the published formats.

Models are folders here, named by the environment: what stands for them is a string. The language
model is a tiny one of SmolVLM-256M's family, Idefics3, with a processor of its class.
"""

from __future__ import annotations

import warnings

import pytest

from erragree_utils import evaluate, load_benchmark, load_clip, start
from erragree_utils.models import ASSETS
from erragree_utils.study.cli import OK, main
from tests.models import families
from tests.standins import benchmarks


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The cache, with What'sUp A and MMVP-VLM as they are published, but small."""
    root = tmp_path_factory.mktemp("small")
    benchmarks.write_whatsup(root / "cache" / "whatsup", "whatsup-a", 2)
    benchmarks.write_mmvp_vlm(root / "cache" / "mmvp-vlm", 1)
    for part in families.parts("idefics3"):
        part.save_pretrained(root / "tiny-smolvlm")
    return root


@pytest.fixture(autouse=True)
def here(place, monkeypatch):
    monkeypatch.setenv("ERRAGREE_CACHE", str(place / "cache"))
    monkeypatch.setenv("ERRAGREE_RESULTS", str(place / "chapters"))
    monkeypatch.setenv("ERRAGREE_SCALE", "")  # so that it is put back whatever is set
    for role, folder in {
        "CLIP": ASSETS / "mini-clip",
        "MLLM": place / "tiny-smolvlm",
        "VISION": ASSETS / "mini-vision",
    }.items():
        monkeypatch.setenv(f"ERRAGREE_{role}", str(folder))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fewer entries than published, words that are not known
        yield


def test_it_runs_goes_on_and_reports(place, capsys):
    out = str(place / "r")
    run = ["run", "--scale", "small", "--out", out, "--device", "cpu", "--quiet", "--benchmark",
           "whatsup-a", "mmvp-vlm", "--method", "matching", "vqascore",
           "matching-text-to-image"]  # fmt: skip
    assert main([*run, "--limit", "1"]) == OK
    assert "3 sets scored, 0 were stored before" in capsys.readouterr().out
    assert main(run) == OK
    assert "3 were stored before" in capsys.readouterr().out
    assert main(["report", out]) == OK
    shown = capsys.readouterr().out
    assert shown.count("# Results at") == 1 and "# Results at small scale" in shown
    assert "The images are the paper's, the models are smaller" in shown
    assert "| whatsup-a, left/right (" in shown
    for reader in ("CLIP, matching", "MLLM, vqascore"):
        assert f"| {reader}" in shown
    assert "mini-clip, float32" in shown and "tiny-smolvlm" in shown


def test_a_chapter_reads_the_published_benchmark_and_keeps_its_scores(place):
    scale = start("small")
    clip, bench = load_clip(scale.clip, device="cpu"), load_benchmark(scale.whatsup_a)
    assert bench.name == "whatsup-a" and clip.name == "mini-clip"
    table = evaluate(clip, bench)
    assert len(table) == 2 * len(bench) and any((place / "chapters").rglob("*"))
