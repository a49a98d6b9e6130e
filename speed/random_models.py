"""LLaVAs with random weights: of any size without a download, and with decisions that are real.

As they are usually drawn, random weights let every token see nearly the same mixture of all
others: the scores of two captions then differ by less than bfloat16 rounds. `spread` draws them so
that attention chooses, words differ, and layers add little, so that rounding does not grow.
"""

from __future__ import annotations

import torch
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

from erragree_utils.models.mllm import Mllm
from erragree_utils.study import costs
from erragree_utils.training import llava

#: By how much two log-probabilities or logits of one thing may differ through rounding alone.
ROUNDING = {torch.float32: 1e-3, torch.bfloat16: 0.5}

# Found with 8 to 32 layers: at 32, log-probabilities differ by 0.9 between captions (deviation)
# and by 0.08 between two ways of computing one in bfloat16 (mean).
_ATTENTION, _VALUES, _MLP, _LOGITS = 2.0, 0.25, 0.1, 3.0


def llava_7b(device: torch.device) -> Mllm:
    """LLaVA-1.5-7B's architecture in bfloat16, with the mini's words."""
    config = costs.llava_15_7b()
    vision, text = config.vision_config, config.text_config
    return random_mllm("LLaVA-1.5-7B, random weights", vision, text, device, torch.bfloat16)


def random_mllm(
    name: str, vision: CLIPVisionConfig, text: LlamaConfig, device: torch.device, dtype: torch.dtype
) -> Mllm:
    """A LLaVA with random weights, made on the device."""
    tokenizer = llava.build_tokenizer()
    tokenizer.model_max_length = text.max_position_embeddings
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=(vision.image_size // vision.patch_size) ** 2,
    )
    torch.manual_seed(0)
    default = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with device:
            model = LlavaForConditionalGeneration(config)
    finally:
        torch.set_default_dtype(default)
    spread(model, words=len(tokenizer), special=tokenizer.all_special_ids)
    return Mllm(name, model, llava.build_processor(model, tokenizer), device, dtype)


@torch.no_grad()
def spread(model: LlavaForConditionalGeneration, words: int, special: list[int]) -> None:
    """Draw the reader's weights anew, so that its scores differ by far more than rounding.

    Only tokens that are `words`, and not `special`, can become likely.
    """

    def draw(weight: torch.Tensor, scale: float) -> None:
        weight.normal_(std=scale * weight.shape[-1] ** -0.5)

    reader, projector = model.model.language_model, model.model.multi_modal_projector
    reader.embed_tokens.weight.normal_()
    draw(projector.linear_1.weight, 1.0)
    draw(projector.linear_2.weight, 2.0)
    for layer in reader.layers:
        draw(layer.self_attn.q_proj.weight, _ATTENTION)
        draw(layer.self_attn.k_proj.weight, _ATTENTION)
        draw(layer.self_attn.v_proj.weight, 1.0)
        draw(layer.self_attn.o_proj.weight, _VALUES)
        draw(layer.mlp.gate_proj.weight, 1.0)
        draw(layer.mlp.up_proj.weight, 1.0)
        draw(layer.mlp.down_proj.weight, _MLP)
    draw(model.lm_head.weight, _LOGITS)
    model.lm_head.weight[words:] = 0
    model.lm_head.weight[special] = 0
