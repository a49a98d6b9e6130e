"""Train the models of the ablations, keep what they score, go on after a kill."""

from __future__ import annotations

import json
import shlex
import tempfile
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
from filelock import FileLock, Timeout
from tqdm.auto import tqdm

from ...study.settings import provenance
from ..loop import Run
from .evaluate import measure
from .experiments import FAMILIES, Settings, experiment, settings_hash
from .models import Model, build
from .tables import COLUMNS, read_rows
from .world import Batches, QuestionBatches, load_world

#: Parts whose matrices Muon trains.
BLOCKS = ("resblocks", "llama.layers", "language_model.layers", "projector")


def train(settings: Settings, folder: Path, pictures: Path, every: int = 200) -> Model:
    """Train, or go on with, the model of a run folder; returns it.

    A checkpoint is written every `every` steps. Training pictures, rendered into `pictures` if they
    are not there, and captions are the same for all seeds: a seed decides the first weights and the
    order of batches.
    """
    s, model = settings, build(settings)
    run = Run(folder, settings, model, BLOCKS)
    if run.start < s.steps:
        world = load_world(pictures, s.scenes, s.image_size + s.margin, s.captions, s.context)
        kind = QuestionBatches if s.objective == "answering" else Batches
        run.fit(model.loss, kind(world, s).draw, dict, every)
    return model


def folder_name(name: str, seed: int | str) -> str:
    """Name of the folder of a run."""
    plain = "".join(c if c.isalnum() else "-" for c in name.replace("%", ""))
    return f"{plain}-{seed}"


def run_one(name: str, seed: int, out: Path, **others: object) -> pd.DataFrame:
    """Train and measure one experiment with one seed, unless that is done; its rows.

    `out` is the folder of all runs; `others` are settings to change in this experiment and its base
    alike, such as ``steps``. The rows are those of :func:`tables.results`, but for the family.
    filelock.Timeout says that another process trains this run.
    """
    chosen = experiment(name)
    settings = chosen.settings(seed, **others)
    run = out / folder_name(name, seed)
    kept = run / "result.csv"
    if kept.exists():
        rows = read_rows(kept)
        if (rows["settings_hash"] == settings_hash(settings)).all():
            return rows
        raise ValueError(f"{run} belongs to a run with other settings; choose another --out folder")
    run.mkdir(parents=True, exist_ok=True)
    with FileLock(run / "run.lock", timeout=0):
        model = train(settings, run, out / "pictures")
        rows = measure(model, settings)
    where = provenance()
    rows = rows.assign(
        experiment=name,
        factor=chosen.factor,
        setting=str(chosen.changes.get(chosen.factor, "")),
        base=chosen.base or "",
        seed=seed,
        steps=settings.steps,
        seconds=round(60 * _minutes(run), 1),
        threads=where["threads"],
        hardware=where["hardware"],
        command=_command(name, seed, others),
        settings_hash=settings_hash(settings),
    )[COLUMNS]
    rows.to_csv(run / "result.tmp", index=False)
    (run / "result.tmp").replace(kept)  # a kill leaves no half of a table
    return read_rows(kept)


def _command(name: str, seed: int, others: dict[str, object]) -> str:
    if not set(others) <= {"steps", "scenes"}:  # what the command line knows
        return f"rerun({name!r}, {seed}, **{others!r})"
    options = "".join(f" --{key} {value}" for key, value in others.items())
    program = "python -m erragree_utils.training.ablations"
    return f"{program} --experiment {shlex.quote(name)} --seeds {seed}{options}"


def _minutes(run: Path) -> float:
    log = run / "log.jsonl"
    return json.loads(log.read_text().splitlines()[-1])["minutes"] if log.exists() else 0.0


def run_many(names: Iterable[str], seeds: Iterable[int], out: Path, **others: object) -> None:
    """Train and measure experiments, seed by seed; skip what is done, or busy elsewhere."""
    for name, seed in tqdm([(name, seed) for seed in seeds for name in names], desc="runs"):
        try:
            run_one(name, seed, out, **others)
        except Timeout:
            tqdm.write(f"{name}, seed {seed}: another process trains it")


def collect(out: Path, tables: Path) -> dict[str, pd.DataFrame]:
    """Write the finished runs of a folder as one CSV a family; returns them by family.

    A run that is in the table already is replaced, others there stay. A family without a finished
    run gets no file; runs that are not finished have no rows. ValueError if a run has other
    settings than those of the table: trials go to a table of their own.
    """
    merged = {}
    for family, names in FAMILIES.items():
        results = [
            read_rows(path)
            for name in names
            for path in sorted(out.glob(f"{folder_name(name, '[0-9]*')}/result.csv"))
        ]
        if results:
            merged[family] = _merged(results, tables / f"{family}.csv", names)
    for family, table in merged.items():
        tables.mkdir(parents=True, exist_ok=True)
        table.to_csv(tables / f"{family}.csv", index=False, float_format="%.6g")
    return merged


def _merged(results: list[pd.DataFrame], path: Path, names: tuple[str, ...]) -> pd.DataFrame:
    """The `results`, and the runs of the table at `path` that are not among them, in order."""
    old = [read_rows(path)] if path.exists() else []
    table = pd.concat([*old, *results])
    if (table.groupby(["experiment", "seed"])["settings_hash"].nunique() > 1).any():
        raise ValueError(
            f"{path} holds the same runs with other settings; write trials elsewhere (--tables)"
        )
    table = table.drop_duplicates(["experiment", "seed", "benchmark", "metric"], keep="last")
    order = {name: i for i, name in enumerate(names)}
    table = table.assign(place=table["experiment"].map(order))
    table = table.sort_values(["place", "seed"], kind="stable", ignore_index=True)
    return table.drop(columns="place")


def rerun(
    name: str, seed: int = 0, out: str | Path | None = None, **others: object
) -> pd.DataFrame:
    """One experiment anew: its rows, as of :func:`run_one`.

    Those of the family ``short`` take seconds, others minutes. Runs and pictures are kept in `out`,
    by default in a folder that is removed. `others` are settings to change, such as ``steps`` or
    ``scenes``; the rows then are no longer those of the recorded experiment.
    """
    if out is not None:
        return run_one(name, seed, Path(out), **others)
    with tempfile.TemporaryDirectory() as kept:
        return run_one(name, seed, Path(kept), **others)
