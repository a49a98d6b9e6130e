"""Vision-only encoders through timm: the mini one, DINOv2, and folders.

CLIP-blind pairs are mined against an encoder that never saw a word (Tong et al. 2024, section 3.1).
"""

from __future__ import annotations

import json
import textwrap
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from PIL import Image
from torch.nn import functional as F

from ..checks import listed
from .device import in_batches, pick_device, pick_dtype
from .folders import (
    ASSETS,
    ModelError,
    check_name,
    is_folder,
    is_serious,
    refuse_unsafe,
    without_advice,
)
from .inputs import encodable, length


class Vision:
    """A vision-only encoder with its preprocessing. Made by `load_vision`.

    Attributes
    ----------
    name : str
        ``"mini"``, timm's name or a folder's.
    device : torch.device
    dtype : torch.dtype
        Number format of the computation; what comes out is always float32.
    model : torch.nn.Module
        timm's model without a classifier, in evaluation mode, without gradients.
    preprocess : callable
        A PIL image to the model's input (3, H, W).
    embed_dim : int
        Numbers in an embedding.
    """

    def __init__(
        self,
        name: str,
        model: torch.nn.Module,
        preprocess: Any,
        device: torch.device,
        dtype: torch.dtype,
    ):
        self.name, self.model, self.preprocess = name, model, preprocess
        self.device, self.dtype = device, dtype
        self.embed_dim = model.num_features
        model.eval().requires_grad_(False)

    def __repr__(self) -> str:
        precision = str(self.dtype).removeprefix("torch.")
        return f"<Vision {self.name}: {self.embed_dim}-d embeddings, {precision} on {self.device}>"

    @torch.inference_mode()
    def embed_images(
        self, images: Iterable[Image.Image], batch_size: int = 64, progress: bool = False
    ) -> np.ndarray:
        """Image embeddings: the model's pooled feature (DINOv2's class token), of unit length.

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

        Raises
        ------
        EncodeError
            If an item is not an image or is damaged; it names the item.
        TypeError
            If a single image is given instead of a list.
        """

        def encode(batch: list[Image.Image], first: int) -> np.ndarray:
            shown = [encodable(image, index) for index, image in enumerate(batch, first)]
            pixels = torch.stack([self.preprocess(image) for image in shown])
            features = self.model(pixels.to(self.device, self.dtype)).float()
            return F.normalize(features, dim=-1).cpu().numpy()

        label = "images" if progress else None
        total = length(listed(images, "images"))
        parts = in_batches(images, batch_size, encode, total=total, progress=label)
        return np.concatenate(parts) if parts else np.empty((0, self.embed_dim), np.float32)


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
        By default the best there is.
    dtype : str or torch.dtype, optional
        By default float32: cosines are compared with thresholds.

    Raises
    ------
    ModelError
        If the model is unknown, or its weights are absent, damaged or cannot be downloaded.
    """
    check_name(name)
    device = pick_device(device)
    dtype = pick_dtype(dtype, device)
    folder = ASSETS / "mini-vision" if name == "mini" else Path(name).expanduser()
    local = name == "mini" or is_folder(folder)
    if local and not (folder / "model.safetensors").exists():
        raise ModelError(
            f"no weights at {folder / 'model.safetensors'}: train the mini encoder with "
            "python -m erragree_utils.training.vision, or give another folder"
        )
    if not local and str(name) not in timm.list_pretrained():
        raise ModelError(
            f"timm has no weights for {str(name)!r}, and there is no such folder; "
            'timm.list_pretrained("*dinov2*") lists names'
        )
    if local:
        refuse_unsafe(folder)
    source = f"local-dir:{folder}" if local else str(name)
    label = str(name) if not local or name == "mini" else folder.resolve().name
    try:
        model = timm.create_model(source, pretrained=True, num_classes=0)
        config = timm.data.resolve_model_data_config(model)
        preprocess = timm.data.create_transform(**config, is_training=False)
        vision = Vision(label, model.to(device, dtype), preprocess, device, dtype)
        if local:  # whether its settings fit its weights shows when both are used
            vision.embed_images([Image.new("RGB", (64, 64))])
    except (HfHubHTTPError, LocalEntryNotFoundError, ConnectionError) as error:
        raise ModelError(
            f"the weights of {name} could not be downloaded ({error}); check the network, or the "
            "variable HF_ENDPOINT, and run again"
        ) from error
    except Exception as error:  # libraries raise anything on a broken file
        if is_serious(error):
            raise
        told = textwrap.shorten(f"{type(error).__name__}: {error}", 500)
        raise ModelError(
            f"{name} is damaged, incomplete or another kind of model ({without_advice(told)}); "
            "delete its files and load it again"
        ) from error
    if local:
        _warn_of_defaults(folder / "config.json")
    return vision


def _warn_of_defaults(path: Path) -> None:
    """Tell what timm would fill in by itself."""
    config = json.loads(path.read_bytes()) if path.is_file() else {}
    # As timm saves it, or flat.
    given = config.get("pretrained_cfg", config) if isinstance(config, dict) else None
    missing = [key for key in ("mean", "std") if isinstance(given, dict) and key not in given]
    if missing:
        warnings.warn(f"{path} has no {' and '.join(missing)}: timm's are taken", stacklevel=3)
