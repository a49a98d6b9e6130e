"""CLIP models through open_clip: the mini one, the published ones, and folders.

``load_clip("mini")`` and ``load_clip("ViT-L-14-336")`` differ only in the name; the code that
uses the result is the same.
"""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ..checks import listed
from .clip_weights import find_clip
from .device import pick_device, pick_dtype
from .encoder import Encoder
from .inputs import worded


@dataclass(eq=False, repr=False)
class Clip(Encoder):
    """A CLIP model with its preprocessing and its tokenizer. Made by `load_clip`."""

    name: str  # "mini", "ViT-L-14-336:openai" (architecture and weights) or a folder's name
    weights: str  # where they come from, in words
    model: torch.nn.Module  # open_clip's
    preprocess: Callable[[Image.Image], torch.Tensor]
    tokenizer: Callable[..., torch.Tensor]  # texts to token numbers (N, context length)
    embed_dim: int
    device: torch.device
    dtype: torch.dtype

    @property
    def summary(self) -> str:
        """The model in a few words."""
        return f"weights {self.weights}, {self.image_size} px, {super().summary}"

    @property
    def image_size(self) -> int:
        """Pixels per side of the model's input."""
        size = self.model.visual.image_size
        return size if isinstance(size, int) else size[0]

    @property
    def tower(self) -> torch.nn.Module:
        """The image tower."""
        return self.model.visual

    def features(self, pixels: torch.Tensor) -> torch.Tensor:
        """The projected class token, or whatever the model pools instead."""
        return self.model.encode_image(pixels)

    def embed_texts(self, texts: Sequence[str], batch_size: int = 256) -> np.ndarray:
        """Text embeddings, float32, (N, embed_dim), of unit length.

        The model's settings say how texts become tokens: SigLIP, for example, drops capitals and
        punctuation.

        An `EncodeError` names an item that is no text with words.

        Warns
        -----
        UserWarning
            If a text is longer than the model's context and cut, or has words that a word-level
            tokenizer does not know: two texts that differ there alone have the same embedding.
        """

        def encode(batch: list[str], first: int) -> np.ndarray:
            tokens = self._tokens(batch, first).to(self.device)
            return self.unit(self.model.encode_text(tokens), "text", first)

        return self.gather(listed(texts, "texts"), batch_size, encode, self.text_room, "texts")

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
        ``"mini"``, ``"mini-lost"`` or ``"mini-aligned"`` (ship with this package); a name of
        open_clip's, such as ``"ViT-L-14-336"``; or a folder in open_clip's ``local-dir:`` format
        (``open_clip_config.json``, ``open_clip_model.safetensors`` and, if the config names one, a
        tokenizer).
    pretrained : str, pathlib.Path or False, optional
        For names of open_clip's: the tag of the published weights, or a file. By default
        ``"openai"`` if there are such weights, else the first tag listed. False gives random
        weights, for tests.
    device : str or torch.device, optional
        By default the first available of CUDA, MPS and CPU.
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
        If the name's published weights differ in these, and `looks` does not choose; if none are
        published, so that nothing says what a file needs; or if a folder's config has no mean or
        standard deviation.

    Raises
    ------
    ModelError
        If name or tag are unknown, if the weights cannot be fetched, if they are damaged or of
        another architecture, or if the model asks for code of its own. The message says what to do.
    ValueError
        If device or dtype are unknown or don't work together.
    """
    place = pick_device(device)
    number_format = pick_dtype(dtype, place)
    source = find_clip(name, pretrained, looks)
    model, preprocess, tokenizer = source.read(place, number_format)
    return Clip(
        source.label, source.weights, model, preprocess, tokenizer, source.config["embed_dim"],
        place, number_format,
    )  # fmt: skip
