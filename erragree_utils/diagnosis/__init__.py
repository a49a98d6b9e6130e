"""Where an answer is lost: in the encoder, in its pooling, in matching, or in the reader."""

from .diagnose import Diagnosis, diagnose
from .verdicts import CLIP_VERDICTS, MLLM_VERDICTS

__all__ = ["CLIP_VERDICTS", "MLLM_VERDICTS", "Diagnosis", "diagnose"]
