"""The published models' repositories, small: CLIP, LLaVA-1.5 that reads its tower, and DINOv2."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import open_clip
import timm
import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, pre_tokenizers, trainers
from tokenizers import models as token_models
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlamaTokenizer,
    LlavaConfig,
    LlavaForConditionalGeneration,
)

from erragree_utils.training.llava_model import vision_weights
from tests.models.conftest import SYSTEM, write_published

#: ViT-L/14 at 336 px in all but width and depth; without dimensions it is OpenAI's.
CLIP = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 336, "patch_size": 14, "width": 32, "layers": 3, "head_width": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}
DINO = {"embed_dim": 24, "depth": 2, "num_heads": 2}
#: Answers and by how much their logits are raised.
ANSWERS = {"left": 12, "right": 12, "Yes": 10, "No": 10}
WORDS = 32_000  # of Llama's vocabulary
ROWS = 32_064  # of LLaVA-1.5's embedding, which has some to spare


def write_clip(folder: Path) -> dict[str, torch.Tensor]:
    """The repository that open_clip fetches for OpenAI's ViT-L/14-336; its weights."""
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    model = open_clip.model.CLIP(**CLIP, quick_gelu=True)
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1 and "positional" not in name:
            parameter.data *= 4  # nothing was learnt, but images shall not all look alike
    weights = {name: value.half() for name, value in model.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": CLIP}))
    return weights


def write_vision(folder: Path) -> None:
    """The repository that timm fetches for DINOv2's ViT-L/14."""
    folder.mkdir(parents=True)
    torch.manual_seed(2)
    model = timm.create_model("vit_large_patch14_dinov2", num_classes=0, **DINO)
    for name, parameter in model.named_parameters():
        if name.endswith("gamma"):
            parameter.data.fill_(1)  # training begins with blocks that hardly do anything
        elif parameter.ndim > 1 and "pos_embed" not in name:
            parameter.data *= 4
    save_file(model.state_dict(), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"architecture": "vit_large_patch14_dinov2"}))


def write_llava(folder: Path, clip: dict[str, torch.Tensor]) -> None:
    """llava-hf/llava-1.5-7b-hf file by file, around the image tower of that CLIP."""
    words, vision, size = llama_tokenizer(), CLIP["vision_cfg"], 32
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=vision["width"], intermediate_size=4 * vision["width"],
            num_hidden_layers=vision["layers"],
            num_attention_heads=vision["width"] // vision["head_width"],
            image_size=336, patch_size=14, projection_dim=768,
        ),
        text_config=LlamaConfig(
            hidden_size=size, intermediate_size=2 * size, num_hidden_layers=2,
            num_attention_heads=2, vocab_size=ROWS, max_position_embeddings=4096,
        ),
        image_token_index=WORDS, image_seq_length=576, pad_token_id=WORDS + 1,
        vision_feature_layer=-2, vision_feature_select_strategy="default",
    )  # fmt: skip
    torch.manual_seed(1)
    model = LlavaForConditionalGeneration(config)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data *= 5  # nothing was learnt, but answers shall depend on images
    model.model.vision_tower.load_state_dict(vision_weights(clip))
    teach_to_answer(model, words)
    write_published(folder, model, words)


@torch.no_grad()
def teach_to_answer(model: LlavaForConditionalGeneration, words: LlamaTokenizer) -> None:
    """Let answers be one of `ANSWERS`, whichever the image makes likely, and end there."""
    image = torch.randn(1, 3, 336, 336, generator=torch.Generator().manual_seed(3))
    text = SYSTEM + " USER: " + "<image>" * 576 + "\nIs it on the left or right? ASSISTANT:"

    def hidden(text: str) -> torch.Tensor:
        inputs = words(text, return_tensors="pt")
        return model.model(**inputs, pixel_values=image).last_hidden_state[0, -1]

    asked = hidden(text)
    answered = torch.stack([hidden(f"{text} {answer}") for answer in ANSWERS])
    answered -= (answered @ asked / (asked @ asked))[:, None] * asked  # the end is no answer
    head = model.lm_head.weight
    for answer, raised in ANSWERS.items():
        (first,) = words(answer, add_special_tokens=False)["input_ids"]
        head[first] += raised * asked / (asked @ asked)
    head[words.eos_token_id] += 40 * torch.linalg.pinv(answered).sum(dim=1)


def llama_tokenizer() -> LlamaTokenizer:
    """32,000 pieces of Llama's kind and LLaVA's two at 32,000 and 32,001.

    Learnt from the words in CLIP's vocabulary, of which a word's rank tells about how often it
    occurs.
    """
    file = Path(open_clip.__file__).with_name("bpe_simple_vocab_16e6.txt.gz")
    merges = gzip.decompress(file.read_bytes()).decode("utf-8").splitlines()[1:]
    words = [
        merge.replace(" ", "").removesuffix("</w>") for merge in merges if merge.endswith("</w>")
    ]
    text = (
        " ".join([form] * max(1, len(words) // (rank + 1)))
        for rank, word in enumerate(words)
        for form in (word, word.capitalize())
    )
    core = Tokenizer(token_models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=WORDS, special_tokens=special, show_progress=False)
    core.train_from_iterator(text, trainer)
    trained = json.loads(core.to_str())["model"]
    made = LlamaTokenizer(
        vocab=trained["vocab"], merges=[tuple(m) for m in trained["merges"]], add_bos_token=True
    )
    made.add_tokens([AddedToken("<image>", special=True, normalized=False)], special_tokens=True)
    made.add_special_tokens({"pad_token": "<pad>"})
    return made
