"""Vision-only encoders through timm: the mini one, DINOv2, and folders.

Mining CLIP-blind pairs takes an encoder trained without text (Tong et al. 2024, section 3.1).
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import timm
import torch
from PIL import Image

from .device import pick_device, pick_dtype
from .encoder import Encoder
from .folders import ModelError, explained, find_folder, refuse_unsafe, require

SHIPPED = {"mini": "mini-vision"}


@dataclass(eq=False, repr=False)
class Vision(Encoder):
    """A vision-only encoder with its preprocessing. Made by `load_vision`."""

    name: str  # "mini", timm's name or a folder's
    model: torch.nn.Module  # timm's, without a classifier
    preprocess: Callable[[Image.Image], torch.Tensor]
    device: torch.device
    dtype: torch.dtype

    @property
    def embed_dim(self) -> int:
        """Numbers in an embedding."""
        return self.model.num_features

    @property
    def tower(self) -> torch.nn.Module:
        """The model itself."""
        return self.model

    def features(self, pixels: torch.Tensor) -> torch.Tensor:
        """The feature that timm pools: DINOv2's class token, the mean of DINOv3's patches."""
        return self.model(pixels)


def load_vision(
    name: str | Path = "mini",
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
) -> Vision:
    """Load a vision-only encoder.

    Parameters
    ----------
    name : str or Path
        ``"mini"``; a folder that timm saved; or timm's name of a published model, such as
        ``"vit_large_patch14_dinov2.lvd142m"``, which is downloaded as safetensors and kept.
    device : str or torch.device, optional
        By default the best available.
    dtype : str or torch.dtype, optional
        By default float32: cosines are compared with thresholds.

    Raises
    ------
    ModelError
        If the model is unknown, or its weights are absent, damaged or cannot be downloaded.
    """
    folder = find_folder(name, SHIPPED)
    device = pick_device(device)
    dtype = pick_dtype(dtype, device)
    source = label = str(name)
    if folder is not None:
        require(folder, "config.json", "model.safetensors")
        refuse_unsafe(folder)
        source = f"local-dir:{folder}"
        label = label if name in SHIPPED else folder.resolve().name
    elif label not in timm.list_pretrained():
        raise ModelError(
            f"timm has no weights for {label!r}, and there is no such folder; "
            'timm.list_pretrained("*dinov2*") lists names'
        )
    with explained(
        lambda _, text: (
            f"{name} is damaged, incomplete, another kind of model or could not be "
            f"downloaded ({text}); check the network, or delete its files, and load it again"
        )
    ):
        model = timm.create_model(source, pretrained=True, num_classes=0)
        config = timm.data.resolve_model_data_config(model)
        preprocess = timm.data.create_transform(**config, is_training=False)
        vision = Vision(label, model.to(device, dtype), preprocess, device, dtype)
        if folder is not None:  # whether its settings fit its weights shows when both are used
            vision.embed_images([Image.new("RGB", (64, 64))])
    if folder is not None:
        settings = json.loads((folder / "config.json").read_bytes())
        settings = settings.get("pretrained_cfg") or settings  # as timm saves it, or flat
        missing = " and ".join(key for key in ("mean", "std") if key not in settings)
        if missing:
            text = f"{folder / 'config.json'} has no {missing}: timm's are taken"
            warnings.warn(text, stacklevel=2)
    return vision
