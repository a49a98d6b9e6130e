"""Several processes that a launcher started: their shares, and their end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest

from erragree_utils.study import cli
from erragree_utils.study.store import read

SMALL = ["--quiet", "--option", "tabletop-a.n_sets=6"]
PAIRS = ["tabletop-mmvp.n_pairs=1", "tabletop-mmvp.mined=false"]


def test_accelerate_that_starts_one_process_where_several_were_meant_is_told(
    models, tmp_path, monkeypatch, capsys
):
    # What `accelerate launch --cpu --num_processes 2` sets.
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    monkeypatch.setenv("ACCELERATE_USE_CPU", "True")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    command = ["run", "--out", str(tmp_path), "--model", models[0], "--limit", "1", *SMALL]
    assert cli.main([*command, "--benchmark", "tabletop-a"]) == cli.OK
    assert "starts one, as it does with --cpu" in capsys.readouterr().err


def test_without_accelerate_several_processes_are_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setitem(sys.modules, "accelerate", None)
    assert cli.main(["run", "--out", str(tmp_path)]) == cli.USAGE
    assert "run pip install accelerate" in capsys.readouterr().err


def test_a_process_whose_launcher_is_killed_ends_soon(root):
    worker = (
        "import sys, time; from erragree_utils.study.processes import end_with_launcher;"
        "end_with_launcher(0.1); print('up', flush=True); time.sleep(300)"
    )
    launcher = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {worker!r}])"
    process = subprocess.Popen(
        [sys.executable, "-c", launcher], cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout.readline() == b"up\n"
    process.send_signal(signal.SIGKILL)
    killed = time.monotonic()
    _, told = process.communicate(timeout=60)  # the worker held the other ends of these pipes
    assert time.monotonic() - killed < 5
    assert b"the launcher is dead: this process ends" in told


def test_two_launched_processes_make_the_table_of_one(done, models, tmp_path, root):
    pytest.importorskip("accelerate")
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu",
               "--num_processes", "2", "--num_machines", "1", "--mixed_precision", "no",
               "--dynamo_backend", "no", "--main_process_port", "0", "-m", "erragree_utils",
               "run", "--device", "cpu", "--batch-size", "8", "--benchmark", "tabletop-a",
               "tabletop-mmvp", "--model", *models, *SMALL, *PAIRS,
               "--out", str(tmp_path)]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "process 2 of 2: " in result.stdout and "process 1 of 2: " in result.stdout
    one, two = read(done), read(tmp_path)
    assert {run["process"] for run in two.runs.values()} == {"1 of 2", "2 of 2"}
    assert set(two.settings) == {
        key
        for key, settings in one.settings.items()
        if settings["benchmark"]["name"] != "tabletop-b"
    }
    for key in two.settings:
        pd.testing.assert_frame_equal(one.table(key), two.table(key), rtol=1e-5)
