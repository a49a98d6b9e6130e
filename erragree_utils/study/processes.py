"""Several processes that a launcher (accelerate, torchrun) has started for one study."""

from __future__ import annotations

import os
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class LaunchError(RuntimeError):
    """The processes cannot work together; the message says what to do."""


@contextmanager
def launched(device: str | None) -> Iterator[tuple[tuple[int, int], str | None]]:
    """This process's share, ``(number, how many)``, and its device; ``(0, 1)`` if it is alone."""
    if not {"LOCAL_RANK", "ACCELERATE_MIXED_PRECISION"} & set(os.environ):
        yield (0, 1), device
        return
    if "MASTER_ADDR" in os.environ and "LOCAL_RANK" not in os.environ:
        warnings.warn(
            "accelerate was asked for several processes and starts one, as it does with --cpu. For "
            "several on a CPU: torchrun --nproc-per-node N -m erragree_utils run ... --device cpu",
            stacklevel=3,
        )
    try:
        from accelerate import PartialState
    except ImportError:
        raise LaunchError("several processes need accelerate: run pip install accelerate") from None
    end_with_launcher()
    from ..models.device import pick_device

    on_gpu = pick_device(device).type == "cuda"
    state = PartialState(cpu=not on_gpu)
    number, world = state.process_index, state.num_processes
    try:
        yield (number, world), str(state.device) if on_gpu and device is None else device
    except Exception:
        if world > 1:
            print(f"process {number + 1} of {world}:", file=sys.stderr)
        raise
    finally:
        state.destroy_process_group()


def end_with_launcher(every_s: float = 1.0) -> None:
    """End this process when the one that launched it dies, even by a kill.

    Otherwise the processes would wait for each other until a time limit of minutes. What has been
    scored is stored. (On Windows, a dead parent goes unnoticed.)
    """
    launcher = os.getppid()

    def watch() -> None:
        while os.getppid() == launcher:
            time.sleep(every_s)
        with suppress(OSError):  # the reader of our output may be gone too
            os.write(2, b"the launcher is dead: this process ends; what was scored is stored\n")
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
