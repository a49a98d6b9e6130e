"""Finds the weights and settings of a CLIP, in folders and among open_clip's names."""

from __future__ import annotations

import json
import math
import os
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import open_clip
import torch
from huggingface_hub import constants as hub
from open_clip.pretrained import get_pretrained_cfg

from ..checks import brief
from .device import FORMATS
from .folders import (
    ModelError,
    explained,
    find_folder,
    refuse_code_of,
    refuse_unsafe,
    require,
    what_is_wrong,
)

# "mini" is a model organism: left and right are hidden in its embedding, where they are lost or
# aligned in others. The mini LLaVA reads "mini"'s tower.
SHIPPED = {"mini": "mini-clip"} | {
    f"mini-{name}": f"mini-clip-{name}" for name in ("lost", "aligned")
}
# What a tag decides besides the weights, with `quick_gelu`.
_PREPROCESSING = ("mean", "std", "interpolation", "resize_mode")


@dataclass(frozen=True)
class ClipSource:
    """Where a CLIP comes from."""

    label: str
    weights: str  # where they come from, in words
    identifier: str  # open_clip's name of the architecture, or "local-dir:" and a folder
    folder: Path | None = None
    file: Path | None = None  # weights of the user's own
    options: dict[str, Any] = field(default_factory=dict)  # open_clip's, `pretrained` among them

    @property
    def config(self) -> dict[str, Any]:
        """The architecture's settings."""
        return open_clip.get_model_config(self.identifier)

    def read(
        self, device: torch.device, dtype: torch.dtype
    ) -> tuple[torch.nn.Module, Callable, Callable]:
        """Model, preprocessing and tokenizer. Never runs code that a config names, or offers to.

        Weights are read from safetensors where they are published so. Other checkpoints are read
        with PyTorch's ``weights_only=True``, which runs no code from the file.
        """
        with explained(self._explain):
            text = self.config["text_cfg"]
            if text.get("hf_model_name"):
                refuse_code_of(text["hf_model_name"])
            # In FORMATS' half precision layer norms stay in float32, as in OpenAI's own code.
            model, _, preprocess = open_clip.create_model_and_transforms(
                self.identifier, device=device, precision=FORMATS[dtype], weights_only=True,
                require_pretrained=self.folder is not None or "pretrained" in self.options,
                **self.options,
            )  # fmt: skip
            safe = {"trust_remote_code": False} if text.get("hf_tokenizer_name") else {}
            tokenizer = open_clip.get_tokenizer(self.identifier, **safe)
            tokenizer(["Why \u2603?"])  # a sign that a small vocabulary lacks: damage shows here
        return model, preprocess, tokenizer

    def _explain(self, error: BaseException, text: str) -> str:
        where = self.folder or self.identifier
        if self.file is not None:
            another = "size mismatch" in text or "loading state_dict" in text
            problem = f"it is of another architecture. {text}"
            problem = problem if another else f"{what_is_wrong(self.file)}."
            return f"{self.file} holds no weights of {where}: {problem}"
        offline = isinstance(error, OSError) or "Failed to download" in str(error)
        if offline and self.folder is None:
            return _without_network(self.identifier, error)
        return (
            f"{where} cannot be read: its weights are damaged, were not copied whole or hold more "
            "than tensors (which could run code), or its files are not files of one model in "
            "open_clip's format. Delete the file and fetch it again; downloads are kept in "
            f"{hub.HF_HUB_CACHE}. {text}"
        )


def find_clip(
    name: str | Path, pretrained: str | Path | bool | None = None, looks: str | None = None
) -> ClipSource:
    """The source of a name; arguments and warnings are those of `load_clip`."""
    if isinstance(name, str) and name.startswith("local-dir:"):
        name = Path(name.removeprefix("local-dir:"))
    identifier = str(name).replace("/", "-")
    published = identifier in open_clip.list_models()
    folder = find_folder(name, SHIPPED, published)
    if folder is None and not published:
        raise ModelError(
            f"unknown CLIP {name!r}: {_hint(name)}Names are 'mini', those of "
            "open_clip.list_models(), and folders that exist."
        )
    if folder is None:
        return _published(identifier, pretrained, looks)
    if (pretrained, looks) != (None, None):
        raise ModelError(
            f"{str(name)!r} means the folder {folder}, which holds its own weights and settings: "
            "leave pretrained and looks out"
        )
    _check_folder(folder)
    identifier = f"local-dir:{folder}"
    if name in SHIPPED:
        return ClipSource(str(name), "of this package", identifier, folder)
    return ClipSource(folder.resolve().name, f"from {folder}", identifier, folder)


# --- published weights, and files for a published architecture -----------------------------------


def _published(
    identifier: str, pretrained: str | Path | bool | None, looks: str | None
) -> ClipSource:
    tags = open_clip.list_pretrained_tags_by_model(identifier)
    choices = f"choose one of {', '.join(tags) or '(none)'}"
    default = "openai" if "openai" in tags else next(iter(tags), None)
    if looks not in (None, *tags):
        raise ModelError(
            f"{identifier!r} has no weights {looks!r} whose looks could be taken; {choices}"
        )
    if pretrained is False:
        # As the default weights have it, so that the random model is their likeness in all else.
        options = {"pretrained_text": False, **_looks(identifier, default)}
        return ClipSource(f"{identifier}:random", "random", identifier, options=options)
    tag = default if pretrained is None else str(pretrained)
    if tag is None:
        raise ModelError(
            f"no weights are published for {identifier!r}: choose another model, give a file as "
            "pretrained=, or pretrained=False for random weights"
        )
    if get_pretrained_cfg(identifier, tag):
        if looks not in (None, tag):
            raise ModelError(
                f"the published weights {tag!r} have looks of their own: leave {looks!r} out"
            )
        described = f"{tag!r} by default" if pretrained is None else repr(tag)
        options = {"pretrained": tag, **_looks(identifier, tag)}
        return ClipSource(f"{identifier}:{tag}", described, identifier, options=options)
    file = Path(os.path.expanduser(tag))
    if not os.path.isfile(file):
        raise ModelError(
            f"{identifier!r} has no weights {tag!r}; {choices}, or give a file that exists"
        )
    others = [tag for tag in tags if _looks(identifier, tag) != _looks(identifier, default)]
    if looks is None and others:
        warnings.warn(
            f"the published weights of {identifier} differ in activation or preprocessing, and "
            f"{file} does not say which it was trained with: those of {default!r} are taken. Give "
            f"looks={default!r} if that is right, else another tag, such as looks={others[0]!r}.",
            stacklevel=4,
        )
    if default is None:
        warnings.warn(
            f"no weights are published of {identifier}, so nothing says which activation and "
            f"preprocessing {file} was trained with: open_clip's defaults are taken. If they are "
            "others, put the file into a folder in open_clip's format, whose config says so.",
            stacklevel=4,
        )
    looks = looks or default
    owner = f"those of {looks!r}" if looks else "open_clip's defaults"
    described = f"of the file {file}, activation and preprocessing {owner}"
    options = {"pretrained": str(file), **_looks(identifier, looks)}
    return ClipSource(f"{identifier}:{file.stem}", described, identifier, None, file, options)


def _looks(identifier: str, tag: str | None) -> dict[str, Any]:
    """What published weights decide besides themselves, as arguments for open_clip."""
    config = get_pretrained_cfg(identifier, tag) if tag else {}
    stated = {f"image_{key}": config[key] for key in _PREPROCESSING if config.get(key) is not None}
    return {**stated, "force_quick_gelu": bool(config.get("quick_gelu"))}


def _home(identifier: str, tag: str) -> str:
    """The repository on the hub that has these weights; empty if there is none."""
    return get_pretrained_cfg(identifier, tag).get("hf_hub", "").rpartition("/")[0]


def _hint(name: str) -> str:
    """What a model may be called here that this name does not find, as a sentence."""
    text = name.removeprefix("hf-hub:").rstrip("/")
    models = open_clip.list_models()
    # OpenAI's ViT-L/14@336px
    renamed = re.sub(r"@(\d+)(?:px)?$", r"-\1", text).replace("/", "-")
    if port := re.fullmatch(r"(?:openai/)?clip-vit-(base|large)-patch(\d+)(-336)?", text):
        renamed = f"ViT-{port[1][0].upper()}-{port[2]}{port[3] or ''}"
    if renamed in models:
        return f"the same weights are load_clip({renamed!r}). "
    for model, tag in open_clip.list_pretrained():
        if _home(model, tag) == text:
            return f"the same weights are load_clip({model!r}, pretrained={tag!r}). "
    if "llava" in text.lower():
        return f"it may be a model for load_mllm({text!r}). "
    close = get_close_matches(name[:80].replace("/", "-"), [*SHIPPED, *models], n=4, cutoff=0.5)
    return f"did you mean {' or '.join(map(repr, close))}? " if close else ""


def _without_network(identifier: str, error: BaseException) -> str:
    """What to do when weights cannot be fetched."""
    tags = open_clip.list_pretrained_tags_by_model(identifier)
    homes = filter(None, (_home(identifier, tag) for tag in tags))
    repository = next((home for home in homes if home in str(error)), "REPOSITORY")
    return (
        f"the files of {identifier} are not on this machine and cannot be fetched ({error}).\n"
        "On a machine with a network, do one of these, or stay at mini scale: load_clip('mini').\n"
        f"- Run the same load_clip call once, copy its folder {hub.HF_HUB_CACHE} here, and name "
        "the folder that holds 'hub' in the environment variable HF_HOME.\n"
        f"- Run: hf download {repository} --local-dir FOLDER\n"
        "  Copy FOLDER here, and call load_clip('path/to/FOLDER')."
    )


# --- folders -------------------------------------------------------------------------------------


def _check_folder(folder: Path) -> None:
    """Refuse what open_clip would stumble over later; warn of what it would fill in by itself."""
    # It would go on without weights, at random.
    ends = (".safetensors", ".bin", ".pth")
    files = os.listdir(folder) if os.path.isdir(folder) else []
    weights = next((file for file in files if file.endswith(ends)), "open_clip_model.safetensors")
    require(folder, "open_clip_config.json", weights)
    refuse_unsafe(folder)
    path = folder / "open_clip_config.json"
    config = json.loads(path.read_bytes())
    stated = (config.get("preprocess_cfg") if isinstance(config, dict) else None) or {}
    if not isinstance(stated, dict):
        raise ModelError(f"{path}: preprocess_cfg is a {type(stated).__name__}, not settings")
    for key, least in (("mean", -math.inf), ("std", 0)):
        values = stated.get(key, [1, 1, 1])
        if not isinstance(values, list) or len(values) != 3 or not all(
            type(value) in (int, float) and least < value < math.inf for value in values
        ):  # fmt: skip
            raise ModelError(
                f"{path}: preprocess_cfg.{key} needs three numbers, it is {brief(values)}"
            )
    missing = " and ".join(key for key in ("mean", "std") if key not in stated)
    if missing:
        text = f"{path} has no {missing} in preprocess_cfg: OpenAI's are taken"
        warnings.warn(text, stacklevel=4)
