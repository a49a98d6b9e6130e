"""The diagnosis of the shipped models on a few pairs: its tables, its page, and what it refuses."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup

from erragree_utils import load_benchmark, load_clip, load_mllm
from erragree_utils.benchmarks import BenchmarkError
from erragree_utils.diagnosis import CLIP_VERDICTS, MLLM_VERDICTS, diagnose
from erragree_utils.diagnosis.page import FILES, write
from erragree_utils.study.cli import main


@pytest.fixture(scope="module")
def bench():
    return load_benchmark("tabletop-a", seed=801, n_sets=24)


@pytest.fixture(scope="module")
def found(bench):
    return diagnose(bench, load_clip("mini-lost", device="cpu"), load_mllm("mini", device="cpu"))


def test_each_group_and_part_has_a_verdict_with_its_evidence(found):
    groups = found.groups.set_index(["group", "part"])
    assert len(groups) == 4
    assert set(groups.xs("clip", level="part")["verdict"]) <= set(CLIP_VERDICTS)
    assert set(groups.xs("mllm", level="part")["verdict"]) <= set(MLLM_VERDICTS)
    assert groups.loc[("left/right", "mllm"), "verdict"] == "answered"
    lost = groups.loc[("left/right", "clip")]
    assert lost["verdict"] != "answered" and lost["pair_high"] < 0.5
    assert lost["tokens_single"] > lost["embedding_single"] + 0.15
    assert lost["random"] < lost["noise"] and lost["n_pairs"] == 24


def test_each_pair_has_a_row_for_each_part(found, bench):
    assert len(found.pairs) == 2 * len(bench)
    right = found.pairs[found.pairs["right"]]
    assert set(right["verdict"]) == {"answered"}


def test_the_page_needs_nothing_but_itself(found, bench, tmp_path):
    page = write(found, bench, tmp_path / "report", "A title with <marks>")
    assert [path.name for path in sorted(page.parent.iterdir())] == sorted(FILES)
    document = BeautifulSoup(page.read_text("utf-8"), "html.parser")
    assert document.title.text == "A title with <marks>"
    assert not document.find_all(["link", "iframe"]) and not document.find_all("script", src=True)
    pictures = document.find_all("img")
    assert len(pictures) == 2 * len(bench) and all(img["alt"] for img in pictures)
    assert all(img["src"].startswith("data:image/jpeg") for img in pictures)
    groups = pd.read_csv(page.parent / "groups.csv")
    assert list(groups.columns[:5]) == ["group", "part", "verdict", "confidence", "n_pairs"]


def test_without_models_or_pairs_there_is_nothing_to_diagnose(bench):
    with pytest.raises(ValueError, match="give a clip"):
        diagnose(bench)
    single = bench.with_images([[pair.sources[0]] for pair in bench])
    with pytest.raises(BenchmarkError, match="two images"):
        diagnose(single, load_clip("mini", device="cpu"))


def test_the_command_writes_a_report_and_goes_on_from_stored_scores(tmp_path, capsys):
    mine, out = tmp_path / "mine", tmp_path / "report"
    assert main(["template", str(mine)]) == 0
    command = ["diagnose", str(mine), "--mllm", "none", "--clip", "mini", "--out", str(out)]
    assert main([*command, "--device", "cpu"]) == 0
    assert "left/right clip" in capsys.readouterr().out
    stored = sorted(path for path in (out / "scores").rglob("*") if path.is_file())
    assert (out / "report.html").is_file() and stored
    assert main([*command, "--device", "cpu"]) == 0


@pytest.mark.parametrize("arguments, message", [
    (["diagnose", "nowhere", "--out", "x"], "there is no table"),
    (["accuracy", "nowhere.csv"], "there is no file"),
])  # fmt: skip
def test_what_cannot_be_done_is_said_in_a_line(arguments, message, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) != 0
    assert message in capsys.readouterr().err


def test_the_accuracy_of_another_tools_answers_under_both_labelings(tmp_path, capsys):
    truth = ["(a)", "(b)"] * 150
    rows = pd.DataFrame({"index": range(1, 301), "answer": truth, "prediction": truth})
    rows.to_csv(tmp_path / "x.csv", index=False)
    assert main(["accuracy", str(tmp_path / "x.csv")]) == 0
    out = capsys.readouterr().out
    assert "mmvp, original labels" in out and "100.0%" in out and "98.7%" in out


def test_the_accuracy_of_another_tools_scores_in_both_directions(tmp_path, capsys):
    np.save(tmp_path / "x.npy", [[[3.0, 1.0], [0.0, 2.0]], [[3.0, 1.0], [2.0, 0.0]]])
    assert main(["accuracy", str(tmp_path / "x.npy")]) == 0
    out = capsys.readouterr().out
    assert "text for each image" in out and "image for each text" in out
    assert "group score, both directions right: 50.0%" in out
