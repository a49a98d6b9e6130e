"""Answers and scores of other tools: each tool's format is read, and judged by pairs."""

from __future__ import annotations

import json
import sys

import numpy as np
import pandas as pd
import pytest
import torch

from erragree_utils import summarize
from erragree_utils.benchmarks import Benchmark, QuestionPair
from erragree_utils.measures.decisions import predict, prefer
from erragree_utils.scoring.answer_files import (
    AnswersError,
    judge_answers,
    read_answer_file,
    read_score_file,
    score_table,
    with_other_mmvp_labels,
)

# Four questions, two pairs; the model is right about the first pair and says (a) in the second.
SAID, TRUE = ["(a)", "(b) Closed", "(a)", "A."], ["(a)", "(b)", "(b)", "(a)"]


def lmms_eval(path):
    """``--log_samples``: one line a document, counted from 0, answers in lists."""
    lines = [
        {"doc_id": i, "target": t, "filtered_resps": [s], "resps": [[s]], "doc_hash": "x"}
        for i, (s, t) in enumerate(zip(SAID, TRUE, strict=True))
    ]
    path = path / "20260101_samples_mmvp.jsonl"
    path.write_text("\n".join(map(json.dumps, reversed(lines))))
    return path


def lmms_eval_older(path):
    """One JSON file whose answers are under "logs"."""
    logs = [{"doc_id": i, "target": TRUE[i], "resps": [[SAID[i]]]} for i in range(4)]
    path = path / "mmvp.json"
    path.write_text(json.dumps({"args": {}, "logs": logs}))
    return path


def vlmevalkit(path, suffix=".tsv"):
    """A table with letters, counted from 1, and options in columns A and B."""
    table = pd.DataFrame({
        "index": range(1, 5), "question": "Is it open?", "A": "Open", "B": "Closed",
        "answer": [t.strip("()").upper() for t in TRUE], "prediction": SAID,
    })  # fmt: skip
    path = path / f"LLaVA_MMVP{suffix}"
    table.to_csv(path, sep="\t" if suffix == ".tsv" else ",", index=False)
    return path


def mmvp_script(path):
    """What the benchmark's own script writes; "answer" is the truth there."""
    lines = [
        {"question_id": i + 1, "prompt": "?", "answer": TRUE[i], "response": SAID[i]}
        for i in range(4)
    ]
    path = path / "answers.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)) + "\n")
    return path


WRITERS = {f.__name__: f for f in (lmms_eval, lmms_eval_older, vlmevalkit, mmvp_script)}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_each_tools_answers_give_individual_and_pair_accuracy(write, tmp_path):
    row = summarize(judge_answers(read_answer_file(write(tmp_path)))).loc["all"]
    assert (row["individual_accuracy"], row["pair_accuracy"]) == (0.75, 0.5)
    assert (row["individual_chance"], row["pair_chance"]) == (0.5, 0.25)


def test_an_excel_table_is_read(tmp_path):
    path = tmp_path / "LLaVA_MMVP.xlsx"
    pd.read_csv(vlmevalkit(tmp_path), sep="\t").to_excel(path, index=False)
    assert list(read_answer_file(path)["said"]) == SAID


def test_without_openpyxl_an_excel_table_says_what_it_needs(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    (tmp_path / "LLaVA_MMVP.xlsx").write_bytes(b"PK")
    with pytest.raises(AnswersError, match="pip install openpyxl"):
        read_answer_file(tmp_path / "LLaVA_MMVP.xlsx")


class TestByABenchmark:
    @pytest.fixture
    def bench(self):
        images = ("1.png", "2.png")
        pair = {"pattern": "state", "question": "Is it open or closed?", "sources": images}
        return Benchmark("doors", (
            QuestionPair("1-2", options=("Open", "Closed"), **pair),
            QuestionPair("3-4", options=("Open", "Closed"), first_listed=1, **pair),
        ))  # fmt: skip

    def test_a_table_of_numbers_and_answers_is_enough(self, bench, tmp_path):
        path = tmp_path / "mine.csv"
        path.write_text("index,answer\n1,It is open\n2,Closed.\n3,(b)\n4,maybe\n")
        table = judge_answers(read_answer_file(path), bench)
        assert list(table["correct"]) == [True, True, True, False]
        assert list(table["parsed"]) == [True, True, True, False]

    def test_a_pair_without_one_of_its_answers_is_refused(self, bench, tmp_path):
        path = tmp_path / "mine.csv"
        path.write_text("index,answer\n1,open\n2,closed\n4,open\n")
        with pytest.raises(AnswersError, match="4 questions, the file lacks 3"):
            judge_answers(read_answer_file(path), bench)


class TestMmvpLabels:
    @pytest.mark.parametrize("first, given", [("(a)", "original"), ("(b)", "corrected")])
    def test_both_labelings_differ_in_two_pairs(self, first, given):
        truth = ["(a)", "(b)"] * 150
        for n in (99, 279):
            truth[n - 1], truth[n] = (first, "(b)" if first == "(a)" else "(a)")
        answers = pd.DataFrame({
            "number": range(1, 301), "said": truth, "truth": truth, "a": "", "b": "",
        })  # fmt: skip
        both = with_other_mmvp_labels(answers)
        pair = {k: summarize(judge_answers(t))["pair_accuracy"]["all"] for k, t in both.items()}
        assert pair.pop(given) == 1
        assert set(pair.values()) == {148 / 150}

    def test_a_part_of_mmvp_is_refused(self, tmp_path):
        with pytest.raises(AnswersError, match="not all of MMVP"):
            with_other_mmvp_labels(read_answer_file(mmvp_script(tmp_path)))


BAD = {
    "nothing.jsonl": ("", "no answers"),
    "broken.jsonl": ('{"doc_id": 0', "cannot be read"),
    "list.json": ("[1, 2]", "named fields"),
    "nameless.csv": ("x,y\n1,2\n", "no column with the number .* It has x, y"),
    "silent.csv": ("index,truth\n1,2\n", "no column with the model's answer"),
    "twice.csv": ("index,answer\n1,a\n1,b\n", "question 1 twice"),
    "letters.csv": ("index,answer\none,a\n", "'one' is no number"),
    "latin.csv": ("index,answer\n1,ü\n".encode("latin-1"), "cannot be read"),
}


class TestWhatIsWrongIsSaid:
    @pytest.mark.parametrize("name", BAD)
    def test_in_answers(self, name, tmp_path):
        content, message = BAD[name]
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(AnswersError, match=message):
            read_answer_file(path)

    def test_a_file_that_is_not_there(self, tmp_path):
        for read in (read_answer_file, read_score_file):
            with pytest.raises(AnswersError, match="no file"):
                read(tmp_path / "none.csv")

    def test_a_truth_that_is_neither(self):
        answers = pd.DataFrame(
            {"number": [1, 2], "said": "(a)", "truth": ["(a)", "(c)"], "a": "", "b": ""}
        )
        with pytest.raises(AnswersError, match=r"question 2: '\(c\)'"):
            judge_answers(answers)
        with pytest.raises(AnswersError, match="does not say what is right for question 1"):
            judge_answers(answers.assign(truth=""))


class TestScores:
    SCORES = np.array([[[3.0, 1.0], [0.0, 2.0]], [[3.0, 1.0], [2.0, 0.0]]])

    @pytest.mark.parametrize("suffix", [".npy", ".pt", ".csv"])
    def test_each_format_gives_the_same_table(self, suffix, tmp_path):
        path = tmp_path / f"scores{suffix}"
        if suffix == ".npy":
            np.save(path, self.SCORES)
        elif suffix == ".pt":
            torch.save(torch.tensor(self.SCORES), path)
        else:
            names = [f"image_{i}_text_{t}" for i in (1, 2) for t in (1, 2)]
            pd.DataFrame(self.SCORES.reshape(2, 4), columns=names).to_csv(path, index=False)
        table = score_table(read_score_file(path))
        assert summarize(predict(table))["pair_accuracy"]["all"] == 0.5
        assert list(prefer(table)["signal"]) == [2, 0]

    def test_what_could_run_code_is_refused(self, tmp_path):
        class Evil:
            def __reduce__(self):
                return print, ("evil",)

        path = tmp_path / "scores.pt"
        torch.save(Evil(), path)
        with pytest.raises(AnswersError, match="cannot be read as scores"):
            read_score_file(path)

    @pytest.mark.parametrize("array, message", [
        (np.zeros((3, 2)), "shape"), (np.zeros((0, 2, 2)), "shape"),
        (np.full((2, 2, 2), np.nan), "pair 1 is not a finite"),
    ])  # fmt: skip
    def test_other_shapes_and_no_numbers_are_refused(self, array, message, tmp_path):
        np.save(tmp_path / "x.npy", array)
        with pytest.raises(AnswersError, match=message):
            read_score_file(tmp_path / "x.npy")
