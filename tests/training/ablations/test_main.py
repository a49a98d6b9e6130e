"""The command line of the ablations."""

import pytest

from erragree_utils.training.ablations import experiments, tables
from erragree_utils.training.ablations.__main__ import main


def test_the_list_names_each_experiment_and_its_change(capsys):
    main(["--list"])
    shown = capsys.readouterr().out
    assert all(name in shown for name in experiments.EXPERIMENTS)
    assert "weighted patches, but rotary=True" in shown


def test_collect_writes_tables_of_finished_runs_alone(recorded, out, tmp_path, capsys):
    main(["--collect", "--out", str(out), "--tables", str(tmp_path)])
    assert "data.csv: 4 runs" in capsys.readouterr().out
    assert tables.read_rows(tmp_path / "data.csv").equals(tables.read_rows(recorded / "data.csv"))
    main(["--collect", "--out", str(tmp_path / "nothing")])
    assert "no finished run" in capsys.readouterr().out


def test_an_unknown_family_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["--only", "token"])
    assert "invalid choice: 'token'" in capsys.readouterr().err
