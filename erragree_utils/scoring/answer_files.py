"""Answers and scores from other tools: read, paired, and judged like our own.

Users of these tools often report individual accuracy where papers report pair accuracy: on MMVP,
guessing gets 50% of the one and 25% of the other.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..benchmarks.base import Benchmark, QuestionPair
from ..benchmarks.mmvp import ERRATA
from .answers import parse_option

#: Under which names tools file the number of a question, and what the model said about it.
NUMBERS = ("question_id", "doc_id", "index", "lndex", "number", "id")
SAID = ("response", "prediction", "filtered_resps", "resps", "answer")
#: What was right, where the file says it; ``answer`` where the model's is filed under another name.
TRUTHS = ("target", "correct answer", "answer")


class AnswersError(ValueError):
    """A file of answers or scores is not what it should be; the message says what to do."""


def read_answer_file(path: str | Path) -> pd.DataFrame:
    """A model's answers, from a file of lmms-eval, VLMEvalKit, MMVP's own script, or a table.

    JSON lines (lmms-eval's ``*_samples_*.jsonl``, MMVP's ``answers.jsonl``), JSON, CSV, TSV, or an
    Excel table (VLMEvalKit; needs the package openpyxl). Further columns are ignored.

    Returns
    -------
    pandas.DataFrame
        A row for each question, in order: ``number``, from 1; ``said``, the model's answer;
        ``truth``, what the file calls right; ``a`` and ``b``, the options. Empty where the file
        does not say.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise AnswersError(f"there is no file {path}")
    rows = [{str(k).strip().casefold(): v for k, v in row.items()} for row in _rows(path)]
    if not rows:
        raise AnswersError(f"{path} holds no answers")
    number, said = (_column(rows, names, path, what) for names, what in (
        (NUMBERS, "the number of the question"), (SAID, "the model's answer"),
    ))  # fmt: skip
    truth = next((name for name in TRUTHS if name in rows[0] and name != said), None)
    table = pd.DataFrame({
        "number": [_whole(row.get(number), number, path) for row in rows],
        "said": [_text(row.get(said)) for row in rows],
        "truth": [_text(row.get(truth)) if truth else "" for row in rows],
        "a": [_text(row.get("a")) for row in rows],
        "b": [_text(row.get("b")) for row in rows],
    })  # fmt: skip
    table["number"] += int(table["number"].min() == 0)
    twice = table["number"].duplicated()
    if twice.any():
        raise AnswersError(
            f"{path} answers question {table.loc[twice, 'number'].iloc[0]} twice: keep the answers "
            "of one model and one run"
        )
    return table.sort_values("number", ignore_index=True)


def judge_answers(answers: pd.DataFrame, bench: Benchmark | None = None) -> pd.DataFrame:
    """Which answers are right, by a benchmark's labels or, without one, by the file's own.

    Parameters
    ----------
    answers : pandas.DataFrame
        What `read_answer_file` returned. Questions 1 and 2, 3 and 4, and so on, are about the two
        images of a pair; with a benchmark, in its order.

    Returns
    -------
    pandas.DataFrame
        For `summarize`: ``pair_id``, ``set_id``, ``relation``, ``image_index``, ``n_options``,
        ``correct``, and ``answer`` and ``parsed`` for `unparsed`. An answer that names no one
        option is not correct.
    """
    if bench is not None:
        return _by_benchmark(answers, bench)
    lacking = answers.loc[answers["truth"] == "", "number"]
    if len(lacking):
        raise AnswersError(
            f"the file does not say what is right for question {lacking.iloc[0]}: name the "
            "benchmark's files"
        )
    rows = []
    for row in answers.itertuples():
        options = (row.a or "option a", row.b or "option b")
        right = parse_option(row.truth, options, options)
        if right is None:
            raise AnswersError(
                f"question {row.number}: {row.truth!r} is no answer of the two; expected (a) or (b)"
            )
        named = parse_option(row.said, options, options)
        first = row.number - 1 + row.number % 2
        rows.append((f"{first}-{first + 1}", "all", 1 - row.number % 2, right, named, row.said))
    return _judged(rows)


def with_other_mmvp_labels(answers: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """MMVP's answers under both labelings, from a file that says which answers are right.

    Two pairs were published with their answers the wrong way round; in print, (a) is the first
    image's. ``"original"`` and ``"corrected"``; an error if one of the pairs is not there.
    """
    swapped = answers.set_index("number")["truth"].copy()
    pairs = [(first, first + 1) for first in ERRATA]
    if not {n for pair in pairs for n in pair} <= set(swapped.index):
        raise AnswersError("these are not all of MMVP's questions: 99, 100, 279 or 280 is missing")
    for pair in pairs:
        swapped.loc[list(pair)] = swapped.loc[list(pair[::-1])].to_numpy()
    other = answers.assign(truth=swapped.reindex(answers["number"]).to_numpy())
    first = answers.set_index("number")["truth"][min(ERRATA)]
    as_printed = bool(re.match(r"\W*a\b", first, re.IGNORECASE))
    names = ("original", "corrected") if as_printed else ("corrected", "original")
    return dict(zip(names, (answers, other), strict=True))


def read_score_file(path: str | Path) -> np.ndarray:
    """Scores of tools like t2v_metrics: (pairs, images, texts), from ``.npy``, ``.pt`` or ``.csv``.

    A ``.pt`` file is read as numbers alone: nothing in it is executed. A ``.csv`` has the columns
    ``image_1_text_1``, ``image_1_text_2``, ``image_2_text_1`` and ``image_2_text_2``.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise AnswersError(f"there is no file {path}")
    try:
        if path.suffix == ".pt":
            import torch

            loaded = torch.load(path, map_location="cpu", weights_only=True)
            scores = torch.as_tensor(loaded).double().numpy()
        elif path.suffix == ".npy":
            scores = np.load(path, allow_pickle=False).astype(float)
        else:
            columns = [f"image_{i}_text_{t}" for i in (1, 2) for t in (1, 2)]
            scores = pd.read_csv(path)[columns].to_numpy(float).reshape(-1, 2, 2)
    except Exception as error:  # of many kinds, for a file of another kind
        raise AnswersError(f"{path} cannot be read as scores ({error})") from error
    if scores.ndim != 3 or scores.shape[1:] != (2, 2) or not len(scores):
        raise AnswersError(
            f"{path} has the shape {scores.shape}: expected pairs x 2 images x 2 texts"
        )
    if not np.isfinite(scores).all():
        bad = int(np.argwhere(~np.isfinite(scores))[0, 0]) + 1
        raise AnswersError(f"{path}: a score of pair {bad} is not a finite number")
    return scores


def score_table(scores: np.ndarray, bench: Benchmark | None = None) -> pd.DataFrame:
    """The table that `score` would have made of scores (pairs, images, texts): for `predict`."""
    if bench is not None and len(bench) != len(scores):
        raise AnswersError(f"{len(scores)} pairs are scored, the benchmark has {len(bench)}")
    pairs = [(p.pair_id, p.set_id, p.relation) for p in bench] if bench is not None else [
        (str(i + 1), str(i + 1), "all") for i in range(len(scores))
    ]  # fmt: skip
    return pd.DataFrame([
        {"pair_id": pair_id, "set_id": set_id, "relation": relation, "image_index": i,
         "option_index": t, "own": i == t, "score": scores[n, i, t]}
        for n, (pair_id, set_id, relation) in enumerate(pairs) for i in (0, 1) for t in (0, 1)
    ])  # fmt: skip


def _by_benchmark(answers: pd.DataFrame, bench: Benchmark) -> pd.DataFrame:
    if not all(isinstance(pair, QuestionPair) and pair.question for pair in bench):
        raise AnswersError(
            f"{bench.name} asks no questions with two answers: give a file of scores instead"
        )
    said = answers.set_index("number")["said"]
    wanted = range(1, 2 * len(bench) + 1)
    if set(said.index) != set(wanted):
        missing = sorted(set(wanted) - set(said.index))[:5]
        what = f"lacks {', '.join(map(str, missing))}" if missing else f"goes to {said.index.max()}"
        raise AnswersError(
            f"{bench.name} has {len(wanted)} questions, the file {what}: a pair needs both answers"
        )
    rows = []
    for place, pair in enumerate(bench):
        for index in (0, 1):
            text = said[2 * place + index + 1]
            named = parse_option(text, pair.options, pair.listed)
            rows.append((pair.pair_id, pair.relation, index, index, named, text))
    return _judged(rows)


def _judged(rows: list[tuple]) -> pd.DataFrame:
    columns = ["pair_id", "relation", "image_index", "right", "named", "answer"]
    table = pd.DataFrame(rows, columns=columns)
    alone = table.groupby("pair_id")["image_index"].transform("size") != 2
    if alone.any():
        raise AnswersError(
            f"pair {table.loc[alone, 'pair_id'].iloc[0]} has one answer: a pair needs both"
        )
    table["parsed"] = table["named"].notna()
    table["correct"] = table["named"] == table["right"]
    table = table.assign(set_id=table["pair_id"], n_options=2)
    return table.drop(columns=["right", "named"])


def _rows(path: Path) -> Iterable[dict]:
    try:
        if path.suffix in (".xlsx", ".xls"):
            return pd.read_excel(path, engine="openpyxl").to_dict("records")
        text = path.read_text("utf-8-sig")
        if path.suffix in (".jsonl", ".json"):
            rows = list(_json_rows(text))
        else:
            separator = "\t" if path.suffix == ".tsv" else ","
            rows = list(csv.DictReader(text.splitlines(keepends=True), delimiter=separator))
    except ImportError as error:
        raise AnswersError(f"{path}: Excel tables need openpyxl: pip install openpyxl") from error
    except (ValueError, RecursionError, csv.Error) as error:
        raise AnswersError(f"{path} cannot be read ({error})") from error
    if not all(isinstance(row, dict) for row in rows):
        raise AnswersError(f"{path}: expected an object with named fields for each answer")
    return rows


def _json_rows(text: str) -> Iterator[Any]:
    try:
        found = json.loads(text)
    except ValueError:  # not one value: one a line
        yield from (json.loads(line) for line in text.splitlines() if line.strip())
        return
    if isinstance(found, dict):  # lmms-eval's older files keep answers under "logs"
        found = found.get("logs", [found])
    yield from found


def _column(rows: list[dict], names: tuple[str, ...], path: Path, what: str) -> str:
    for name in names:
        if name in rows[0]:
            return name
    raise AnswersError(
        f"{path} has no column with {what}: one of {', '.join(names)}. It has "
        f"{', '.join(rows[0]) or 'none'}"
    )


def _whole(value: Any, name: str, path: Path) -> int:
    try:
        number = float(value)
        if number == int(number) >= 0:
            return int(number)
    except (TypeError, ValueError, OverflowError):
        pass
    raise AnswersError(f"{path}: {value!r} is no number of a question ({name})")


def _text(value: Any) -> str:
    """Answers come as texts, or in lists of lists."""
    while isinstance(value, list | tuple) and value:
        value = value[0]
    if value is None or value == [] or (isinstance(value, float) and np.isnan(value)):
        return ""
    return str(value).strip()
