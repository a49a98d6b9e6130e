"""What the study at paper scale takes of each class of GPUs: memory and hours, estimated.

Reading a prompt is arithmetic, over a share of the GPU's published rate of dense matrix products.
Writing a token is traffic: all weights are read once from memory, for a whole batch together
(`seconds_per_image`). `study.costs` counts the operations and the bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from ..scale import get_scale
from . import costs

if TYPE_CHECKING:
    from transformers import LlavaConfig

NEW_TOKENS = 4  # of a written answer, about
#: Share of the published rate that a program reaches: an assumption, from poor to good.
SHARES = (0.25, 0.5)
_BATCHES = (32, 16, 8, 4, 2, 1)  # the study halves its batch on out of memory


@dataclass(frozen=True)
class Gpu:
    """A class of GPUs, by NVIDIA's published numbers.

    `memory` is in bytes: a datasheet's GB are taken as 10^9, as error correction and the driver
    keep about what that is less than 2^30 (a T4 of 16 GB shows 14.7 GiB to PyTorch). `rate` is in
    operations a second of dense 16-bit matrix products, `bandwidth` in bytes a second.
    """

    name: str
    memory: float
    rate: float
    bandwidth: float
    has_bf16: bool
    source: str


GPUS = (
    Gpu("T4", 16e9, 65e12, 300e9, False, "T4 datasheet"),
    # Of the next, datasheets give rates with sparsity, which is twice the dense rate.
    Gpu("L4", 24e9, 121e12, 300e9, True, "L4 datasheet: 242 with sparsity"),
    Gpu("A100 40 GB", 40e9, 312e12, 1555e9, True, "A100 datasheet"),
    Gpu("A100 80 GB", 80e9, 312e12, 2039e9, True, "A100 datasheet, SXM"),
    Gpu("H100 80 GB", 80e9, 989e12, 3350e9, True, "H100 datasheet, SXM: 1,979 with sparsity"),
)  # fmt: skip


def seconds_per_image(
    config: LlavaConfig,
    gpu: Gpu,
    precision: str = "float16",
    share: float = SHARES[1],
    new_tokens: int = NEW_TOKENS,
) -> float:
    """Estimate the seconds to read an image with its text, and to write `new_tokens`.

    `share` is of the GPU's published rate; `precision` decides the bytes read for a new token.
    """
    tokens = config.image_seq_length + costs.TEXT_TOKENS
    reading = (costs.image_flops(config) + costs.text_flops(config, tokens)) / (share * gpu.rate)
    weights = costs.memory_need(config, precision)["weights"]
    return reading + new_tokens * weights / gpu.bandwidth / costs.BATCH


def study_images() -> pd.DataFrame:
    """How many images LLaVA reads in the whole study at paper scale.

    A row for each benchmark and method: ``benchmark``, ``method``, ``images`` (as published), and
    ``passes`` (images read; more than one where a second stream reads along, or each image is shown
    in both places of a prompt).
    """
    from .tasks import plan

    tasks = [t for t in plan(get_scale("paper")) if t.model.role == "mllm"]
    images = [published_images(task.benchmark) for task in tasks]
    return pd.DataFrame({
        "benchmark": [task.benchmark for task in tasks],
        "method": [task.method for task in tasks],
        "images": images,
        "passes": [n * task.passes for n, task in zip(images, tasks, strict=True)],
    })  # fmt: skip


def published_images(benchmark: str) -> int:
    """Images of a benchmark of the paper, as its authors count them."""
    from ..benchmarks import spatial, whatsup

    if benchmark in whatsup.PARTS:
        return whatsup.PARTS[benchmark].n_images
    if benchmark in spatial.SOURCES:
        return sum(spatial.SOURCES[benchmark].n_items.values())
    return {"mmvp": 300, "mmvp-vlm": 270}[benchmark]  # 150 and 135 pairs (Tong et al. 2024)


def requirements(config: LlavaConfig | None = None, precision: str | None = None) -> pd.DataFrame:
    """Estimate memory and time of the whole study for each class of GPUs.

    `config` is LLaVA-1.5-7B's by default, `precision` what `load_mllm` chooses on such a GPU.

    Returns
    -------
    pandas.DataFrame
        A row for each GPU: ``precision``; ``weights``, ``cache``, ``activations``, ``fixed``,
        ``needed`` and ``memory`` (the GPU's), in GiB; ``fits``; ``largest_batch`` (32, halved until
        it fits; 0 if none does); ``hours_low`` and ``hours_high``, at the better and the poorer of
        `SHARES`.
    """
    config = config or costs.llava_15_7b()
    passes = int(study_images()["passes"].sum())
    rows = {}
    for gpu in GPUS:
        chosen = precision or chosen_precision(config, gpu.memory, gpu.has_bf16)
        needed = {n: costs.memory_need(config, chosen, n) for n in _BATCHES}
        high, low = (seconds_per_image(config, gpu, chosen, share) for share in SHARES)
        rows[gpu.name] = {
            "precision": chosen,
            **(needed[costs.BATCH] / costs.GIB).to_dict(),
            "memory": gpu.memory / costs.GIB,
            "fits": needed[costs.BATCH]["needed"] <= gpu.memory,
            "largest_batch": next((n for n in _BATCHES if needed[n]["needed"] <= gpu.memory), 0),
            "hours_low": low * passes / 3600,
            "hours_high": high * passes / 3600,
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("GPU")


def chosen_precision(config: LlavaConfig, memory: float, has_bf16: bool) -> str:
    """What `load_mllm` chooses on such a GPU for weights in float16, as LLaVA-1.5's are."""
    import torch

    from ..models.precision import plan_precision

    plan = plan_precision(
        costs.model_size(config).total, torch.device("cuda"), memory=int(memory), has_bf16=has_bf16,
        checkpoint=torch.float16, name="LLaVA-1.5-7B",
    )  # fmt: skip
    return plan.quantization or str(plan.dtype).removeprefix("torch.")


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """The table of `requirements` with its numbers as short texts."""
    hours = zip(table["hours_low"], table["hours_high"], strict=True)
    return pd.DataFrame({
        "memory, GiB": table["memory"].map("{:.1f}".format),
        "precision": table["precision"],
        "needed, GiB": table["needed"].map("{:.1f}".format),
        "fits": table["fits"].map({True: "yes", False: "no"}),
        "largest batch": table["largest_batch"],
        "the whole study": [f"{_duration(a)} to {_duration(b)}" for a, b in hours],
    })  # fmt: skip


def _duration(hours: float) -> str:
    return f"{hours:.1f} h" if hours >= 1 else f"{max(1, round(60 * hours))} min"
