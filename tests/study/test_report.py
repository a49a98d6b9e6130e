"""Stored results as the paper's tables: the numbers, the paper's beside them, what was not run."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from itertools import product

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from erragree_utils import summarize, summarize_sets
from erragree_utils.measures.comparison import compare
from erragree_utils.measures.decisions import predict, prefer
from erragree_utils.paper import CLIP, PHI, PUBLISHED, Published, subject_not_here
from erragree_utils.scale import SCALES
from erragree_utils.scoring import METHODS
from erragree_utils.study import ModelChoice, Task, pages, report, sections
from erragree_utils.study.settings import method_settings
from erragree_utils.study.store import Item, Writer, read, setting_key
from erragree_utils.study.tasks import default_models

N_SETS = 40


def fill(
    folder, benchmark, method, *, right=0.5, sets=N_SETS, skipped=(), asked=None, role=None,
    text="statements", decoding=None, options=None, **more,
):  # fmt: skip
    """Results of made-up images: a share of them right, for whole sets."""
    role = role or METHODS[method].roles[0]
    scale = "mini" if benchmark.startswith("tabletop") else "paper"
    asked = asked or next(m.name for m in default_models(SCALES[scale]) if m.role == role)
    model = {"role": role, "name": asked, "revision": None, "dtype": "float32",
             "quantization": None, "weights": "w"}  # fmt: skip
    settings = {
        "package": "1",
        "benchmark": {"name": benchmark, "options": options or {}, "items": "i",
                      "n_sets": N_SETS, "text": text if "mmvp" in benchmark else "captions"},
        "model": model | more,
        "method": method_settings(
            Task(benchmark, ModelChoice(role, asked), method, tuple((decoding or {}).items()))
        ),
    }  # fmt: skip
    rng = np.random.default_rng(len(method) + len(role) + int((decoding or {}).get("seed", 0)))
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
    """Scores of one set: an image's own option has 1 where it is right, else 0, the others 0.5."""
    n = 1 if benchmark in ("coco-spatial", "gqa-spatial") else 2 if "mmvp" in benchmark else 4
    kinds = ("left/right", "on/under")
    if "mmvp" in benchmark:
        kinds = ("not annotated",) if benchmark == "mmvp" else (("colour", "text")[i % 2],)
    in_set = method in ("matching-all", "vqascore-all", "prompted-4way")
    places = (0, 1) if method == "two-images" else (None,)
    rows = []
    for k, option, place in product(range(n), range(4 if in_set else 2), places):
        own = option == (k if in_set else k % 2)
        if METHODS[method].decides == "pair":  # the first image's preference alone differs
            mine = float(right[0]) if k == option == 0 else 0.5
        else:
            mine = float(right[k] or place == 1) if own else 0.5
        row = {
            "set_id": f"s{i}", "pair_id": f"{i}-{k // 2}", "relation": kinds[k // 2],
            "image_index": k % 2, "option_index": option, "own": own, "score": mine,
        }  # fmt: skip
        if place is not None:
            row["position"] = place
        if method in ("prompted", "prompted-4way", "greedy", "m3id", "sampled"):
            row |= {"answer": "so", "parsed": bool(right[k] or i % 2 == 0)}
        rows.append(row)
    return {name: [row[name] for row in rows] for name in rows[0]}


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
    fill(tmp_path, "whatsup-a", "vqascore-authors", right=0.9)
    fill(tmp_path, "whatsup-a", "prompted", right=0.8, sets=10, skipped=["s39"])
    fill(tmp_path, "coco-spatial", "matching", right=0.6)
    return read(tmp_path)


@pytest.fixture
def mmvp(tmp_path):
    fill(tmp_path, "mmvp", "matching", right=0.4)
    fill(tmp_path, "mmvp", "greedy", right=0.5)
    fill(tmp_path, "mmvp", "m3id", right=0.6)
    fill(tmp_path, "mmvp", "two-images", right=0.6)
    fill(tmp_path, "mmvp", "relative-preference", right=0.6, role="clip")
    fill(tmp_path, "mmvp", "relative-preference", right=0.8, role="mllm")
    fill(tmp_path, "mmvp-vlm", "matching-text-to-image")
    return read(tmp_path)


@pytest.fixture
def mini(tmp_path):
    fill(tmp_path, "tabletop-mmvp", "matching", right=0.4)
    fill(tmp_path, "tabletop-mmvp", "greedy", right=0.6)
    fill(tmp_path, "tabletop-mmvp", "relative-preference", right=0.6, role="clip")
    return read(tmp_path)


class TestPaper:
    def test_every_number_stands_beside_a_measurement_of_its_own_protocol_or_is_told_apart(self):
        apart = report.without_protocol()
        for number in PUBLISHED:
            relative = [METHODS[name].decides == "pair" for name in number.methods]
            assert all(is_relative == (number.kind == "relative") for is_relative in relative)
            assert (number in apart) == (not number.methods)

    def test_numbers_for_other_protocols_are_told_apart(self, tmp_path, monkeypatch):
        other = Published(PHI, "mmvp", "all", "pair", 0.5, "M3ID", "v9", "H")
        monkeypatch.setattr(report, "PUBLISHED", (*PUBLISHED, other))
        assert other in report.without_protocol()
        clip = replace(other, reader=CLIP, methods=("m3id",))  # CLIP does not decode
        monkeypatch.setattr(report, "PUBLISHED", (clip,))
        assert report.without_protocol() == [clip]
        monkeypatch.setattr(report, "PUBLISHED", (*PUBLISHED, other))
        text = pages.to_markdown(read(tmp_path), "paper")
        _, after = text.split("## What cannot be produced here, and why\n\n")
        assert "  - 50.0: Phi-3-V, MMVP, pair accuracy by M3ID (v9) [H]" in after
        assert "- 50.0: Phi-3-V" not in text.split("## Sources of the paper's numbers")[0]


class TestCells:
    @pytest.mark.parametrize("scale", SCALES)
    def test_a_cell_is_run_once_the_model_that_the_study_runs_has_filled_it(self, scale, tmp_path):
        (clip,) = (m.name for m in default_models(SCALES[scale]) if m.role == "clip")
        benchmark = SCALES[scale].whatsup_a
        row = report.cells(read(tmp_path), scale).query("benchmark == @benchmark").iloc[0]
        assert (row["model"], row["method"], row["status"]) == (clip, "matching", "not run")
        fill(tmp_path, benchmark, "matching", asked=clip)
        found = report.cells(read(tmp_path), scale)
        found = found.query("benchmark == @benchmark and method == 'matching'")
        assert set(found["status"]) == {"run"} and set(found["model"]) == {clip}

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
        row = cell(rows, "whatsup-a", "vqascore-authors", "left/right")
        assert row["difference_pair"] == pytest.approx(row["pair_accuracy"] - 0.932)
        # P("Yes") alone is another number, and so is an answer to another question.
        for method in ("vqascore", "prompted"):
            assert np.isnan(cell(rows, "whatsup-a", method, "left/right")["paper_pair"])
        row = cell(rows, "whatsup-a", "prompted-v1", "left/right")
        assert row["status"] == "not run" and row["paper_pair"] == 0.981

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
        shown = pages.shown(rows[rows["table"] == "two-way"])
        (key,) = {half["key"]}
        reader = f"MLLM, vqascore (float16; {key[:8]})"
        assert shown["read by"].str.startswith("MLLM, vqascore (4bit; ").any()
        assert reader in set(shown["read by"]) and "MLLM, prompted" in set(shown["read by"])

    def test_answers_that_were_not_parsed_and_skipped_sets_are_counted(self, paper):
        row = cell(report.cells(paper, "paper"), "whatsup-a", "prompted")
        (key,) = {row["key"]}
        assert row["n_unparsed"] == (~report.predictions(paper, key)["parsed"]).sum() > 0
        assert row["n_skipped"] == 1

    def test_single_images_have_no_pairs(self, paper):
        row = cell(report.cells(paper, "paper"), "coco-spatial", "matching")
        assert row["individual_chance"] == 0.5 and np.isnan(row["pair_accuracy"])

    def test_a_relative_preference_has_an_accuracy_and_a_chance_level_of_its_own(self, mmvp):
        rows = report.cells(mmvp, "paper")
        for reader, share, role in (("CLIP", 0.64, "clip"), ("MLLM", 0.733, "mllm")):
            row = cell(rows, "mmvp", "relative-preference", reader=reader)
            (key,) = [k for k, s in mmvp.settings.items() if s["method"]["name"] == row["method"]
                      and s["model"]["role"] == role]  # fmt: skip
            right = report.predictions(mmvp, key)["correct"]
            assert len(right) == N_SETS and row["relative_accuracy"] == right.mean()
            assert (row["relative_chance"], row["paper_relative"]) == (0.5, share)
            assert row["relative_accuracy_low"] < row["relative_accuracy"]
            assert row[["individual_accuracy", "pair_accuracy", "paper_pair"]].isna().all()
            assert row["difference_relative"] == pytest.approx(right.mean() - share)
        row = cell(rows, "mmvp", "greedy")
        assert (row["pair_chance"], row["paper_pair"]) == (0.25, 0.253)
        assert np.isnan(row["relative_accuracy"])

    def test_a_prompt_of_two_images_tells_how_much_their_place_matters(self, mmvp):
        row = cell(report.cells(mmvp, "paper"), "mmvp", "two-images")
        assert row["second_accuracy"] == 1.0
        assert row["first_accuracy"] == row["individual_accuracy"]
        assert row["place_bias"] == pytest.approx(row["first_accuracy"] - 1)
        assert row["place_bias_low"] < row["place_bias"] < row["place_bias_high"]

    def test_patterns_that_were_not_published_have_no_rows(self, mmvp):
        rows = report.cells(mmvp, "paper")
        assert set(rows.loc[rows["table"] == "mmvp", "relation"]) == {"all"}

    def test_an_unknown_scale_is_refused(self, paper):
        with pytest.raises(ValueError, match="unknown scale 'huge'"):
            report.cells(paper, "huge")


class TestWhatWasSet:
    """Settings, texts and draws that tell rows apart."""

    def test_settings_are_told_where_they_are_not_the_usual_ones(self, tmp_path):
        fill(tmp_path, "mmvp", "m3id")
        fill(tmp_path, "mmvp", "m3id", decoding={"t0": 0, "threshold": 1})
        fill(tmp_path, "whatsup-a", "matching", options={"labels": "swapped"})
        rows = report.cells(read(tmp_path), "paper")
        usual, other = (cell(rows, "mmvp", "m3id", settings=s) for s in ("", "threshold=1, t0=0"))
        assert usual["paper_pair"] == 0.313
        assert np.isnan(other["paper_pair"])  # the paper's settings are not these, or unknown
        assert cell(rows, "whatsup-a", "matching")["settings"] == "labels=swapped"
        text = pages.to_markdown(read(tmp_path), "paper")
        assert "| MLLM, m3id (threshold=1, t0=0) |" in text
        fill(tmp_path, "mmvp", "greedy")
        compared = report.comparisons(read(tmp_path), "paper")
        assert set(compared["second"]) == {"MLLM m3id", "MLLM m3id (threshold=1, t0=0)"}

    def test_without_the_usual_settings_a_cell_is_not_run(self, tmp_path):
        fill(tmp_path, "mmvp", "m3id", decoding={"t0": 0})
        rows = report.cells(read(tmp_path), "paper").query("method == 'm3id'")
        assert rows["status"].tolist() == ["not run", "run"]

    def test_a_number_stands_beside_the_text_that_it_belongs_to(self, tmp_path):
        for method in ("matching", "relative-preference"):
            fill(tmp_path, "mmvp", method, text="statements")
            fill(tmp_path, "mmvp", method, text="question with answer")
        rows = report.cells(read(tmp_path), "paper")
        for method, column, value in (
            ("matching", "paper_pair", 0.14), ("relative-preference", "paper_relative", 0.64),
        ):  # fmt: skip
            assert cell(rows, "mmvp", method, text="statements")[column] == value
            assert np.isnan(cell(rows, "mmvp", method, text="question with answer")[column])
        shown = pages.shown(rows[(rows["table"] == "mmvp") & (rows["status"] == "run")])
        reads = {
            f"CLIP, matching (reads {text})" for text in ("statements", "question with answer")
        }
        assert set(shown["read by"]) == reads

    def test_draws_are_one_row_with_their_mean_and_range(self, tmp_path):
        keys = [fill(tmp_path, "mmvp", "sampled", decoding={"seed": s}) for s in range(5)]
        results = read(tmp_path)
        (row,) = report.cells(results, "paper").query("method == 'sampled'").to_dict("records")
        each = [summarize(report.predictions(results, key))["pair_accuracy"].item() for key in keys]
        assert len(set(each)) > 1
        assert row["pair_accuracy"] == pytest.approx(np.mean(each))
        assert (row["pair_accuracy_lowest"], row["pair_accuracy_highest"]) == (min(each), max(each))
        assert row["pair_accuracy_low"] < row["pair_accuracy"] < row["pair_accuracy_high"]
        assert (row["n_draws"], row["status"], row["settings"]) == (5, "run", "")
        assert set(row["key"].split()) == set(keys) and row["paper_pair"] == 0.247
        text = pages.to_markdown(results, "paper")
        assert (
            f", 5 draws: {100 * min(each):.1f} to {100 * max(each):.1f}; paper 24.7 [P] |" in text
        )
        assert all(f"\n- {key[:8]}: " in text for key in keys)  # their provenance

    def test_draws_that_are_not_finished_are_left_out_and_the_row_says_so(self, tmp_path):
        for seed, sets in enumerate((N_SETS, N_SETS, 10)):
            fill(tmp_path, "mmvp", "sampled", decoding={"seed": seed}, sets=sets)
        row = cell(report.cells(read(tmp_path), "paper"), "mmvp", "sampled")
        assert (row["n_draws"], row["n_sets"], row["status"]) == (2, N_SETS, "partly run")

    def test_other_settings_of_drawn_answers_are_other_rows(self, tmp_path):
        for temperature in (0.2, 0.7):
            for seed in range(2):
                decoding = {"temperature": temperature, "seed": seed}
                fill(tmp_path, "mmvp", "sampled", decoding=decoding)
        rows = report.cells(read(tmp_path), "paper").query("method == 'sampled'")
        assert rows["settings"].tolist() == ["", "temperature=0.7"]
        assert (rows["n_draws"] == 2).all()


class TestSweep:
    """Contrastive decoding with a setting that other pairs chose."""

    @pytest.fixture
    def swept(self, tmp_path):
        """A bias toward the first option that text contrast takes away, half of it at strength 1.

        The scores are made by the formula, from a stream with the bias and one that is nothing but
        the bias.
        """
        settings = {
            "package": "1", "benchmark": {"name": "mmvp", "options": {}, "items": "i",
                                          "n_sets": N_SETS, "text": "statements"},
            "model": {"role": "mllm", "name": "m", "revision": None, "dtype": "float32",
                      "quantization": None, "weights": "w"},
            "method": method_settings(Task("mmvp", ModelChoice("mllm", "m"), "sweep")),
        }  # fmt: skip
        rng, items = np.random.default_rng(0), []
        for i in range(N_SETS):
            signal, rows = rng.uniform(0.7, 1.3), []
            for name in settings["method"]["settings"]:
                family, _, setting = name.partition(": ")
                strength = float(setting.partition(",")[0]) if family == "text contrast" else 0.0
                for image, option in product((0, 1), (0, 1)):
                    margin = signal * (1 - 2 * image) * (1 + strength) + 2.0
                    rows.append({
                        "setting": name, "set_id": f"s{i}", "pair_id": f"s{i}",
                        "relation": "not annotated", "image_index": image, "option_index": option,
                        "own": option == image, "score": margin / 2 * (1 - 2 * option),
                    })  # fmt: skip
            items.append(Item(f"s{i}", i, {k: [row[k] for row in rows] for k in rows[0]}, 0.1))
        provenance = {"hardware": "abacus", "time": "2025-01-02T03:04:05Z", "source": "c0de"}
        with Writer(tmp_path, lambda: provenance) as writer:
            writer.add(setting_key(settings), settings, items,
                       {"asked": "llava-hf/llava-1.5-7b-hf"})  # fmt: skip
        return read(tmp_path)

    def test_what_helps_is_chosen_and_what_does_not_is_left_at_no_correction(self, swept):
        rows = report.sweeps(swept, "paper").set_index("family")
        assert rows.loc["VCD", "chosen"] == {"0": 1.0} and rows.loc["VCD", "difference"] == 0
        gained = rows.loc["text contrast"]
        assert gained["accuracy_b"] == 1 > gained["accuracy_a"] and "0" not in gained["chosen"]
        assert set(rows["status"]) == {"run"} and set(rows["n"]) == {N_SETS}

    def test_the_report_says_what_was_chosen_and_among_how_many(self, swept):
        text = pages.to_markdown(swept, "paper")
        assert "with a setting that was chosen on other pairs\n\nOf 64 settings" in text
        assert re.search(r"\| VCD \(.*, 40 pairs\) \| 0 for 100% of pairs \| plain ", text)

    def test_too_few_pairs_choose_nothing(self, swept):
        (key,) = swept.settings
        for name in list(swept.items[key])[3:]:
            del swept.items[key][name]
        assert report.sweeps(swept, "paper").empty
        assert "chosen on other pairs" not in pages.to_markdown(swept, "paper")

    def test_nothing_is_told_of_a_sweep_that_was_not_run(self, paper):
        assert report.sweeps(paper, "paper").empty


class TestDisagreements:
    def test_they_are_rows_whose_interval_leaves_the_papers_number_out(self, tmp_path):
        fill(tmp_path, "tabletop-b", "vqascore-authors", right=1.0)
        fill(tmp_path, "tabletop-a", "matching", right=0.49)
        rows = report.cells(read(tmp_path), "mini")
        rows["relation"] = rows["relation"].replace("on/under", "front/behind")
        found = report.disagreements(rows)
        for row in found.itertuples():
            assert row.paper < row.accuracy_low or row.paper > row.accuracy_high
        beside = rows.filter(regex="^paper_(individual|pair|set|relative)$").notna()
        assert len(found) < beside.to_numpy().sum()  # others agree, or are not run

    def test_the_report_shows_them_at_either_scale(self, tmp_path):
        fill(tmp_path, "tabletop-a", "vqascore-authors", right=1.0)
        fill(tmp_path, "whatsup-a", "vqascore-authors", right=1.0)
        for scale, name in (("mini", "tabletop-a"), ("paper", "whatsup-a")):
            text = pages.to_markdown(read(tmp_path), scale)
            _, after = text.split("## Where ours and the paper's disagree")
            assert f"| {name}, on/under | MLLM, vqascore-authors | pair | 100.0 [" in after
            assert "| 52.4 [S] |" in after.partition("\n## ")[0]


class TestWhatIsNotHere:
    def test_every_number_that_stands_beside_nothing_has_its_reason(self):
        text = "\n".join(sections.not_here_text())
        assert "- Phi-3-V: published for the original LLaVA code" in text
        for number in report.without_protocol():
            assert f"  - {number}" in text
        for number in PUBLISHED:
            assert (str(number) in text) == (number in report.without_protocol())

    def test_a_number_without_a_reason_is_noticed(self):
        with pytest.raises(LookupError, match="no reason is given for 50.0: GPT-9"):
            subject_not_here(Published("GPT-9", "mmvp", "all", "pair", 0.5, "M3ID", "v9", "H"))


class TestStoredRows:
    def test_they_are_scores_and_what_is_decided_by_them(self, mmvp):
        for key, settings in mmvp.settings.items():
            method = settings["method"]["name"]
            table = report.scores(mmvp, key)
            assert list(table)[:6] == [
                "benchmark", "model", "method", "set_id", "pair_id", "relation",
            ]  # fmt: skip
            assert set(table["method"]) == {method}
            assert set(table["benchmark"]) == {settings["benchmark"]["name"]}
            decide = prefer if METHODS[method].decides == "pair" else predict
            pd.testing.assert_frame_equal(report.predictions(mmvp, key), decide(table))

    def test_provenance_has_a_row_for_each_key(self, mmvp):
        table = report.provenance(mmvp)
        assert table["key"].tolist() == [key[:8] for key in mmvp.settings]
        assert set(table["hardware"]) == {"abacus"} and set(table["seconds"]) == {"4.0"}
        few = list(mmvp.settings)[:2]
        methods = [mmvp.settings[key]["method"]["name"] for key in few]
        assert report.provenance(mmvp, few)["method"].tolist() == methods


class TestComparisons:
    def test_they_are_paired_and_on_the_sets_that_both_have(self, paper):
        rows = report.comparisons(paper, "paper")
        keys = dict(zip(rows["second"], rows["key_second"], strict=True))
        first = report.predictions(paper, rows["key_first"][0])
        second = report.predictions(paper, keys["MLLM prompted"])
        expected = compare(first[first["set_id"].isin(second["set_id"])], second)
        (row,) = rows.query("second == 'MLLM prompted' and relation == 'all'").itertuples()
        assert row.n == 20
        assert (row.difference, row.p_value) == (expected["difference"], expected["p_value"])

    def test_a_method_for_both_kinds_of_models_is_compared_between_them(self, mmvp):
        rows = report.comparisons(mmvp, "paper")
        (row,) = rows[rows["table"] == "mmvp-relative"].itertuples()
        assert (row.first, row.second) == ("CLIP relative-preference", "MLLM relative-preference")
        assert (row.n, row.chance) == (N_SETS, 0.5)
        (row,) = rows[rows["second"] == "MLLM m3id"].itertuples()
        assert (row.first, row.n, row.chance) == ("MLLM greedy", N_SETS, 0.25)

    def test_without_two_readers_there_are_none(self, tmp_path):
        fill(tmp_path, "whatsup-a", "matching")
        assert report.comparisons(read(tmp_path), "paper").empty


class TestText:
    def test_markdown_holds_every_table_and_says_what_was_not_run(self, paper):
        text = pages.to_markdown(paper, "paper")
        assert text.count("\n## What'sUp") == 2 and "## COCO-spatial" in text
        (line,) = re.findall(r"^\| whatsup-a, left/right .* \| CLIP, .*$", text, re.M)[:1]
        row = cell(report.cells(paper, "paper"), "whatsup-a", "matching", "left/right")
        assert f"| {100 * row['pair_accuracy']:.1f} [" in line and "]; paper 1.9 [S] |" in line
        assert "- whatsup-b, MLLM llava-hf/llava-1.5-7b-hf, prompted" in text
        assert (
            "| whatsup-a (10 of 40 sets) | MLLM, prompted |" in text
            and "a score was no number: 1." in text
        )
        assert "[S] second-hand notes that quote the paper" in text
        assert "- 31.3: LLaVA-1.5-7B, MMVP, pair accuracy by M3ID (v1) [S]" in text
        assert "abacus" in text and "2025-01-02" in text
        assert not re.search(r"\bnan\b|<NA>", text)

    def test_relative_preferences_stand_in_a_table_of_their_own(self, mmvp):
        text = pages.to_markdown(mmvp, "paper")
        tables = {part.partition("\n")[0]: part for part in text.split("\n## ")}
        (relative,) = [part for title, part in tables.items() if "relative preference" in title]
        assert "chance 50%" in relative.partition("\n")[0]
        assert "| read by | relative accuracy (chance 50) |" in relative
        assert "]; paper 64.0 [S] |" in relative and "pair accuracy" not in relative
        others = [part for part in tables.values() if part is not relative]
        assert not any("| relative accuracy" in part for part in others)
        assert "| mmvp (40 sets) | MLLM, greedy |" in text and "]; paper 25.3 [S] |" in text

    def test_no_table_has_more_than_five_columns(self, paper, mmvp, mini):
        for results, scale in ((paper, "paper"), (mmvp, "paper"), (mini, "mini")):
            lines = re.findall(r"^\|.*$", pages.to_markdown(results, scale), re.M)
            assert lines and max(line.count(" | ") for line in lines) < 5

    def test_what_a_table_has_no_column_for_is_said_below_it(self, paper, mmvp):
        rows = report.cells(mmvp, "paper")
        row = cell(rows, "mmvp", "two-images")
        (line,) = [line for line in pages.remarks(rows) if "two-images" in line]
        assert "100.0% in the second" in line and f"{100 * row['place_bias']:+.1f} [" in line
        row = cell(report.cells(paper, "paper"), "whatsup-a", "prompted")
        assert f": {row['n_unparsed']} answers that name no one option" in pages.to_markdown(
            paper, "paper"
        )
        assert pages.remarks(report.cells(paper, "paper").query("status == 'not run'")) == []

    def test_relations_that_stand_apart_have_a_row_each_and_a_column_for_each_method(self, mini):
        text = pages.to_markdown(mini, "mini")
        assert "Pair accuracy by visual pattern in tabletop-mmvp, chance 25:" in text
        assert "Relative accuracy by visual pattern in tabletop-mmvp, chance 50:" in text
        rows = report.cells(mini, "mini")
        shown = pages.shown_relations(rows[rows["table"] == "mmvp"])
        assert list(shown) == ["relation", "sets", "CLIP matching", "MLLM greedy"]
        assert shown["relation"].tolist() == ["colour", "text"] and (shown["sets"] == 20).all()
        row = cell(rows, "tabletop-mmvp", "greedy", "text")
        assert shown["MLLM greedy"][1].startswith(f"{100 * row['pair_accuracy']:.1f} [")
        assert pages.shown_relations(rows[rows["table"] == "two-way"]).empty

    def test_a_relation_has_all_its_sets_where_all_was_run(self, mini, tmp_path):
        fill(tmp_path, "tabletop-mmvp", "matching-text-to-image")
        rows = report.cells(read(tmp_path), "mini")
        shown = pages.shown(rows[rows["table"] == "mmvp-vlm"])
        counts = shown["benchmark"].str.extract(r"\((\d+) sets\)")[0]
        assert counts.tolist() == ["20", "20", "40"]

    def test_every_row_of_a_markdown_table_has_as_many_cells(self, paper, mmvp, mini):
        for scale in SCALES:
            blocks = re.findall(r"(?:^\|.*\n)+", pages.to_markdown(mini, scale), re.M)
            assert blocks
            for block in blocks:
                assert len({line.count("|") for line in block.splitlines()}) == 1

    def test_an_empty_store_gives_the_papers_numbers_alone(self, tmp_path):
        text = pages.to_markdown(read(tmp_path), "paper")
        assert "| not run; paper 49.0 [S] | paper 1.9 [S] |" in text and "provenance" not in text
        text = pages.to_markdown(read(tmp_path), "mini")
        assert "tabletop-a mirrors whatsup-a" in text

    def test_code_that_changed_between_runs_is_told(self, paper):
        assert "code was changed" not in pages.to_markdown(paper, "paper")
        paper.runs[next(iter(paper.runs))]["source"] = "new"
        assert "code was changed" in pages.to_markdown(paper, "paper")

    def test_results_whose_settings_or_provenance_are_lost_break_nothing(self, paper):
        paper.runs.clear()
        lost = next(iter(paper.settings))
        del paper.settings[lost], paper.about[lost]
        text = pages.to_markdown(paper, "paper")
        assert lost[:8] not in text and "; abacus, " not in text

    def test_csv_holds_the_numbers_in_full(self, paper):
        rows = report.cells(paper, "paper")
        back = pd.read_csv(io.StringIO(pages.to_csv(paper, "paper")))
        assert list(back) == list(rows) and len(back) == len(rows)
        np.testing.assert_array_equal(back["pair_accuracy"], rows["pair_accuracy"].astype(float))


def test_figures_show_the_tables_that_have_results(paper):
    drawn = pages.figures(report.cells(paper, "paper"))
    assert list(drawn) == ["two-way", "spatial"]
    labels = [text.get_text() for text in drawn["two-way"].axes[0].get_yticklabels()]
    assert "whatsup-a, left/right, CLIP, matching" in labels
    assert not any("whatsup-b" in label for label in labels)
    for figure in drawn.values():
        plt.close(figure)


def test_the_figure_of_a_relative_preference_names_it_and_shows_its_chance_level(mini):
    drawn = pages.figures(report.cells(mini, "mini"))
    assert list(drawn) == ["mmvp", "mmvp-relative"]
    (axes,) = drawn["mmvp-relative"].axes
    assert (axes.get_title(), axes.get_xlabel()) == ("Relative preference", "Share of pairs")
    chance = [line.get_segments() for line in axes.collections if line.get_label() == "chance"]
    assert {x for segments in chance for ((x, _), _) in segments} == {0.5}
    # Relations have no dots of their own here.
    assert len(drawn["mmvp"].axes[0].get_yticklabels()) == 2
    for figure in drawn.values():
        plt.close(figure)


def test_without_two_methods_there_is_nothing_to_compare_and_nothing_breaks():
    assert pages.shown_comparisons(pd.DataFrame()).empty
