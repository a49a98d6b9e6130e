"""CLIP models through open_clip: the mini one, the published ones, and folders.

``load_clip("mini")`` and ``load_clip("ViT-L-14-336")`` differ in a string; every line that embeds
with the result is the same.
"""

from __future__ import annotations

import json
import math
import pickle
import re
import textwrap
import warnings
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from huggingface_hub import constants as hub
from open_clip.pretrained import get_pretrained_cfg
from open_clip.transformer import VisionTransformer
from PIL import Image
from safetensors import SafetensorError
from torch.nn import functional as F

from ..checks import brief, listed
from .device import EncodeError, in_batches, pick_device, pick_dtype
from .folders import (
    ASSETS,
    ModelError,
    check_name,
    is_folder,
    is_serious,
    refuse_code_of,
    refuse_unsafe,
    what_is_wrong,
    without_advice,
)
from .inputs import encodable, length, worded

# "mini-positions" saw captions that state on which side of the picture a thing is (chapter 4). The
# last three are model organisms: left and right are hidden in the embedding, lost, or aligned.
_SHIPPED = {"mini": "mini-clip"} | {
    f"mini-{name}": f"mini-clip-{name}" for name in ("positions", "hidden", "lost", "aligned")
}
# "fp16" and "bf16" keep layer norms in float32, as OpenAI's own code does.
_PRECISION = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}
# What a tag decides besides the weights, with `quick_gelu`.
_PREPROCESSING = ("mean", "std", "interpolation", "resize_mode")


class Clip:
    """A CLIP model with its preprocessing and its tokenizer. Made by `load_clip`.

    Attributes
    ----------
    name : str
        ``"mini"`` or another that is shipped, ``"ViT-L-14-336:openai"`` (architecture and weights)
        or a folder's name.
    weights : str
        Where the weights come from, for people.
    device : torch.device
    dtype : torch.dtype
        Number format of the computation; what comes out is always float32.
    model : torch.nn.Module
        open_clip's model, in evaluation mode, without gradients.
    preprocess : callable
        A PIL image to the model's input (3, H, W).
    tokenizer : callable
        A list of texts to token numbers (N, context length).
    embed_dim : int
        Numbers in an embedding.
    """

    def __init__(
        self,
        name: str,
        weights: str,
        model: torch.nn.Module,
        preprocess: Any,
        tokenizer: Any,
        embed_dim: int,
        device: torch.device,
        dtype: torch.dtype,
    ):
        self.name, self.weights, self.embed_dim = name, weights, embed_dim
        self.model, self.preprocess, self.tokenizer = model, preprocess, tokenizer
        self.device, self.dtype = device, dtype
        model.eval().requires_grad_(False)

    def __repr__(self) -> str:
        precision = str(self.dtype).removeprefix("torch.")
        return (
            f"<Clip {self.name}: weights {self.weights}, {self.image_size} px, "
            f"{self.embed_dim}-d embeddings, {precision} on {self.device}>"
        )

    @property
    def image_size(self) -> int:
        """Pixels a side of the model's input."""
        size = self.model.visual.image_size
        return size if isinstance(size, int) else size[0]

    def embed_images(
        self, images: Iterable[Image.Image], batch_size: int = 64, progress: bool = False
    ) -> np.ndarray:
        """Image embeddings: the projected class token, divided by its length.

        Parameters
        ----------
        images : iterable of PIL.Image.Image
            A generator is read a batch at a time.
        batch_size : int
            Halved when the device's memory is too small.
        progress : bool
            Show a progress bar.

        Returns
        -------
        numpy.ndarray, float32, shape (N, embed_dim)
            Rows of unit length.

        Raises
        ------
        EncodeError
            If an item is not an image, is damaged or cannot be preprocessed; it names the item.
        TypeError
            If a single image is given instead of a list.
        """

        def encode(batch: list[Image.Image], first: int) -> np.ndarray:
            features = self.model.encode_image(self.pixels(batch, first))
            return self.unit(features, "image", first)

        label = "images" if progress else None
        return self._gather(listed(images, "images"), batch_size, encode, label)

    def embed_texts(self, texts: Sequence[str], batch_size: int = 256) -> np.ndarray:
        """Text embeddings: the projected end token, divided by its length.

        Parameters
        ----------
        texts : sequence of str
        batch_size : int
            Halved when the device's memory is too small.

        Returns
        -------
        numpy.ndarray, float32, shape (N, embed_dim)
            Rows of unit length.

        Warns
        -----
        UserWarning
            If a text is longer than the model's context and cut, or has words that a word-level
            tokenizer does not know: two texts that differ there alone have the same embedding.

        Raises
        ------
        EncodeError
            If an item is not a string, or is empty; it names the item.
        TypeError
            If a single text is given instead of a list.
        """
        listed(texts, "texts")

        def encode(batch: list[str], first: int) -> np.ndarray:
            tokens = self._tokens(batch, first).to(self.device)
            return self.unit(self.model.encode_text(tokens), "text", first)

        return self._gather(texts, batch_size, encode, None)

    def patch_tokens(
        self, images: Iterable[Image.Image], batch_size: int = 64, progress: bool = False
    ) -> np.ndarray:
        """Patch tokens as LLaVA-1.5 reads them: from the last block but one, no class token.

        This is ``vision_feature_layer=-2`` with ``vision_feature_select_strategy="default"`` in
        Transformers; no final layer norm is applied (Liu et al. 2023, "Improved Baselines with
        Visual Instruction Tuning", and the official code).

        Returns
        -------
        numpy.ndarray, float32, shape (N, patches, width)
            Patches row by row from the top left; ViT-L/14 at 336 px has 576 of 1024 numbers.

        Raises
        ------
        ModelError
            If the image tower is not a vision transformer with at least two blocks.
        EncodeError
            As in `embed_images`.
        """
        tower = self.model.visual
        if not isinstance(tower, VisionTransformer) or len(tower.transformer.resblocks) < 2:
            raise ModelError(
                f"{self.name} has no patch tokens to read: its image tower is a "
                f"{type(tower).__name__}, and a vision transformer of two blocks or more is "
                "needed. Use 'mini' or one of open_clip's 'ViT-' models."
            )

        def encode(batch: list[Image.Image], first: int) -> np.ndarray:
            out = tower.forward_intermediates(
                self.pixels(batch, first),
                indices=[len(tower.transformer.resblocks) - 2],
                stop_early=True,
                intermediates_only=True,
                output_fmt="NLC",
            )
            return out["image_intermediates"][0].float().cpu().numpy()

        label = "patch tokens" if progress else None
        return self._gather(listed(images, "images"), batch_size, encode, label)

    @torch.inference_mode()
    def _gather(self, items, batch_size: int, encode, progress: str | None) -> np.ndarray:
        total = length(items)
        parts = in_batches(items, batch_size, encode, total=total, progress=progress)
        return np.concatenate(parts) if parts else np.zeros((0, self.embed_dim), np.float32)

    def pixels(self, images: list[Image.Image], first: int) -> torch.Tensor:
        """Inputs of the image tower; an image that cannot be read is named by its index."""
        inputs = []
        for index, image in enumerate(images, first):
            image = encodable(image, index)
            try:
                inputs.append(self.preprocess(image))
            except (ValueError, OSError, ZeroDivisionError) as error:
                raise EncodeError(
                    f"image {index} ({image.width} x {image.height} px) cannot be preprocessed: "
                    f"{error}",
                    index,
                ) from error
        return torch.stack(inputs).to(self.device, self.dtype)

    def _tokens(self, texts: list[str], first: int) -> torch.Tensor:
        for index, text in enumerate(texts, first):
            worded(text, f"text {index}", index)
        tokens = self.tokenizer(texts)
        room = tokens.shape[1]
        # A text that fits has the same tokens when there is room for one more.
        cut = (self.tokenizer(texts, context_length=room + 1)[:, :room] != tokens).any(1)
        self._warn(cut, texts, f"longer than the {room} tokens {self.name} reads, and cut")
        core = getattr(self.tokenizer, "tokenizer", None)
        unknown = getattr(core, "unk_token_id", None)
        if unknown is not None and unknown not in (core.pad_token_id, core.eos_token_id):
            self._warn((tokens == unknown).any(1), texts, f"with words {self.name} does not know")
        return tokens

    @staticmethod
    def _warn(which: torch.Tensor, texts: list[str], what: str) -> None:
        if which.any():
            example = textwrap.shorten(texts[int(which.nonzero()[0])], 80)
            # Seven calls up is the caller of embed_texts.
            warnings.warn(f"texts {what}: {int(which.sum())}, such as {example!r}", stacklevel=8)

    def unit(self, features: torch.Tensor, kind: str, first: int) -> np.ndarray:
        """Embeddings of length one; one that is not numbers is named by its index."""
        out = F.normalize(features.float(), dim=-1).cpu().numpy()
        bad = ~np.isfinite(out).all(axis=1)
        if bad.any():
            index = first + int(bad.argmax())
            raise EncodeError(
                f"the embedding of {kind} {index} is not finite: the weights are damaged, or "
                "dtype is too coarse (try dtype='float32')",
                index,
            )
        return out


def load_clip(
    name: str | Path = "mini",
    pretrained: str | Path | bool | None = None,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    looks: str | None = None,
) -> Clip:
    """Load a CLIP model.

    Parameters
    ----------
    name : str or pathlib.Path
        ``"mini"``, ``"mini-positions"``, ``"mini-hidden"``, ``"mini-lost"`` or ``"mini-aligned"``
        (ship with this package); a name of open_clip's, such as ``"ViT-L-14-336"``; or a folder
        in open_clip's ``local-dir:`` format (``open_clip_config.json``,
        ``open_clip_model.safetensors`` and, if the config names one, a tokenizer).
    pretrained : str, pathlib.Path or False, optional
        For names of open_clip's: the tag of the published weights, or a file. By default
        ``"openai"`` if there are such weights, else the first tag listed. False gives random
        weights, for tests.
    device : str or torch.device, optional
        By default CUDA, MPS or CPU, the first there is.
    dtype : str or torch.dtype, optional
        ``"float32"`` (default), ``"float16"`` (GPU only) or ``"bfloat16"``.
    looks : str, optional
        A tag decides more than weights: the activation (GELU or OpenAI's QuickGELU), mean and
        standard deviation, interpolation and resizing. A file does not say which it was trained
        with: it gets those of this tag, by default those of the name's default tag.

    Returns
    -------
    Clip
        Its `weights` say whose activation and preprocessing a file got.

    Warns
    -----
    UserWarning
        If the name's published weights differ in these, and the file's were not given; or if a
        folder's config has no mean or standard deviation.

    Raises
    ------
    ModelError
        If name or tag are unknown, if the weights cannot be fetched, if they are damaged or of
        another architecture, or if the model asks for code of its own. The message says what to do.
    ValueError
        If device or dtype are unknown or do not go together.

    Notes
    -----
    Weights are read from safetensors where they are published so. Other checkpoints are read with
    PyTorch's ``weights_only=True``, which runs no code from the file.
    """
    check_name(name)
    device = pick_device(device)
    dtype = pick_dtype(dtype, device)
    options = {"device": device, "precision": _PRECISION[dtype]}
    folder = _folder(name)
    if folder is not None:
        _check_folder(folder, name, pretrained if looks is None else looks)
        label = str(name) if name in _SHIPPED else folder.resolve().name
        weights = "of this package" if name in _SHIPPED else f"from {folder}"
        identifier, source, file = f"local-dir:{folder}", {"pretrained": None}, None
    else:
        identifier, label, weights, source = _published(str(name), pretrained, looks)
        tag = source["pretrained"]
        published = tag is None or get_pretrained_cfg(identifier, tag)
        file = None if published else Path(tag)
    model, preprocess, tokenizer = _guarded(
        identifier, file, lambda: _read(identifier, source, options)
    )
    embed_dim = open_clip.get_model_config(identifier)["embed_dim"]
    return Clip(label, weights, model, preprocess, tokenizer, embed_dim, device, dtype)


def _folder(name: str | Path) -> Path | None:
    """The folder that a name means, or None if it is a name of open_clip's."""
    if name in _SHIPPED:
        return ASSETS / _SHIPPED[name]
    text = str(name).removeprefix("local-dir:")
    if isinstance(name, Path) or text != str(name) or text.startswith((".", "~", "/")):
        return Path(text).expanduser() if is_folder(text) else Path(text)
    known = text.replace("/", "-") in open_clip.list_models()
    return Path(text) if not known and is_folder(text) else None


def _check_folder(folder: Path, name: str | Path, given: str | Path | bool | None) -> None:
    if given is not None:
        raise ModelError(
            f"{str(given)!r} makes no sense with {str(name)!r}: the folder {folder} holds its own "
            "weights and settings; leave pretrained and looks out"
        )
    there = is_folder(folder)
    config = folder / "open_clip_config.json"
    missing = [] if there and config.is_file() else [config.name]
    # open_clip itself would go on without weights, at random.
    if not there or not any(any(folder.glob(f"*.{end}")) for end in ("safetensors", "bin", "pth")):
        missing.append("open_clip_model.safetensors")
    if not missing:
        refuse_unsafe(folder)
        _check_preprocessing(config)
        return
    if name in _SHIPPED:
        raise ModelError(
            f"the {name} CLIP is not complete: {folder} lacks {' and '.join(missing)}. Install the "
            "package again, or train the model: python -m erragree_utils.training.clip"
        )
    raise ModelError(
        f"{folder} is not a model in open_clip's format: it lacks {' and '.join(missing)}. "
        "Give the folder that holds both files."
    )


def _check_preprocessing(path: Path) -> None:
    """Refuse what open_clip would stumble over later; tell what it would fill in by itself."""
    config = json.loads(path.read_bytes())
    found = config.get("preprocess_cfg") if isinstance(config, dict) else None
    found = {} if found is None else found
    if not isinstance(found, dict):
        raise ModelError(f"{path}: preprocess_cfg is a {type(found).__name__}, not settings")
    for key in ("mean", "std"):
        values = found.get(key, [1, 1, 1])
        right = isinstance(values, list) and len(values) == 3
        if not right or not all(_is_number(v) and (key == "mean" or v > 0) for v in values):
            raise ModelError(
                f"{path}: preprocess_cfg.{key} needs three numbers, it is {brief(values)}"
            )
    missing = [key for key in ("mean", "std") if key not in found]
    if missing:
        warnings.warn(
            f"{path} has no {' and '.join(missing)} in preprocess_cfg: OpenAI's are taken",
            stacklevel=4,
        )


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _published(
    name: str, pretrained: str | Path | bool | None, looks: str | None = None
) -> tuple[str, str, str, dict[str, Any]]:
    """open_clip's name, our label, a description of the weights, and arguments for open_clip."""
    identifier = name.replace("/", "-")
    models = open_clip.list_models()
    if identifier not in models:
        close = get_close_matches(identifier[:80], [*_SHIPPED, *models], n=4, cutoff=0.5)
        hint = f"did you mean {' or '.join(map(repr, close))}? " if close else ""
        raise ModelError(
            f"unknown CLIP {name!r}: {_other_name(name) or hint}Names are 'mini', those of "
            "open_clip.list_models(), and folders that exist."
        )
    tags = open_clip.list_pretrained_tags_by_model(identifier)
    default = "openai" if "openai" in tags else next(iter(tags), None)
    if looks is not None and looks not in tags:
        raise ModelError(
            f"{name!r} has no weights {looks!r} whose looks could be taken; choose one of "
            f"{', '.join(tags) or '(none)'}"
        )
    if pretrained is False:
        # As the default weights have it, so that the random model is their likeness in all else.
        source = {"pretrained": None, "pretrained_text": False, **_looks(identifier, default)}
        return identifier, f"{identifier}:random", "random", source
    if pretrained is None and default is None:
        raise ModelError(
            f"no weights are published for {name!r}: choose another model, give a file as "
            "pretrained=, or pretrained=False for random weights"
        )
    tag = default if pretrained is None or pretrained is True else str(pretrained)
    if get_pretrained_cfg(identifier, tag):
        if looks not in (None, tag):
            raise ModelError(
                f"the published weights {tag!r} have looks of their own: leave {looks!r} out"
            )
        described = f"{tag!r} by default" if pretrained is None else repr(tag)
        source = {
            "pretrained": tag,
            "force_quick_gelu": _looks(identifier, tag)["force_quick_gelu"],
        }
        return identifier, f"{identifier}:{tag}", described, source
    file = Path(tag).expanduser()
    if not _is_file(file):
        raise ModelError(
            f"{name!r} has no weights {tag!r}; choose one of {', '.join(tags) or '(none)'}, "
            "or give a file that exists"
        )
    chosen = default if looks is None else looks
    if looks is None:
        _warn_of_looks(identifier, file, tags, default)
    owner = f"those of {chosen!r}" if chosen else "open_clip's defaults"
    described = f"of the file {file}, activation and preprocessing {owner}"
    source = {"pretrained": str(file), **_looks(identifier, chosen)}
    return identifier, f"{identifier}:{file.stem}", described, source


def _looks(identifier: str, tag: str | None) -> dict[str, Any]:
    """What published weights decide besides themselves, as arguments for open_clip."""
    config = get_pretrained_cfg(identifier, tag) if tag else {}
    given = {f"image_{key}": config[key] for key in _PREPROCESSING if config.get(key) is not None}
    return {**given, "force_quick_gelu": bool(config.get("quick_gelu"))}


def _warn_of_looks(identifier: str, file: Path, tags: list[str], default: str | None) -> None:
    others = [tag for tag in tags if _looks(identifier, tag) != _looks(identifier, default)]
    if others:
        warnings.warn(
            f"the published weights of {identifier} differ in activation or preprocessing, and "
            f"{file} does not say which it was trained with: those of {default!r} are taken. Give "
            f"looks={default!r} if that is right, else another tag, such as looks={others[0]!r}.",
            stacklevel=4,
        )


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that no file system takes
        return False


def _other_name(name: str) -> str:
    """What a model that is called differently elsewhere is called here, as a sentence."""
    text = name.removeprefix("hf-hub:").rstrip("/")
    models = open_clip.list_models()
    ported = re.fullmatch(r"(?:openai/)?clip-vit-(base|large)-patch(\d+)(-336)?", text)
    renamed = (
        f"ViT-{ported[1][0].upper()}-{ported[2]}{ported[3] or ''}"
        if ported
        else re.sub(r"@(\d+)(?:px)?$", r"-\1", text).replace("/", "-")  # OpenAI's ViT-L/14@336px
    )
    if renamed in models:
        return f"the same weights are load_clip({renamed!r}). "
    for model, tag in open_clip.list_pretrained():
        if get_pretrained_cfg(model, tag).get("hf_hub", "").rpartition("/")[0] == text:
            return f"the same weights are load_clip({model!r}, pretrained={tag!r}). "
    if "llava" in text.lower():
        return f"it may be a model for load_mllm({text!r}). "
    return ""


def _read(identifier: str, source: dict[str, Any], options: dict[str, Any]):
    """Model, preprocessing and tokenizer. No code that a config names is run, nor asked about."""
    text = open_clip.get_model_config(identifier)["text_cfg"]
    if text.get("hf_model_name"):
        refuse_code_of(text["hf_model_name"])
    required = source["pretrained"] is not None or identifier.startswith("local-dir:")
    model, _, preprocess = open_clip.create_model_and_transforms(
        identifier, **source, **options, require_pretrained=required, weights_only=True
    )
    safe = {"trust_remote_code": False} if text.get("hf_tokenizer_name") else {}
    tokenizer = open_clip.get_tokenizer(identifier, **safe)
    tokenizer(["Why \u2603?"])  # a sign that a small vocabulary lacks: damage shows here
    return model, preprocess, tokenizer


def _guarded(identifier: str, file: Path | None, read):
    """Call `read`; turn what libraries raise into what is the matter, and what to do."""
    where = identifier.removeprefix("local-dir:")
    local = identifier.startswith("local-dir:")
    try:
        return read()
    except ModelError:
        raise
    except BaseException as error:  # libraries raise anything on a broken file
        if is_serious(error):
            raise
        told = textwrap.shorten(f"{type(error).__name__}: {error}", 500)
        if "size mismatch" in told or "loading state_dict" in told:
            of = (
                "files of one model" if local else f"weights of {where}, an architecture of its own"
            )
            raise ModelError(
                f"the weights in {file or where} are of another architecture: they must be {of}. "
                f"{told}"
            ) from error
        if file is not None:
            raise ModelError(
                f"{file} holds no weights of {where}: {what_is_wrong(file)}."
            ) from error
        damage = isinstance(error, (SafetensorError, pickle.UnpicklingError, EOFError))
        if damage or not without_advice(told):
            raise ModelError(
                f"the weights of {where} are damaged or were not copied whole, or hold more than "
                "tensors, which is not read, as it could run code. Delete the file and fetch it "
                f"again; downloads are kept in {hub.HF_HUB_CACHE}."
            ) from error
        if local:
            raise ModelError(
                f"the model in {where} cannot be read: config, weights and tokenizer must be files "
                f"of one model in open_clip's format. {without_advice(told)}"
            ) from error
        if "Failed to download" in str(error) or isinstance(error, OSError):
            raise ModelError(_without_network(where, error)) from error
        raise ModelError(
            f"the weights of {where} cannot be read: delete their file and fetch it again; "
            f"downloads are kept in {hub.HF_HUB_CACHE}. {without_advice(told)}"
        ) from error


def _without_network(identifier: str, error: Exception) -> str:
    """What to do when weights cannot be fetched."""
    tags = open_clip.list_pretrained_tags_by_model(identifier)
    homes = [
        get_pretrained_cfg(identifier, tag).get("hf_hub", "").rpartition("/")[0] for tag in tags
    ]
    repository = next((home for home in homes if home and home in str(error)), "REPOSITORY")
    return (
        f"the files of {identifier} are not on this machine and cannot be fetched ({error}).\n"
        "Without a network, do one of these:\n"
        "- on a machine with a network, run the same load_clip call once, copy its folder "
        f"{hub.HF_HUB_CACHE} here, and name the folder that holds 'hub' in the environment "
        "variable HF_HOME;\n"
        f"- on a machine with a network, run: hf download {repository} --local-dir FOLDER\n"
        "  (any folder with open_clip_config.json and open_clip_model.safetensors will do), copy "
        "FOLDER here, and call load_clip('path/to/FOLDER');\n"
        "- stay at mini scale: load_clip('mini')."
    )
