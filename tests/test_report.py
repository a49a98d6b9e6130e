"""Stored results as the paper's tables: the numbers, the paper's beside them, what was not run."""

from __future__ import annotations

import io
import re

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from erragree_utils import report, summarize, summarize_sets
from erragree_utils.metrics import compare
from erragree_utils.scale import SCALES
from erragree_utils.store import Item, Writer, read, setting_key
from erragree_utils.study import METHODS

N_SETS = 40


def fill(folder, benchmark, method, *, right=0.5, sets=N_SETS, skipped=(), asked=None, **more):
    """Results of made-up images: a share of them right, for whole sets of two pairs."""
    role = METHODS[method].role
    scale = "mini" if benchmark.startswith("tabletop") else "paper"
    asked = asked or getattr(SCALES[scale], role)
    model = {"role": role, "name": asked, "revision": None, "dtype": "float32",
             "quantization": None, "weights": "w"}  # fmt: skip
    settings = {
        "package": "1",
        "benchmark": {"name": benchmark, "options": {}, "items": "i", "n_sets": N_SETS},
        "model": model | more,
        "method": {"name": method},
    }
    rng = np.random.default_rng(len(method))
    items = [
        Item(f"s{i}", i, _rows(benchmark, method, i, rng.random(4) < right), 0.1)
        for i in range(sets)
    ]
    items += [Item(name, 0, skipped="damaged") for name in skipped]
    provenance = {"hardware": "abacus", "time": "2025-01-02T03:04:05Z", "source": "c0de"}
    with Writer(folder, lambda: provenance) as writer:
        writer.add(setting_key(settings), settings, items, {"asked": asked})
    return setting_key(settings)


def _rows(benchmark, method, i, right) -> dict:
    single = benchmark in ("coco-spatial", "gqa-spatial")
    n = 1 if single else 4
    rows = {
        "pair_id": [f"{i}-{k // 2}" for k in range(n)],
        "set_id": [f"s{i}"] * n,
        "relation": [("left/right", "on/under")[k // 2] for k in range(n)],
        "image_index": [k % 2 for k in range(n)],
        "n_options": [4 if method in ("matching-all", "vqascore-all", "prompted-4way") else 2] * n,
        "score_own": right[:n].astype(float).tolist(),
        "score_other": [0.5] * n,
        "correct": right[:n].tolist(),
    }
    return rows | ({"parsed": (right[:n] | (i % 2 == 0)).tolist()} if "prompted" in method else {})


def cell(rows: pd.DataFrame, benchmark, method, relation="all", **more) -> pd.Series:
    chosen = {"benchmark": benchmark, "method": method, "relation": relation, **more}
    for name, value in chosen.items():
        rows = rows[rows[name] == value]
    (row,) = [row for _, row in rows.iterrows()]
    return row


@pytest.fixture
def paper(tmp_path):
    fill(tmp_path, "whatsup-a", "matching", right=0.4)
    fill(tmp_path, "whatsup-a", "vqascore", right=0.9)
    fill(tmp_path, "whatsup-a", "prompted", right=0.8, sets=10, skipped=["s39"])
    fill(tmp_path, "coco-spatial", "matching", right=0.6)
    return read(tmp_path)


class TestPaper:
    def test_every_number_is_a_share_with_a_source_and_a_grade(self):
        for number in report.PAPER:
            assert 0 <= number.value <= 1 and number.source
            assert number.grade in report.GRADES
            assert number.kind in ("individual", "pair", "set")
            assert number.role in ("clip", "mllm")

    def test_the_numbers_of_the_chapters_are_these(self, root):
        chapter = (root / "notebooks" / "03_same_encoder_new_reader.py").read_text("utf-8")
        for what, role in (("CLIP ViT-L/14-336", "clip"), ("LLaVA-1.5-7B", "mllm")):
            for name in "AB":
                (line,) = re.findall(rf"^# \| What'sUp {name}, {what} \| (.*?) \|$", chapter, re.M)
                shown = [text.strip() for text in line.split("|")[:2]]
                benchmark = f"whatsup-{name.lower()}"
                for kind, text in zip(("individual", "pair"), shown, strict=True):
                    known = {
                        number.value
                        for number in report.PAPER
                        if (number.benchmark, number.role) == (benchmark, role)
                        and (number.relation, number.kind) == ("left/right", kind)
                    }
                    assert {f"{100 * value:.1f}" for value in known} == {text} - {"not found"}

    def test_numbers_for_other_protocols_are_told_apart(self):
        left = report.without_protocol()
        assert {number.benchmark for number in report.PAPER if number not in left} >= {
            "whatsup-a", "whatsup-b",
        }  # fmt: skip
        assert all(not number.benchmark.startswith("whatsup") for number in left)


class TestCells:
    def test_they_are_what_summarize_gives(self, paper):
        rows = report.cells(paper, "paper")
        (key,) = rows.loc[(rows["method"] == "vqascore") & rows["key"].notna(), "key"].unique()
        pred = report.predictions(paper, key)
        expected = summarize(pred, by="relation")
        for relation in ("left/right", "on/under"):
            row = cell(rows, "whatsup-a", "vqascore", relation)
            for name, value in expected.loc[relation].items():
                assert row.get(name, value) == value, name
            assert np.isnan(row["set_accuracy"])
        row = cell(rows, "whatsup-a", "vqascore")
        assert row["individual_accuracy"] == pred["correct"].mean()
        assert row["set_accuracy"] == summarize_sets(pred)["set_accuracy"].item()

    def test_cells_without_results_say_so(self, paper):
        rows = report.cells(paper, "paper")
        row = cell(rows, "whatsup-b", "vqascore")
        assert (row["status"], row["model"]) == ("not run", "llava-hf/llava-1.5-7b-hf")
        assert np.isnan(row["individual_accuracy"])
        assert cell(rows, "whatsup-a", "matching")["status"] == "run"
        assert cell(rows, "gqa-spatial", "matching")["status"] == "not run"

    def test_the_papers_numbers_stand_beside_also_where_nothing_was_run(self, paper):
        rows = report.cells(paper, "paper")
        row = cell(rows, "whatsup-a", "matching", "left/right")
        assert (row["paper_individual"], row["paper_pair"]) == (0.490, 0.019)
        assert row["paper_pair_text"] == "1.9 [S]"
        row = cell(rows, "whatsup-b", "matching", "left/right")
        assert row["status"] == "not run" and row["paper_pair"] == 0.108
        assert np.isnan(row["paper_individual"])  # not found, so not filled in

    def test_the_difference_is_ours_minus_the_papers(self, paper):
        rows = report.cells(paper, "paper")
        row = cell(rows, "whatsup-a", "vqascore", "left/right")
        assert row["difference_pair"] == pytest.approx(row["pair_accuracy"] - 0.981)

    def test_parts_and_other_models_have_no_difference(self, tmp_path):
        fill(tmp_path, "whatsup-a", "matching", sets=10)
        fill(tmp_path, "whatsup-a", "matching", asked="ViT-B-32")
        fill(tmp_path, "tabletop-a", "matching")
        rows = report.cells(read(tmp_path), "paper")
        part = cell(rows, "whatsup-a", "matching", "left/right", model="ViT-L-14-336")
        assert part["status"] == "partly run" and part["paper_pair"] == 0.019
        assert (part["n_sets"], part["of_sets"]) == (10, N_SETS)
        other = cell(rows, "whatsup-a", "matching", "left/right", model="ViT-B-32")
        assert np.isnan(other["paper_pair"])
        mini = report.cells(read(tmp_path), "mini")
        row = cell(mini, "tabletop-a", "matching", "left/right")
        assert row["paper_pair"] == 0.019  # of What'sUp A, which it mirrors
        assert mini.filter(like="difference").isna().all(axis=None)

    def test_results_of_other_settings_have_rows_of_their_own(self, tmp_path):
        fill(tmp_path, "whatsup-a", "vqascore", dtype="float16")
        fill(tmp_path, "whatsup-a", "vqascore", dtype="float16", quantization="4bit", right=0.8)
        rows = report.cells(read(tmp_path), "paper")
        half, four = (cell(rows, "whatsup-a", "vqascore", precision=p) for p in ("float16", "4bit"))
        assert half["individual_accuracy"] < four["individual_accuracy"]
        shown = report.shown(rows[rows["table"] == "two-way"])
        assert {"precision", "key"} <= set(shown)

    def test_answers_that_were_not_parsed_and_skipped_sets_are_counted(self, paper):
        row = cell(report.cells(paper, "paper"), "whatsup-a", "prompted")
        (key,) = {row["key"]}
        assert row["n_unparsed"] == (~report.predictions(paper, key)["parsed"]).sum() > 0
        assert row["n_skipped"] == 1

    def test_single_images_have_no_pairs(self, paper):
        row = cell(report.cells(paper, "paper"), "coco-spatial", "matching")
        assert row["individual_chance"] == 0.5 and np.isnan(row["pair_accuracy"])

    def test_an_unknown_scale_is_refused(self, paper):
        with pytest.raises(ValueError, match="unknown scale 'huge'"):
            report.cells(paper, "huge")


class TestComparisons:
    def test_they_are_paired_and_on_the_sets_that_both_have(self, paper):
        rows = report.comparisons(paper, "paper")
        keys = dict(zip(rows["second"], rows["key_second"], strict=True))
        first = report.predictions(paper, rows["key_first"][0])
        second = report.predictions(paper, keys["LLaVA prompted"])
        expected = compare(first[first["set_id"].isin(second["set_id"])], second)
        (row,) = rows.query("second == 'LLaVA prompted' and relation == 'all'").itertuples()
        assert row.n == 20
        assert (row.difference, row.p_value) == (expected["difference"], expected["p_value"])

    def test_without_two_readers_there_are_none(self, tmp_path):
        fill(tmp_path, "whatsup-a", "matching")
        assert report.comparisons(read(tmp_path), "paper").empty


class TestText:
    def test_markdown_holds_every_table_and_says_what_was_not_run(self, paper):
        text = report.to_markdown(paper, "paper")
        assert text.count("\n## What'sUp") == 2 and "## COCO-spatial" in text
        (line,) = re.findall(r"^\| whatsup-a \| left/right \| CLIP .*$", text, re.M)[:1]
        row = cell(report.cells(paper, "paper"), "whatsup-a", "matching", "left/right")
        assert f"| {100 * row['pair_accuracy']:.1f} [" in line and "| 1.9 [S] |" in line
        assert f"| {100 * row['difference_pair']:+.1f} |" in line
        assert "- whatsup-b, LLaVA llava-hf/llava-1.5-7b-hf, prompted" in text
        assert "| 10 of 40 |" in text and "a score no number: 1." in text
        assert "[S] second-hand notes that quote the paper" in text
        assert "mmvp, LLaVA, m3id, pair: 31.3 [S]" in text
        assert "abacus" in text and "2025-01-02" in text
        assert not re.search(r"\bnan\b|<NA>", text)

    def test_every_row_of_a_markdown_table_has_as_many_cells(self, paper):
        for scale in SCALES:
            blocks = re.findall(r"(?:^\|.*\n)+", report.to_markdown(paper, scale), re.M)
            assert blocks
            for block in blocks:
                assert len({line.count("|") for line in block.splitlines()}) == 1

    def test_an_empty_store_gives_the_papers_numbers_alone(self, tmp_path):
        text = report.to_markdown(read(tmp_path), "paper")
        assert "| not run | 49.0 [S] | 1.9 [S] |" in text and "provenance" not in text
        text = report.to_markdown(read(tmp_path), "mini")
        assert "tabletop-a mirrors whatsup-a" in text

    def test_code_that_changed_between_runs_is_told(self, tmp_path, paper):
        assert "code was changed" not in report.to_markdown(paper, "paper")
        for path in list(tmp_path.glob("results-*"))[:1]:
            path.write_text(path.read_text().replace("c0de", "new"))
        assert "code was changed" in report.to_markdown(read(tmp_path), "paper")

    def test_csv_holds_the_numbers_in_full(self, paper):
        rows = report.cells(paper, "paper")
        back = pd.read_csv(io.StringIO(report.to_csv(paper, "paper")))
        assert list(back) == list(rows) and len(back) == len(rows)
        np.testing.assert_array_equal(back["pair_accuracy"], rows["pair_accuracy"].astype(float))


def test_figures_show_the_tables_that_have_results(paper):
    drawn = report.figures(report.cells(paper, "paper"))
    assert list(drawn) == ["two-way", "spatial"]
    labels = [text.get_text() for text in drawn["two-way"].axes[0].get_yticklabels()]
    assert "whatsup-a, left/right, CLIP, matching" in labels
    assert not any("whatsup-b" in label for label in labels)
    for figure in drawn.values():
        plt.close(figure)
