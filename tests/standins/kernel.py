"""What a chapter's kernel runs first: the published names stand for small architectures.

Weights say nothing of their architecture, so open_clip and timm have to be told. All else, from
the names to the files, is as published.
"""

import json
import tempfile
import warnings
from pathlib import Path

import open_clip
import timm
from timm.models import vision_transformer


def register(clip: dict, dino: dict) -> None:
    """Give open_clip's and timm's names of the paper's encoders these dimensions."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "ViT-L-14-336.json").write_text(json.dumps(clip))
        open_clip.add_model_config(folder)
    published = vision_transformer.vit_large_patch14_dinov2

    def vit_large_patch14_dinov2(**options):
        return published(**{**options, **dino})

    # timm looks for a model's published weights beside its function.
    vit_large_patch14_dinov2.__module__ = published.__module__
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that the name was taken: it shall be
        timm.models.register_model(vit_large_patch14_dinov2)
