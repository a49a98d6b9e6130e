"""The command line: what it prints, what it stores, and the exit codes that scripts can use."""

from __future__ import annotations

import contextlib
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from erragree_utils.benchmarks import BENCHMARKS
from erragree_utils.scoring import METHODS
from erragree_utils.study import TABLES, cli, report
from erragree_utils.study.cli import main
from erragree_utils.study.store import Writer, read

SMALL = ["--quiet", "--option", "tabletop-a.n_sets=6", "tabletop-b.n_sets=6"]
PAIRS = ["tabletop-mmvp.n_pairs=1", "tabletop-mmvp.mined=false"]


class TestRun:
    def test_every_method_is_run_on_every_benchmark(self, done):
        results = read(done)
        cells = {(s["benchmark"]["name"], s["method"]["name"]) for s in results.settings.values()}
        assert cells == {
            (benchmark, method)
            for table in TABLES
            for benchmark in table.benchmarks.get("mini", ())
            for method in table.methods
        } | {("tabletop-mmvp", "sweep")}
        rows = {"tabletop-a": 24, "tabletop-b": 24, "tabletop-mmvp": 18}
        for key, settings in results.settings.items():
            if settings["method"]["name"] == "sweep":
                continue
            single = METHODS[settings["method"]["name"]].decides == "pair"
            assert len(report.predictions(results, key)) == rows[settings["benchmark"]["name"]] // (
                1 + single
            )
        assert {s["model"]["name"] for s in results.settings.values()} == {
            "tiny-clip",
            "tiny-llava",
        }
        options = [s["benchmark"]["options"] for s in results.settings.values()]
        assert {"n_sets": 6} in options and {"n_pairs": 1, "mined": False} in options

    def test_the_same_command_again_scores_nothing(self, done, models, capsys):
        stored = sum(map(len, read(done).items.values()))
        assert main(["run", "--out", str(done), "--model", *models, *SMALL, *PAIRS]) == cli.OK
        assert f"0 sets scored, {stored} were stored before" in capsys.readouterr().out

    def test_a_part_is_chosen_by_name_and_number(self, models, tmp_path, capsys):
        arguments = ["--model", models[0], "--benchmark", "tabletop-b", "--method", "matching"]
        command = ["run", "--out", str(tmp_path), *arguments, "--limit", "2", "--quiet",
                   "--option", "tabletop-b.n_sets=6", "tabletop-b.seed=1"]  # fmt: skip
        assert main(command) == cli.OK
        (settings,) = read(tmp_path).settings.values()
        assert settings["benchmark"]["options"] == {"n_sets": 6, "seed": 1}
        assert "2 sets scored, 0 were stored before" in capsys.readouterr().out

    def test_the_next_command_can_be_pasted_though_the_path_has_spaces(
        self, models, tmp_path, capsys
    ):
        out = tmp_path / "my results; 'new'"
        command = ["run", "--out", str(out), "--model", models[0], "--quiet", "--limit", "1"]
        assert main([*command, "--benchmark", "tabletop-a", "--method", "matching"]) == cli.OK
        told = capsys.readouterr().out.splitlines()[-1].removeprefix("The tables: ")
        assert shlex.split(told) == ["python", "-m", "erragree_utils", "report", str(out)]

    def test_progress_goes_to_stderr_with_the_time_left(self, models, tmp_path, capsys):
        command = ["run", "--out", str(tmp_path), "--model", models[0], *SMALL[1:]]
        command += ["--benchmark", "tabletop-a", "tabletop-b"]
        assert main([*command, "--method", "matching"]) == cli.OK
        out, err = capsys.readouterr()
        assert re.search(r"tabletop-b, clip .*tiny-clip, matching: 100%.*24/24 \[\d\d:\d\d<", err)
        assert out.count("\n") == 2

    def test_dtype_is_of_the_language_model(self, models, tmp_path, capsys):
        command = ["run", "--out", str(tmp_path), "--benchmark", "tabletop-a", "--limit", "1",
                   "--method", "matching", "options", "--dtype", "bfloat16",
                   *SMALL[:3]]  # fmt: skip
        assert main([*command, "--model", *models]) == cli.OK
        found = {s["model"]["role"]: s["model"]["dtype"] for s in read(tmp_path).settings.values()}
        assert found == {"clip": "float32", "mllm": "bfloat16"}
        assert main([*command, "--model", models[0]]) == cli.USAGE
        assert "for the language model; none is chosen" in capsys.readouterr().err

    def test_a_revision_stands_behind_the_name(self):
        options = cli._parser().parse_args(
            ["run", "--out", "r", "--model", "mllm=owner/name@abc", "--quantization", "4bit"]
        )
        (choice,) = cli._models(options, cli.get_scale("paper"), "cuda:1")
        assert (choice.role, choice.name) == ("mllm", "owner/name")
        assert choice.options == {"revision": "abc", "quantization": "4bit", "device": "cuda:1"}

    def test_two_revisions_of_a_model_are_two_models(self):
        names = ["mllm=owner/name@abc", "mllm=owner/name@def", "mllm=owner/name@abc"]
        options = cli._parser().parse_args(["run", "--out", "r", "--model", *names])
        chosen = cli._models(options, cli.get_scale("paper"), None)
        assert [choice.options["revision"] for choice in chosen] == ["abc", "def"]

    def test_another_setting_of_decoding_has_a_key_of_its_own_and_shows_in_the_report(
        self, models, tmp_path, capsys
    ):
        command = ["run", "--out", str(tmp_path), "--model", models[1], "--method", "m3id",
                   "--quiet", "--option", *PAIRS]  # fmt: skip
        assert main(command) == cli.OK
        assert main([*command, "--decoding", "m3id.t0=0", "m3id.threshold=1"]) == cli.OK
        results = read(tmp_path)
        contrasts = [s["method"]["contrast"] for s in results.settings.values()]
        assert sorted((c["t0"], c["threshold"]) for c in contrasts) == [(0, 1), (10, 0.3)]
        capsys.readouterr()
        assert main(["report", str(tmp_path)]) == cli.OK
        assert "t0=0, threshold=1" in capsys.readouterr().out.replace("threshold=1, t0=0", (
            "t0=0, threshold=1"
        ))  # fmt: skip

    @pytest.mark.parametrize(
        ("setting", "message"),
        [
            ("m3id.t0", "has not the form METHOD.NAME=NUMBER"),
            ("m3id.t0=ten", "'ten' in 'm3id.t0=ten' is not a number"),
            ("m3id.alpha=1", "m3id has no setting 'alpha'"),
            ("m3id.threshold=2", "threshold must be a number between 0 and 1"),
            ("vcd.alpha=1", "no method 'vcd'"),
        ],
    )
    def test_a_setting_that_makes_no_sense_is_refused_before_anything_is_done(
        self, tmp_path, capsys, setting, message
    ):
        command = ["run", "--out", str(tmp_path / "r"), "--method", "m3id", "--decoding", setting]
        with contextlib.suppress(SystemExit):
            assert main(command) == cli.USAGE
        assert message in capsys.readouterr().err and not (tmp_path / "r").exists()


class TestExitCodes:
    def command(self, whatsup, models, *more) -> list[str]:
        return ["run", "--scale", "paper", "--benchmark", "whatsup-a", "--method", "matching",
                "--model", models[0], "--out", str(whatsup.parent / "r"), "--quiet",
                "--option", f"whatsup-a.folder={whatsup}", *more]  # fmt: skip

    def test_a_damaged_image_is_named_and_may_be_skipped(self, whatsup, models, capsys):
        (whatsup / "controlled_images" / "bowl_on_chair.jpeg").write_bytes(b"\xff\xd8\xff")
        assert main(self.command(whatsup, models)) == cli.BAD_ITEM
        err = capsys.readouterr().err
        assert "whatsup-a" in err and "bowl_on_chair.jpeg" in err and "Traceback" not in err
        assert main(self.command(whatsup, models, "--skip-bad")) == cli.OK
        out = capsys.readouterr().out
        assert "2 sets scored, 0 were stored before, 1 skipped" in out
        assert "bowl_on_chair.jpeg" in out
        assert main(["report", str(whatsup.parent / "r")]) == cli.OK
        out = capsys.readouterr().out
        assert "# Results at paper scale" in out and "(2 of 3 sets)" in out

    def test_what_cannot_be_loaded_is_told_with_what_to_do(self, whatsup, models, tmp_path, capsys):
        (whatsup / "controlled_images_dataset.json").unlink()
        assert main(self.command(whatsup, models)) == cli.MISSING
        assert "controlled_images_dataset.json" in capsys.readouterr().err
        command = ["run", "--out", str(tmp_path), "--model", "mllm=./no-such-folder", "--quiet"]
        assert main(command) == cli.MISSING
        assert "no-such-folder lacks config.json" in capsys.readouterr().err

    def test_a_store_in_use_is_refused(self, models, tmp_path, capsys):
        with Writer(tmp_path, dict):
            command = ["run", "--out", str(tmp_path), "--model", models[0], "--quiet"]
            assert main(command) == cli.STORE
        assert "another run is writing" in capsys.readouterr().err

    def test_too_little_memory_is_told_apart(self, tmp_path, monkeypatch, capsys):
        def fail(*_, **__):
            raise RuntimeError("out of memory with a batch of one: close other programs")

        monkeypatch.setattr(cli, "run", fail)
        assert main(["run", "--out", str(tmp_path)]) == cli.MEMORY
        assert "batch of one" in capsys.readouterr().err

    def test_an_interrupt_ends_quietly(self, tmp_path, monkeypatch, capsys):
        def interrupt(*_, **__):
            raise KeyboardInterrupt

        monkeypatch.setattr(cli, "run", interrupt)
        assert main(["run", "--out", str(tmp_path)]) == cli.INTERRUPTED
        assert "what was scored is stored" in capsys.readouterr().err

    def test_results_that_are_deleted_during_the_run_are_not_told_as_scored(
        self, models, tmp_path, capsys, monkeypatch
    ):
        add = Writer.add

        def add_and_delete(*arguments):
            add(*arguments)
            shutil.rmtree(tmp_path / "r")

        monkeypatch.setattr(Writer, "add", add_and_delete)
        command = ["run", "--out", str(tmp_path / "r"), "--model", models[0], "--quiet"]
        command += ["--benchmark", "tabletop-a", "--method", "matching", "--limit", "1"]
        assert main(command) == cli.STORE
        out, err = capsys.readouterr()
        assert "sets scored" not in out and "is gone: it was deleted or moved during the run" in err

    @pytest.mark.parametrize(
        ("command", "code"),
        [
            (["run", "--out", "x" * 300, "--quiet"], cli.STORE),
            (["run", "--out", "file/r", "--quiet"], cli.STORE),
            (["report", "x" * 300], cli.USAGE),
            (["report", "r", "--figures", "x" * 300], cli.STORE),
            (["report", "r", "--figures", "/proc/f"], cli.STORE),
            (["list", "--out", "x" * 300], cli.STORE),
            (["list", "--out", "file"], cli.STORE),
        ],
    )
    def test_a_place_that_cannot_be_used_is_named_without_a_traceback(
        self, done, tmp_path, monkeypatch, capsys, command, code
    ):
        monkeypatch.chdir(tmp_path)
        Path("file").write_text("in the way")
        Path("r").symlink_to(done)
        assert main(command) == code
        err = capsys.readouterr().err
        assert "x" * 300 in err or "file" in err or "/proc/f" in err

    def test_an_error_of_the_system_is_told_with_the_name_of_the_file(
        self, tmp_path, monkeypatch, capsys
    ):
        monkeypatch.setattr(cli, "run", lambda *_, **__: (tmp_path / "none").open())
        assert main(["run", "--out", str(tmp_path)]) == cli.FAILED
        assert f"No such file or directory: '{tmp_path / 'none'}'" in capsys.readouterr().err

    def test_an_option_of_brackets_alone_is_a_text(self):
        text = "[" * 100_000
        arguments = ["run", "--out", "r", "--option", f"tabletop-a.seed={text}"]
        assert cli._parser().parse_args(arguments).option == [("tabletop-a", "seed", text)]

    def test_an_error_of_the_program_keeps_its_traceback(self, tmp_path, monkeypatch):
        monkeypatch.setattr(cli, "run", lambda *_, **__: {}["bug"])
        with pytest.raises(KeyError):
            main(["run", "--out", str(tmp_path)])

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--benchmark", "mmmu"], "no benchmark 'mmmu' in the study at scale 'mini'"),
            (["--method", "guess"], "no method 'guess'"),
            (["--model", "gpt"], "unknown model 'gpt': give clip, mllm, clip=NAME"),
            (["--option", "whatsup-a.folder=x"], "which is not among what is run"),
        ],
    )
    def test_names_that_make_no_sense_are_told_before_anything_is_done(
        self, tmp_path, capsys, arguments, message
    ):
        assert main(["run", "--out", str(tmp_path / "r"), *arguments]) == cli.USAGE
        assert message in capsys.readouterr().err
        assert not (tmp_path / "r").exists()

    @pytest.mark.parametrize(
        "arguments",
        [
            [],
            ["run"],
            ["run", "--out", "r", "--limit", "0"],
            ["run", "--out", "r", "--option", "x"],
        ],
    )
    def test_arguments_that_are_wrong_have_argparses_code(self, arguments):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == cli.USAGE


class TestReport:
    def test_it_prints_every_table_of_the_scales_that_the_folder_has(self, done, capsys):
        assert main(["report", str(done)]) == cli.OK
        out = capsys.readouterr().out
        assert out.count("# Results at") == 1 and "# Results at mini scale" in out
        assert re.search(r"\| tabletop-b, front/behind \(\d+ sets\) \| MLLM, prompted", out)

    def test_csv_has_one_heading(self, done, capsys):
        assert main(["report", str(done), "--format", "csv"]) == cli.OK
        out = capsys.readouterr().out
        assert out.count("individual_accuracy,") == 1 and "tiny-llava" in out

    def test_complete_asks_for_every_cell_of_the_scales_own_models(self, done, capsys):
        assert main(["report", str(done), "--complete"]) == cli.INCOMPLETE
        assert "## Not run" in capsys.readouterr().out

    def test_figures_are_drawn(self, done, tmp_path, capsys):
        assert main(["report", str(done), "--figures", str(tmp_path / "f")]) == cli.OK
        names = {path.name for path in (tmp_path / "f").iterdir()}
        assert names == {f"mini-{table.name}.png" for table in TABLES
                         if "mini" in table.benchmarks}  # fmt: skip
        for name in names:
            assert Image.open(tmp_path / "f" / name).width > 500

    def test_a_folder_that_is_not_there_is_told(self, tmp_path, capsys):
        assert main(["report", str(tmp_path / "none")]) == cli.USAGE
        assert "there is no folder" in capsys.readouterr().err


class TestList:
    def test_it_shows_the_study(self, capsys):
        assert main(["list", "--scale", "paper"]) == cli.OK
        out = capsys.readouterr().out
        assert re.search(r"^gqa-spatial +mllm llava-hf/llava-1.5-7b-hf +vqascore$", out, re.M)

    def test_and_what_each_benchmark_takes(self, capsys):
        assert main(["list"]) == cli.OK
        out = capsys.readouterr().out
        for name in BENCHMARKS:
            assert re.search(rf"^{name} ", out, re.M), name
        assert re.search(r"^winoground .*gated: log in.*research alone$", out, re.M)

    def test_and_what_a_folder_holds_of_it(self, done, models, capsys):
        assert main(["list", "--out", str(done), "--model", models[0]]) == cli.OK
        out = capsys.readouterr().out
        assert re.search(r"^tabletop-a .* matching +6 of 6 sets$", out, re.M)
        assert re.search(r"^tabletop-mmvp .* relative-preference +9 of 9 sets$", out, re.M)
        assert main(["list", "--out", str(done), "--method", "matching"]) == cli.OK
        assert re.search(r"^tabletop-a .* matching +-$", capsys.readouterr().out, re.M)


def test_as_a_module_it_explains_itself(root):
    command = [sys.executable, "-m", "erragree_utils"]
    for name in ("list", "run", "report", "download"):
        with pytest.raises(SystemExit) as stop:
            main([name, "--help"])
        assert stop.value.code == 0
    shown = subprocess.run([*command, "--help"], cwd=root, capture_output=True, text=True)
    assert shown.returncode == 0 and "exit codes:" in shown.stdout
    with subprocess.Popen([*command, "list"], cwd=root, stdout=subprocess.PIPE) as process:
        process.stdout.close()  # as `head` does; no traceback may follow
    assert process.returncode in (cli.OK, cli.FAILED)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no such device here")
def test_output_that_cannot_be_written_is_told(root):
    command = [sys.executable, "-m", "erragree_utils", "list"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, cwd=root, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == cli.FAILED and "Traceback" not in done.stderr
    assert done.stderr.startswith("error: [Errno 28] No space left on device")
