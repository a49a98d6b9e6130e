"""Commands for your own pairs, and for answers that other tools wrote.

Each command is a function, and its docstring is its ``--help``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from ..benchmarks import Benchmark, load_benchmark
from ..benchmarks.folder import write_example
from ..measures.accuracy import summarize
from ..measures.decisions import match, predict
from ..scale import get_scale
from ..scoring import answer_files
from . import kept

SCORES = (".npy", ".pt")


def add_commands(add_command: Callable[..., Callable[..., Any]]) -> None:
    """Add `template`, `diagnose` and `accuracy` to a command line."""
    add = add_command("template", _template)
    add("folder", type=Path, metavar="FOLDER", help="where to write it")

    add = add_command("diagnose", _diagnose)
    add("pairs", type=Path, metavar="PAIRS", help="a pairs.csv, or the folder that holds it")
    add("--clip", metavar="NAME", help="a name for load_clip; 'none' for no CLIP")
    add("--mllm", metavar="NAME", help="a name for load_mllm; 'none' for no language model")
    add("--out", type=Path, required=True, metavar="FOLDER", help="where the report goes")
    add("--device", metavar="NAME", help="cpu, cuda, cuda:1 or mps (default: the best there is)")
    add("--batch-size", type=int, default=32, metavar="N", help="images at a time (default 32)")
    add("--skip-bad", action="store_true", help="leave out rows that are wrong, with a warning")

    add = add_command("accuracy", _accuracy)
    add("file", type=Path, metavar="FILE", help="answers or scores")
    add("--benchmark", default="mmvp", metavar="NAME", help="what was asked (default mmvp)")
    add("--folder", type=Path, metavar="FOLDER",
        help="the benchmark's files, if the file does not say which answers are right")  # fmt: skip


def _template(options: argparse.Namespace) -> int:
    """Write an example folder with pairs, for you to look at and replace with your own.

    examples:
      python -m erragree_utils template mine
      python -m erragree_utils diagnose mine --out mine/report
    """
    path = write_example(options.folder)
    print(f"{path}: a dozen pairs. Diagnose them:")
    print(f"  python -m erragree_utils diagnose {path} --out {options.folder / 'report'}")
    return 0


def _diagnose(options: argparse.Namespace) -> int:
    """Find out where a CLIP or a language model loses the answers about your pairs.

    examples:
      python -m erragree_utils diagnose mine/pairs.csv --out mine/report
      python -m erragree_utils diagnose mine --clip ViT-L-14-336 --mllm none --out r
      python -m erragree_utils diagnose mine --mllm llava-hf/llava-1.5-7b-hf --out r

    The report is report.html, with pairs.csv and groups.csv beside it. Scores are stored in the
    same folder, so the same command continues where it stopped.
    """
    from ..diagnosis import diagnose
    from ..diagnosis.page import write
    from ..models.clip import load_clip
    from ..models.mllm import load_mllm

    bench = load_benchmark("folder", folder=options.pairs, skip_incomplete=options.skip_bad)
    scale = get_scale()
    names = {"clip": options.clip or scale.clip, "mllm": options.mllm or scale.mllm}
    models = {
        role: load(names[role], device=options.device)
        for role, load in (("clip", load_clip), ("mllm", load_mllm))
        if names[role] != "none"
    }
    if not models:
        raise ValueError("nothing to diagnose: give --clip or --mllm a value other than none")
    score = partial(kept.score, folder=options.out / "scores", batch_size=options.batch_size)
    found = diagnose(bench, **models, score=score)
    title = " and ".join(names[role] for role in models) + f" on {options.pairs}"
    page = write(found, bench, options.out, title)
    shown = found.groups[["group", "part", "verdict", "confidence", "n_pairs", "pair"]]
    print(shown.round(2).to_string(index=False))
    print(f"The report: {page}")
    return 0


def _accuracy(options: argparse.Namespace) -> int:
    """Individual and pair accuracy of answers or scores that another tool wrote.

    examples:
      python -m erragree_utils accuracy logs/20260101_samples_mmvp.jsonl
      python -m erragree_utils accuracy LLaVA_MMVP.xlsx
      python -m erragree_utils accuracy answers.csv --folder /data/MMVP
      python -m erragree_utils accuracy scores.npy --benchmark mmvp

    Reads lmms-eval's samples, VLMEvalKit's tables, the answers of MMVP's own script, CSV tables of
    numbers and answers, and scores as (pairs, 2 images, 2 texts) in .npy or .pt.
    """
    if options.file.suffix in SCORES:
        _print_scores(options)
        return 0
    answers = answer_files.read_answer_file(options.file)
    if options.folder is None and (answers["truth"] != "").all():
        labelings = {"as the file says": answers}
        if options.benchmark == "mmvp":
            labelings = answer_files.with_other_mmvp_labels(answers)
        judged = {name: answer_files.judge_answers(table) for name, table in labelings.items()}
    elif options.benchmark == "mmvp":
        judged = {
            labels: answer_files.judge_answers(answers, _bench(options, labels=labels))
            for labels in ("original", "corrected")
        }
    else:
        judged = {"as published": answer_files.judge_answers(answers, _bench(options))}
    rows = {f"{options.benchmark}, {name} labels": table for name, table in judged.items()}
    print(_table(rows))
    unread = int((~next(iter(judged.values()))["parsed"]).sum())
    if unread:
        print(f"{unread} answers don't name exactly one option and count as wrong.")
    print(
        "Papers report pair accuracy on MMVP: both images of a pair right, where guessing gets 25%."
    )
    return 0


def _print_scores(options: argparse.Namespace) -> None:
    scores = answer_files.read_score_file(options.file)
    turned = scores.transpose(0, 2, 1)
    rows = {
        "text for each image": answer_files.score_table(scores),
        "image for each text": answer_files.score_table(turned),
    }
    print(_table({name: predict(table) for name, table in rows.items()}))
    both = match(answer_files.score_table(scores))["correct"]
    print(f"group score, both directions right: {both.mean():.1%}")


def _bench(options: argparse.Namespace, **more: Any) -> Benchmark:
    where = {} if options.folder is None else {"folder": options.folder}
    if options.benchmark == "mmvp":
        more["statements"] = "none"
    return load_benchmark(options.benchmark, **where, **more)


def _table(judged: dict[str, pd.DataFrame]) -> str:
    """Accuracies with their 95% intervals, in per cent."""
    rows = {}
    for name, table in judged.items():
        row, cells = summarize(table).loc["all"], {}
        for kind in ("individual", "pair"):
            value, low, high = (row[f"{kind}_accuracy{end}"] for end in ("", "_low", "_high"))
            heading = f"{kind} accuracy (chance {row[f'{kind}_chance']:.0%})"
            cells[heading] = f"{value:.1%} [{low:.1%}, {high:.1%}]"
        rows[name] = cells
    return pd.DataFrame(rows).T.to_string()
