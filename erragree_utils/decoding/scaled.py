"""AdaptVis in a model: scales the keys of image tokens before the model reads the answer.

Attention logits are linear in the keys. So a factor on the cached keys scales the logits of all
later tokens, the last one of the prompt and those of the answer, and no attention kernel has to be
replaced.
"""

from __future__ import annotations

import torch

from ..models.engine import Change, Engine, Prefix
from .adaptvis import AdaptVis


def scaling(method: AdaptVis) -> Change:
    """For the argument `change` of `Mllm.generate`, `Mllm.option_logprobs` and `generate_sampled`.

    Raises
    ------
    ValueError
        At the first batch, if the model has no such layers.
    """

    def change(engine: Engine, prefix: Prefix, last: torch.Tensor) -> None:
        layers = prefix.cache.layers
        first, end = (range(-len(layers), len(layers)), len(layers))
        if method.first_layer not in first or method.last_layer not in first:
            raise ValueError(
                f"{engine.name} has layers 0 to {end - 1}, not {method.first_layer} to "
                f"{method.last_layer}"
            )
        chosen = layers[method.first_layer % end : method.last_layer % end + 1]
        # How sure is the model as it is? The token is read once more afterwards.
        mask = torch.cat([prefix.mask, torch.ones_like(last)], dim=1)
        places = prefix.mask.sum(dim=1, keepdim=True) + prefix.shift
        logits = engine.forward(last, mask, prefix.cache, position_ids=places, logits_to_keep=1)
        prefix.cache.crop(-1)
        confidence = logits[:, -1].float().softmax(dim=-1).amax(dim=-1)
        factors = engine.put(torch.tensor([method.factor(c) for c in confidence.tolist()]))
        factors = torch.where(prefix.images, factors[:, None], 1.0)[:, None, :, None]
        for layer in chosen:
            layer.keys = layer.keys * factors.to(layer.keys)

    return change
