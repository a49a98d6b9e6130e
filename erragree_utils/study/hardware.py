"""Compute the memory and time that the study and its chapters need on each class of GPUs.

Reading a prompt is limited by arithmetic, at a share of the GPU's published rate of dense matrix
products. We measured that share on one H100 and assume it for the others. Writing a token is
limited by memory traffic: all weights are read once for the whole batch (`seconds_per_image`).
`study.costs` counts the operations, `models.memory` the bytes.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import pandas as pd

from ..models import memory
from ..models.device import GIB
from ..scale import get_scale
from . import costs

NEW_TOKENS = 4  # about, in a written answer
#: Measured on one H100 (80 GB, PyTorch 2.11, Transformers 5.17) with LLaVA-1.5-7B's shape, random
#: weights in bfloat16, and stand-ins for the published benchmarks at their full size: the minutes
#: for this many images, including decoding the photographs.
MEASURED_MINUTES, MEASURED_PASSES = (10, 12), 11_538
#: Through `seconds_per_image` these become shares of the published rate, from poor to good. Option
#: scoring alone, in batches of 32, reached 289 to 325 TFLOP/s: 0.29 to 0.33 of the published rate,
#: and 0.38 to 0.42 of that of plain matrix products, 767 TFLOP/s.
SHARES = (0.16, 0.20)
CLIP_WEIGHTS = 428e6  # weights of ViT-L/14 at 336 px, both towers, in float32
#: The precision of the weights, by short name.
PRECISIONS = {"16 bits": "float16", "4 bits": "4bit"}
_BATCHES = (32, 16, 8, 4, 2, 1)  # the study halves its batch when it runs out of memory


@dataclass(frozen=True)
class Gpu:
    """A class of GPUs, by NVIDIA's published numbers.

    `memory` is in bytes. We take a datasheet's GB as 10^9 bytes; the difference to 2^30 is about
    what error correction and the driver keep (PyTorch sees 14.7 GiB of a T4's 16 GB). `rate` is in
    operations per second for dense 16-bit matrix products, `rate32` for those in float32, and
    `bandwidth` is in bytes per second.
    """

    name: str
    memory: float
    rate: float
    rate32: float
    bandwidth: float
    has_bf16: bool
    source: str


GPUS = (
    Gpu("T4", 16e9, 65e12, 8.1e12, 300e9, False, "T4 datasheet"),
    # For the next ones, datasheets give rates with sparsity, twice the dense rate.
    Gpu("L4", 24e9, 121e12, 30.3e12, 300e9, True, "L4 datasheet: 242 with sparsity"),
    Gpu("A100 40 GB", 40e9, 312e12, 19.5e12, 1555e9, True, "A100 datasheet"),
    Gpu("A100 80 GB", 80e9, 312e12, 19.5e12, 2039e9, True, "A100 datasheet, SXM"),
    Gpu("H100 80 GB", 80e9, 989e12, 67e12, 3350e9, True,
        "H100 datasheet, SXM: 1,979 with sparsity"),
)  # fmt: skip


def seconds_per_image(
    config: memory.Config,
    gpu: Gpu,
    precision: str = "float16",
    share: float = SHARES[1],
    new_tokens: int = NEW_TOKENS,
    batch_size: int = memory.BATCH,
) -> float:
    """Estimate the seconds to read an image with its text, and to write `new_tokens`.

    `share` is the share of the GPU's published rate; `precision` and `batch_size` decide how many
    bytes are read for a new token.
    """
    tokens = memory.image_tokens(config) + memory.TEXT_TOKENS
    reading = (costs.image_flops(config) + costs.text_flops(config, tokens)) / (share * gpu.rate)
    weights = memory.memory_need(config, precision)["weights"]
    return reading + new_tokens * weights / gpu.bandwidth / batch_size


def study_images() -> pd.DataFrame:
    """How many images LLaVA reads in the whole study at paper scale.

    A row for each benchmark and method: ``benchmark``, ``method``, ``images`` (as published), and
    ``passes`` (images read; several times as many if there is a second stream, or if each image is
    shown in both places of a prompt).
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


def requirements(config: memory.Config | None = None, precision: str | None = None) -> pd.DataFrame:
    """Estimate the memory and time of the whole study on each class of GPUs.

    By default, `config` is LLaVA-1.5-7B's and `precision` is what `load_mllm` chooses on that GPU.

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
        needed = {n: memory.memory_need(config, chosen, n) for n in _BATCHES}
        high, low = (seconds_per_image(config, gpu, chosen, share) for share in SHARES)
        rows[gpu.name] = {
            "precision": chosen,
            **(needed[memory.BATCH] / GIB).to_dict(),
            "memory": gpu.memory / GIB,
            "fits": needed[memory.BATCH]["needed"] <= gpu.memory,
            "largest_batch": next((n for n in _BATCHES if needed[n]["needed"] <= gpu.memory), 0),
            "hours_low": low * passes / 3600,
            "hours_high": high * passes / 3600,
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("GPU")


def choices(config: memory.Config | None = None) -> pd.DataFrame:
    """Estimate the memory and time of the whole study for each GPU, precision and batch size.

    Returns
    -------
    pandas.DataFrame
        A row each: ``gpu``, ``precision`` (``"16 bits"`` or ``"4 bits"``), ``batch``; ``weights``,
        ``cache``, ``activations``, ``fixed`` and ``memory`` (the GPU's), in GiB; ``time`` in words,
        ``hours_low`` and ``hours_high``, as in `requirements`.
    """
    config = config or costs.llava_15_7b()
    passes = int(study_images()["passes"].sum())
    rows = []
    for (name, precision), batch in itertools.product(PRECISIONS.items(), reversed(_BATCHES)):
        need = memory.memory_need(config, precision, batch).drop("needed") / GIB
        for gpu in GPUS:
            low, high = (
                passes * seconds_per_image(config, gpu, precision, share, batch_size=batch)
                for share in SHARES[::-1]
            )
            rows.append({
                "gpu": gpu.name, "precision": name, "batch": batch, **need.to_dict(),
                "memory": gpu.memory / GIB, "time": span(low, high),
                "hours_low": low / 3600, "hours_high": high / 3600,
            })  # fmt: skip
    return pd.DataFrame(rows)


def chosen_precision(config: memory.Config, available: float, has_bf16: bool) -> str:
    """The precision that `load_mllm` chooses on this GPU for float16 weights, like LLaVA-1.5's."""
    import torch

    from ..models.precision import plan_precision

    plan = plan_precision(
        memory.model_size(config).total, torch.device("cuda"), memory=int(available),
        has_bf16=has_bf16, checkpoint=torch.float16, name="LLaVA-1.5-7B",
    )  # fmt: skip
    return plan.quantization or str(plan.dtype).removeprefix("torch.")


def chapter_needs(gpu: Gpu, passes: int = 0, clip_images: int = 0) -> tuple[float, float, float]:
    """The bytes that a chapter needs for this many images, and the seconds, from good to poor.

    Parameters
    ----------
    passes : int
        Images that LLaVA-1.5-7B reads, eight at a time; if there are none, it isn't loaded.
    clip_images : int
        Images that CLIP embeds, in float32.
    """
    config, need = costs.llava_15_7b(), CLIP_WEIGHTS * 4
    if passes:
        precision = chosen_precision(config, gpu.memory, gpu.has_bf16)
        need += memory.memory_need(config, precision)["needed"]
    else:
        need += memory.FIXED
    low, high = (
        passes * (seconds_per_image(config, gpu, precision, share) if passes else 0.0)
        + clip_images * costs.image_flops(config) / (share * gpu.rate32)
        for share in SHARES[::-1]
    )
    return need, low, high


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """The table of `requirements`, with its numbers as short texts."""
    hours = zip(table["hours_low"], table["hours_high"], strict=True)
    return pd.DataFrame({
        "memory, GiB": table["memory"].map("{:.1f}".format),
        "precision": table["precision"],
        "needed, GiB": table["needed"].map("{:.1f}".format),
        "fits": table["fits"].map({True: "yes", False: "no"}),
        "largest batch": table["largest_batch"],
        "the whole study": [span(3600 * low, 3600 * high) for low, high in hours],
    })  # fmt: skip


def span(low: float, high: float) -> str:
    """Seconds from `low` to `high` in words, such as ``"4 to 5 min"``."""
    unit, each, digits = ("h", 3600, 1) if high >= 3600 else ("min", 60, 0)
    ends = [f"{max(seconds / each, 1 - digits):.{digits}f}" for seconds in (low, high)]
    return f"{' to '.join(dict.fromkeys(ends))} {unit}"
