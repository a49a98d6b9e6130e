"""The command line: what it prints, what it stores, and the exit codes that scripts can use."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from erragree_utils.study import cli, study
from erragree_utils.study.cli import main
from erragree_utils.study.store import Writer, read
from erragree_utils.training import clip as clip_training
from erragree_utils.training import llava as llava_training

SMALL = ["--quiet", "--option", "tabletop-a.n_sets=6", "tabletop-b.n_sets=6"]
PAIRS = ["tabletop-mmvp.n_pairs=1", "tabletop-mmvp.mined=false"]


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> list[str]:
    """Small untrained models of the mini ones' kinds, as arguments."""
    folders = [tmp_path_factory.mktemp("models") / name for name in ("tiny-clip", "tiny-llava")]
    settings = clip_training.Settings(
        image_size=20, width=32, layers=3, text_layers=1, embed_dim=16
    )
    tokenizer = clip_training.build_tokenizer(settings.context)
    clip = clip_training.build_model(settings, len(tokenizer))
    clip_training.save(clip, tokenizer, settings, folders[0])
    settings = llava_training.Settings(width=32, layers=1, mlp=64)
    tokenizer = llava_training.build_tokenizer()
    llava = llava_training.build_model(settings, folders[0], tokenizer)
    llava_training.save(llava, tokenizer, settings, folders[1])
    return [f"clip={folders[0]}", f"mllm={folders[1]}"]


@pytest.fixture(scope="module")
def done(models, tmp_path_factory) -> Path:
    """A store with the whole study at mini scale, of small models and few sets."""
    folder = tmp_path_factory.mktemp("done") / "r"
    assert main(["run", "--out", str(folder), "--model", *models, *SMALL, *PAIRS]) == cli.OK
    return folder


class TestRun:
    def test_every_method_is_run_on_every_benchmark(self, done):
        results = read(done)
        cells = {(s["benchmark"]["name"], s["method"]["name"]) for s in results.settings.values()}
        assert cells == {
            (benchmark, method)
            for table in study.TABLES
            for benchmark in table.benchmarks.get("mini", ())
            for method in table.methods
        }
        rows = {"tabletop-a": 24, "tabletop-b": 24, "tabletop-mmvp": 18}
        for key, settings in results.settings.items():
            single = study.METHODS[settings["method"]["name"]].decides == "pair"
            assert len(results.table(key)) == rows[settings["benchmark"]["name"]] // (1 + single)
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


@pytest.fixture
def whatsup(tmp_path) -> Path:
    """A stand-in of What'sUp A as it is published, of three sets."""
    folder = tmp_path / "whatsup"
    images, entries = folder / "controlled_images", []
    images.mkdir(parents=True)
    phrases = {"left_of": "to the left of", "right_of": "to the right of", "on": "on",
               "under": "under"}  # fmt: skip
    for i, thing in enumerate(("mug", "bowl", "cap")):
        texts = {word: f"A {thing} {phrase} a chair" for word, phrase in phrases.items()}
        for k, word in enumerate(phrases):
            name = f"{thing}_{word}_chair.jpeg"
            Image.new("RGB", (30, 20), (60 * i, 60 * k, 90)).save(images / name)
            others = [text for text in texts.values() if text != texts[word]]
            entries.append({"image_path": f"data/controlled_images/{name}",
                            "caption_options": [texts[word], *others]})  # fmt: skip
    (folder / "controlled_images_dataset.json").write_text(json.dumps(entries))
    return folder


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
        assert "# Results at paper scale" in out and "| 2 of 3 |" in out

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

        monkeypatch.setattr(study, "run", fail)
        assert main(["run", "--out", str(tmp_path)]) == cli.MEMORY
        assert "batch of one" in capsys.readouterr().err

    def test_an_interrupt_ends_quietly(self, tmp_path, monkeypatch, capsys):
        def interrupt(*_, **__):
            raise KeyboardInterrupt

        monkeypatch.setattr(study, "run", interrupt)
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
        monkeypatch.setattr(study, "run", lambda *_, **__: (tmp_path / "none").open())
        assert main(["run", "--out", str(tmp_path)]) == cli.FAILED
        assert f"No such file or directory: '{tmp_path / 'none'}'" in capsys.readouterr().err

    def test_an_option_of_brackets_alone_is_a_text(self):
        text = "[" * 100_000
        arguments = ["run", "--out", "r", "--option", f"tabletop-a.seed={text}"]
        assert cli._parser().parse_args(arguments).option == [("tabletop-a", "seed", text)]

    def test_an_error_of_the_program_keeps_its_traceback(self, tmp_path, monkeypatch):
        monkeypatch.setattr(study, "run", lambda *_, **__: {}["bug"])
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
        assert "| tabletop-b | front/behind | LLaVA | tiny-llava | prompted |" in out

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
        assert names == {f"mini-{table.name}.png" for table in study.TABLES
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

    def test_and_what_a_folder_holds_of_it(self, done, models, capsys):
        assert main(["list", "--out", str(done), "--model", models[0]]) == cli.OK
        out = capsys.readouterr().out
        assert re.search(r"^tabletop-a .* matching +6 of 6 sets$", out, re.M)
        assert re.search(r"^tabletop-mmvp .* relative-preference +9 of 9 sets$", out, re.M)
        assert main(["list", "--out", str(done), "--method", "matching"]) == cli.OK
        assert re.search(r"^tabletop-a .* matching +-$", capsys.readouterr().out, re.M)


class TestDownload:
    @pytest.fixture
    def asked(self, monkeypatch) -> list[str]:
        names = []
        for function in ("_benchmark", "_vision_files"):
            monkeypatch.setattr(cli, function, lambda name, _: names.append(name) or "had")
        monkeypatch.setattr(cli, "_model_files", lambda c, _: names.append(c.name) or "had")
        return names

    def test_every_benchmark_and_model_is_asked_for_once(self, asked, capsys):
        assert main(["download", "--scale", "paper"]) == cli.OK
        assert asked == [
            "whatsup-a", "whatsup-b", "coco-spatial", "gqa-spatial", "mmvp", "mmvp-vlm",
            "ViT-L-14-336", "llava-hf/llava-1.5-7b-hf", "vit_large_patch14_dinov2.lvd142m",
        ]  # fmt: skip
        out = capsys.readouterr().out
        assert "(ERRAGREE_CACHE)" in out and "(HF_HOME)" in out

    def test_the_vision_only_encoder_can_be_had_alone(self, asked):
        assert main(["download", "--scale", "paper", "--model", "vision"]) == cli.OK
        assert asked == ["vit_large_patch14_dinov2.lvd142m"]
        assert main(["download", "--model", "vision=vit_small_patch14_dinov2.lvd142m"]) == cli.OK
        assert asked[1:] == ["vit_small_patch14_dinov2.lvd142m"]
        command = ["download", "--scale", "paper", "--model", "clip", "--benchmark", "mmvp"]
        assert main(command) == cli.OK
        assert asked[2:] == ["mmvp", "ViT-L-14-336"]

    def test_one_that_fails_does_not_stop_the_others(self, whatsup, models, monkeypatch, capsys):
        monkeypatch.setenv("ERRAGREE_CACHE", str(whatsup.parent))
        command = ["download", "--scale", "paper", "--benchmark", "whatsup-a",
                   "--model", models[0], "mllm=owner/name"]  # fmt: skip
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        assert main(command) == cli.MISSING
        out, err = capsys.readouterr()
        assert "benchmark whatsup-a: 6 pairs" in out and "tiny-clip: weights from" in out
        assert "1 of 3 could not be had: mllm owner/name" in out
        assert "error: mllm owner/name: the files of owner/name" in err
        assert "warning: " in err and "has 12 entries, whatsup-a as published has 412" in err

    def test_by_hand_every_file_and_its_place_is_told_and_nothing_fetched(
        self, tmp_path, monkeypatch, capsys
    ):
        def refuse(*_, **__):
            raise AssertionError("something was fetched")

        monkeypatch.setattr("socket.socket.connect", refuse)
        monkeypatch.setenv("ERRAGREE_CACHE", str(tmp_path / "cache"))
        assert main(["download", "--scale", "paper", "--by-hand"]) == cli.OK
        told = dict(re.findall(r"^(\w+ [\w./-]+): ((?:.|\n(?!\w+ [\w./-]+:))*)",
                               capsys.readouterr().out, re.M))  # fmt: skip
        for name, files in {
            "whatsup-a": ["controlled_images_dataset.json", "controlled_images.tar.gz"],
            "whatsup-b": ["controlled_clevr_dataset.json", "controlled_clevr.tar.gz"],
            "coco-spatial": ["coco_qa_one_obj.json", "coco_qa_two_obj.json", "val2017.zip"],
            "gqa-spatial": ["vg_qa_one_obj.json", "vg_qa_two_obj.json", "vg_images.tar.gz"],
            "mmvp": ["Questions.csv", "MMVP Images/1.jpg to 300.jpg"],
            "mmvp-vlm": ["Questions.csv", "MLLM_VLM Images/TYPE/1.jpg"],
        }.items():
            text = told[f"benchmark {name}"]
            assert str(tmp_path / "cache") in text and "https://" in text
            assert all(file in text for file in files), text
        for name, option in {
            "clip ViT-L-14-336": "hf download timm/vit_large_patch14_clip_336.openai --local-dir F",
            "mllm llava-hf/llava-1.5-7b-hf": "--model mllm=FOLDER",
            "vision vit_large_patch14_dinov2.lvd142m": "load_vision('FOLDER')",
        }.items():
            assert "hf download" in told[name] and option in told[name]
        assert "--revision b234b80" in told["mllm llava-hf/llava-1.5-7b-hf"]

    def test_by_hand_what_is_there_already_is_told(self, whatsup, models, monkeypatch, capsys):
        monkeypatch.setenv("ERRAGREE_CACHE", str(whatsup.parent))
        command = ["download", "--scale", "paper", "--benchmark", "whatsup-a", "--by-hand"]
        assert main([*command, "--model", *models]) == cli.OK
        out = capsys.readouterr().out
        assert "benchmark whatsup-a: 6 pairs" in out and "tiny-llava: in " in out


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


def test_accelerate_that_starts_one_process_where_several_were_meant_is_told(
    models, tmp_path, monkeypatch, capsys
):
    # What `accelerate launch --cpu --num_processes 2` sets.
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    monkeypatch.setenv("ACCELERATE_USE_CPU", "True")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    command = ["run", "--out", str(tmp_path), "--model", models[0], "--limit", "1", *SMALL]
    assert main([*command, "--benchmark", "tabletop-a", "tabletop-b"]) == cli.OK
    assert "starts one, as it does with --cpu" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no such device here")
def test_output_that_cannot_be_written_is_told(root):
    command = [sys.executable, "-m", "erragree_utils", "list"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, cwd=root, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == cli.FAILED and "Traceback" not in done.stderr
    assert done.stderr.startswith("error: [Errno 28] No space left on device")


def test_a_process_whose_launcher_is_killed_ends_soon(root):
    worker = (
        "import sys, time; from erragree_utils.study.cli import end_with_launcher;"
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
               "tabletop-mmvp", "--model", *models, *SMALL[:3], *PAIRS,
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
