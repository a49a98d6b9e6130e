"""The order of test files: nobody waits for the book."""

from __future__ import annotations

from tests.building import ROOT, turn

FILES = sorted((ROOT / "tests").rglob("test_*.py"))


def test_one_file_builds_the_book_and_those_with_a_browser_come_after_all_others():
    order = sorted(FILES, key=turn)
    assert order[0].name == "test_book.py"
    last = [path.parent.name == "browser" for path in order]
    assert any(last) and last == sorted(last)


def test_no_other_file_builds_the_whole_book():
    for path in FILES:
        if "whole_book" in path.read_text("utf-8") and path.name != "test_building.py":
            assert turn(path) == 0, f"{path}: let a fixture of tests/browser give the book"
