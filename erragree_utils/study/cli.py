"""The command line: ``python -m erragree_utils list|run|report|download|diagnose|...``.

Each command is a function, and its docstring is its ``--help``.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import shlex
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from ..benchmarks import needs
from ..benchmarks.download import cache_folder
from ..scale import SCALES, VARIABLE, Scale, get_scale
from . import own_pairs
from .downloads import fetch_all
from .processes import launched
from .runner import run
from .store import Results, StoreError, read
from .stored import scales_of, stored_sets
from .tasks import ROLES, ModelChoice, Task, default_models, plan

OK, FAILED, USAGE, MISSING, BAD_ITEM, STORE, MEMORY, INCOMPLETE = range(8)
INTERRUPTED = 130
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
#: Errors whose message says it all. By name, since some live in modules that are slow to import.
_CODE_OF = {
    "UsageError": USAGE,
    "LaunchError": USAGE,
    "BenchmarkError": MISSING,
    "DownloadError": MISSING,
    "ModelError": MISSING,
    "ItemError": BAD_ITEM,
    "StoreError": STORE,
    # Our ValueErrors say what to do, the system's errors name a file: no traceback needed.
    "ValueError": FAILED,
    "OSError": FAILED,
}
#: `download` also knows the encoder for mining CLIP-blind pairs, which the study doesn't use.
VISION = "vision"


class UsageError(ValueError):
    """The command makes no sense; the message says why."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command, by default the one this process was called with; returns its exit code."""
    options = _parser().parse_args(arguments)
    with warnings.catch_warnings():
        # Through tqdm, so that a warning does not break a progress bar.
        warnings.showwarning = lambda text, *_: tqdm.write(f"warning: {text}", file=sys.stderr)
        try:
            code = options.command(options)
            sys.stdout.flush()  # otherwise the last lines could get lost without an exit code
            return code
        except KeyboardInterrupt:
            print("\ninterrupted; what was scored is stored", file=sys.stderr)
            return INTERRUPTED
        except BrokenPipeError:  # the reader of our output, such as `head`, has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return FAILED
        except Exception as error:
            code = _exit_code(error)
            if code is None:
                raise
            print(f"error: {error}", file=sys.stderr)
            return code


def _exit_code(error: Exception) -> int | None:
    """None for an error of the program, which keeps its traceback."""
    for kind in type(error).__mro__:
        if kind.__name__ in _CODE_OF:
            return _CODE_OF[kind.__name__]
    out_of_memory = isinstance(error, RuntimeError) and "out of memory" in str(error).lower()
    return MEMORY if out_of_memory else None


# --- arguments -----------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m erragree_utils",
        description="The study of 'On Erroneous Agreements of CLIP Image Embeddings' "
        "(arXiv 2411.05195), at mini, small or paper scale; and a diagnosis of your own pairs.",
        epilog=f"Each command has its own --help, with examples.\n\n{_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    add = _add_command(commands, "list", _list)
    _add_choice(add)
    add("--out", type=Path, metavar="FOLDER", help="also show what this folder contains")

    add = _add_command(commands, "run", _run)
    _add_choice(add)
    add("--out", type=Path, required=True, metavar="FOLDER", help="where results are stored")
    add("--limit", type=_positive, metavar="N", help="only the first N sets of each benchmark")
    add("--dtype", choices=("float32", "float16", "bfloat16"),
        help="number format of the language model (default: what the GPU supports; CLIP always has "
        "the scale's, as cosines near 1 are read to the fourth digit)")  # fmt: skip
    add("--quantization", choices=("4bit", "8bit", "none"),
        help="of the language model (default: 4bit where half precision does not fit)")  # fmt: skip
    add("--device", metavar="NAME", help="cpu, cuda, cuda:1 or mps (default: the best there is)")
    add("--batch-size", type=_positive, default=32, metavar="N",
        help="images at a time (default 32); halved if the device runs out of memory")  # fmt: skip
    add("--skip-bad", action="store_true",
        help="leave out sets with a damaged image or score, and count them")  # fmt: skip
    add("--option", type=_bench_option, nargs="+", default=[], action="extend",
        metavar="BENCHMARK.NAME=VALUE", help="an option of load_benchmark")  # fmt: skip
    add("--decoding", type=_decoding, nargs="+", default=[], action="extend",
        metavar="METHOD.NAME=NUMBER", help="change a setting of a method's decoding: of its "
        "contrast (m3id.t0, m3id.threshold, vcd.alpha, ...), temperature, seed, max_new_tokens; "
        "such results have their own key and rows")  # fmt: skip
    add("--quiet", action="store_true", help="no progress bars")

    add = _add_command(commands, "report", _report)
    add("folder", type=Path, metavar="FOLDER", help="where `run` stored results")
    add("--scale", choices=tuple(SCALES), help="default: those with results in the folder")
    add("--format", choices=("markdown", "csv"), default="markdown")
    add("--figures", type=Path, metavar="FOLDER", help="also draw the tables, as PNG files")
    add("--complete", action="store_true",
        help=f"exit with {INCOMPLETE} if a cell has not been run, or only in part")  # fmt: skip

    add = _add_command(commands, "download", _download)
    _add_choice(add, f"; or the vision-only encoder: {VISION}, {VISION}=NAME", methods=False)
    add("--by-hand", action="store_true",
        help="fetch nothing; say which file goes where, for a machine without network")  # fmt: skip

    own_pairs.add_commands(partial(_add_command, commands))
    return parser


def _add_command(
    commands: Any, name: str, function: Callable[[argparse.Namespace], int]
) -> Callable[..., Any]:
    """Add a command with its function's docstring as help; returns what adds arguments to it."""
    summary, _, examples = (inspect.getdoc(function) or "").partition("\n\n")
    parser = commands.add_parser(
        name, help=summary[:1].lower() + summary[1:].rstrip("."), description=summary,
        epilog=f"{examples}\n\n{_CODES}", formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.set_defaults(command=function)
    return parser.add_argument


def _add_choice(add: Callable[..., Any], other_models: str = "", methods: bool = True) -> None:
    several = {"nargs": "+", "default": [], "action": "extend"}
    add("--scale", choices=tuple(SCALES), help=f"default: {VARIABLE}, or mini")
    add("--benchmark", **several, metavar="NAME", help="only these (see `list`)")
    add("--model", **several, metavar="MODEL",
        help="only these: clip, mllm (those of the scale), or others, as clip=NAME, "
        "mllm=OWNER/NAME, mllm=OWNER/NAME@REVISION or mllm=FOLDER" + other_models)  # fmt: skip
    if methods:
        add("--method", **several, metavar="NAME", help="only these (see `list`)")


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return int(text)


def _bench_option(text: str) -> tuple[str, str, Any]:
    benchmark, option, value = _assignment(text, "BENCHMARK.NAME=VALUE")
    try:
        return benchmark, option, json.loads(value)
    except (ValueError, RecursionError):  # not JSON, or too deeply nested: a plain text
        return benchmark, option, value


def _decoding(text: str) -> tuple[str, str, float]:
    method, name, value = _assignment(text, "METHOD.NAME=NUMBER")
    try:
        return method, name, float(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{value!r} in {text!r} is not a number") from None


def _assignment(text: str, form: str) -> tuple[str, str, str]:
    name, equals, value = text.partition("=")
    owner, _, field = name.partition(".")
    if not (equals and owner and field):
        raise argparse.ArgumentTypeError(f"{text!r} has not the form {form}")
    return owner, field, value


def _plan(options: argparse.Namespace, device: str | None = None) -> tuple[Scale, list[Task]]:
    try:
        scale = get_scale(options.scale)
        models = _models(options, scale, device)
        decoding: dict[str, dict[str, float]] = {}
        for method, name, value in getattr(options, "decoding", ()):
            decoding.setdefault(method, {})[name] = value
        methods = getattr(options, "method", ())
        return scale, plan(scale, options.benchmark, models, methods, decoding)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _models(options: argparse.Namespace, scale: Scale, device: str | None) -> list[ModelChoice]:
    """The models to run, and how to load them."""
    defaults = {choice.role: choice for choice in default_models(scale)}
    models = []
    for text in options.model or ROLES:
        role, _, name = text.partition("=")
        if role not in ROLES:
            raise UsageError(
                f"unknown model {text!r}: give clip, mllm, clip=NAME, or mllm=NAME (a name on the "
                "hub, or a folder)"
            )
        loading = {"device": device}
        if role == "mllm":
            loading |= {key: getattr(options, key, None) for key in ("dtype", "quantization")}
            if "@" in name and not os.path.isdir(name):
                name, _, loading["revision"] = name.partition("@")
        loading = {key: value for key, value in loading.items() if value is not None}
        default = defaults[role]
        models.append(ModelChoice(role, name or default.name, {**default.options, **loading}))
    return list(dict.fromkeys(models))


# --- commands ------------------------------------------------------------------------------------


def _list(options: argparse.Namespace) -> int:
    """List the parts of the study, and the options of each benchmark.

    examples:
      python -m erragree_utils list                      the study at mini scale
      python -m erragree_utils list --scale paper --out r   and what the folder r holds of it
    """
    scale, tasks = _plan(options)
    rows = [["benchmark", "model", "method"]]
    rows += [[task.benchmark, f"{task.model.role} {task.model.name}", task.label] for task in tasks]
    if options.out:
        results = read(options.out)
        rows[0].append("stored")
        for row, task in zip(rows[1:], tasks, strict=True):
            row.append(stored_sets(results, task))
    print(f"scale {scale.name}: {scale.hardware}\n")
    _print(rows)
    if not options.benchmark:
        print("\nthe benchmarks that load_benchmark knows, and their options:\n")
        _print(needs.rows())
    return OK


def _print(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(text.ljust(w) for text, w in zip(row, widths, strict=True)).rstrip())


def _run(options: argparse.Namespace) -> int:
    """Score images and store the results.

    examples:
      python -m erragree_utils run --out r               everything at mini scale, on any CPU
      python -m erragree_utils run --scale paper --out r   everything at paper scale, on a GPU
      python -m erragree_utils run --scale small --out r   today's small models on a small GPU
      python -m erragree_utils run --scale paper --out r --model clip --benchmark whatsup-a
      python -m erragree_utils run --scale paper --out r --method vqascore --limit 20
      python -m erragree_utils run --scale paper --out r --model mllm=llava-hf/llava-1.5-13b-hf
      python -m erragree_utils run --scale paper --out r --option whatsup-a.folder=/data/whatsup
      python -m erragree_utils run --out r --option tabletop-a.seed=1 tabletop-b.seed=1
      python -m erragree_utils run --out r --method m3id --decoding m3id.t0=0 m3id.threshold=1

    on several GPUs (pip install accelerate), each with its share of the images; on several CPU
    cores:
      accelerate launch --multi_gpu -m erragree_utils run --scale paper --out r
      OMP_NUM_THREADS=1 torchrun --nproc-per-node 2 -m erragree_utils run --out r --device cpu

    Results are stored as they come in. If a run stops, for whatever reason, the same command
    continues it, and nothing is scored twice. One folder can hold results of different settings;
    they never mix.
    """
    with launched(options.device) as (share, device):
        scale, tasks = _plan(options, device)
        if (options.dtype or options.quantization) and all(t.model.role == "clip" for t in tasks):
            raise UsageError(
                "--dtype and --quantization are for the language model; none is chosen"
            )
        bench_options: dict[str, dict[str, Any]] = {task.benchmark: {} for task in tasks}
        for benchmark, name, value in options.option:
            if benchmark not in bench_options:
                raise UsageError(f"--option is about {benchmark!r}, which is not among what is run")
            bench_options[benchmark][name] = value
        outcome = run(
            tasks, options.out, scale=scale.name, limit=options.limit,
            batch_size=options.batch_size, skip_bad=options.skip_bad, options=bench_options,
            share=share, progress=share[0] == 0 and not options.quiet,
        )  # fmt: skip
        who = "" if share[1] == 1 else f"process {share[0] + 1} of {share[1]}: "
        skipped = f", {len(outcome.skipped)} skipped" if outcome.skipped else ""
        print(f"{who}{outcome.scored} sets scored, {outcome.stored} were stored before{skipped}")
        for name, reason in outcome.skipped.items():
            print(f"  skipped {name}: {reason}")
        if share[0] == 0:
            print(f"The tables: python -m erragree_utils report {shlex.quote(str(options.out))}")
        return OK


def _report(options: argparse.Namespace) -> int:
    """Print the paper's tables from stored results.

    examples:
      python -m erragree_utils report r
      python -m erragree_utils report r --format csv > results.csv
      python -m erragree_utils report r --figures pictures --complete
    """
    from . import pages, report

    if not os.path.isdir(options.folder):  # also if the name is too long
        raise UsageError(f"there is no folder {options.folder}: run `run --out FOLDER` first")
    results = read(options.folder)
    scales = [options.scale] if options.scale else scales_of(results)
    if options.figures:
        _draw(results, scales, options.figures)
    if options.format == "csv":
        first, *others = (pages.to_csv(results, scale) for scale in scales)
        print(first, *(text.partition("\n")[2] for text in others), sep="", end="")
    else:
        print("\n".join(pages.to_markdown(results, scale) for scale in scales), end="")
    if options.complete and any(
        (report.cells(results, scale)["status"] != "run").any() for scale in scales
    ):
        return INCOMPLETE
    return OK


def _draw(results: Results, scales: Sequence[str], folder: Path) -> None:
    import matplotlib

    matplotlib.use("agg")
    from . import pages, report

    try:
        folder.mkdir(parents=True, exist_ok=True)  # fail before the work, not after it
        for scale in scales:
            for name, figure in pages.figures(report.cells(results, scale)).items():
                path = folder / f"{scale}-{name}.png"
                figure.savefig(path, dpi=150)
                print(f"drawn: {path}", file=sys.stderr)
    except OSError as error:
        raise StoreError(f"pictures cannot be written into {folder} ({error})") from error


def _download(options: argparse.Namespace) -> int:
    """Fetch the models and benchmarks of a scale.

    examples:
      python -m erragree_utils download --scale paper
      python -m erragree_utils download --scale paper --model clip --benchmark whatsup-a whatsup-b
      python -m erragree_utils download --scale paper --by-hand   what goes where, without fetching

    An interrupted download continues where it stopped. Benchmarks go to the folder named by the
    environment variable ERRAGREE_CACHE, models to the one named by HF_HOME. The vision-only encoder
    (vision) is for mining CLIP-blind pairs.
    """
    from huggingface_hub.constants import HF_HUB_CACHE

    names = [name.partition("=") for name in options.model or [*ROLES, VISION]]
    options.model = ["".join(name) for name in names if name[0] != VISION]
    scale, tasks = _plan(options)
    print(f"benchmarks go to {cache_folder()} (ERRAGREE_CACHE), models to {HF_HUB_CACHE} (HF_HOME)")
    complete = fetch_all(
        dict.fromkeys(t.benchmark for t in tasks if options.model or options.benchmark),
        dict.fromkeys(t.model for t in tasks if options.model),
        dict.fromkeys(name or scale.vision for role, _, name in names if role == VISION),
        options.by_hand,
    )
    return OK if complete else MISSING
