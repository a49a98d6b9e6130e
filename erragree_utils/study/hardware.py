"""What paper scale needs of a GPU, estimated from the model's size, and which scale suits one.

Memory is the sum of four parts (`memory_need`):

- *weights*: parameters times bytes, 2 in half precision. At 4 bits (NF4, Dettmers et al. 2023,
  "QLoRA") a weight has half a byte, and a block of 64 a scale of 4 bytes; only the language model's
  linear layers are held so, all else stays in half precision (`models.mllm`).
- *cache*, the keys and values: 2 x layers x key heads x numbers a head x bytes, for each token.
- *activations*: the largest intermediate results of a forward pass.
- *fixed*: the CUDA context, workspaces of its libraries, what the allocator cannot use.

Time is arithmetic for reading the prompt, and traffic for each token written (`seconds_per_image`):

- reading: 2 x parameters x tokens, and 4 x tokens^2 x width a layer for attention, over a share of
  the GPU's published rate of dense matrix products;
- writing a token: all weights are read once from memory, for a whole batch together.

These are estimates. `speed/paper_scale.py` measures, where there is a GPU.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import pandas as pd

from ..scale import SCALES, VARIABLE, get_scale

if TYPE_CHECKING:
    from transformers import LlavaConfig

GIB = 2.0**30
BATCH = 8  # images at a time: 5,000 tokens keep a GPU busy
TEXT_TOKENS = 120  # system line, question and answers, about
NEW_TOKENS = 4  # of a written answer, about
#: Share of the published rate that a program reaches: an assumption, from poor to good.
SHARES = (0.25, 0.5)
BITS4 = 0.5 + 4 / 64  # bytes a weight
_FIXED = 0.6 * GIB  # an assumption
_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "4bit": 2}  # all but the weights, at 4 bits
_LARGEST_BATCH = 32  # what the study begins with; halved on out of memory


@dataclass(frozen=True)
class Gpu:
    """A class of GPUs, by published numbers.

    Parameters
    ----------
    name : str
    memory : float
        Bytes. A datasheet's GB are taken as 10^9: error correction and the driver keep about what
        that is less than 2^30 (a T4 of 16 GB shows 14.7 GiB to PyTorch).
    rate : float
        Floating-point operations a second of dense matrix products with 16-bit numbers.
    bandwidth : float
        Bytes a second of its memory.
    has_bf16 : bool
        Whether it computes in bfloat16.
    source : str
        Of NVIDIA.
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


# --- the model's size ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Size:
    """Parameters of a LLaVA's parts, and those of them that are matrices of linear layers.

    Parameters
    ----------
    tower, projector, decoder, head, rest : int
        The vision tower, the projector, the linear layers of the language model, the layer that
        predicts tokens, and embeddings and norms.
    tower_matrices : int
        Of the tower, without its embeddings.
    """

    tower: int
    projector: int
    decoder: int
    head: int
    rest: int
    tower_matrices: int

    @property
    def total(self) -> int:
        """All parameters."""
        return self.tower + self.projector + self.decoder + self.head + self.rest


def llava_15_7b() -> LlavaConfig:
    """The architecture of LLaVA-1.5-7B (Liu et al. 2024): no weights, no download.

    Vicuna-7B, which is Llama's architecture (32 layers of width 4096, 32,064 tokens), behind
    CLIP's ViT-L/14 at 336 px (576 patch tokens).
    """
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig

    vision = CLIPVisionConfig(
        hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16,
        image_size=336, patch_size=14, projection_dim=768,
    )  # fmt: skip
    text = LlamaConfig(
        hidden_size=4096, intermediate_size=11008, num_hidden_layers=32, num_attention_heads=32,
        vocab_size=32064, max_position_embeddings=4096,
    )  # fmt: skip
    return LlavaConfig(
        vision_config=vision, text_config=text, image_token_index=32000, image_seq_length=576
    )


def model_size(config: LlavaConfig) -> Size:
    """Count the parameters of a LLaVA by its config, without making room for them.

    Parameters
    ----------
    config : transformers.LlavaConfig

    Returns
    -------
    Size
    """
    return _model_size(config.to_json_string(use_diff=False))


@lru_cache
def _model_size(config: str) -> Size:
    import torch
    from transformers import LlavaConfig, LlavaForConditionalGeneration

    with torch.device("meta"):
        model = LlavaForConditionalGeneration(LlavaConfig(**json.loads(config)))
    counts = dict.fromkeys(("tower", "projector", "decoder", "head", "rest", "tower_matrices"), 0)
    for name, module in model.named_modules():
        matrix = isinstance(module, (torch.nn.Linear, torch.nn.Conv2d))
        for label, parameter in module.named_parameters(recurse=False):
            part = _part(name, matrix)
            counts[part] += parameter.numel()
            if part == "tower" and matrix and label == "weight":
                counts["tower_matrices"] += parameter.numel()
    return Size(**counts)


def _part(module: str, matrix: bool) -> str:
    if "vision_tower" in module:
        return "tower"
    if "multi_modal_projector" in module:
        return "projector"
    if "lm_head" in module:
        return "head"
    return "decoder" if matrix else "rest"


# --- memory --------------------------------------------------------------------------------------


def memory_need(
    config: LlavaConfig,
    precision: str = "float16",
    batch_size: int = BATCH,
    text_tokens: int = TEXT_TOKENS,
) -> pd.Series:
    """Estimate the memory that scoring images with a LLaVA takes, by the formula above.

    Parameters
    ----------
    config : transformers.LlavaConfig
    precision : {"float32", "float16", "bfloat16", "4bit"}
    batch_size : int
        Images at a time.
    text_tokens : int
        Tokens beside the image's.

    Returns
    -------
    pandas.Series of float
        Bytes: ``weights``, ``cache``, ``activations``, ``fixed``, and ``needed``, their sum.

    Raises
    ------
    ValueError
        If the precision is unknown.
    """
    if precision not in _BYTES:
        raise ValueError(f"unknown precision {precision!r}; choose one of {', '.join(_BYTES)}")
    size, each = model_size(config), _BYTES[precision]
    text, vision = config.text_config, config.vision_config
    decoder = size.decoder * (BITS4 if precision == "4bit" else each)
    tokens = config.image_seq_length + text_tokens
    patches = _patches(config) + 1  # and the class token
    # Gate, up and their product; states, and queries, keys and values.
    reading = tokens * (3 * text.intermediate_size + 4 * text.hidden_size)
    # Transformers keeps the output of every layer of the tower.
    seeing = patches * (
        (vision.num_hidden_layers + 4) * vision.hidden_size + 2 * vision.intermediate_size
    )
    largest = text.hidden_size * text.intermediate_size  # unpacked from 4 bits, one at a time
    need = {
        "weights": decoder + (size.total - size.decoder) * each,
        "cache": cache_bytes(config, each) * tokens * batch_size,
        "activations": max(reading, seeing) * batch_size * each
        + (largest * each if precision == "4bit" else 0),
        "fixed": _FIXED,
    }
    return pd.Series(need | {"needed": sum(need.values())}, name=precision, dtype=float)


def cache_bytes(config: LlavaConfig, bytes_each: int = 2) -> int:
    """Bytes of the keys and values of one token."""
    text = config.text_config
    heads = text.num_key_value_heads * text.head_dim
    return 2 * text.num_hidden_layers * heads * bytes_each


def _patches(config: LlavaConfig) -> int:
    return (config.vision_config.image_size // config.vision_config.patch_size) ** 2


# --- time ----------------------------------------------------------------------------------------


def image_flops(config: LlavaConfig) -> float:
    """Floating-point operations of the vision tower and the projector for one image.

    A multiplication and an addition count as two.
    """
    size, vision, patches = model_size(config), config.vision_config, _patches(config)
    attention = 4 * vision.num_hidden_layers * (patches + 1) ** 2 * vision.hidden_size
    return 2.0 * (size.tower_matrices * (patches + 1) + size.projector * patches) + attention


def text_flops(config: LlavaConfig, tokens: int, before: int = 0, predictions: int = 1) -> float:
    """Floating-point operations of the language model for tokens that follow others.

    Parameters
    ----------
    config : transformers.LlavaConfig
    tokens : int
        Tokens to read, those of an image among them.
    before : int
        Tokens whose keys and values are kept from before.
    predictions : int
        Tokens at which the next one is predicted, each with all of the vocabulary.

    Returns
    -------
    float
        Attention is counted in full, as if tokens looked ahead too.
    """
    size, text = model_size(config), config.text_config
    width = text.num_attention_heads * text.head_dim
    attention = 4 * text.num_hidden_layers * tokens * (before + tokens) * width
    return 2.0 * (size.decoder * tokens + size.head * predictions) + attention


def seconds_per_image(
    config: LlavaConfig,
    gpu: Gpu,
    precision: str = "float16",
    share: float = SHARES[1],
    batch_size: int = BATCH,
    text_tokens: int = TEXT_TOKENS,
    new_tokens: int = NEW_TOKENS,
) -> float:
    """Estimate the time to read an image with its text, and to write an answer.

    Parameters
    ----------
    config : transformers.LlavaConfig
    gpu : Gpu
    precision : str
        As in `memory_need`; decides the bytes that are read for a new token.
    share : float
        Of the GPU's published rate.
    batch_size, text_tokens : int
        As in `memory_need`.
    new_tokens : int
        Tokens written.

    Returns
    -------
    float
        Seconds.
    """
    tokens = config.image_seq_length + text_tokens
    reading = (image_flops(config) + text_flops(config, tokens)) / (share * gpu.rate)
    weights = memory_need(config, precision, batch_size, text_tokens)["weights"]
    return reading + new_tokens * weights / gpu.bandwidth / batch_size


# --- the study -----------------------------------------------------------------------------------


def study_images() -> pd.DataFrame:
    """How many images LLaVA reads in the whole study at paper scale.

    Returns
    -------
    pandas.DataFrame
        A row for each benchmark and method: ``benchmark``, ``method``, ``images`` (as published),
        and ``passes`` (images read; more than one where a second stream reads along, or each image
        is shown in both places of a prompt).
    """
    from . import study

    tasks = [t for t in study.plan(get_scale("paper")) if t.model.role == "mllm"]
    images = [published_images(task.benchmark) for task in tasks]
    return pd.DataFrame({
        "benchmark": [task.benchmark for task in tasks],
        "method": [task.method for task in tasks],
        "images": images,
        "passes": [n * study.METHODS[t.method].weight for n, t in zip(images, tasks, strict=True)],
    })  # fmt: skip


def published_images(benchmark: str) -> int:
    """Images of a published benchmark, as its authors count them.

    Raises
    ------
    ValueError
        If it is not one of those of the paper.
    """
    from ..benchmarks import spatial, whatsup

    if benchmark in whatsup.PARTS:
        return whatsup.PARTS[benchmark].n_images
    if benchmark in spatial.SOURCES:
        return sum(spatial.SOURCES[benchmark].n_items.values())
    known = {"mmvp": 300, "mmvp-vlm": 270}  # 150 and 135 pairs (Tong et al. 2024)
    if benchmark not in known:
        raise ValueError(f"the number of images of {benchmark!r} is not known here")
    return known[benchmark]


def requirements(
    config: LlavaConfig | None = None,
    passes: int | None = None,
    batch_size: int = BATCH,
    precision: str | None = None,
    gpus: Sequence[Gpu] = GPUS,
) -> pd.DataFrame:
    """Estimate memory and time for each class of GPUs.

    Parameters
    ----------
    config : transformers.LlavaConfig, optional
        By default LLaVA-1.5-7B's.
    passes : int, optional
        Images to read; by default those of the whole study (`study_images`).
    batch_size : int
        Images at a time.
    precision : str, optional
        By default what `load_mllm` chooses on such a GPU.
    gpus : sequence of Gpu

    Returns
    -------
    pandas.DataFrame
        A row for each GPU: ``precision``; ``weights``, ``cache``, ``activations``, ``fixed``,
        ``needed`` and ``memory`` (the GPU's), in GiB; ``fits``; ``largest_batch`` (32, halved until
        it fits; 0 if none does); ``seconds_low`` and ``seconds_high`` an image, ``hours_low`` and
        ``hours_high`` for all, at the better and the poorer of `SHARES`. All are estimates.
    """
    config = config or llava_15_7b()
    passes = int(study_images()["passes"].sum()) if passes is None else passes
    rows = {gpu.name: _requirement(config, gpu, passes, batch_size, precision) for gpu in gpus}
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("GPU")
    return table


def _requirement(
    config: LlavaConfig, gpu: Gpu, passes: int, batch_size: int, precision: str | None
) -> dict[str, Any]:
    precision = precision or _precision(model_size(config).total, gpu.memory, gpu.has_bf16)
    need = memory_need(config, precision, batch_size)
    batches = [_LARGEST_BATCH >> k for k in range(_LARGEST_BATCH.bit_length())]
    fitting = [b for b in batches if memory_need(config, precision, b)["needed"] <= gpu.memory]
    high, low = (seconds_per_image(config, gpu, precision, share, batch_size) for share in SHARES)
    return {
        "precision": precision,
        **(need / GIB).to_dict(),
        "memory": gpu.memory / GIB,
        "fits": need["needed"] <= gpu.memory,
        "largest_batch": max(fitting, default=0),
        "seconds_low": low,
        "seconds_high": high,
        "hours_low": low * passes / 3600,
        "hours_high": high * passes / 3600,
    }


def _precision(n_parameters: int, memory: float, has_bf16: bool) -> str:
    """What `load_mllm` chooses for a checkpoint in float16, as LLaVA-1.5's is."""
    import torch

    from ..models.precision import plan_precision

    plan = plan_precision(
        n_parameters, torch.device("cuda"), memory=int(memory), has_bf16=has_bf16,
        checkpoint=torch.float16, name="LLaVA-1.5-7B",
    )  # fmt: skip
    return plan.quantization or str(plan.dtype).removeprefix("torch.")


def shown(table: pd.DataFrame) -> pd.DataFrame:
    """What `requirements` returned, for people; each number but the GPU's memory is an estimate."""
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


# --- this machine --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Choice:
    """A scale, and why.

    Parameters
    ----------
    scale : str
    gpu : str or None
        Its name and memory; None without one.
    precision : str or None
        What `load_mllm` chooses for LLaVA-1.5-7B; None if it does not fit.
    needed : float
        GiB, an estimate; 0 if it does not fit.
    reason : str
    """

    scale: str
    gpu: str | None
    precision: str | None
    needed: float
    reason: str


def choose_scale(
    name: str | None = None, memory: int | None = None, has_bf16: bool | None = None
) -> Choice:
    """The scale that suits a GPU: paper if LLaVA-1.5-7B fits in some precision, else mini.

    Parameters
    ----------
    name : str, optional
        Of a GPU; by default this machine's first CUDA GPU, if it has one.
    memory : int, optional
        Its memory in bytes; needed with a name.
    has_bf16 : bool, optional
        Whether it computes in bfloat16; needed with a name.

    Returns
    -------
    Choice
    """
    if name is None:
        import torch

        if not torch.cuda.is_available():
            return Choice("mini", None, None, 0.0, "PyTorch sees no CUDA GPU.")
        found = torch.cuda.get_device_properties(0)
        name, memory, has_bf16 = found.name, found.total_memory, found.major >= 8
    if memory is None or has_bf16 is None:
        raise ValueError("give memory and has_bf16 with the name of a GPU")
    from ..models.clip import ModelError

    gpu, config = f"{name}, {memory / GIB:.1f} GiB", llava_15_7b()
    try:
        precision = _precision(model_size(config).total, memory, has_bf16)
    except ModelError as error:
        return Choice("mini", gpu, None, 0.0, str(error))
    needed = memory_need(config, precision)["needed"] / GIB
    return Choice("paper", gpu, precision, needed, f"LLaVA-1.5-7B fits in {precision}")


def describe(choice: Choice, scale: str | None = None) -> str:
    """Say in a few lines what GPU there is, and what that means for a scale.

    Parameters
    ----------
    choice : Choice
    scale : str, optional
        The scale that is used, if it is not the one that was chosen.

    Returns
    -------
    str
    """
    scale = scale or choice.scale
    lines = [
        f"GPU: {choice.gpu or 'none'}",
        f"scale: {scale}, which needs {SCALES[scale].hardware}",
    ]
    if choice.scale == "mini":
        lines.append(choice.reason)
    if scale == "mini":
        lines.append("The small models of this package are used.")
    elif choice.precision is None:
        lines.append("LLaVA-1.5-7B will be refused here; chapters with CLIP alone run, slowly.")
    else:
        held = "4 bits" if choice.precision == "4bit" else choice.precision
        weights = 2 * model_size(llava_15_7b()).total / 1e9
        lines.append(
            f"LLaVA-1.5-7B is held in {held} and needs about {choice.needed:.0f} GiB with {BATCH} "
            f"images at a time (an estimate); its weights are {weights:.0f} GB to fetch."
        )
    return "\n".join(lines)


def start(scale: str = "auto") -> str:
    """Choose the scale of the notebook that calls this, and tell it: every notebook's first cell.

    Parameters
    ----------
    scale : {"auto", "mini", "paper"}
        ``"auto"``: on Colab, what suits its GPU; elsewhere nothing is changed, and the environment
        variable ``ERRAGREE_SCALE`` goes on to decide. Another one is set there.

    Returns
    -------
    str
        The name of the scale.

    Raises
    ------
    ValueError
        If there is no such scale.
    """
    if scale not in ("auto", *SCALES):
        raise ValueError(f"unknown scale {scale!r}; choose one of auto, {', '.join(SCALES)}")
    on_colab = "google.colab" in sys.modules
    if scale == "auto" and not on_colab:
        return get_scale().name
    choice = choose_scale()
    chosen = choice.scale if scale == "auto" else scale
    os.environ[VARIABLE] = chosen
    print(describe(choice, chosen))
    other = next(name for name in SCALES if name != chosen)
    print(f'For the other scale, set SCALE = "{other}" and run all cells again.')
    return chosen
