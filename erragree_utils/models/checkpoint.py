"""A checkpoint of the LLaVA family, from a name to a model and its processor."""

from __future__ import annotations

import importlib.util
import json
import re
import textwrap
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub import constants
from PIL import Image
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor
from transformers.utils import logging

from .device import is_out_of_memory, pick_device
from .folders import (
    ASSETS,
    ModelError,
    check_name,
    is_folder,
    is_serious,
    refuse_unsafe,
    without_advice,
)
from .hub import fetch
from .precision import SMALL, Precision, plan_precision, quantization_config

FAMILIES = ("llava", "vipllava", "llava_next", "llava_onevision")
# Commits at which the project was written; other names follow their main branch.
REVISIONS = {"llava-hf/llava-1.5-7b-hf": "b234b804b114d9e37bb655e11cbbb5f5e971b7a9"}
#: Files of a checkpoint on the hub: what is read first, and the weights.
SETTINGS_FILES = ["*.json", "*.jinja", "*.model", "*.txt"]
WEIGHTS_FILES = ["*.safetensors"]


@dataclass(frozen=True)
class Checkpoint:
    """What `load_mllm` makes a `Mllm` of."""

    name: str
    model: torch.nn.Module
    processor: Any
    device: torch.device
    precision: Precision
    weights: str
    revision: str | None


def read_checkpoint(
    name: str | Path,
    device: str | torch.device | None,
    dtype: str | torch.dtype | None,
    quantization: str | None,
    revision: str | None,
) -> Checkpoint:
    """The model that a name means; arguments and errors are those of `mllm.load_mllm`."""
    check_name(name)
    asked, device = device, pick_device(device)
    folder = local_folder(name)
    if folder is not None and revision is not None:
        raise ModelError(f"revision={revision!r} makes no sense with {str(name)!r}: leave it out")
    commit, label, weights = None, str(name), f"from {folder}"
    if folder is None:
        if "/" not in str(name):
            raise ModelError(
                f"unknown model {str(name)!r}: names are 'mini', folders that exist, and "
                "'owner/name' on the hub, such as 'llava-hf/llava-1.5-7b-hf'"
            )
        wanted = revision or REVISIONS.get(label, "main")
        folder, commit = fetch(label, wanted, SETTINGS_FILES)
        weights = f"of the hub, commit {commit[:7]}"
    elif name != "mini":
        label = folder.resolve().name
    else:
        weights = "of this package"
    _check_settings(folder, name)
    refuse_unsafe(folder)
    config = _config(folder)
    n_parameters = _count_parameters(config, folder)
    plan = plan_precision(
        n_parameters, device, dtype, quantization,
        checkpoint=getattr(config, "dtype", None), name=label, insisted=asked is not None,
    )  # fmt: skip
    if plan.reason:
        warnings.warn(f"{label}: {plan.reason}", stacklevel=4)
    if commit is not None:
        # By its commit: the branch may have moved on since the settings were read.
        folder, commit = fetch(label, commit, [*SETTINGS_FILES, *WEIGHTS_FILES])
    _check_weights(folder, name)
    with _quiet(n_parameters < SMALL):
        model = _read_model(folder, label, plan, device)
    refuse_unsafe(folder)  # once more, as the weights came with settings
    processor = _guarded(folder, lambda: AutoProcessor.from_pretrained(folder, **_SAFE))
    _complete(processor, config, folder)
    _guarded(folder, lambda: _try(processor, config))
    return Checkpoint(label, model, processor, device, plan, weights, commit)


_SAFE = {"trust_remote_code": False, "local_files_only": True}


def local_folder(name: str | Path) -> Path | None:
    """The folder that a name means, or None if it is a name on the hub."""
    if name == "mini":
        return ASSETS / "mini-llava"
    if isinstance(name, Path) or name.startswith((".", "~", "/")) or is_folder(name):
        return Path(name).expanduser() if is_folder(name) else Path(name)
    return None


def _check_settings(folder: Path, name: str | Path) -> None:
    if not is_folder(folder) or not (folder / "config.json").is_file():
        raise ModelError(_incomplete(folder, name, ["config.json"]))


def _check_weights(folder: Path, name: str | Path) -> None:
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            parts = sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
        except (ValueError, KeyError, AttributeError) as error:
            raise ModelError(
                f"{index} is damaged ({error}): delete it and fetch it again"
            ) from error
    else:
        parts = ["model.safetensors"]
    missing = [part for part in parts if not (folder / part).is_file()]
    if missing:
        raise ModelError(_incomplete(folder, name, missing))


def _incomplete(folder: Path, name: str | Path, missing: list[str]) -> str:
    listed = " and ".join(missing)
    if name == "mini":
        return (
            f"the mini LLaVA is not complete: {folder} lacks {listed}. Install the package again, "
            "or train the model: python -m erragree_utils.training.llava"
        )
    return (
        f"{name} is not a checkpoint that can be read: {folder} lacks {listed}. Config, processor "
        "and weights as safetensors are needed; weights in other formats are not read, as they can "
        "run code."
    )


def _config(folder: Path) -> Any:
    _refuse_original_layout(folder)
    config = _guarded(folder, lambda: AutoConfig.from_pretrained(folder, **_SAFE))
    if config.model_type not in FAMILIES:
        raise ModelError(
            f"the model in {folder} is a {config.model_type!r}, not one of the LLaVA family "
            f"({', '.join(FAMILIES)})"
            + ("; CLIP is loaded by load_clip" if "clip" in config.model_type else "")
        )
    return config


def _refuse_original_layout(folder: Path) -> None:
    """LLaVA's authors publish weights in a layout of their own, which has a port of each."""
    settings = json.loads((folder / "config.json").read_bytes())
    if not isinstance(settings, dict):
        return
    kinds = [settings.get("model_type"), *(settings.get("architectures") or [])]
    if any(re.match("llava_?(llama|mpt|mistral|qwen)", str(kind).lower()) for kind in kinds):
        size = "13b" if settings.get("hidden_size") == 5120 else "7b"
        raise ModelError(
            f"the model in {folder} ({kinds[0]}) is in the layout of LLaVA's own code, which is "
            f"not read. The same weights for Transformers: "
            f"load_mllm('llava-hf/llava-1.5-{size}-hf'), or another of llava-hf at "
            f"{constants.ENDPOINT}."
        )


def _try(processor: Any, config: Any) -> None:
    """Whether the processor's settings can be used, and fit the vision tower."""
    # A picture that is no square, and a sign that a small vocabulary lacks.
    inputs = processor(
        images=[Image.new("RGB", (90, 60))],
        text=[f"{processor.image_token} \u2603"],
        return_tensors="pt",
    )
    vision = config.vision_config
    size, wanted = inputs["pixel_values"].shape[-2:], vision.image_size
    if set(size) != set(np.atleast_1d(wanted).tolist()):
        raise ValueError(
            f"the image processor makes pictures of {size[0]} x {size[1]} pixels, the vision tower "
            f"reads {wanted}"
        )
    if config.model_type not in ("llava", "vipllava") or vision.model_type != "clip_vision_model":
        return
    found = int((inputs["input_ids"] == processor.image_token_id).sum())
    whole = getattr(config, "vision_feature_select_strategy", "default") == "full"
    tokens = (size[0] // vision.patch_size) * (size[1] // vision.patch_size) + whole
    if found != tokens:
        raise ValueError(
            f"the processor makes {found} tokens of an image, the model {tokens}: patch_size, "
            "num_additional_image_tokens or vision_feature_select_strategy are not those of "
            "config.json"
        )


def _complete(processor: Any, config: Any, folder: Path) -> None:
    """Fill in what processors of older checkpoints lack, from the model's own config.

    Raises
    ------
    ModelError
        If the config lacks it, too; it names the field.
    """
    vision = config.vision_config
    patch, size = getattr(vision, "patch_size", None), getattr(vision, "image_size", None)
    known = {
        "patch_size": patch,
        "vision_feature_select_strategy": getattr(
            config,
            "vision_feature_select_strategy",
            "default",  # VipLLaVA knows no other
        ),
        "num_image_tokens": (size // patch) ** 2 if size and patch else None,
    }
    for field, value in known.items():
        if hasattr(processor, field) and getattr(processor, field) is None:
            if value is None:
                raise ModelError(
                    f"{field} is missing in {folder / 'processor_config.json'} and cannot be told "
                    "from config.json: load a newer revision, or add it"
                )
            setattr(processor, field, value)
    stored = [folder / name for name in ("processor_config.json", "preprocessor_config.json")]
    given = (json.loads(path.read_bytes()) for path in stored if path.is_file())
    if hasattr(processor, "num_additional_image_tokens") and not any(
        "num_additional_image_tokens" in settings for settings in given
    ):
        # Transformers takes 0, but CLIP's tower has its class token.
        processor.num_additional_image_tokens = int(vision.model_type == "clip_vision_model")


def _count_parameters(config: Any, folder: Path) -> int:
    """Parameters of the model that a config describes, without making room for them."""

    def build() -> torch.nn.Module:
        with torch.device("meta"):
            return AutoModelForImageTextToText.from_config(config, trust_remote_code=False)

    return sum(parameter.numel() for parameter in _guarded(folder, build).parameters())


def _read_model(folder: Path, label: str, plan: Precision, device: torch.device) -> Any:
    options: dict[str, Any] = {"dtype": plan.dtype, "use_safetensors": True, **_SAFE}
    if plan.quantization is not None:
        options["quantization_config"] = quantization_config(plan)
    # With accelerate, weights go to the GPU one by one, and not by way of the main memory.
    direct = device.type == "cuda" and importlib.util.find_spec("accelerate") is not None
    if direct or plan.quantization is not None:
        options["device_map"] = {"": str(device)}

    def read():
        model, report = AutoModelForImageTextToText.from_pretrained(
            folder, output_loading_info=True, **options
        )
        return model if "device_map" in options else model.to(device), report

    try:
        model, report = _guarded(folder, read)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise ModelError(
            f"out of memory while loading {label}: close other programs (and notebooks) that use "
            f"{device}, or give quantization='4bit' or a smaller model"
        ) from error
    # Transformers would go on with random numbers in their place.
    absent = sorted(report["missing_keys"])
    if absent:
        raise ModelError(
            f"the weights of {label} in {folder} are not complete: {len(absent)} tensors are "
            f"missing, such as {absent[0]}. Fetch them again."
        )
    # Of older versions, and computed anew.
    idle = [k for k in report["unexpected_keys"] if not k.endswith(("position_ids", "inv_freq"))]
    if idle:
        warnings.warn(
            f"{label}: {len(idle)} tensors in {folder} are not used, such as {min(idle)}: is its "
            "config.json of the same model as its weights?",
            stacklevel=4,
        )
    return model


@contextmanager
def _quiet(yes: bool) -> Iterator[None]:
    """No progress bar for what is loaded in the blink of an eye."""
    shown = yes and logging.is_progress_bar_enabled()
    if shown:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _guarded(folder: Path, read):
    """Call `read`; turn what libraries raise into what to do."""
    try:
        return read()
    except ModelError:
        raise
    except BaseException as error:  # libraries raise anything on a broken file
        if is_serious(error):
            raise
        kind = type(error).__name__
        damaged = "safetensor" in f"{kind} {error}".lower()
        raise ModelError(
            f"the model in {folder} cannot be read: "
            + ("its weights are damaged or were not copied whole. " if damaged else "")
            + "Delete the file in question and fetch it again; if it is not named here, all of "
            f"them. {without_advice(f'{kind}: {textwrap.shorten(str(error), 500)}')}"
        ) from error
