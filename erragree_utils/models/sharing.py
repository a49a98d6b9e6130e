"""Checks that a model gives the same scores, however we read its prompts."""

from __future__ import annotations

import numpy as np
import torch
import transformers
from PIL import Image

from .engine import Engine
from .folders import ModelError

_QUESTION, _ANSWER = "Which of the two is on the left?", "the red one"


@torch.inference_mode()
def check_sharing(engine: Engine) -> None:
    """Compare a score behind a shared prompt with a full pass of the model's own.

    Positions, masks and marks around images are each family's own business; where a version of
    Transformers counts them in another way than this project, no score would be right.

    Raises
    ------
    ModelError
        If they differ by more than rounding does: in root mean square over the vocabulary, by more
        than the square root of the precision, in standard deviations of the logits.
    """
    if not engine.processor.chat_template:
        return  # nothing can be asked, and a question is refused by name
    pixels = np.arange(24 * 16 * 3, dtype=np.uint8).reshape(16, 24, 3)  # not a square
    image = Image.fromarray(pixels).resize((96, 64))
    prompt = engine.prompt(_QUESTION)
    text = prompt + ("" if prompt[-1:].isspace() else " ") + _ANSWER
    inputs = engine.processed([[image]], [text], [0])
    rows = [[(_QUESTION, _ANSWER), (_QUESTION, "neither")]]
    answer = next(iter(engine.answers([engine.heads([(image,)], 0)], rows, 0)))
    engine.unknown.clear()
    full = engine.model(**inputs, use_cache=False).logits[0, -len(answer.tokens) - 1 : -1].float()
    distance = (answer.logits[0].float() - full).square().mean().sqrt() / full.std()
    # 8-bit layers round by what else is in the batch.
    coarse = torch.bfloat16 if getattr(engine.model, "is_quantized", False) else engine.dtype
    if distance > torch.finfo(coarse).eps ** 0.5:
        raise ModelError(
            f"{engine.name} is not read correctly: a shared prompt changes its logits by "
            f"{float(distance):.1g} standard deviations. Transformers {transformers.__version__} "
            "handles this kind of model in another way than this project; try another version"
        )
