"""Small stand-ins for a CLIP in open_clip's format and for llava-1.5-7b-hf as it is published."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Tokenizer, pre_tokenizers, processors, trainers
from tokenizers import models as token_models
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlamaTokenizer,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextImageProcessor,
    LlavaNextProcessor,
    PreTrainedTokenizerFast,
)

WORDS = [
    "<pad>", "<unk>", "<start>", "a", "red", "green", "cube", "ball", "left", "right", "of", "to",
    "the", "<end>",
]  # fmt: skip
CONTEXT = 8
CONFIG = {
    "embed_dim": 24,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 32, "patch_size": 8, "width": 32, "layers": 3, "head_width": 16},
    "text_cfg": {
        "context_length": CONTEXT,
        "vocab_size": len(WORDS),
        "width": 32,
        "heads": 2,
        "layers": 1,
        "hf_tokenizer_name": "words",
    },
}
MEAN, STD = [0.5, 0.4, 0.3], [0.2, 0.25, 0.3]


def write_clip(folder: Path) -> Path:
    """A small random CLIP in open_clip's format, weights in float16 as the mini CLIP ships."""
    folder.mkdir()
    torch.manual_seed(0)
    model = open_clip.model.CLIP(**CONFIG)
    weights = {name: value.half() for name, value in model.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")
    preprocess = {"mean": MEAN, "std": STD, "interpolation": "bicubic"}
    text = json.dumps({"model_cfg": CONFIG, "preprocess_cfg": preprocess})
    (folder / "open_clip_config.json").write_text(text)
    core = Tokenizer(token_models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    core.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>",
        special_tokens=[("<start>", WORDS.index("<start>")), ("<end>", WORDS.index("<end>"))],
    )
    PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", unk_token="<unk>", eos_token="<end>"
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory) -> Path:
    return write_clip(tmp_path_factory.mktemp("models") / "small")


@pytest.fixture
def spoilt_clip(clip_folder, tmp_path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(clip_folder, tmp_path / "spoilt"))


# As published with llava-hf/llava-1.5-7b-hf.
TEMPLATE = (
    "{% for message in messages %}{% if message['role'] != 'system' %}"
    "{{ message['role'].upper() + ': '}}{% endif %}{# Render all images first #}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}"
    "{{ '<image>\n' }}{% endfor %}{# Render all text next #}"
    "{% if message['role'] != 'assistant' %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}"
    "{{ content['text'] + ' '}}{% endfor %}{% else %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}"
    "{% generation %}{{ content['text'] + ' '}}{% endgeneration %}{% endfor %}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)
QUESTIONS = [
    f'Does this figure show "{caption}"? Please answer yes or no.'
    for caption in (
        "A red mug to the left of a blue table",
        "A red mug to the right of a blue table",
        "A dog",
    )
]


def tokenizer() -> LlamaTokenizer:
    """A byte-pair tokenizer of Llama's kind, with LLaVA's two further tokens at the end."""
    core = Tokenizer(token_models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=520, special_tokens=special, show_progress=False)
    text = f"{SYSTEM} USER: ASSISTANT: Yes No left right on under in front behind"
    core.train_from_iterator([text, *QUESTIONS], trainer)
    trained = json.loads(core.to_str())["model"]
    made = LlamaTokenizer(
        vocab=trained["vocab"], merges=[tuple(m) for m in trained["merges"]], add_bos_token=True
    )
    made.add_tokens([AddedToken("<image>", special=True, normalized=False)], special_tokens=True)
    made.add_special_tokens({"pad_token": "<pad>"})
    return made


def write_llava(folder: Path) -> Path:
    """Every file of the published repository, small: two shards of float16 and their index."""
    words = tokenizer()
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=32, intermediate_size=64, num_hidden_layers=3, num_attention_heads=2,
            image_size=336, patch_size=14, projection_dim=24,
        ),
        text_config=LlamaConfig(
            hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
            vocab_size=len(words) + 62, max_position_embeddings=4096,
        ),
        image_token_index=words.convert_tokens_to_ids("<image>"), image_seq_length=576,
        vision_feature_layer=-2, vision_feature_select_strategy="default",
    )  # fmt: skip
    torch.manual_seed(1)
    model = LlavaForConditionalGeneration(config)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data *= 5  # so that answers depend on images, though nothing was learnt
    write_published(folder, model, words)
    return folder


def write_published(folder: Path, model: LlavaForConditionalGeneration, words: Any) -> None:
    """Save a LLaVA file by file as the published repository has it, in two shards of float16."""
    model.half().save_pretrained(folder)
    whole = folder / "model.safetensors"
    weights = {
        re.sub(r"^vision_tower\.(?!vision_model)", "vision_tower.vision_model.", name): value
        for name, value in load_file(whole).items()
    }
    whole.unlink()
    write_shards(folder, weights)
    words.save_pretrained(folder)
    preprocessing = CLIPImageProcessor(
        size={"shortest_edge": 336}, crop_size={"height": 336, "width": 336}
    )
    preprocessing.save_pretrained(folder)
    (folder / "processor_config.json").write_text(json.dumps({
        "image_token": "<image>", "num_additional_image_tokens": 1, "patch_size": 14,
        "processor_class": "LlavaProcessor", "vision_feature_select_strategy": "default",
    }))  # fmt: skip
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": TEMPLATE}))


def write_shards(folder: Path, weights: dict[str, torch.Tensor]) -> None:
    names, place = sorted(weights), {}
    for number, part in enumerate((names[::2], names[1::2]), 1):
        file = f"model-0000{number}-of-00002.safetensors"
        tensors = {name: weights[name].contiguous() for name in part}
        save_file(tensors, folder / file, metadata={"format": "pt"})
        place |= dict.fromkeys(part, file)
    index = {"metadata": {"total_size": 0}, "weight_map": place}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


@pytest.fixture(scope="session")
def llava_folder(tmp_path_factory) -> Path:
    return write_llava(tmp_path_factory.mktemp("models") / "small-llava")


@pytest.fixture
def spoilt_llava(llava_folder, tmp_path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(llava_folder, tmp_path / "spoilt"))


@pytest.fixture(scope="session")
def llava_next_folder(tmp_path_factory) -> Path:
    """A small random LLaVA-NeXT, which shows an image in several crops."""
    folder, words = tmp_path_factory.mktemp("models") / "small-next", tokenizer()
    small = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2}
    grid = [[32, 64], [64, 32], [64, 64]]
    LlavaNextForConditionalGeneration(LlavaNextConfig(
        vision_config=CLIPVisionConfig(**small, num_hidden_layers=2, image_size=32, patch_size=8),
        text_config=LlamaConfig(**small, num_hidden_layers=1, vocab_size=len(words)),
        image_token_index=words.convert_tokens_to_ids("<image>"), image_grid_pinpoints=grid,
    )).save_pretrained(folder)  # fmt: skip
    size = {"height": 32, "width": 32}
    LlavaNextProcessor(
        LlavaNextImageProcessor(
            size={"shortest_edge": 32}, crop_size=size, image_grid_pinpoints=grid
        ),
        words, patch_size=8, vision_feature_select_strategy="default",
        num_additional_image_tokens=1, chat_template=TEMPLATE,
    ).save_pretrained(folder)  # fmt: skip
    return folder
