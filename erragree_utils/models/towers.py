"""Whether a LLaVA reads a CLIP's image tower: compares their tokens for the same images."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from PIL import Image

from ..checks import listed
from .clip import Clip
from .mllm import Mllm

#: The rows of `compare_towers`.
SAME_PIXELS, OWN_PIXELS = "the same pixels", "each by its own preprocessing"


@torch.inference_mode()
def compare_towers(clip: Clip, mllm: Mllm, images: Sequence[Image.Image]) -> dict[str, float]:
    """How far apart the two towers' patch tokens are, in the layer that LLaVA-1.5 reads.

    Returns
    -------
    dict of str to float
        The largest difference of two numbers as a share of the largest number. Under
        `SAME_PIXELS` one tensor goes through both towers, in CLIP's precision: what differs is the
        weights, and the order of additions. Under `OWN_PIXELS` each model frames, resizes and
        computes as it does by itself.
    """
    images = listed(images, "images")
    pixels = clip.pixels(images, 0)
    tokens = clip.patch_features(pixels)
    tower = mllm.model.model.vision_tower
    in_clips_precision = copy.deepcopy(tower).to(clip.device, clip.dtype)
    own = mllm.engine.inputs([(image, "What is it?") for image in images], 0)["pixel_values"]
    layer = mllm.model.config.vision_feature_layer
    return {
        SAME_PIXELS: _apart(tokens, _patches(in_clips_precision, pixels, layer)),
        OWN_PIXELS: _apart(tokens, _patches(tower, own, layer)),
    }


def _patches(tower: torch.nn.Module, pixels: torch.Tensor, layer: int) -> torch.Tensor:
    """A layer's tokens without the class token."""
    return tower(pixels, output_hidden_states=True).hidden_states[layer][:, 1:]


def _apart(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    ours, theirs = ours.float(), theirs.float().to(ours.device)
    return float((ours - theirs).abs().max() / ours.abs().max())
