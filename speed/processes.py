"""One process against two of one thread each, on the same part of the study: items per second.

Every method of tabletop-b at mini scale, from the command line, on a CPU. The rate is of scoring
alone: starting Python, loading models and rendering images cost each process the same, however many
there are, and are told apart. Needs two cores that nothing else uses; the load is printed. Both
runs must give the same decisions.

Run: python speed/processes.py [sets]
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from erragree_utils.study.store import Results, read

SETS = 100
TARGET = 1.7


def launch(n_processes: int, n_sets: int, folder: Path) -> float:
    """Run the study's part; returns seconds from start to end."""
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node",
        str(n_processes), "-m", "erragree_utils", "run", "--scale", "mini", "--out", str(folder),
        "--benchmark", "tabletop-b", "--option", f"tabletop-b.n_sets={n_sets}", "--device", "cpu",
        "--quiet",
    ]  # fmt: skip
    began = time.perf_counter()
    done = subprocess.run(
        command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    return time.perf_counter() - began


def busy_seconds(results: Results) -> list[float]:
    """Seconds that each process scored."""
    seconds: Counter[str] = Counter()
    for items in results.items.values():
        for item in items.values():
            seconds[item.run] += item.seconds
    return list(seconds.values())


def measure(n_processes: int, n_sets: int, folder: Path) -> tuple[float, Results]:
    """Items per second of the processes together, printed, and what they stored."""
    whole = launch(n_processes, n_sets, folder)
    results = read(folder)
    busy = busy_seconds(results)
    n_items = sum(map(len, results.items.values()))
    rate = n_items / max(busy)
    print(
        f"{n_processes} process{'es' * (n_processes > 1)}: {n_items} items, scored in "
        f"{' and '.join(f'{s:.1f}' for s in busy)} s, {rate:.1f} items/s; {whole:.1f} s with "
        "starting, loading and rendering"
    )
    return rate, results


def same_decisions(one: Results, two: Results) -> bool:
    """Whether both stores hold the same tables, up to the rounding of scores."""
    return set(one.items) == set(two.items) and all(
        one.table(key)["correct"].equals(two.table(key)["correct"]) for key in one.items
    )


def main() -> None:
    """Print both rates and their ratio."""
    n_sets = int(sys.argv[1]) if len(sys.argv) > 1 else SETS
    print(f"{os.cpu_count()} cores, load before: {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as folder:
        slow, one = measure(1, n_sets, Path(folder, "one"))
        fast, two = measure(2, n_sets, Path(folder, "two"))
    print(f"ratio {fast / slow:.2f} (target {TARGET:g}, on two free cores)")
    if not same_decisions(one, two):
        raise SystemExit("one and two processes decide differently: one of them is wrong")


if __name__ == "__main__":
    main()
