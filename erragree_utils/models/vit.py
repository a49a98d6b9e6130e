"""Image towers that are vision transformers: their blocks and tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from .folders import ModelError

#: What to use instead of a tower without blocks, for messages.
KINDS = "'mini', an open_clip 'ViT-', 'PE-Core-' or 'EVA' model, or one of timm's with blocks"


@dataclass(frozen=True)
class Vit:
    """A vision transformer of open_clip or timm.

    Parameters
    ----------
    tower
        Turns pixels (B, 3, H, W) into tokens.
    blocks
        Its blocks, bottom to top.
    n_before : int
        Tokens before those of the patches: the class token and registers.
    has_class : bool
        Whether the first of them is a class token. SigLIP has none: it pools by attention.
    batch_first : bool
        Whether blocks take (B, tokens, width), or (tokens, B, width).
    """

    tower: torch.nn.Module
    blocks: list[torch.nn.Module]
    n_before: int
    has_class: bool
    batch_first: bool

    @property
    def width(self) -> int:
        """Numbers in a token."""
        tower: Any = self.tower
        return tower.embed_dim if hasattr(tower, "embed_dim") else tower.transformer.width

    def split(self, tokens: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor]:
        """The class token (B, width), if there is one, and the patch tokens (B, patches, width)."""
        tokens = tokens if self.batch_first else tokens.transpose(0, 1)
        return tokens[:, 0] if self.has_class else None, tokens[:, self.n_before :]

    def patches(self, pixels: torch.Tensor) -> torch.Tensor:
        """Patch tokens (B, patches, width) of the last block but one; no block beyond is run."""
        out = self.tower.forward_intermediates(
            pixels,
            indices=[len(self.blocks) - 2],
            stop_early=True,
            intermediates_only=True,
            output_fmt="NLC",
        )
        return (out["image_intermediates"] if isinstance(out, dict) else out)[0]


def vit_of(tower: Any, name: str) -> Vit:
    """An image tower as a vision transformer.

    Raises
    ------
    ModelError
        If it isn't one, or has a single block; names the model.
    """
    trunk = getattr(tower, "trunk", tower)  # open_clip's adapter of timm's models
    found = None
    if hasattr(getattr(trunk, "transformer", None), "resblocks"):  # open_clip's own
        blocks = list(trunk.transformer.resblocks)
        found = Vit(trunk, blocks, 1, True, trunk.transformer.batch_first)
    elif hasattr(trunk, "num_prefix_tokens") and hasattr(trunk, "forward_intermediates"):
        blocks = list(getattr(trunk, "blocks", ()))
        has_class = getattr(trunk, "cls_token", None) is not None
        found = Vit(trunk, blocks, trunk.num_prefix_tokens, has_class, True)
    if found is None or len(found.blocks) < 2:
        raise ModelError(
            f"{name} has no patch tokens to read: its image tower is a {type(trunk).__name__}, and "
            f"a vision transformer of two blocks or more is needed. Use {KINDS}."
        )
    return found


#: Numbers that are learned by themselves, outside of layers: drawn with the width's deviation.
_DRAWN = {
    "class_embedding", "positional_embedding", "proj", "cls_token", "reg_token", "pos_embed",
    "latent",
}  # fmt: skip


def redraw(vit: Vit, network: torch.nn.Module, name: str) -> None:
    """Random weights for an image tower, `network`, that holds `vit`; PyTorch's generator decides.

    Layers are drawn as PyTorch draws them; class token, registers, positions and projection as
    open_clip does: normal, divided by the square root of the width. The scales of DINOv2's and v3's
    blocks begin near zero, so that these tokens are little more than the patches' own.
    """
    layers = []
    for module in network.modules():
        reset = getattr(module, "reset_parameters", None)
        reset = reset or getattr(module, "_reset_parameters", None)
        if reset is None:
            layers.append(module)
        else:
            reset()
    for module in layers:
        for key, old in module.named_parameters(recurse=False):
            if key not in _DRAWN:
                raise ModelError(
                    f"{name} has weights {key!r} of a {type(module).__name__}, and how those are "
                    "drawn at first is not known here"
                )
            fresh = torch.randn(old.shape) * vit.width**-0.5
            old.copy_(fresh.to(old.device, old.dtype))
