"""A multimodal checkpoint: found by its name, checked, and loaded.

`find_checkpoint` looks only at the settings, so that a model that is too large or of an unknown
family is refused before its weights are fetched. `Checkpoint.load` reads the weights.
"""

from __future__ import annotations

import importlib.util
import json
import re
import warnings
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from packaging.version import Version
from PIL import Image
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    AutoProcessor,
    PreTrainedConfig,
    PreTrainedModel,
    ProcessorMixin,
)
from transformers.models.smolvlm import processing_smolvlm
from transformers.utils import logging

from .device import is_out_of_memory
from .folders import ModelError, explained, find_folder, refuse_unsafe, require
from .hub import fetch
from .precision import SMALL, Precision, quantization_config

#: Kinds of models, by `model_type`, that have been compared with full passes, one by one.
FAMILIES = (
    "llava", "vipllava", "llava_next", "llava_onevision", "internvl", "idefics3", "smolvlm",
    "qwen2_5_vl", "qwen3_vl", "gemma3",
)  # fmt: skip
#: The first Transformers with which they were found exact; LLaVA's kinds were with the first 5.
TRANSFORMERS = {
    "internvl": "5.15", "idefics3": "5.15", "smolvlm": "5.15", "qwen2_5_vl": "5.15",
    "qwen3_vl": "5.18", "gemma3": "5.15",
}  # fmt: skip
SHIPPED = {"mini": "mini-llava"}
# Commits at which the project was written; other names follow their main branch.
REVISIONS = {"llava-hf/llava-1.5-7b-hf": "b234b804b114d9e37bb655e11cbbb5f5e971b7a9"}
#: Files of a checkpoint on the hub: what is read first, and the weights.
SETTINGS_FILES = ["*.json", "*.jinja", "*.model", "*.txt"]
WEIGHTS_FILES = ["*.safetensors"]

# Tensors that older versions saved.
_RECOMPUTED = ("position_ids", "inv_freq")
_SAFE = {"trust_remote_code": False, "local_files_only": True}


@dataclass(frozen=True)
class Checkpoint:
    """A model's settings, and the place of its weights."""

    name: str
    weights: str  # where they come from, in words
    commit: str | None  # on the hub, for models from there
    folder: Path
    config: PreTrainedConfig

    @cached_property
    def n_parameters(self) -> int:
        """Number of parameters of the config's model, counted without allocating them."""
        with _reading(self.folder), torch.device("meta"):
            model = AutoModelForImageTextToText.from_config(self.config, trust_remote_code=False)
        return sum(parameter.numel() for parameter in model.parameters())

    @property
    def reads_squares(self) -> bool:
        """Whether it's like LLaVA-1.5, with a CLIP tower that reads one square per image."""
        vision = self.config.vision_config
        return self.config.model_type == "llava" and vision.model_type == "clip_vision_model"

    def load(self, plan: Precision, device: torch.device) -> tuple[PreTrainedModel, ProcessorMixin]:
        """The model and its processor; fetches weights that aren't on this machine."""
        if self.commit is not None:
            # By its commit: the branch may have moved on since the settings were read.
            fetch(self.name, self.commit, [*SETTINGS_FILES, *WEIGHTS_FILES])
            refuse_unsafe(self.folder)  # once more, as settings came along
        index, files = self.folder / "model.safetensors.index.json", {"model.safetensors"}
        if index.is_file():
            with _reading(self.folder):
                files = {str(f) for f in json.loads(index.read_bytes())["weight_map"].values()}
        require(self.folder, *sorted(files))
        with ExitStack() as stack:
            # No progress bar for what is loaded in the blink of an eye.
            if self.n_parameters < SMALL and logging.is_progress_bar_enabled():
                logging.disable_progress_bar()
                stack.callback(logging.enable_progress_bar)
            model = self._model(plan, device)
        with _reading(self.folder):
            processor = AutoProcessor.from_pretrained(self.folder, **_SAFE)
            _complete(processor, self.config, self.folder)
            _try(processor, self.config)
        return model, processor

    def _model(self, plan: Precision, device: torch.device) -> PreTrainedModel:
        options: dict[str, Any] = {"dtype": plan.dtype, "use_safetensors": True, **_SAFE}
        if plan.quantization is not None:
            options["quantization_config"] = quantization_config(plan)
        # With accelerate, weights go to the GPU one by one, and not by way of the main memory.
        direct = device.type == "cuda" and importlib.util.find_spec("accelerate") is not None
        if direct or plan.quantization is not None:
            options["device_map"] = {"": str(device)}
        try:
            with _reading(self.folder):
                model, report = AutoModelForImageTextToText.from_pretrained(
                    self.folder, output_loading_info=True, **options
                )
                model = model if "device_map" in options else model.to(device)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise ModelError(
                f"out of memory while loading {self.name}: close other programs that use {device}, "
                "or give quantization='4bit' or a smaller model"
            ) from error
        # Transformers would go on with random numbers in their place.
        absent = sorted(report["missing_keys"])
        if absent:
            raise ModelError(
                f"{len(absent)} tensors are missing, such as {absent[0]}, in {self.folder}: fetch "
                "the weights again"
            )
        unused = [key for key in report["unexpected_keys"] if not key.endswith(_RECOMPUTED)]
        if unused:
            warnings.warn(
                f"{self.name}: {len(unused)} tensors in {self.folder} are not used, such as "
                f"{min(unused)}: is its config.json of the same model as its weights?",
                stacklevel=4,
            )
        return model


def find_checkpoint(name: str | Path, revision: str | None = None) -> Checkpoint:
    """The checkpoint that a name refers to; for one on the hub, fetches the settings."""
    folder, label, commit = local_folder(name), str(name), None
    if folder is None:
        if "/" not in label:
            raise ModelError(
                f"unknown model {label!r}: names are 'mini', folders that exist, and "
                "'owner/name' on the hub, such as 'llava-hf/llava-1.5-7b-hf'"
            )
        folder, commit = fetch(label, revision or REVISIONS.get(label, "main"), SETTINGS_FILES)
        weights = f"of the hub, commit {commit[:7]}"
    elif revision is not None:
        raise ModelError(f"revision={revision!r} makes no sense with {label!r}: leave it out")
    elif name in SHIPPED:
        weights = "of this package"
    else:
        label, weights = folder.resolve().name, f"from {folder}"
    require(folder, "config.json")
    refuse_unsafe(folder)
    _refuse_original_layout(folder)
    with _reading(folder):
        config = AutoConfig.from_pretrained(folder, **_SAFE)
    if config.model_type not in FAMILIES:
        raise ModelError(
            f"the model in {folder} is a {config.model_type!r}, not one of the families that are "
            f"supported ({', '.join(FAMILIES)}); CLIP is loaded by load_clip"
        )
    least = TRANSFORMERS.get(config.model_type, "5")
    if Version(transformers.__version__) < Version(least):
        raise ModelError(
            f"{label} needs Transformers {least} or newer, not {transformers.__version__}: run "
            "pip install -U transformers"
        )
    if config.model_type == "smolvlm" and processing_smolvlm.num2words is None:
        raise ModelError(f"{label} needs the package num2words: run pip install num2words")
    return Checkpoint(label, weights, commit, folder, config)


def local_folder(name: str | Path) -> Path | None:
    """The folder that a name refers to, or None if it's a name on the hub."""
    return find_folder(name, SHIPPED)


def _refuse_original_layout(folder: Path) -> None:
    """LLaVA's authors publish weights in a layout of their own, which has a port of each."""
    settings = json.loads((folder / "config.json").read_bytes())
    if not isinstance(settings, dict):
        return
    kinds = [settings.get("model_type"), *(settings.get("architectures") or [])]
    if any(re.match("llava_?(llama|mpt|mistral|qwen)", str(kind).lower()) for kind in kinds):
        size = "13b" if settings.get("hidden_size") == 5120 else "7b"
        raise ModelError(
            f"the model in {folder} ({kinds[0]}) is in the layout of LLaVA's own code; load its "
            f"port, such as load_mllm('llava-hf/llava-1.5-{size}-hf')"
        )


def _complete(processor: ProcessorMixin, config: PreTrainedConfig, folder: Path) -> None:
    """Fill in what processors of older checkpoints lack, from the model's own config."""
    vision = config.vision_config
    patch, size = getattr(vision, "patch_size", None), getattr(vision, "image_size", None)
    stated = {
        "patch_size": patch,
        "vision_feature_select_strategy": _strategy(config),
        "num_image_tokens": (size // patch) ** 2 if isinstance(size, int) and patch else None,
    }
    for field, value in stated.items():
        if getattr(processor, field, value) is None:
            setattr(processor, field, value)
    files = [folder / name for name in ("processor_config.json", "preprocessor_config.json")]
    settings = [json.loads(path.read_bytes()) for path in files if path.is_file()]
    counted = any("num_additional_image_tokens" in each for each in settings)
    if hasattr(processor, "num_additional_image_tokens") and not counted:
        # Transformers takes 0, but CLIP's tower has its class token.
        processor.num_additional_image_tokens = int(vision.model_type == "clip_vision_model")


def _try(processor: ProcessorMixin, config: PreTrainedConfig) -> None:
    """Whether the processor's settings can be used, and fit the vision tower."""
    # A picture that is no square, and a sign that a small vocabulary lacks.
    inputs = processor(
        images=[Image.new("RGB", (90, 60))],
        text=[f"{processor.image_token} \u2603"],
        return_tensors="pt",
    )
    vision = config.vision_config
    size, wanted = inputs["pixel_values"].shape[-2:], getattr(vision, "image_size", None)
    if wanted is None:  # Qwen's towers read images of any size
        return
    if set(size) != set(np.atleast_1d(wanted).tolist()):
        raise ValueError(
            f"the image processor makes pictures of {size[0]} x {size[1]} pixels, the vision tower "
            f"reads {wanted}"
        )
    if config.model_type not in ("llava", "vipllava") or vision.model_type != "clip_vision_model":
        return
    made = int((inputs["input_ids"] == processor.image_token_id).sum())
    patches = (size[0] // vision.patch_size) * (size[1] // vision.patch_size)
    tokens = patches + (_strategy(config) == "full")
    if made != tokens:
        raise ValueError(
            f"the processor makes {made} tokens of an image, the model {tokens}: its settings are "
            "not those of config.json"
        )


def _strategy(config: PreTrainedConfig) -> str:
    """Which of the tower's tokens the model reads; VipLLaVA's config does not say."""
    return getattr(config, "vision_feature_select_strategy", "default")


def _reading(folder: Path) -> AbstractContextManager[None]:
    """Turn what libraries raise while they read a folder into what to do."""

    def explain(error: BaseException, text: str) -> str:
        damage = ""
        if "safetensor" in repr(error).lower():
            damage = "its weights are damaged or were not copied whole; "
        return (
            f"the model in {folder} cannot be read: {damage}delete the file in question, or all of "
            f"them, and fetch it again. {text}"
        )

    return explained(explain)
