"""The mini LLaVA: its settings, tokenizer and model, and the folder that transformers loads."""

from __future__ import annotations

import copy
import json
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import (
    AttentionInterface,
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaProcessor,
)
from transformers import LlavaForConditionalGeneration as Llava
from transformers import PreTrainedTokenizerFast as FastTokenizer

from ..models.tokens import SYSTEM
from ..tabletop import forms, patterns, questions
from .data import normalise
from .loop import write_json
from .optim import Schedule

# The system line comes first unless the conversation has its own; images come before the text.
TEMPLATE = (
    "{% if messages[0]['role'] != 'system' %}" + SYSTEM + " {% endif %}"
    "{% for message in messages %}"
    "{% if message['role'] != 'system' %}{{ message['role'] | upper }}: {% endif %}"
    "{% if message['content'] is string %}{{ message['content'] }} {% else %}"
    "{% for part in message['content'] if part['type'] == 'image' %}<image>\n{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }} {% endfor %}"
    "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)
#: open_clip's names for the parts of a visual tower, and those of ``CLIPVisionModel``.
_RENAMED = {
    "class_embedding": "embeddings.class_embedding",
    "positional_embedding": "embeddings.position_embedding.weight",
    "conv1.": "embeddings.patch_embedding.",
    "ln_pre.": "pre_layrnorm.",
    "ln_post.": "post_layernorm.",
    "transformer.resblocks.": "encoder.layers.",
    "ln_1.": "layer_norm1.",
    "ln_2.": "layer_norm2.",
    "attn.": "self_attn.",
    "mlp.c_fc.": "mlp.fc1.",
    "mlp.c_proj.": "mlp.fc2.",
}


@dataclass(frozen=True)
class Settings(Schedule):
    """Everything that determines the result of the training; stored with the weights."""

    seed: int = 0  # for the initial weights and the order of the data
    data_seed: int = 1000  # for the scenes
    text_steps: int = 800  # stage 0: the Llama alone, on text
    alignment_steps: int = 300  # stage 1: the projector alone, on captions
    tuning_steps: int = 13_000  # stage 2: both, on questions
    relations_after: int = 900  # the tuning step from which relations are asked about most
    mixed_steps: int = 1000  # the last of these, with visual patterns and text without images
    text_imbalance: float = 0.95  # share of the common answer about patterns, in stage 0
    imbalance: float = 0.85  # the same in later stages
    text_only: float = 0.05  # share of rows without images, in the mixed steps
    pattern_share: float = 0.5  # share of the images, in the mixed steps
    two_images: float = 0.0  # share of batches with two images per prompt, in the mixed steps
    left_right: int = 1  # 0: no text says which of two objects is to the left or right
    batch: int = 16
    scenes: int = 24_000
    twins: float = 0.5  # share of scenes that come again with left and right exchanged
    contrasts: int = 2000  # of the visual patterns, two pictures each
    lone: float = 0.1  # share of scenes with one object; the others have relations to ask about
    plain: float = 0.1  # share of rows without the system line
    text_length: int = 128  # tokens of questions and answers per row, by stage
    alignment_length: int = 48
    tuning_length: int = 160
    crops: int = 2  # of each training picture
    width: int = 128
    layers: int = 4
    mlp: int = 384
    muon_lr: float = 3e-3
    lr: float = 1.5e-3
    weight_decay: float = 0.05
    warmup: int = 100  # of each stage
    decay: float = 0.3  # last share of the tuning, in which the learning rate falls to 0
    precision: str = "bfloat16"  # of matrix products; weights stay in float32
    validation_scenes: int = 128  # an even number
    validation_sets: int = 50
    validation_contrasts: int = 10  # of each visual pattern

    @property
    def ends(self) -> tuple[int, ...]:
        """The steps at which text, alignment, tuning and the mixed steps end."""
        aligned = self.text_steps + self.alignment_steps
        steps = aligned + self.tuning_steps
        return self.text_steps, aligned, steps - self.mixed_steps, steps

    @property
    def steps(self) -> int:
        """Number of steps in all stages."""
        return self.ends[-1]

    def rate(self, step: int) -> float:
        """Factor on the learning rates: warm-up in each stage, a plateau, linear decay to zero."""
        began = max(end for end in (0, *self.ends[:2]) if end <= step)
        left = (self.steps - step) / max(self.decay * self.tuning_steps, 1)
        return min((step - began + 1) / self.warmup, 1.0, left)


def build_tokenizer(instructed: bool = False) -> FastTokenizer:
    """A word-level tokenizer with LLaVA-1.5's chat format.

    It ignores case. The system line, ``USER:`` and ``ASSISTANT:`` are one token each, and there's
    one ``<image>`` token for each patch. If `instructed`, it also has the words of
    :mod:`..tabletop.forms`; the other words keep their numbers.
    """
    special, roles = ["<pad>", "<unk>", "<s>", "</s>", "<image>"], [SYSTEM, "USER:", "ASSISTANT:"]
    words = [*special, *roles, *sorted({*questions.vocabulary(), *patterns.vocabulary()})]
    if instructed:
        words += [word for word in forms.vocabulary() if word not in words]
    core = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    core.normalizer = normalizers.Lowercase()
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    core.decoder = decoders.WordPiece(prefix="##", cleanup=True)
    core.post_processor = TemplateProcessing("<s> $A", special_tokens=[("<s>", words.index("<s>"))])
    core.add_special_tokens([AddedToken(w, normalized=False, special=True) for w in special])
    core.add_tokens([AddedToken(w, normalized=False) for w in roles])
    return FastTokenizer(
        tokenizer_object=core, pad_token="<pad>", unk_token="<unk>", bos_token="<s>",
        eos_token="</s>", extra_special_tokens={"image_token": "<image>"}, padding_side="left",
        model_max_length=512, chat_template=TEMPLATE,
    )  # fmt: skip


@lru_cache
def shared_tokenizer(instructed: bool = False) -> FastTokenizer:
    """The tokenizer that all readers in training share, of either kind."""
    return build_tokenizer(instructed)


def vision_weights(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The visual tower of an open_clip model under the names of ``CLIPVisionModel``.

    The projection to the joint space has no counterpart there, so it's left out.
    """
    tower = {}
    for name, tensor in weights.items():
        if not name.startswith("visual.") or name == "visual.proj":
            continue
        name = name.removeprefix("visual.")
        for theirs, ours in _RENAMED.items():
            name = name.replace(theirs, ours)
        if "in_proj_" in name:  # queries, keys and values in one
            for part, third in zip("qkv", tensor.chunk(3), strict=True):
                tower[name.replace("in_proj_", f"{part}_proj.")] = third
        else:
            tower[name] = tensor
    return tower


def load_vision(folder: Path) -> tuple[CLIPVisionConfig, dict[str, torch.Tensor]]:
    """Configuration and stored weights of the visual tower in an open_clip folder."""
    file = folder / "open_clip_model.safetensors"
    if not file.exists():
        raise FileNotFoundError(
            f"no CLIP weights at {file}; train them first: python -m erragree_utils.training.clip"
        )
    config = json.loads((folder / "open_clip_config.json").read_text())["model_cfg"]
    vision = config["vision_cfg"]
    return CLIPVisionConfig(
        hidden_size=vision["width"],
        intermediate_size=int(vision["width"] * vision["mlp_ratio"]),
        num_hidden_layers=vision["layers"],
        num_attention_heads=vision["width"] // vision["head_width"],
        image_size=vision["image_size"],
        patch_size=vision["patch_size"],
        projection_dim=config["embed_dim"],
        hidden_act="gelu",  # open_clip's default, while OpenAI's own weights use quick_gelu
    ), vision_weights(load_file(file))


def _attention(module, query, key, value, mask, scaling: float, **_):
    """Attention as two plain products: on CPUs, in bfloat16, twice as fast as PyTorch's fused one.

    Query, key, value (rows, heads, length, head width) in, (rows, length, heads, head width) out.
    """
    scores = (query * scaling) @ key.transpose(-1, -2) + mask.to(query.dtype)
    out = scores.softmax(-1, dtype=scores.dtype) @ value
    return out.transpose(1, 2).contiguous(), None


AttentionInterface.register("packed", _attention)


def build_model(settings: Settings, folder: Path, tokenizer: FastTokenizer) -> Llava:
    """An untrained reader around the frozen visual tower of the CLIP in `folder`, in float32."""
    vision, weights = load_vision(folder)
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=settings.width,
        intermediate_size=settings.mlp,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.width // 32,
        max_position_embeddings=tokenizer.model_max_length,
        initializer_range=settings.width**-0.5,
        **_ends(tokenizer),
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=(vision.image_size // vision.patch_size) ** 2,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
    )
    torch.manual_seed(settings.seed)
    model = Llava(config)
    with torch.no_grad():
        model.get_input_embeddings().weight.mul_(5.0)  # so that words are as large as image tokens
        for name, p in model.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                p.mul_((2 * settings.layers) ** -0.5)  # as in GPT-2, against growth with depth
    model.model.vision_tower.load_state_dict(weights)
    model.model.vision_tower.requires_grad_(False)
    model.model.language_model.set_attn_implementation("packed")
    return model


def _ends(tokenizer: FastTokenizer) -> dict[str, int]:
    names = ("pad_token_id", "bos_token_id", "eos_token_id")
    return {name: getattr(tokenizer, name) for name in names}


@torch.no_grad()
def standardise(model: Llava, features: torch.Tensor) -> None:
    """Give the projector inputs of mean 0 and deviation 1 to start with, whatever CLIP's scale.

    `features` is a sample of patch tokens (N, patches, width).
    """
    first = model.model.multi_modal_projector.linear_1
    flat = features.flatten(0, 1).float()
    first.weight.div_(flat.std(0) + 1e-3)
    first.bias.copy_(-first.weight @ flat.mean(0))


@torch.no_grad()
def patch_tokens(model: Llava, pictures: np.ndarray) -> torch.Tensor:
    """What the projector reads of pictures (N, H, W, 3) in [0, 255]: (N, patches, width)."""
    pixels = normalise(torch.from_numpy(pictures).to(model.device))
    layer = model.config.vision_feature_layer
    return model.model.vision_tower(pixels, output_hidden_states=True).hidden_states[layer][:, 1:]


def build_processor(model: Llava, tokenizer: FastTokenizer) -> LlavaProcessor:
    """CLIP's preprocessing and the tokenizer, as in LLaVA-1.5."""
    vision = model.config.vision_config
    return LlavaProcessor(
        image_processor=CLIPImageProcessor(size=vision.image_size, crop_size=vision.image_size),
        tokenizer=tokenizer,
        patch_size=vision.patch_size,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,  # CLIP's class token, which "default" drops
        chat_template=TEMPLATE,
    )


def save(
    model: Llava,
    tokenizer: FastTokenizer,
    settings: Settings,
    folder: Path,
) -> None:
    """Write what ``from_pretrained`` loads: float16 weights, configurations, processor."""
    folder.mkdir(parents=True, exist_ok=True)
    build_processor(model, tokenizer).save_pretrained(folder)
    stored = copy.deepcopy(model).half()
    stored.generation_config.update(**_ends(tokenizer))
    stored.save_pretrained(folder)
    write_json(folder / "training.json", asdict(settings))
