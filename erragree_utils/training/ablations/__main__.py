"""Train families of ablations: ``python -m erragree_utils.training.ablations``."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from .experiments import EXPERIMENTS, FAMILIES
from .tables import TABLES
from .train import collect, run_many


def main(arguments: list[str] | None = None) -> None:
    """Run what is asked for; runs that are done are skipped, killed ones go on."""
    parser = argparse.ArgumentParser(
        prog="python -m erragree_utils.training.ablations",
        description="Train small models that differ in one factor, and measure them. Runs that are "
        "done are skipped, killed ones go on: the same command, again.",
    )
    tables = f"where tables go (default: OUT/tables; the recorded ones are in {TABLES})"
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--only", nargs="+", metavar="FAMILY", choices=FAMILIES, help="families")
    what.add_argument(
        "--experiment", nargs="+", metavar="NAME", choices=EXPERIMENTS, help="single experiments"
    )
    what.add_argument("--list", action="store_true", help="list families and experiments")
    what.add_argument("--collect", action="store_true", help="only write tables of finished runs")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("runs/ablations"), help="runs, pictures")
    parser.add_argument("--tables", type=Path, help=tables)
    parser.add_argument("--steps", type=int, help="of each training, to try things out")
    parser.add_argument("--scenes", type=int, help="training scenes to draw, likewise")
    parser.add_argument("--threads", type=int, help="of PyTorch")
    options = parser.parse_args(arguments)
    if options.list:
        print(listing())
        return
    if options.threads:
        torch.set_num_threads(options.threads)
    if not options.collect:
        names = options.experiment or [n for f in options.only or FAMILIES for n in FAMILIES[f]]
        others = {k: v for k in ("steps", "scenes") if (v := getattr(options, k)) is not None}
        run_many(dict.fromkeys(names), options.seeds, options.out, **others)
    folder = options.tables or options.out / "tables"
    merged = collect(options.out, folder)
    for family, table in merged.items():
        runs = len(table[["experiment", "seed"]].drop_duplicates())
        print(f"{folder / family}.csv: {runs} runs")
    if not merged:
        print(f"no finished run in {options.out}; name experiments to train, see --list")


def listing() -> str:
    """Families and their experiments, as text."""
    lines = []
    for family, names in FAMILIES.items():
        lines.append(f"{family}:")
        for name in names:
            e = EXPERIMENTS[name]
            change = f"{e.base}, but {e.factor}={e.changes[e.factor]}" if e.base else "a base"
            lines.append(f"  {name:32}{change}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
