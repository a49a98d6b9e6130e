"""The command line: ``python -m erragree_utils list|run|report|download``."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from ..benchmarks import BenchmarkError
from ..benchmarks.download import DownloadError, cache_folder
from ..scale import SCALES, VARIABLE, Scale, get_scale
from . import study
from .store import Results, StoreError, read
from .study import ROLES, ItemError, ModelChoice, Task

OK, FAILED, USAGE, MISSING, BAD_ITEM, STORE, MEMORY, INCOMPLETE = range(8)
INTERRUPTED = 130
#: A model that `download` knows beside those of the study.
VISION = "vision"
_CODES = f"""exit codes:
  {OK}    done
  {FAILED}    an error of another kind
  {USAGE}    the command is wrong; nothing was done
  {MISSING}    a model or a benchmark could not be loaded or fetched
  {BAD_ITEM}    an image is damaged, or a score is not a number
  {STORE}    results cannot be written or read: the disk is full, or another run writes there
  {MEMORY}    the memory is too small even for one image
  {INCOMPLETE}    report --complete: cells have not been run
  {INTERRUPTED}  interrupted; what was scored is stored"""

_EXAMPLES = {
    "list": """examples:
  python -m erragree_utils list                      the study at mini scale
  python -m erragree_utils list --scale paper --out r   and what the folder r holds of it""",
    "run": """examples:
  python -m erragree_utils run --out r               everything at mini scale, on any CPU
  python -m erragree_utils run --scale paper --out r   everything at paper scale, on a GPU
  python -m erragree_utils run --scale paper --out r --model clip --benchmark whatsup-a
  python -m erragree_utils run --scale paper --out r --method vqascore --limit 20
  python -m erragree_utils run --scale paper --out r --model mllm=llava-hf/llava-1.5-13b-hf
  python -m erragree_utils run --scale paper --out r --option whatsup-a.folder=/data/whatsup
  python -m erragree_utils run --out r --option tabletop-a.seed=1 tabletop-b.seed=1

on several GPUs (pip install accelerate), each with its share of the images; on several CPU cores:
  accelerate launch --multi_gpu -m erragree_utils run --scale paper --out r
  OMP_NUM_THREADS=1 torchrun --nproc-per-node 2 -m erragree_utils run --out r --device cpu

Results are stored as they come. A run that was stopped, by whatever, is continued by the same
command; nothing is scored twice. Results of other settings may be in the same folder: they do
not mix.""",
    "report": """examples:
  python -m erragree_utils report r
  python -m erragree_utils report r --format csv > results.csv
  python -m erragree_utils report r --figures pictures --complete""",
    "download": """examples:
  python -m erragree_utils download --scale paper
  python -m erragree_utils download --scale paper --model clip --benchmark whatsup-a whatsup-b
  python -m erragree_utils download --scale paper --by-hand   what goes where, without fetching

A download that broke off goes on where it was. Benchmarks go to the folder that the environment
variable ERRAGREE_CACHE names, models to that of HF_HOME. The vision-only encoder (vision) is for
mining CLIP-blind pairs.""",
}


class UsageError(ValueError):
    """The command makes no sense; the message says why."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    arguments : sequence of str, optional
        By default those of the process.

    Returns
    -------
    int
        The exit code; ``--help`` lists them.
    """
    options = _parser().parse_args(arguments)
    with _short_warnings():
        try:
            code = options.command(options)
            sys.stdout.flush()  # or the last lines are lost without an exit code
            return code
        except KeyboardInterrupt:
            print("\ninterrupted; what was scored is stored", file=sys.stderr)
            return INTERRUPTED
        except BrokenPipeError:  # the reader of our output, such as `head`, has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return FAILED
        except Exception as error:
            code = _code(error)
            if code is None:
                raise
            print(f"error: {error}", file=sys.stderr)
            return code


def _code(error: Exception) -> int | None:
    """The exit code of an error whose message says all; None for others."""
    if isinstance(error, UsageError):
        return USAGE
    if isinstance(error, ItemError):
        return BAD_ITEM
    if isinstance(error, StoreError):
        return STORE
    if isinstance(error, (BenchmarkError, DownloadError)):
        return MISSING
    clip = sys.modules.get("erragree_utils.models.clip")
    if clip is not None and isinstance(error, clip.ModelError):
        return MISSING
    if isinstance(error, RuntimeError) and "out of memory" in str(error).lower():
        return MEMORY
    # Ours are ValueErrors that tell what to do, the system's name a file: a traceback hides it.
    return FAILED if isinstance(error, (ValueError, OSError)) else None


@contextmanager
def _short_warnings() -> Iterator[None]:
    def show(message, category, filename, lineno, file=None, line=None) -> None:
        from tqdm.auto import tqdm

        tqdm.write(f"warning: {message}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


# --- arguments -----------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m erragree_utils",
        description="The study of 'On Erroneous Agreements of CLIP Image Embeddings' "
        "(arXiv 2411.05195), at mini or at paper scale.",
        epilog=f"Each command has its own --help, with examples.\n\n{_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_list(commands)
    _add_run(commands)
    _add_report(commands)
    _add_download(commands)
    return parser


def _command(commands: Any, name: str, help: str, function: Any) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name, help=help, description=f"{help[0].upper()}{help[1:]}.",
        epilog=f"{_EXAMPLES[name]}\n\n{_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.set_defaults(command=function)
    return parser


def _add_list(commands: Any) -> None:
    parser = _command(commands, "list", "list what the study consists of", _list)
    _add_choice(parser)
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="say what this folder holds")


def _add_run(commands: Any) -> None:
    parser = _command(commands, "run", "score images and store the results", _run)
    _add_choice(parser)
    add = parser.add_argument
    add("--out", type=Path, required=True, metavar="FOLDER", help="where results are stored")
    add("--limit", type=_positive, metavar="N", help="the first N sets of each benchmark alone")
    add("--dtype", choices=("float32", "float16", "bfloat16"),
        help="number format of the language model (default: what the GPU has; CLIP always has the "
        "scale's, as cosines near 1 are read to the fourth digit)")  # fmt: skip
    add("--quantization", choices=("4bit", "8bit", "none"),
        help="of the language model (default: 4bit where half precision does not fit)")  # fmt: skip
    add("--device", metavar="NAME", help="cpu, cuda, cuda:1 or mps (default: the best there is)")
    add("--batch-size", type=_positive, default=32, metavar="N",
        help="images at a time (default 32); halved when memory is too small")  # fmt: skip
    add("--skip-bad", action="store_true",
        help="leave out sets with a damaged image or score, and count them")  # fmt: skip
    add("--option", type=_bench_option, nargs="+", default=[], action="extend",
        metavar="BENCHMARK.NAME=VALUE", help="an option of load_benchmark")  # fmt: skip
    add("--quiet", action="store_true", help="no progress bars")


def _add_report(commands: Any) -> None:
    parser = _command(commands, "report", "print the paper's tables from stored results", _report)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="where `run` stored results")
    _add_scale(parser, "those of which the folder has results")
    parser.add_argument("--format", choices=("markdown", "csv"), default="markdown")
    parser.add_argument(
        "--figures", type=Path, metavar="FOLDER", help="also draw the tables, as PNG files"
    )
    parser.add_argument(
        "--complete", action="store_true",
        help=f"exit with {INCOMPLETE} if a cell has not been run, or in part",
    )  # fmt: skip


def _add_download(commands: Any) -> None:
    parser = _command(commands, "download", "fetch the models and benchmarks of a scale", _download)
    _add_choice(parser, methods=False)
    parser.add_argument(
        "--by-hand", action="store_true",
        help="fetch nothing; say which file goes where, for a machine without a network",
    )  # fmt: skip


def _add_scale(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument("--scale", choices=tuple(SCALES), help=f"default: {default}")


def _add_choice(parser: argparse.ArgumentParser, methods: bool = True) -> None:
    _add_scale(parser, f"{VARIABLE}, or mini")
    several = {"nargs": "+", "default": [], "action": "extend"}
    parser.add_argument("--benchmark", **several, metavar="NAME", help="these alone (see `list`)")
    parser.add_argument(
        "--model", **several, metavar="MODEL",
        help="these alone: clip, mllm (those of the scale), or others, as clip=NAME, "
        "mllm=OWNER/NAME, mllm=OWNER/NAME@REVISION or mllm=FOLDER"
        + ("" if methods else "; or the vision-only encoder: vision, vision=NAME"),
    )  # fmt: skip
    if methods:
        parser.add_argument("--method", **several, metavar="NAME", help="these alone (see `list`)")


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return int(text)


def _bench_option(text: str) -> tuple[str, str, Any]:
    name, equals, value = text.partition("=")
    benchmark, dot, option = name.partition(".")
    if not (equals and dot and benchmark and option):
        raise argparse.ArgumentTypeError(f"{text!r} has not the form BENCHMARK.NAME=VALUE")
    try:
        return benchmark, option, json.loads(value)
    except (ValueError, RecursionError):  # a text; thousands of brackets, too
        return benchmark, option, value


def _models(options: argparse.Namespace, scale: Scale, device: str | None) -> list[ModelChoice]:
    """The models asked for, with how they are to be loaded."""
    defaults = {choice.role: choice for choice in study.default_models(scale)}
    chosen = []
    for text in options.model or ROLES:
        role, _, name = text.partition("=")
        if role not in ROLES:
            raise UsageError(
                f"unknown model {text!r}: give clip, mllm, clip=NAME, or mllm=NAME (a name on the "
                "hub, or a folder)"
            )
        chosen.append(_model(options, defaults[role], name, device))
    return list(dict.fromkeys(chosen))


def _model(
    options: argparse.Namespace, default: ModelChoice, name: str, device: str | None
) -> ModelChoice:
    given = dict(default.options)
    if default.role == "mllm":
        if "@" in name and not os.path.isdir(name):
            name, _, given["revision"] = name.partition("@")
        for key in ("dtype", "quantization"):
            value = getattr(options, key, None)
            if value is not None:
                given[key] = value
    if device is not None:
        given["device"] = device
    return ModelChoice(default.role, name or default.name, given)


def _plan(options: argparse.Namespace, device: str | None = None) -> tuple[Scale, list[Task]]:
    try:
        scale = get_scale(options.scale)
        models = _models(options, scale, device)
        return scale, study.plan(scale, options.benchmark, models, options.method)
    except ValueError as error:
        raise UsageError(str(error)) from error


# --- commands ------------------------------------------------------------------------------------


def _list(options: argparse.Namespace) -> int:
    scale, tasks = _plan(options)
    stored = read(options.out) if options.out else None
    rows = [("benchmark", "model", "method", *(("stored",) if options.out else ()))]
    for task in tasks:
        row = (task.benchmark, f"{task.model.role} {task.model.name}", task.method)
        rows.append((*row, _held(stored, task)) if stored is not None else row)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    print(f"scale {scale.name}: {scale.hardware}\n")
    for row in rows:
        print("  ".join(text.ljust(w) for text, w in zip(row, widths, strict=True)).rstrip())
    return OK


def _held(stored: Results, task: Task) -> str:
    """How many sets of a task a store holds, for each of the settings it was run with."""
    held = []
    for key, settings in stored.settings.items():
        cell = (
            settings["benchmark"]["name"],
            settings["method"]["name"],
            settings["model"]["role"],
        )
        mine = (task.benchmark, task.method, task.model.role)
        if cell == mine and stored.about[key]["asked"] == task.model.name:
            held.append(f"{len(stored.items[key])} of {settings['benchmark']['n_sets']} sets")
    return ", ".join(held) or "-"


def _run(options: argparse.Namespace) -> int:
    share, device, leave = _processes(options.device)
    try:
        return _run_share(options, share, device)
    except Exception as error:
        if share[1] > 1:
            print(f"process {share[0] + 1} of {share[1]}:", file=sys.stderr)
        raise error
    finally:
        leave()


def _run_share(options: argparse.Namespace, share: tuple[int, int], device: str | None) -> int:
    scale, tasks = _plan(options, device)
    if (options.dtype or options.quantization) and all(t.model.role == "clip" for t in tasks):
        raise UsageError("--dtype and --quantization are for the language model; none is chosen")
    given: dict[str, dict[str, Any]] = {}
    for benchmark, name, value in options.option:
        if benchmark not in {task.benchmark for task in tasks}:
            raise UsageError(f"--option is about {benchmark!r}, which is not among what is run")
        given.setdefault(benchmark, {})[name] = value
    outcome = study.run(
        tasks, options.out, scale=scale.name, limit=options.limit, batch_size=options.batch_size,
        skip_bad=options.skip_bad, options=given, share=share,
        progress=share[0] == 0 and not options.quiet,
    )  # fmt: skip
    who = "" if share[1] == 1 else f"process {share[0] + 1} of {share[1]}: "
    print(
        f"{who}{outcome.scored} sets scored, {outcome.stored} were stored before"
        + (f", {len(outcome.skipped)} skipped" if outcome.skipped else "")
    )
    for name, reason in outcome.skipped.items():
        print(f"  skipped {name}: {reason}")
    if share[0] == 0:
        command = ["python", "-m", "erragree_utils", "report", str(options.out)]
        print(f"The tables: {shlex.join(command)}")
    return OK


def _processes(device: str | None) -> tuple[tuple[int, int], str | None, Any]:
    """This process's number among those launched together, its device, and how to leave them."""
    if not {"LOCAL_RANK", "ACCELERATE_MIXED_PRECISION"} & set(os.environ):
        return (0, 1), device, lambda: None
    if "MASTER_ADDR" in os.environ and "LOCAL_RANK" not in os.environ:
        warnings.warn(
            "accelerate was asked for several processes and starts one, as it does with --cpu: "
            "this one does all. Several processes on a CPU: torchrun --nproc-per-node N -m "
            "erragree_utils run ... --device cpu",
            stacklevel=2,
        )
    try:
        from accelerate import PartialState
    except ImportError:
        raise UsageError(
            "this is one of several processes, which needs the package accelerate: "
            "run pip install accelerate"
        ) from None
    end_with_launcher()
    from ..models.device import pick_device

    on_gpu = pick_device(device).type == "cuda"
    state = PartialState(cpu=not on_gpu)
    if on_gpu and device is None:
        device = str(state.device)
    return (state.process_index, state.num_processes), device, state.destroy_process_group


def end_with_launcher(every_s: float = 1.0) -> None:
    """End this process when the one that launched it is dead, killed too: nothing is waited for.

    Without it, the others wait for each other until a time limit of minutes. What was scored is
    stored. (On Windows a dead parent is not noticed.)
    """
    launcher = os.getppid()

    def watch() -> None:
        while os.getppid() == launcher:
            time.sleep(every_s)
        with suppress(OSError):  # whoever read our output may be dead too
            os.write(2, b"the launcher is dead: this process ends; what was scored is stored\n")
        os._exit(FAILED)

    threading.Thread(target=watch, daemon=True).start()


def _report(options: argparse.Namespace) -> int:
    from . import report

    if not os.path.isdir(options.folder):  # of a name that is too long, too
        raise UsageError(f"there is no folder {options.folder}: run `run --out FOLDER` first")
    if options.figures:
        with _drawing(options.figures):  # before the work, not after
            options.figures.mkdir(parents=True, exist_ok=True)
    results = read(options.folder)
    scales = [options.scale] if options.scale else _scales(results)
    if options.format == "csv":
        for i, scale in enumerate(scales):
            text = report.to_csv(results, scale)
            print(text if i == 0 else text.partition("\n")[2], end="")
    else:
        print("\n".join(report.to_markdown(results, scale) for scale in scales), end="")
    if not (options.figures or options.complete):
        return OK
    tables = {scale: report.cells(results, scale) for scale in scales}
    if options.figures:
        _draw(tables, options.figures)
    incomplete = any((table["status"] != "run").any() for table in tables.values())
    return INCOMPLETE if options.complete and incomplete else OK


def _scales(results: Results) -> list[str]:
    """The scales that results are of; without any, the default."""
    names = {settings["benchmark"]["name"] for settings in results.settings.values()}
    return [
        scale
        for scale in SCALES
        if any(names & set(table.benchmarks.get(scale, ())) for table in study.TABLES)
    ] or [get_scale().name]


def _draw(tables: dict[str, Any], folder: Path) -> None:
    import matplotlib

    matplotlib.use("agg")
    from . import report

    with _drawing(folder):
        for scale, rows in tables.items():
            for name, figure in report.figures(rows).items():
                path = folder / f"{scale}-{name}.png"
                figure.savefig(path, dpi=150)
                print(f"drawn: {path}", file=sys.stderr)


@contextmanager
def _drawing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"pictures cannot be written into {folder} ({error})") from error


def _download(options: argparse.Namespace) -> int:
    options.method = []
    asked = options.model or [*ROLES, VISION]
    options.model = [name for name in asked if name.partition("=")[0] != VISION]
    encoders = [name.partition("=")[2] for name in asked if name not in options.model]
    only_encoders = not options.model
    scale, tasks = _plan(options)
    print(f"benchmarks go to {cache_folder()} (ERRAGREE_CACHE), models to {_hub_cache()} (HF_HOME)")
    chosen: dict[str, Callable[[], str]] = {}
    if not only_encoders or options.benchmark:
        for task in tasks:
            name = task.benchmark
            chosen[f"benchmark {name}"] = partial(_benchmark, name, options.by_hand)
    for choice in () if only_encoders else dict.fromkeys(task.model for task in tasks):
        chosen[f"{choice.role} {choice.name}"] = partial(_model_files, choice, options.by_hand)
    for name in encoders:
        name = name or scale.vision
        chosen[f"{VISION} {name}"] = partial(_vision_files, name, options.by_hand)
    return _each(chosen)


def _each(chosen: Mapping[str, Callable[[], str]]) -> int:
    """Do all, whatever becomes of one, and say what failed."""
    failed = []
    for name, fetch in chosen.items():
        try:
            print(f"{name}: {fetch()}", flush=True)
        except (ValueError, DownloadError) as error:
            failed.append(name)
            print(f"error: {name}: {error}", file=sys.stderr)
    if failed:
        print(f"{len(failed)} of {len(chosen)} could not be had: {', '.join(failed)}")
    return MISSING if failed else OK


def _benchmark(name: str, by_hand: bool) -> str:
    """Fetch a benchmark, or say how to."""
    from ..benchmarks import load_benchmark

    rendered = name.startswith("tabletop")
    try:
        bench = load_benchmark(name, **({"download": False} if by_hand and not rendered else {}))
    except BenchmarkError as error:
        if not by_hand:
            raise
        return str(error)
    return f"{len(bench)} pairs, {bench.source}"


def _model_files(choice: ModelChoice, by_hand: bool) -> str:
    """Fetch the files of a model, or say how to; a language model is not loaded, it may not fit."""
    from ..models import checkpoint, hub

    if choice.role == "clip":
        repository = _clip_repository(choice.name)
        if by_hand and repository:
            return _route(repository, "clip=FOLDER")
        here = ModelChoice("clip", choice.name, {**choice.options, "device": "cpu"})
        return f"weights {here.load().weights}"
    folder = checkpoint.local_folder(choice.name)
    if folder is not None:
        return f"in {folder}"
    revision = choice.options.get("revision") or checkpoint.REVISIONS.get(choice.name, "main")
    if by_hand:
        return _route(f"{choice.name} --revision {revision}", "mllm=FOLDER")
    folder, commit = hub.fetch(
        choice.name, revision, [*checkpoint.SETTINGS_FILES, *checkpoint.WEIGHTS_FILES]
    )
    return f"commit {commit[:7]}, in {folder}"


def _clip_repository(name: str) -> str:
    """Where the hub has the weights that `load_clip` takes by default; empty if it has none."""
    import open_clip
    from open_clip.pretrained import get_pretrained_cfg

    tags = open_clip.list_pretrained_tags_by_model(name)
    tag = "openai" if "openai" in tags else next(iter(tags), None)
    return get_pretrained_cfg(name, tag).get("hf_hub", "").rpartition("/")[0] if tag else ""


def _vision_files(name: str, by_hand: bool) -> str:
    """Fetch a vision-only encoder, or say how to."""
    from ..models.vision import load_vision

    if by_hand and name != get_scale("mini").vision and not os.path.isdir(name):
        return _route(f"timm/{name}", None)
    return f"{load_vision(name, device='cpu').embed_dim} numbers an image"


def _route(arguments: str, model: str | None) -> str:
    use = f"give --model {model}" if model else "call load_vision('FOLDER')"
    return (
        f"on a machine with a network, run hf download {arguments} --local-dir FOLDER; copy FOLDER "
        f"here, and {use}"
    )


def _hub_cache() -> str:
    from huggingface_hub import constants

    return constants.HF_HUB_CACHE
