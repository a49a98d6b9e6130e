"""The mini models as ONNX graphs for the page, made from the shipped weights and checked.

Each graph takes pixels as a browser has them, so that the page needs no preprocessing of its own.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

from erragree_utils.models.clip import Clip
from erragree_utils.models.mllm import Mllm

#: How far a graph's output may be from the model's.
TOLERANCE = 1e-4


class DeviationError(RuntimeError):
    """An exported graph does not compute what the model does."""


class Pixels(nn.Module):
    """Pixels (1, H, W, 3) from 0 to 255 as a vision tower's inputs (1, 3, H, W)."""

    def __init__(self, mean: Any, std: Any):
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return (pixels.permute(0, 3, 1, 2) / 255 - self.mean) / self.std


class ClipImage(nn.Module):
    """Pixels to CLIP's embedding (1, D) of unit length."""

    def __init__(self, clip: Clip):
        super().__init__()
        looks = clip.preprocess.transforms[-1]
        self.pixels, self.model = Pixels(looks.mean, looks.std), clip.model

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return functional.normalize(self.model.encode_image(self.pixels(pixels)), dim=-1)


class ClipText(nn.Module):
    """Tokens (N, context) to CLIP's embeddings (N, D) of unit length."""

    def __init__(self, clip: Clip):
        super().__init__()
        self.model = clip.model

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return functional.normalize(self.model.encode_text(tokens), dim=-1)


class LlavaTower(nn.Module):
    """Pixels to what LLaVA's language model reads of them (1, patches, width)."""

    def __init__(self, mllm: Mllm):
        super().__init__()
        looks = mllm.processor.image_processor
        self.pixels, self.model = Pixels(looks.image_mean, looks.image_std), mllm.model.model
        self.layer = mllm.model.config.vision_feature_layer

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        tower = self.model.vision_tower(self.pixels(pixels), output_hidden_states=True)
        return self.model.multi_modal_projector(tower.hidden_states[self.layer][:, 1:])


class LlavaAnswer(nn.Module):
    """Prompts (N, T) of one length, and the image's tokens, to the probability of a next token (N).

    `tokens` are the prompts for which it is made: where the image stands is part of the graph.
    """

    def __init__(self, mllm: Mllm, tokens: torch.Tensor, answer: int):
        super().__init__()
        self.model, self.head = mllm.model.model.language_model, mllm.model.lm_head
        places = (tokens[0] == mllm.model.config.image_token_index).nonzero().ravel()
        self.begin, self.end, self.answer = int(places[0]), int(places[-1]) + 1, answer
        # Given, since the model's own way to a causal mask cannot be exported.
        length = tokens.shape[1]
        unseen = torch.full((1, 1, length, length), torch.finfo(torch.float32).min).triu(1)
        self.register_buffer("unseen", unseen)
        self.register_buffer("order", torch.arange(length)[None])

    def forward(self, tokens: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        words = self.model.embed_tokens(tokens)
        image = image.expand(len(tokens), -1, -1)
        rows = torch.cat([words[:, : self.begin], image, words[:, self.end :]], dim=1)
        out = self.model(
            inputs_embeds=rows, attention_mask=self.unseen, position_ids=self.order, use_cache=False
        )
        return self.head(out.last_hidden_state[:, -1]).softmax(dim=-1)[:, self.answer]


def prompts(mllm: Mllm, image: Image.Image, questions: list[str]) -> torch.Tensor:
    """The tokens (N, T) of questions about an image; questions must have one length."""
    rows = [mllm.engine.inputs([(image, question)], 0)["input_ids"] for question in questions]
    if len({row.shape for row in rows}) > 1:
        raise ValueError("the questions have different numbers of tokens: ask alike ones")
    return torch.cat(rows)


def answer_token(mllm: Mllm, answer: str) -> int:
    """The one token of an answer."""
    tokens = mllm.processor.tokenizer(answer, add_special_tokens=False)["input_ids"]
    if len(tokens) != 1:
        raise ValueError(f"the answer {answer!r} has {len(tokens)} tokens, one is needed")
    return tokens[0]


@torch.inference_mode()
def export(
    clip: Clip,
    mllm: Mllm,
    images: list[Image.Image],
    captions: list[str],
    questions: list[str],
    answer: str,
    folder: Path,
) -> dict[str, Any]:
    """Write four graphs into a folder and check them on all images.

    Returns
    -------
    dict
        ``captions`` and ``questions`` as tokens, the largest ``deviation`` from the models in
        PyTorch, and the graphs' size in ``megabytes``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pixels = [torch.from_numpy(np.array(image, np.float32))[None] for image in images]
    texts = clip.tokenizer(captions)
    asked = prompts(mllm, images[0], questions)
    tower = LlavaTower(mllm).eval()
    parts = {
        "clip-image": (ClipImage(clip), [(x,) for x in pixels]),
        "clip-text": (ClipText(clip), [(texts,)]),
        "llava-tower": (tower, [(x,) for x in pixels]),
        "llava-answer": (
            LlavaAnswer(mllm, asked, answer_token(mllm, answer)),
            [(asked, tower(x)) for x in pixels],
        ),
    }
    deviation, size = 0.0, 0
    for name, (module, inputs) in parts.items():
        graph = _graph(module.eval(), inputs[0])
        deviation = max(deviation, _deviation(module, graph, inputs))
        (folder / f"{name}.onnx").write_bytes(graph)
        size += len(graph)
    if deviation > TOLERANCE:
        raise DeviationError(
            f"the graphs are up to {deviation:.1g} off the models, more than {TOLERANCE:g}: "
            "compare the versions of torch, onnx and onnxruntime with those of the last build"
        )
    return {
        "captions": texts.tolist(),
        "questions": asked.tolist(),
        "deviation": deviation,
        "megabytes": round(size / 1e6, 1),
    }


def _graph(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> bytes:
    names = list(module.forward.__annotations__)[: len(inputs)]
    buffer = io.BytesIO()
    with _quiet():
        torch.onnx.export(
            module, inputs, buffer, input_names=names, output_names=["output"], dynamo=False
        )
    return buffer.getvalue()


def _deviation(module: nn.Module, graph: bytes, inputs: list[tuple[torch.Tensor, ...]]) -> float:
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]
    apart = 0.0
    for tensors in inputs:
        feed = {name: tensor.numpy() for name, tensor in zip(names, tensors, strict=True)}
        ours = session.run(None, feed)[0]
        apart = max(apart, float(np.abs(ours - module(*tensors).numpy()).max()))
    return apart


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's remarks; attention in its plain form, which it can export."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
        torch.backends.mha.set_fastpath_enabled(fast)
