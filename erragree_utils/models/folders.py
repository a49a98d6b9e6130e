"""Folders and files of models: finds them by name, and makes sure that nothing in them runs."""

from __future__ import annotations

import json
import os
import re
import textwrap
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers import PreTrainedConfig

from ..checks import brief
from .device import is_out_of_memory

#: What ships with this package.
ASSETS = Path(__file__).parent.parent / "assets"
MAX_LAYERS = 1000  # the deepest published models have some hundreds
# Of words and their numbers: "layer" is one of Llama's. Libraries take no settings from these.
_VOCABULARIES = ("tokenizer.json", "vocab.json", "added_tokens.json")
_LAYERS = re.compile(r"layers?|num_(hidden_)?layers|n_layers?|depths?|num_blocks", re.IGNORECASE)


class ModelError(ValueError):
    """A model is unknown, or its weights are absent or damaged; the message says what to do."""


# --- names and files -----------------------------------------------------------------------------


def find_folder(
    name: str | Path, shipped: Mapping[str, str], published: bool = False
) -> Path | None:
    """The folder that a name means, whether it exists or not; None for a published model's name.

    Parameters
    ----------
    shipped : mapping of str to str
        Names of models that ship with this package, and their folders in `ASSETS`.
    published : bool
        Whether the name is a published model's, which comes before a folder of that name.
    """
    if not isinstance(name, str | Path) or not str(name).strip():
        raise ModelError(
            f"unknown model: {brief(name)} is not a name; names are 'mini', folders that exist, "
            "and those of published models"
        )
    if name in shipped:
        return ASSETS / shipped[name]
    path = os.path.expanduser(name)
    meant = isinstance(name, Path) or name.startswith((".", "~", "/"))
    if os.path.isdir(path) and (meant or not published):
        return Path(path)
    return Path(name) if meant else None  # as the user wrote it, for errors


def require(folder: Path, *files: str) -> None:
    """Refuse a folder that lacks one of these files; the error names the missing ones."""
    missing = [file for file in files if not os.path.isfile(folder / file)]
    if not missing:
        return
    advice = "give a folder with settings and safetensors (weights in other formats can run code)"
    if folder.parent == ASSETS:
        kind = folder.name.split("-")[1]
        advice = f"install the package again, or run python -m erragree_utils.training.{kind}"
    raise ModelError(f"{folder} lacks {' and '.join(missing)}: {advice}")


# --- code and endless layers ---------------------------------------------------------------------


def refuse_unsafe(folder: Path) -> None:
    """Refuse a folder whose settings name code of their own, or absurdly many layers.

    Libraries would ask whether to run it, or run it. Nothing in this package runs code of a model.
    """
    for path in sorted(folder.glob("*.json")):
        try:
            settings = json.loads(path.read_bytes())
        except (OSError, ValueError, RecursionError) as error:
            raise ModelError(
                f"{path} cannot be read as JSON ({error}): delete it and fetch it again"
            ) from error
        if path.name not in _VOCABULARIES:
            _refuse(settings, path)


def refuse_code_of(name: str) -> None:
    """The same for a config that a library will look up: in a folder, or on the hub."""
    if os.path.isdir(name):
        refuse_unsafe(Path(name))
    else:
        _refuse(PreTrainedConfig.get_config_dict(name)[0], name)


def _refuse(settings: Any, where: str | Path) -> None:
    for key, value in _entries(settings):
        # Transformers would fetch an attention kernel, which is compiled code, from the hub.
        kernel = key.endswith("attn_implementation") and isinstance(value, str) and "/" in value
        if key == "auto_map" or kernel:
            raise ModelError(
                f"{where} asks for code of the model's own ({key}), and code of a model is never "
                "run. Use a model that open_clip or Transformers reads by itself; if this one is "
                "such a model, take the setting out of the file."
            )
        counts = value if isinstance(value, list) else [value]
        if _LAYERS.fullmatch(key) and any(
            isinstance(count, int | float) and count > MAX_LAYERS for count in counts
        ):
            raise ModelError(
                f"{where}: {key} is {brief(value)}, more than {MAX_LAYERS}: the file is damaged, "
                "or no model's"
            )


def _entries(settings: Any) -> Iterator[tuple[str, Any]]:
    """Every key with its value, however deep; without recursion, which could be too deep."""
    waiting = [settings]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield from value.items()
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value


# --- files that cannot be read -------------------------------------------------------------------


@contextmanager
def explained(explain: Callable[[BaseException, str], str]) -> Iterator[None]:
    """Turn whatever libraries raise on a broken file into a `ModelError`.

    A key press, an exit and a memory that was too small go through.

    Parameters
    ----------
    explain : callable
        From the error, and its text without advice to run what the file holds, to what to do.
    """
    try:
        yield
    except ModelError:
        raise
    except BaseException as error:
        # A tokenizer's compiled code that gives up on a damaged file raises no Exception.
        panic = type(error).__name__ == "PanicException"
        if not (isinstance(error, Exception) or panic) or is_out_of_memory(error):
            raise
        text = textwrap.shorten(f"{type(error).__name__}: {error}", 500)
        advice = re.search("weights_only|trust_remote_code", text)
        raise ModelError(explain(error, "" if advice else text)) from error


def what_is_wrong(path: Path) -> str:
    """Why we can't read weights from a file, as far as we can see."""
    try:
        with path.open("rb") as file:
            head = file.read(512).lstrip().lower()
        names = []
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
    except (OSError, zipfile.BadZipFile) as error:
        return f"it cannot be read ({error})"
    if any(name.endswith("constants.pkl") or "/code/" in name for name in names):
        return (
            "it is a TorchScript archive, which holds code, and code of a model is never run. "
            "OpenAI's weights are published without it: leave pretrained out, or give 'openai'. "
            "Weights of your own: save their state_dict as safetensors"
        )
    if not head:
        return "it is empty, so damaged or not copied whole: delete it and fetch it again"
    if head.startswith((b"<!doctype", b"<html", b"<?xml", b"version https://git-lfs")):
        return "it is a web page or a pointer in the place of the weights: fetch it again"
    return (
        "it is damaged, was not copied whole, or holds more than tensors, which is not read, as "
        "it could run code: fetch it again, or save the state_dict as safetensors"
    )
