"""Findings: what holds, by which margin, and the records that travel in a notebook."""

from __future__ import annotations

import math

import nbformat
import pandas as pd
import pytest
from IPython.core.formatters import DisplayFormatter

from erragree_utils import findings
from erragree_utils.findings import MIME, estimate, finding
from erragree_utils.paper import published

PAIR = published(reader="CLIP ViT-L/14-336", benchmark="whatsup-a", relation="left/right",
                 kind="pair")  # fmt: skip


class TestWhetherItHolds:
    def test_is_decided_by_the_interval_not_by_the_value(self):
        assert finding("a", (0.6, 0.55, 0.65), above=0.5).holds
        assert not finding("a", (0.6, 0.45, 0.75), above=0.5).holds
        assert not finding("a", (0.4, 0.35, 0.5), below=0.5).holds

    def test_needs_both_bounds_where_two_are_given(self):
        assert finding("a", (0.5, 0.45, 0.55), above=0.4, below=0.6).holds
        assert not finding("a", (0.5, 0.45, 0.61), above=0.4, below=0.6).holds
        assert not finding("a", (0.5, 0.39, 0.55), above=0.4, below=0.6).holds

    def test_of_a_value_that_was_not_sampled_is_decided_by_the_value(self):
        assert finding("a", 1e-6, below=1e-5, unit="").holds
        assert not finding("a", 0.5, above=0.5).holds


class TestMargin:
    def test_is_the_distance_to_the_nearer_bound_in_standard_errors(self):
        one = finding("a", (0.6, 0.6 - 0.196, 0.6 + 0.196), above=0.3, below=1.0)
        assert one.margin == pytest.approx(3.0)
        assert finding("a", (0.2, 0.2 - 0.196, 0.2 + 0.196), above=0.3).margin == pytest.approx(-1)

    def test_counts_the_half_of_the_interval_that_lies_towards_the_bound(self):
        assert finding("a", (1.0, 0.902, 1.0), above=0.8).margin == pytest.approx(4.0)
        assert finding("a", (0.0, 0.0, 0.098), below=0.2).margin == pytest.approx(4.0)

    def test_is_infinite_where_nothing_was_sampled(self):
        assert finding("a", 1.0, above=0.5).margin == math.inf
        assert finding("a", 0.2, above=0.5).margin == -math.inf


class TestRefused:
    def test_a_claim_without_a_bound(self):
        with pytest.raises(ValueError, match="'a' has no bound"):
            finding("a", 1.0)

    @pytest.mark.parametrize("value", [(0.5, 0.6, 0.7), (math.nan, 0.1, 0.2), math.nan])
    def test_a_value_outside_its_interval_or_not_measured(self, value):
        with pytest.raises(ValueError, match="'a': .* is not inside its interval"):
            finding("a", value, above=0.1)

    def test_an_interval_without_width(self):
        with pytest.raises(ValueError, match="has no width"):
            finding("a", (1.0, 1.0, 1.0), above=0.1)

    def test_an_unknown_unit(self):
        with pytest.raises(ValueError, match="unknown unit 'metres'"):
            finding("a", 1.0, above=0.1, unit="metres")

    def test_a_page_that_claims_nothing_or_one_thing_twice(self):
        with pytest.raises(ValueError, match="without findings"):
            findings.show([])
        with pytest.raises(ValueError, match="the same claim: a"):
            findings.show([finding("a", 1.0, above=0.5), finding("a", 1.0, above=0.6)])


class TestAnswers:
    def test_are_the_findings_with_the_question(self):
        page = [finding("a", 1.0, above=0.5), finding("b", 1.0, above=0.5, question="Is it?")]
        assert [f.claim for f in findings.answers(page)] == ["b"]

    def test_of_two_questions_or_of_nobody_in_particular_are_refused(self):
        first = finding("a", 1.0, above=0.5, question="Is it?")
        with pytest.raises(ValueError, match="one question, not 2"):
            findings.show([first, finding("b", 1.0, above=0.5, question="Was it?")])
        with pytest.raises(ValueError, match="a `who` of its own"):
            findings.show([first, finding("b", 1.0, above=0.5, question="Is it?")])


def test_estimate_takes_a_value_and_its_interval_from_a_row():
    row = pd.Series({"pair_accuracy": 0.1, "pair_accuracy_low": 0.0, "pair_accuracy_high": 0.2})
    assert estimate(row, "pair_accuracy") == (0.1, 0.0, 0.2)


class TestShown:
    SHOWN = findings.show([
        finding(
            "CLIP fails <A>", (0.03, 0.01, 0.08), below=0.25, seed=7, paper=PAIR,
            question="Does it fail?", who="CLIP", chance=0.25,
        ),
        finding("The towers agree", 3e-6, below=1e-6, unit=""),
    ])  # fmt: skip

    def test_has_a_line_for_each_with_value_interval_bound_and_paper(self):
        text = findings.as_html(self.SHOWN.findings)
        assert text.count("<tr") == 3
        assert "CLIP fails &lt;A&gt;" in text and "3.0 [1.0, 8.0] %" in text
        assert "below 25<" in text
        assert "1.9: CLIP ViT-L/14-336, What&#x27;sUp A left/right" in text

    def test_marks_what_does_not_hold(self):
        text = findings.as_html(self.SHOWN.findings)
        assert text.count("✓ CLIP fails") == 1
        assert text.count("✗ Does not hold here: The towers agree") == 1
        first, second = findings.as_text(self.SHOWN.findings).splitlines()
        assert first.startswith("holds: CLIP fails <A>")
        assert second == "DOES NOT HOLD HERE: The towers agree (3.0e-06; below 1e-06)"

    def test_is_one_line_that_opens_where_all_hold_and_stands_open_where_one_does_not(self):
        def shown(*page):
            return findings.show(page)._repr_mimebundle_()["text/html"]

        first, second = finding("a", 1.0, above=0.5), finding("b", 1.0, above=0.5)
        closed = '<details class="checked"><summary>Checked: '
        assert shown(first, second).startswith(f"{closed}2 findings hold</summary><table")
        assert shown(first).startswith(f"{closed}1 finding holds</summary>")
        one_fails = self.SHOWN._repr_mimebundle_()["text/html"]
        assert 'checked" open><summary>Checked: 1 of 2 findings hold here</summary>' in one_fails

    def test_travels_in_a_notebook_and_comes_out_equal(self):
        data, _ = DisplayFormatter().format(self.SHOWN)
        output = nbformat.v4.new_output("execute_result", data=data)
        cells = [
            nbformat.v4.new_markdown_cell("# A"),
            nbformat.v4.new_code_cell("findings.show(...)", outputs=[output]),
            nbformat.v4.new_code_cell("1", outputs=[nbformat.v4.new_output("stream", text="1")]),
        ]
        text = nbformat.writes(nbformat.v4.new_notebook(cells=cells))
        assert MIME in text
        assert findings.read(nbformat.reads(text, 4)) == self.SHOWN.findings

    def test_has_margins_where_they_are_asked_for(self):
        text = findings.as_html(self.SHOWN.findings, margins=True)
        assert ">8.6\u00a0s.e.</td>" in text and ">no sampling</td>" in text
        assert "s.e." not in findings.as_html(self.SHOWN.findings)
