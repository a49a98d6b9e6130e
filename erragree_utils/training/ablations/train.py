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

from ...study.study import provenance
from .. import clip, loop
from .evaluate import measure
from .experiments import FAMILIES, Settings, experiment, settings_hash
from .models import Model, build
from .tables import read_rows
from .world import Batches, QuestionBatches, load_world

#: Parts whose matrices Muon trains.
BLOCKS = ("resblocks", "llama.layers", "language_model.layers", "projector")


def train(settings: Settings, run: Path, pictures: Path, every: int = 200) -> Model:
    """Train, or go on with, the model of a run folder; returns it.

    Training pictures and captions are the same for all seeds: a seed decides the first weights and
    the order of batches.

    Parameters
    ----------
    settings : Settings
    run : pathlib.Path
        Where ``checkpoint.pt`` and ``log.jsonl`` are kept; a checkpoint every `every` steps.
    pictures : pathlib.Path
        Where the training pictures are kept; they are rendered if they are not there.

    Raises
    ------
    ValueError
        If the folder holds a run with other settings, or settings do not go together.
    """
    run.mkdir(parents=True, exist_ok=True)
    model = build(settings)
    steppers = loop.optimizers(model, settings, BLOCKS)
    start = loop.resume(run, settings, model, steppers)
    if start >= settings.steps:
        return model
    s = settings
    world = load_world(pictures, 0, s.scenes, s.image_size + s.margin, s.captions, s.context)
    draws = QuestionBatches if s.objective == "answering" else Batches
    batches, log = draws(world, settings), loop.Log(run, start)
    for step in tqdm(range(start, s.steps), initial=start, total=s.steps, desc=run.name):
        images, (texts, negative) = batches.draw(step)
        loss = model.loss(images, texts, negative)
        loss.backward()
        loop.update(steppers, clip.learning_rate(step, settings))
        log.losses.append(loss.item())
        if (step + 1) % every == 0 or step + 1 == s.steps:
            log.write(step + 1, {})
            loop.save_checkpoint(run, settings, model, steppers, step + 1)
    return model


def folder(name: str, seed: int) -> str:
    """Name of the folder of a run."""
    plain = "".join(c if c.isalnum() else "-" for c in name.replace("%", ""))
    return f"{plain}-{seed}"


def run_one(name: str, seed: int, out: Path, **others: object) -> pd.DataFrame:
    """Train and measure one experiment with one seed, unless that is done; its rows.

    Parameters
    ----------
    name : str
        Of an experiment.
    seed : int
    out : pathlib.Path
        Folder of all runs.
    others
        Settings to change in this experiment and its base alike, such as ``steps``.

    Returns
    -------
    pandas.DataFrame
        What :func:`evaluate.measure` returns, with experiment, factor, setting, base, seed, steps,
        seconds, threads, hardware, command and settings hash.

    Raises
    ------
    ValueError
        If there is no such experiment, or the folder holds a run with other settings.
    filelock.Timeout
        If another process trains this run.
    """
    found = experiment(name)
    settings = found.settings(seed, **others)
    run = out / folder(name, seed)
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
    for column, value in reversed({
        "experiment": name,
        "factor": found.factor,
        "setting": str(found.changes.get(found.factor, "")),
        "base": found.base or "",
        "seed": seed,
    }.items()):  # fmt: skip
        rows.insert(0, column, value)
    rows = rows.assign(
        steps=settings.steps,
        seconds=round(60 * _minutes(run), 1),
        threads=where["threads"],
        hardware=where["hardware"],
        command=_command(name, seed, others),
        settings_hash=settings_hash(settings),
    )
    rows.to_csv(run / "result.tmp", index=False)
    (run / "result.tmp").replace(kept)  # a kill leaves no half of a table
    return read_rows(kept)


def _command(name: str, seed: int, others: dict[str, object]) -> str:
    if set(others) <= {"steps", "scenes"}:  # what the command line knows
        options = "".join(f" --{key} {value}" for key, value in others.items())
        name = shlex.quote(name)
        return (
            f"python -m erragree_utils.training.ablations --experiment {name} --seeds {seed}"
            + options
        )
    return f"rerun({name!r}, {seed}, **{others!r})"


def _minutes(run: Path) -> float:
    log = run / "log.jsonl"
    return json.loads(log.read_text().splitlines()[-1])["minutes"] if log.exists() else 0.0


def run_many(names: Iterable[str], seeds: Iterable[int], out: Path, **others: object) -> None:
    """Train and measure experiments, seed by seed; skip what is done, or busy elsewhere."""
    todo = [(name, seed) for seed in seeds for name in names]
    bar = tqdm(todo, desc="runs")
    for name, seed in bar:
        bar.set_postfix_str(f"{name}, seed {seed}")
        try:
            run_one(name, seed, out, **others)
        except Timeout:
            tqdm.write(f"{name}, seed {seed}: another process trains it")


def collect(out: Path, tables: Path) -> dict[str, pd.DataFrame]:
    """Write the finished runs of a folder as one CSV a family; returns them by family.

    A run that is in the table already is replaced, others there stay. A family without a finished
    run gets no file; runs that are not finished have no rows.

    Raises
    ------
    ValueError
        If a run has other settings than those of the table: trials go to a table of their own.
    """
    written = {}
    for family, names in FAMILIES.items():
        found = [
            read_rows(path)
            for name in names
            for path in sorted(out.glob(f"{folder(name, 0)[:-2]}-[0-9]*/result.csv"))
        ]
        if found:
            written[family] = _merged(found, tables / f"{family}.csv", names)
    for family, table in written.items():
        tables.mkdir(parents=True, exist_ok=True)
        table.to_csv(tables / f"{family}.csv", index=False, float_format="%.6g")
    return written


def _merged(found: list[pd.DataFrame], path: Path, names: tuple[str, ...]) -> pd.DataFrame:
    """The runs found, and those of the table at `path` that are not among them, in order."""
    table = pd.concat(found, ignore_index=True)
    run = ["experiment", "seed"]
    if path.exists():
        old = read_rows(path)
        there = pd.MultiIndex.from_frame(old[run])
        known = table.merge(old[[*run, "settings_hash"]].drop_duplicates(), on=run)
        if (known["settings_hash_x"] != known["settings_hash_y"]).any():
            raise ValueError(
                f"{path} holds the same runs with other settings; write trials elsewhere (--tables)"
            )
        old = old[~there.isin(pd.MultiIndex.from_frame(table[run]))]
        table = pd.concat([old, table], ignore_index=True)
    place = table["experiment"].map({name: i for i, name in enumerate(names)})
    order = pd.DataFrame({"place": place, "seed": table["seed"]}).sort_values(
        ["place", "seed"], kind="stable"
    )
    return table.loc[order.index].reset_index(drop=True)


def rerun(
    name: str, seed: int = 0, out: str | Path | None = None, **others: object
) -> pd.DataFrame:
    """One experiment anew: its rows.

    Parameters
    ----------
    name : str
        Of an experiment. Those of the family ``short`` take seconds, others minutes.
    seed : int
    out : str or pathlib.Path, optional
        Where runs and pictures are kept; by default a folder that is removed.
    others
        Settings to change, such as ``steps`` or ``scenes``. The rows then are no longer those of
        the recorded experiment.

    Returns
    -------
    pandas.DataFrame
        As :func:`run_one`.
    """
    if out is not None:
        return run_one(name, seed, Path(out), **others)
    with tempfile.TemporaryDirectory() as kept:
        return run_one(name, seed, Path(kept), **others)
