"""Folders and files of models: what a name means, and that nothing in them is run."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from transformers import PreTrainedConfig

from .device import is_out_of_memory

#: What ships with this package.
ASSETS = Path(__file__).parent.parent / "assets"
MAX_LAYERS = 1000  # the deepest published models have some hundreds
_LAYERS = re.compile(r"layers?|num_(hidden_)?layers|n_layers?|depths?|num_blocks", re.IGNORECASE)


class ModelError(ValueError):
    """A model is unknown, or its weights are absent or damaged; the message says what to do."""


def check_name(name: Any) -> None:
    """Refuse what cannot name a model.

    Raises
    ------
    ModelError
    """
    if not isinstance(name, str | Path) or not str(name).strip():
        told = f"a {type(name).__name__}" if not isinstance(name, str) else repr(name)
        raise ModelError(
            f"unknown model: {told} is not a name; names are 'mini', folders that exist, and those "
            "of published models"
        )


def is_folder(name: str | Path) -> bool:
    """Whether there is such a folder; also for names that no file system takes."""
    try:
        return Path(name).expanduser().is_dir()
    except (OSError, ValueError, RuntimeError):
        return False


def refuse_unsafe(folder: Path) -> None:
    """Refuse a folder whose settings name code of its own, or layers without end.

    Libraries would ask whether to run it, or run it. Nothing in this package runs code of a model.

    Raises
    ------
    ModelError
        It names the file.
    """
    for path in sorted(folder.glob("*.json")):
        try:
            settings = json.loads(path.read_bytes())
        except (OSError, ValueError, RecursionError) as error:
            raise ModelError(
                f"{path} cannot be read as JSON ({error}): delete it and fetch it again"
            ) from error
        if _names_code(settings):
            raise _has_code(path)
        for name, count in _layer_counts(settings):
            if count > MAX_LAYERS:
                raise ModelError(
                    f"{path}: {name} is {count}, more than {MAX_LAYERS}: the file is damaged, or "
                    "no model's"
                )


def refuse_code_of(name: str) -> None:
    """The same for a config that a library will look up: in a folder, or on the hub.

    Raises
    ------
    ModelError
    """
    if is_folder(name):
        refuse_unsafe(Path(name))
    elif _names_code(PreTrainedConfig.get_config_dict(name)[0]):
        raise _has_code(name)


def _names_code(settings: Any) -> bool:
    waiting = [settings]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if "auto_map" in value or any(_is_kernel(*item) for item in value.items()):
                return True
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
    return False


def _layer_counts(value: Any) -> Iterator[tuple[str, int | float]]:
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting += value
        elif isinstance(value, dict):
            waiting += value.values()
            for name in filter(_LAYERS.fullmatch, value):
                counts = value[name] if isinstance(value[name], list) else [value[name]]
                yield from ((name, n) for n in counts if isinstance(n, int | float))


def _is_kernel(key: str, value: Any) -> bool:
    """Whether a setting names compiled code on the hub, which Transformers would fetch."""
    return key.endswith("attn_implementation") and isinstance(value, str) and "/" in value


def _has_code(where: Any) -> ModelError:
    return ModelError(
        f"{where} asks for code of the model's own (auto_map, or an attention kernel), and code "
        "of a model is never run. Use a model that open_clip or Transformers reads by itself; if "
        "this one is such a model, take the setting out of the file."
    )


def what_is_wrong(path: Path) -> str:
    """Why a file holds no weights that are read, as far as it shows."""
    try:
        with path.open("rb") as file:
            head = file.read(512).lstrip().lower()
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
            if any(name.endswith("constants.pkl") or "/code/" in name for name in names):
                return (
                    "it is a TorchScript archive, which holds code, and code of a model is never "
                    "run. OpenAI's weights are published without it: leave pretrained out, or give "
                    "'openai'. Weights of your own: save their state_dict as safetensors"
                )
    except (OSError, zipfile.BadZipFile) as error:
        return f"it cannot be read ({error})"
    if not head:
        return "it is empty, so damaged or not copied whole: delete it and fetch it again"
    if head.startswith((b"<!doctype", b"<html", b"<?xml", b"version https://git-lfs")):
        return "it is a web page or a pointer in the place of the weights: fetch it again"
    return (
        "it is damaged, was not copied whole, or holds more than tensors, which is not read, as "
        "it could run code: fetch it again, or save the state_dict as safetensors"
    )


def without_advice(told: str) -> str:
    """A library's message, unless it advises to run what a file holds."""
    return "" if re.search("weights_only|trust_remote_code", told) else told


def is_serious(error: BaseException) -> bool:
    """Whether an error is to go through: a key press, an exit, or a memory that was too small.

    A tokenizer's compiled code that gives up on a damaged file is none of Python's exceptions.
    """
    panic = type(error).__name__ == "PanicException"
    return not (isinstance(error, Exception) or panic) or is_out_of_memory(error)
