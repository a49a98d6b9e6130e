"""Tiny models of all families, with random weights and processors of the published classes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import transformers as t
from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers import models as token_models
from transformers import PreTrainedTokenizerFast
from transformers.models.smolvlm import processing_smolvlm

from erragree_utils.models.mllm import Mllm

# SmolVLM2's processor asks for this package, which it needs for films alone.
processing_smolvlm.num2words = processing_smolvlm.num2words or str

SPECIAL = [
    "<pad>", "<bos>", "<eos>", "<|im_start|>", "<|im_end|>", "<image>", "<IMG_CONTEXT>", "<img>",
    "</img>", "<video>", "<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>",
    "<fake_token_around_image>", "<global-img>", "<end_of_utterance>", "<image_soft_token>",
    "<start_of_image>", "<end_of_image>", "<start_of_turn>", "<end_of_turn>",
    *(f"<row_{i + 1}_col_{j + 1}>" for i in range(6) for j in range(6)),
]  # fmt: skip
#: Chat templates as published, for a question about images: head, image, end.
TEMPLATES = {
    "qwen2_5_vl": (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n",
        "<|vision_start|><|image_pad|><|vision_end|>", "<|im_end|>\n<|im_start|>assistant\n",
    ),
    "qwen3_vl": (
        "<|im_start|>user\n", "<|vision_start|><|image_pad|><|vision_end|>",
        "<|im_end|>\n<|im_start|>assistant\n",
    ),
    "internvl": ("<|im_start|>user\n", "<IMG_CONTEXT>\n", "<|im_end|>\n<|im_start|>assistant\n"),
    "idefics3": ("<|im_start|>User:", "<image>", "<end_of_utterance>\nAssistant:"),
    "smolvlm": ("<|im_start|>User:", "<image>", "<end_of_utterance>\nAssistant:"),
    **dict.fromkeys(
        ("llava", "vipllava", "llava_next"), ("<bos>USER: ", "<image>\n", " ASSISTANT:")
    ),
    "llava_onevision": (
        "<|im_start|>user\n", "<image>\n", "<|im_end|><|im_start|>assistant\n"
    ),
    "gemma3": (
        "<bos><start_of_turn>user\n", "<start_of_image>",
        "<end_of_turn>\n<start_of_turn>model\n",
    ),
}  # fmt: skip
TEXT = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 2,
    "num_key_value_heads": 1, "max_position_embeddings": 2048,
}  # fmt: skip
EYES = {"hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 2}  # fmt: skip


def template(family: str) -> str:
    """The chat template of a family, in Jinja."""
    head, image, end = (repr(part) for part in TEMPLATES[family])
    return (
        f"{{{{ {head} }}}}{{% for part in messages[-1]['content'] %}}"
        f"{{% if part['type'] == 'image' %}}{{{{ {image} }}}}"
        "{% else %}{{ part['text'] }}{% endif %}{% endfor %}"
        f"{{% if add_generation_prompt %}}{{{{ {end} }}}}{{% endif %}}"
    )


def words(**special: str) -> PreTrainedTokenizerFast:
    """A byte-pair tokenizer that joins line breaks, as those of the families do."""
    core = Tokenizer(token_models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420, special_tokens=SPECIAL, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    text = (
        "Where is the red mug? to the left of the right Yes No in front of\n\na\n\n\nb\n\n\n\nc\n"
    )
    core.train_from_iterator([text] * 8, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>",
        additional_special_tokens=SPECIAL[3:], extra_special_tokens=special or None,
    )  # fmt: skip


def _llava(family: str, tokenizer: Any) -> tuple[Any, Any]:
    kind = {"llava": "Llava", "vipllava": "VipLlava", "llava_next": "LlavaNext"}[family]
    crops = {} if kind != "LlavaNext" else {"image_grid_pinpoints": [[32, 64], [64, 32], [64, 64]]}
    config = getattr(t, f"{kind}Config")(
        vision_config=t.CLIPVisionConfig(**EYES, image_size=32, patch_size=8, projection_dim=16),
        text_config=t.LlamaConfig(**TEXT, vocab_size=len(tokenizer)),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"), **crops,
        **({"vision_feature_layers": [-2, -1]} if kind == "VipLlava" else {}),
    )  # fmt: skip
    next_ = "LlavaNext" if crops else "Llava"
    eyes = getattr(t, f"{next_}ImageProcessor")(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}, **crops
    )
    return config, getattr(t, f"{next_}Processor")(
        eyes, tokenizer, patch_size=8, vision_feature_select_strategy="default",
        num_additional_image_tokens=1, chat_template=template(family),
    )  # fmt: skip


def _onevision(tokenizer: Any) -> tuple[Any, Any]:
    crops = [[32, 64], [64, 32], [64, 64]]
    config = t.LlavaOnevisionConfig(
        vision_config=t.SiglipVisionConfig(**EYES, image_size=32, patch_size=8),
        text_config={"model_type": "qwen2", "vocab_size": len(tokenizer), **TEXT},
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        video_token_index=tokenizer.convert_tokens_to_ids("<video>"), image_grid_pinpoints=crops,
        vision_feature_select_strategy="full",
    )  # fmt: skip
    eyes = t.LlavaOnevisionImageProcessor(
        size={"height": 32, "width": 32}, image_grid_pinpoints=crops
    )
    return config, t.LlavaOnevisionProcessor(
        eyes, tokenizer, t.LlavaOnevisionVideoProcessor(), num_image_tokens=16,
        vision_feature_select_strategy="full", chat_template=template("llava_onevision"),
    )  # fmt: skip


def _qwen(version: str, tokenizer: Any) -> tuple[Any, Any]:
    rope = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10_000.0}
    ids = tokenizer.convert_tokens_to_ids
    marks = {
        "image_token_id": ids("<|image_pad|>"), "video_token_id": ids("<|video_pad|>"),
        "vision_start_token_id": ids("<|vision_start|>"),
        "vision_end_token_id": ids("<|vision_end|>"),
    }  # fmt: skip
    eyes = {
        "depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "patch_size": 8,
        "out_hidden_size": 32,
    }  # fmt: skip
    text = TEXT | {"vocab_size": len(tokenizer), "rope_parameters": rope}
    # In windows of 2 x 2 merged patches.
    config = (
        t.Qwen2_5_VLConfig(
            vision_config=eyes | {"window_size": 32, "fullatt_block_indexes": [1]},
            text_config=text, **marks,
        )
        if version == "2_5"
        else t.Qwen3VLConfig(
            vision_config=eyes | {"num_position_embeddings": 16, "deepstack_visual_indexes": [0]},
            text_config=text | {"head_dim": 16}, **marks,
        )
    )  # fmt: skip
    sizes = {"size": {"shortest_edge": 32 * 32, "longest_edge": 128 * 128}, "patch_size": 8}
    if version == "2_5":
        return config, t.Qwen2_5_VLProcessor(
            t.Qwen2VLImageProcessor(**sizes), tokenizer, t.Qwen2VLVideoProcessor(**sizes),
            chat_template=template("qwen2_5_vl"),
        )  # fmt: skip
    return config, t.Qwen3VLProcessor(
        t.Qwen2VLImageProcessor(**sizes), tokenizer, t.Qwen3VLVideoProcessor(patch_size=8),
        chat_template=template("qwen3_vl"),
    )  # fmt: skip


def _idefics(family: str, tokenizer: Any) -> tuple[Any, Any]:
    kind = {"idefics3": "Idefics3", "smolvlm": "SmolVLM"}[family]
    config = getattr(t, f"{kind}Config")(
        vision_config=EYES | {"image_size": 32, "patch_size": 8},
        text_config={"model_type": "llama", "vocab_size": len(tokenizer), **TEXT},
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"), scale_factor=2,
        pad_token_id=0,
    )  # fmt: skip
    eyes = getattr(t, f"{kind}ImageProcessor")(
        size={"longest_edge": 64}, max_image_size={"longest_edge": 32}
    )
    more = {"image_seq_len": 4, "chat_template": template(family)}
    if family == "idefics3":
        return config, t.Idefics3Processor(eyes, tokenizer, **more)
    return config, t.SmolVLMProcessor(eyes, tokenizer, t.SmolVLMVideoProcessor(), **more)


def _internvl(tokenizer: Any) -> tuple[Any, Any]:
    config = t.InternVLConfig(
        vision_config=t.InternVLVisionConfig(**EYES, image_size=[32, 32], patch_size=[8, 8]),
        text_config={"model_type": "qwen2", "vocab_size": len(tokenizer), **TEXT},
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"), image_seq_length=4,
    )  # fmt: skip
    eyes = t.GotOcr2ImageProcessor(
        size={"height": 32, "width": 32}, crop_to_patches=True, max_patches=4
    )
    return config, t.InternVLProcessor(
        eyes, tokenizer, t.InternVLVideoProcessor(), image_seq_length=4,
        chat_template=template("internvl"),
    )  # fmt: skip


def _gemma(tokenizer: Any) -> tuple[Any, Any]:
    ids = tokenizer.convert_tokens_to_ids
    config = t.Gemma3Config(
        vision_config=t.SiglipVisionConfig(**EYES, image_size=32, patch_size=8),
        # A window that ends within a prompt, and layers of both kinds.
        text_config=TEXT | {
            "vocab_size": len(tokenizer), "head_dim": 16, "query_pre_attn_scalar": 16,
            "sliding_window": 12, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        },
        mm_tokens_per_image=4, boi_token_index=ids("<start_of_image>"),
        eoi_token_index=ids("<end_of_image>"), image_token_index=ids("<image_soft_token>"),
    )  # fmt: skip
    eyes = t.Gemma3ImageProcessor(size={"height": 32, "width": 32})
    return config, t.Gemma3Processor(
        eyes, tokenizer, chat_template=template("gemma3"), image_seq_length=4
    )


FAMILIES: dict[str, Callable[[], tuple[Any, Any]]] = {
    "llava": lambda: _llava("llava", words()),
    "vipllava": lambda: _llava("vipllava", words()),
    "llava_next": lambda: _llava("llava_next", words()),
    "llava_onevision": lambda: _onevision(words()),
    "qwen2_5_vl": lambda: _qwen("2_5", words()),
    "qwen3_vl": lambda: _qwen("3", words()),
    "idefics3": lambda: _idefics("idefics3", words()),
    "smolvlm": lambda: _idefics("smolvlm", words()),
    "internvl": lambda: _internvl(words(
        start_image_token="<img>", end_image_token="</img>", context_image_token="<IMG_CONTEXT>",
        video_token="<video>",
    )),
    "gemma3": lambda: _gemma(words(
        image_token="<image_soft_token>", boi_token="<start_of_image>", eoi_token="<end_of_image>"
    )),
}  # fmt: skip


def parts(family: str) -> tuple[t.PreTrainedModel, t.ProcessorMixin]:
    """A model of a family, and its processor."""
    config, processor = FAMILIES[family]()
    torch.manual_seed(0)
    model = t.AutoModelForImageTextToText.from_config(config)
    for name, parameter in model.named_parameters():
        # Nothing was learnt, but answers shall depend on images.
        if parameter.ndim > 1 and "embed_tokens" not in name:
            eager = any(part in name for part in ("projector", "connector", "merger"))
            parameter.data.normal_(std=0.3 if eager else 0.06)
    return model.float(), processor


def build(family: str) -> Mllm:
    """The same as an `Mllm`."""
    return Mllm(family, *parts(family), torch.device("cpu"), torch.float32)
