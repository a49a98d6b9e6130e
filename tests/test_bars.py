"""Progress bars: for work that turns out to be long."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from tqdm.notebook import tqdm as notebook_bar

from erragree_utils import bars

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def no_choice(monkeypatch):
    """The environment says nothing of bars."""
    monkeypatch.delenv("TQDM_DISABLE", raising=False)


def work(n: int = 20) -> None:
    with bars.bar(n, "images") as shown:
        for _ in range(n):
            shown.mininterval = 0  # each step may be drawn
            shown.update()


def test_short_work_shows_none(capsys):
    work()
    assert capsys.readouterr() == ("", "")


def test_long_work_shows_what_is_done_and_the_time_left(capsys, monkeypatch):
    monkeypatch.setattr(bars, "DELAY_S", 1e-9)
    work()
    out, err = capsys.readouterr()
    assert out == "" and re.search(r"images:  50%\|.*10/20 \[\d\d:\d\d<\d\d:\d\d", err)
    assert err.rstrip(" ").endswith("\r")  # it goes with the work


def test_a_bar_around_hides_those_inside(capsys, monkeypatch):
    monkeypatch.setattr(bars, "DELAY_S", 1e-9)
    with bars.hidden():
        work()
    assert capsys.readouterr().err == ""
    work()
    assert "20/20" in capsys.readouterr().err


def test_the_environment_can_hide_all(tmp_path):
    code = "import test_bars as t; t.bars.DELAY_S = 1e-9; t.work()"
    shown = {}
    for value in ("", "1"):
        environment = {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "PATH": "", "HOME": str(tmp_path)}
        if value:
            environment["TQDM_DISABLE"] = value
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        shown[value] = done.stderr
    assert "20/20" in shown[""] and shown["1"] == ""


def test_the_environment_hides_those_of_a_notebook_too(monkeypatch):
    monkeypatch.setattr(bars, "tqdm", notebook_bar)
    monkeypatch.setenv("TQDM_DISABLE", "1")
    with bars.bar(20, "images") as shown:
        assert shown.disable


def test_items_that_are_drawn_one_by_one_may_tell_their_number():
    counted = bars.Counted((i for i in range(3)), 3)
    assert len(counted) == 3 and list(counted) == [0, 1, 2]
