"""Train the mini LLaVA: ``python -m erragree_utils.training.llava``.

A small Llama reads the mini CLIP's patch tokens through a two-layer projector, as in LLaVA-1.5
(Liu et al. 2023, "Improved Baselines with Visual Instruction Tuning"): the vision tower is the mini
CLIP's own, bit by bit, and stays frozen; its tokens come from the last block but one.

Two stages as there: *alignment* on descriptions and captions, then *instruction tuning* on varied
questions. The language model starts from nothing, so it learns its words in the first stage too,
where LLaVA-1.5 trains the projector alone.

The vision tower runs once over all pictures and its tokens are kept on disk. Several questions
share one image in a row: each attends to the image and to itself, at the positions it would have
alone, so that a packed row computes what single prompts would. The loss counts answers only.
"""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from safetensors.torch import load_file
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from torch.nn import functional as F
from tqdm.auto import tqdm
from transformers import (
    AttentionInterface,
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from ..models.prompts import SYSTEM
from ..tabletop import captions, patterns, questions, render, scenes
from ..tabletop.questions import Question
from . import clip, loop
from .data import CHUNK, load_pattern_pictures, load_training_set, pattern_examples, training_scenes

ASSETS = clip.ALL_ASSETS / "mini-llava"
# The system line comes first unless the conversation brings its own; images come before the text.
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
IGNORED = -100  # target of a token that the loss does not count
PREFIX, NOBODY = 0, -1  # segments: what every question sees, and what none does

#: Relative frequency of the skills in the two stages.
ALIGNMENT = {"describe": 1.0, "caption": 1.0}
TUNING = {
    "verify": 4.5, "check": 1.5, "relation": 2.0, "two-way": 0.7, "beside": 1.0, "edge": 0.5,
    "place": 0.8, "colour": 1.0, "kind": 0.8, "presence": 0.8, "count": 0.2, "scenery": 0.2,
    "describe": 0.7, "caption": 0.2,
}  # fmt: skip
#: Skills that need the others: they come seldom at first, and in full from this share of the steps.
LATE, FULL_AT = ("verify", "check"), 0.3


@dataclass(frozen=True)
class Settings:
    """Everything that decides what the training gives; stored with the weights."""

    seed: int = 0
    alignment_steps: int = 1500
    tuning_steps: int = 8000
    batch: int = 32
    lone: float = 0.1  # share of scenes with one thing; the rest have relations to ask about
    plain: float = 0.1  # share of rows without the system line
    two_images: float = 0.1  # share of tuning batches with two images in a prompt
    patterns: int = 16000  # scenes that show one of the nine visual patterns
    pattern_share: float = 0.15  # of images in tuning
    alignment_length: int = 48  # tokens of questions and answers in a row, both stages
    tuning_length: int = 160
    crops: int = 2  # of each training picture
    width: int = 128
    layers: int = 4
    mlp: int = 384
    muon_lr: float = 3e-3
    lr: float = 1.5e-3
    weight_decay: float = 0.05
    warmup: int = 200
    decay: float = 0.5  # share of the steps, the last ones, in which the learning rate falls to 0
    precision: str = "bfloat16"  # of matrix products; weights stay in float32
    validation_scenes: int = 384  # an even number
    validation_sets: int = 100
    validation_contrasts: int = 30  # of each visual pattern

    @property
    def steps(self) -> int:
        """Steps of both stages."""
        return self.alignment_steps + self.tuning_steps


# --- the model -----------------------------------------------------------------------------------


def build_tokenizer() -> PreTrainedTokenizerFast:
    """A word-level tokenizer with LLaVA-1.5's chat format.

    Case does not matter. The system line, ``USER:`` and ``ASSISTANT:`` are one token each; of
    ``<image>`` there is one for each patch.
    """
    special = ["<pad>", "<unk>", "<s>", "</s>", "<image>"]
    known = sorted({*questions.vocabulary(), *patterns.vocabulary()})
    words = [*special, SYSTEM, "USER:", "ASSISTANT:", *known]
    core = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    core.normalizer = normalizers.Lowercase()
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    core.decoder = decoders.WordPiece(prefix="##", cleanup=True)
    core.post_processor = TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", words.index("<s>"))]
    )
    core.add_special_tokens([AddedToken(w, normalized=False, special=True) for w in special])
    core.add_tokens([AddedToken(w, normalized=False) for w in (SYSTEM, "USER:", "ASSISTANT:")])
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        extra_special_tokens={"image_token": "<image>"},
        padding_side="left",
        model_max_length=512,
        chat_template=TEMPLATE,
    )


def vision_weights(weights: dict[str, torch.Tensor], layers: int) -> dict[str, torch.Tensor]:
    """The visual tower of an open_clip model under the names of ``CLIPVisionModel``.

    The projection to the joint space has no counterpart there and is left out.
    """
    names = {
        "embeddings.class_embedding": "class_embedding",
        "embeddings.patch_embedding.weight": "conv1.weight",
        "embeddings.position_embedding.weight": "positional_embedding",
    }
    for kind in ("weight", "bias"):
        names[f"pre_layrnorm.{kind}"] = f"ln_pre.{kind}"
        names[f"post_layernorm.{kind}"] = f"ln_post.{kind}"
        for i in range(layers):
            here, there = f"encoder.layers.{i}", f"transformer.resblocks.{i}"
            names |= {
                f"{here}.layer_norm1.{kind}": f"{there}.ln_1.{kind}",
                f"{here}.layer_norm2.{kind}": f"{there}.ln_2.{kind}",
                f"{here}.self_attn.out_proj.{kind}": f"{there}.attn.out_proj.{kind}",
                f"{here}.mlp.fc1.{kind}": f"{there}.mlp.c_fc.{kind}",
                f"{here}.mlp.fc2.{kind}": f"{there}.mlp.c_proj.{kind}",
            }
    found = {new: weights[f"visual.{old}"] for new, old in names.items()}
    for kind in ("weight", "bias"):
        for i in range(layers):
            joint = weights[f"visual.transformer.resblocks.{i}.attn.in_proj_{kind}"]
            for name, part in zip("qkv", joint.chunk(3), strict=True):
                found[f"encoder.layers.{i}.self_attn.{name}_proj.{kind}"] = part
    return found


def load_vision(folder: Path) -> tuple[CLIPVisionConfig, dict[str, torch.Tensor]]:
    """Configuration and weights, as stored, of the visual tower of an open_clip folder.

    Raises
    ------
    FileNotFoundError
        If the folder holds no trained CLIP.
    """
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
        hidden_act="gelu",  # open_clip's default; OpenAI's own weights use quick_gelu
    ), vision_weights(load_file(file), vision["layers"])


def build_model(settings: Settings, folder: Path, tokenizer) -> LlavaForConditionalGeneration:
    """The untrained reader around the frozen visual tower of the CLIP in `folder`, in float32."""
    vision, weights = load_vision(folder)
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=settings.width,
        intermediate_size=settings.mlp,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.width // 32,
        max_position_embeddings=tokenizer.model_max_length,
        initializer_range=settings.width**-0.5,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    torch.manual_seed(settings.seed)
    model = LlavaForConditionalGeneration(
        LlavaConfig(
            vision_config=vision,
            text_config=text,
            image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
            image_seq_length=(vision.image_size // vision.patch_size) ** 2,
            vision_feature_layer=-2,
            vision_feature_select_strategy="default",
        )
    )
    with torch.no_grad():
        model.get_input_embeddings().weight.mul_(5.0)  # words as loud as image tokens
        for name, p in model.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                p.mul_((2 * settings.layers) ** -0.5)  # as GPT-2: depth does not add up
    tower = model.model.vision_tower
    tower.load_state_dict(weights)
    tower.requires_grad_(False)
    model.model.language_model.set_attn_implementation("packed")
    return model


@torch.no_grad()
def standardise(model: LlavaForConditionalGeneration, features: torch.Tensor) -> None:
    """Let the projector start with inputs of mean 0 and deviation 1, whatever CLIP's scale.

    `features` is a sample of patch tokens (N, patches, width).
    """
    first = model.model.multi_modal_projector.linear_1
    flat = features.flatten(0, 1).float()
    first.weight.div_(flat.std(0) + 1e-3)
    first.bias.copy_(-first.weight @ flat.mean(0))


def build_processor(model: LlavaForConditionalGeneration, tokenizer) -> LlavaProcessor:
    """CLIP's preprocessing and the tokenizer, as LLaVA-1.5 has them."""
    vision = model.config.vision_config
    images = CLIPImageProcessor(
        size={"shortest_edge": vision.image_size},
        crop_size={"height": vision.image_size, "width": vision.image_size},
        image_mean=list(clip.MEAN),
        image_std=list(clip.STD),
    )
    return LlavaProcessor(
        image_processor=images,
        tokenizer=tokenizer,
        patch_size=vision.patch_size,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,  # CLIP's class token, which "default" leaves out
        chat_template=TEMPLATE,
    )


# --- patch tokens --------------------------------------------------------------------------------


@torch.no_grad()
def patch_tokens(model: LlavaForConditionalGeneration, pictures: np.ndarray) -> torch.Tensor:
    """What the projector reads of pictures (N, H, W, 3) in [0, 255]: (N, patches, width)."""
    pixels = clip.normalise(torch.from_numpy(pictures))
    layer = model.config.vision_feature_layer
    out = model.model.vision_tower(pixels, output_hidden_states=True)
    return out.hidden_states[layer][:, 1:]


def cache_features(
    model: LlavaForConditionalGeneration, pictures: np.ndarray, crops: int, seed: int, path: Path
) -> np.ndarray:
    """Patch tokens of random crops of pictures, computed once and kept in a file.

    A killed run goes on where it stopped.

    Returns
    -------
    numpy.ndarray, float16, shape (N, crops, patches, width)
    """
    vision, n = model.config.vision_config, len(pictures)
    shape = (n, crops, model.config.image_seq_length, vision.hidden_size)
    mark = path.with_suffix(".json")
    done = json.loads(mark.read_text())["done"] if mark.exists() and path.exists() else 0
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = np.lib.format.open_memmap(path, "r+" if done else "w+", np.float16, shape)
    for start in tqdm(range(done, n, CHUNK), desc="patch tokens", unit="k"):
        stop = min(start + CHUNK, n)
        rng = np.random.default_rng((seed, start))
        for i in range(start, stop, 128):
            part = pictures[i : min(i + 128, stop)]
            for c in range(crops):
                tokens = patch_tokens(model, _crop(part, vision.image_size, rng))
                kept[i : i + len(part), c] = tokens.numpy().astype(np.float16)
        kept.flush()
        mark.write_text(json.dumps({"done": stop}))
    return np.load(path, mmap_mode="r")


def _crop(pictures: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    corners = rng.integers(0, pictures.shape[1] - size + 1, (len(pictures), 2))
    return np.stack([
        picture[y : y + size, x : x + size]
        for picture, (y, x) in zip(pictures, corners, strict=True)
    ])  # fmt: skip


# --- packing -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Packed:
    """Questions packed behind one image each: four tensors (rows, length) of whole numbers.

    `segments` is :data:`PREFIX` for the tokens that every question of the row sees, 1, 2, ... for
    those of each question, :data:`NOBODY` for those that nothing sees. `targets` holds the token to
    predict next, :data:`IGNORED` outside answers.
    """

    tokens: torch.Tensor
    segments: torch.Tensor
    positions: torch.Tensor
    targets: torch.Tensor

    def mask(self) -> torch.Tensor:
        """What each token attends to, as numbers to add to the scores: (rows, 1, length, length).

        Earlier tokens of the prefix and of the same question; every token attends to itself.
        """
        seen, seer = self.segments[:, None, :], self.segments[:, :, None]
        n = self.segments.shape[1]
        allowed = ((seen == PREFIX) | ((seen == seer) & (seen != NOBODY))).tril()
        allowed |= torch.eye(n, dtype=torch.bool)
        return torch.zeros(allowed.shape).masked_fill_(~allowed, float("-inf"))[:, None]


def pack(
    tokenizer,
    rows: Sequence[Sequence[Question]],
    n_patches: int,
    length: int | None = None,
    plain: Sequence[bool] | None = None,
) -> tuple[Packed, list[list[Question]]]:
    """Pack the questions of each image into a row.

    Parameters
    ----------
    tokenizer
        Of :func:`build_tokenizer`.
    rows : sequence of sequences of Question
        The questions of each image.
    n_patches : int
        Image tokens of a row: those of one image, or of all that its prompts show.
    length : int, optional
        Room for questions and answers in a row, in tokens; a question that does not fit any more is
        left out. By default all fit.
    plain : sequence of bool, optional
        Rows that go without the system line.

    Returns
    -------
    Packed, list of lists of Question
        The rows, and the questions that they hold.
    """
    encode = _encoder(tokenizer)
    prefix = encode(f"<s>{SYSTEM} USER: " + "<image>" * n_patches)
    pieces = [[(q, encode(f"{q.text} ASSISTANT:"), encode(f"{q.answer}</s>")) for q in row]
              for row in rows]  # fmt: skip
    if length is None:
        length = max(sum(len(a) + len(b) for _, a, b in row) for row in pieces)
    start, shape = len(prefix), (len(rows), len(prefix) + length)
    tokens = np.full(shape, tokenizer.pad_token_id)
    segments, positions = np.full(shape, NOBODY), np.zeros(shape, int)
    targets, kept = np.full(shape, IGNORED), []
    tokens[:, :start], segments[:, :start], positions[:, :start] = prefix, PREFIX, np.arange(start)
    for r, row in enumerate(pieces):
        at, held = start, []
        for question, asked, answered in row:
            end = at + len(asked) + len(answered)
            if end > shape[1]:
                continue
            held.append(question)
            tokens[r, at:end] = asked + answered
            segments[r, at:end] = len(held)
            positions[r, at:end] = np.arange(start, start + end - at)
            targets[r, at + len(asked) - 1 : end - 1] = answered
            at = end
        kept.append(held)
    if plain is not None:  # nothing sees the system line, and what follows moves up
        segments[np.flatnonzero(plain), 1] = NOBODY
        positions[np.flatnonzero(plain), 2:] -= 1
    return Packed(*(torch.from_numpy(a) for a in (tokens, segments, positions, targets))), kept


def _encoder(tokenizer):
    core = tokenizer.backend_tokenizer
    return lambda text: core.encode(text, add_special_tokens=False).ids


def _attention(module, query, key, value, mask, scaling: float, **_):
    """Attention as two plain products: on CPUs, in bfloat16, twice as fast as PyTorch's fused one.

    Query, key, value (rows, heads, length, head width) in, (rows, length, heads, head width) out.
    """
    scores = (query * scaling) @ key.transpose(-1, -2) + mask.to(query.dtype)
    out = scores.softmax(-1, dtype=scores.dtype) @ value
    return out.transpose(1, 2).contiguous(), None


AttentionInterface.register("packed", _attention)


def packed_states(
    model: LlavaForConditionalGeneration, features: torch.Tensor, packed: Packed
) -> torch.Tensor:
    """The Llama's last states (rows, length, width) for images given by their patch tokens."""
    words = model.get_input_embeddings()(packed.tokens)
    image = model.model.multi_modal_projector(features).to(words.dtype)
    n = image.shape[1]
    embedded = torch.cat([words[:, :3], image, words[:, 3 + n :]], dim=1)
    out = model.model.language_model(
        inputs_embeds=embedded,
        attention_mask=packed.mask(),
        position_ids=packed.positions,
        use_cache=False,
    )
    return out.last_hidden_state


def answer_loss(
    model: LlavaForConditionalGeneration, features: torch.Tensor, packed: Packed
) -> torch.Tensor:
    """Cross-entropy of the answers' tokens, mean in nats."""
    states = packed_states(model, features, packed)
    where = packed.targets != IGNORED
    return F.cross_entropy(model.lm_head(states[where]).float(), packed.targets[where])


# --- examination ---------------------------------------------------------------------------------


@torch.no_grad()
def examine(
    model: LlavaForConditionalGeneration,
    tokenizer,
    features: torch.Tensor,
    rows: Sequence[Sequence[Question]],
    batch: int = 32,
) -> list[list[tuple[bool, float]]]:
    """Ask every image its questions.

    Parameters
    ----------
    features : torch.Tensor, shape (N, patches, width)
    rows : sequence of sequences of Question
        The questions of each image.

    Returns
    -------
    list of lists of (bool, float)
        For each question, whether greedy decoding gives the answer word by word, and the
        probability that the answer begins with "Yes".
    """
    yes, results = tokenizer.convert_tokens_to_ids("yes"), []
    for i in range(0, len(rows), batch):
        packed, _ = pack(tokenizer, rows[i : i + batch], features.shape[1])
        states = packed_states(model, features[i : i + batch].float(), packed)
        where = packed.targets != IGNORED
        logits = model.lm_head(states[where]).float()
        right = torch.zeros_like(where)
        right[where] = logits.argmax(-1) == packed.targets[where]
        chance = torch.zeros(where.shape)
        chance[where] = logits.softmax(-1)[:, yes]
        for r, row in enumerate(rows[i : i + batch]):
            spots = [where[r] & (packed.segments[r] == k + 1) for k in range(len(row))]
            results.append([(bool(right[r][s].all()), chance[r][s][0].item()) for s in spots])
    return results


Asked: TypeAlias = tuple[torch.Tensor, list[list[Question]]]


@dataclass(frozen=True)
class Exam:
    """Images, by their patch tokens, and their questions.

    `rows` are about held-out scenes, `two` about two of them at once, `sets` about benchmark sets,
    `contrasts` about the two scenes of each contrast of a visual pattern.
    """

    rows: Asked
    two: Asked
    sets: dict[str, Asked]
    contrasts: Asked


def set_exam(model: LlavaForConditionalGeneration, settings: Settings, first_scene: int) -> Exam:
    """Scenes that training does not see, and benchmark sets that the chapters do not use."""
    size = model.config.vision_config.image_size

    def seen(drawn: Sequence[scenes.Scene]) -> torch.Tensor:
        return patch_tokens(model, render.render_many(drawn, size))

    held_out = training_scenes(settings.seed, first_scene, first_scene + settings.validation_scenes)
    rng = np.random.default_rng((settings.seed, first_scene))
    rows = [
        [q for skill in questions.SKILLS if (q := questions.ask(scene, skill, rng))]
        for scene in held_out
    ]
    tokens = seen(held_out)
    two = [
        questions.draw_questions_of_two(pair, rng, 4)
        for pair in zip(held_out[::2], held_out[1::2], strict=True)
    ]
    sets = {}
    for family in "ab":
        rng = np.random.default_rng((scenes.TEST, clip.VALIDATION_SEED, ord(family)))
        drawn = [
            scene
            for _ in range(settings.validation_sets)
            for scene in scenes.benchmark_set(family, rng)
        ]
        sets[family] = seen(drawn), [benchmark_questions(scene, family) for scene in drawn]
    rng = np.random.default_rng((scenes.TEST, clip.VALIDATION_SEED, len(patterns.PATTERNS)))
    drawn = [
        patterns.draw_contrast(name, rng, held_out=True)
        for name in patterns.PATTERNS
        for _ in range(settings.validation_contrasts)
    ]
    asked = [[Question(c.pattern, c.question, answer)] for c in drawn for answer in c.options]
    contrasts = seen([scene for c in drawn for scene in c.scenes]), asked
    return Exam(
        (tokens, rows), (torch.cat([tokens[::2], tokens[1::2]], dim=1), two), sets, contrasts
    )


def benchmark_questions(scene: scenes.Scene, family: str) -> list[Question]:
    """The scene's own caption and its opposite as VQAScore prompts; two-way and four-way prompts.

    In this order. `family` is that of the benchmark set, ``"a"`` or ``"b"``.
    """
    first, second = (thing.name for thing in scene.things)
    relation, opposite = scene.relation, scenes.OPPOSITE[scene.relation]
    answer, other = questions.ANSWERS[relation], questions.ANSWERS[opposite]
    own, false = (captions.benchmark_caption(first, second, r) for r in (relation, opposite))
    names = {"first": first, "second": second}
    two_way = f"{min(answer, other)} or {max(answer, other)}"
    return [
        Question("verify", questions.VQASCORE.format(caption=own), "Yes"),
        Question("verify", questions.VQASCORE.format(caption=false), "No"),
        Question("relation", questions.RELATION.format(options=two_way, **names), answer),
        Question(
            "relation",
            questions.RELATION.format(options=questions.OPTIONS[family], **names),
            answer,
        ),
    ]


def validate(model: LlavaForConditionalGeneration, tokenizer, exam: Exam) -> dict[str, float]:
    """Accuracy of each skill, and what the chapters measure, pair by pair.

    Keys are skills; then, for example, ``"a left/right pair"``: family, relation and protocol
    (``individual`` and ``pair`` of VQAScore, ``two-way`` and ``four-way`` prompted), and
    ``"pattern text pair"`` for the visual patterns, by greedy answers.
    """
    model.eval()
    found: dict[str, list[bool]] = {}
    for features, rows in (exam.rows, exam.two):
        for row, results in zip(rows, examine(model, tokenizer, features, rows), strict=True):
            for question, (right, _) in zip(row, results, strict=True):
                found.setdefault(question.skill, []).append(right)
    for family, (features, rows) in exam.sets.items():
        results = examine(model, tokenizer, features, rows)
        names = ("left/right", "on/under" if family == "a" else "front/behind")
        for i in range(0, len(rows), 2):  # the two images of a pair follow each other
            key = f"{family} {names[i // 2 % 2]}"
            right = [results[j][0][1] > results[j][1][1] for j in (i, i + 1)]
            found.setdefault(f"{key} individual", []).extend(right)
            found.setdefault(f"{key} pair", []).append(all(right))
            for protocol, k in (("two-way", 2), ("four-way", 3)):
                answers = [results[j][k][0] for j in (i, i + 1)]
                found.setdefault(f"{key} {protocol}", []).extend(answers)
    features, rows = exam.contrasts
    results = examine(model, tokenizer, features, rows)
    for i in range(0, len(rows), 2):
        right = [results[j][0][0] for j in (i, i + 1)]
        found.setdefault(f"pattern {rows[i][0].skill} individual", []).extend(right)
        found.setdefault(f"pattern {rows[i][0].skill} pair", []).append(all(right))
    model.train()
    return {key: float(np.mean(values)) for key, values in found.items()}


# --- training ------------------------------------------------------------------------------------


Examples: TypeAlias = Sequence[tuple[scenes.Scene, Question]]


class Batches:
    """Random batches: patch tokens of pictures, each with its questions packed.

    `features` and `drawn` are the patch tokens and scenes of ordinary pictures, `special` and
    `examples` those of the visual patterns, whose scenes come with a question each.
    """

    def __init__(
        self,
        features: np.ndarray,
        drawn: list[scenes.Scene],
        special: np.ndarray,
        examples: Examples,
        tokenizer,
        settings: Settings,
    ):
        self.features, self.scenes = features, drawn
        self.special, self.examples = special, examples
        self.tokenizer, self.settings = tokenizer, settings
        several = np.array([len(scene.things) > 1 for scene in drawn])
        self.several, self.lone = np.flatnonzero(several), np.flatnonzero(~several)

    def draw(self, step: int) -> tuple[torch.Tensor, Packed]:
        """The batch of one step; it depends on seed and step alone, so that runs resume exactly."""
        s = self.settings
        rng = np.random.default_rng((s.seed, step))
        aligning = step < s.alignment_steps
        length = s.alignment_length if aligning else s.tuning_length
        most = length // 10  # few questions are shorter than ten tokens
        if not aligning and rng.random() < s.two_images:
            first, second = self._choose(rng, s.batch), self._choose(rng, s.batch)
            features = np.concatenate([self._see(first, rng), self._see(second, rng)], axis=1)
            pairs = [(self.scenes[i], self.scenes[j]) for i, j in zip(first, second, strict=True)]
            rows = [questions.draw_questions_of_two(pair, rng, most) for pair in pairs]
        else:
            few = 0 if aligning else int(rng.binomial(s.batch, s.pattern_share))
            chosen, index = shares(step, s), self._choose(rng, s.batch - few)
            features = self._see(index, rng)
            rows = [questions.draw_questions(self.scenes[i], rng, most, chosen) for i in index]
            if few:
                index = rng.choice(len(self.examples), few)
                seen = self._see(index, rng, self.special)
                features = np.concatenate([features, seen])
                for scene, question in (self.examples[i] for i in index):
                    rows.append([question, *questions.draw_questions(scene, rng, most, chosen)])
        plain = rng.random(s.batch) < s.plain
        packed, _ = pack(self.tokenizer, rows, features.shape[1], length, plain)
        return torch.from_numpy(features).float(), packed

    def _choose(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Random ordinary pictures, few of them with one thing."""
        lone = int(rng.binomial(n, self.settings.lone)) if len(self.lone) else 0
        return np.concatenate([rng.choice(self.lone, lone), rng.choice(self.several, n - lone)])

    def _see(
        self, index: np.ndarray, rng: np.random.Generator, features: np.ndarray | None = None
    ) -> np.ndarray:
        features = self.features if features is None else features
        crop = rng.integers(0, self.settings.crops, len(index))
        return np.stack([features[i, c] for i, c in zip(index, crop, strict=True)])


def shares(step: int, settings: Settings) -> dict[str, float]:
    """Relative frequency of each skill at a step."""
    if step < settings.alignment_steps:
        return ALIGNMENT
    progress = (step - settings.alignment_steps) / settings.tuning_steps
    late = min(1.0, 0.25 + 0.75 * progress / FULL_AT)
    return {skill: n * late if skill in LATE else n for skill, n in TUNING.items()}


def learning_rate(step: int, settings: Settings) -> float:
    """Factor on the learning rates: linear warm-up, a plateau, linear decay to zero."""
    left = (settings.steps - step) / (settings.decay * settings.steps)
    return min((step + 1) / settings.warmup, 1.0, left)


def train(
    settings: Settings, run: Path, clip_folder: Path, every: int = 500, compiled: bool = False
) -> LlavaForConditionalGeneration:
    """Train, or go on with, the model of a run folder; returns it.

    A checkpoint is written every `every` steps; a killed run starts again from the last one. The
    log (``log.jsonl``) holds the loss and what :func:`validate` measures. With `compiled`, PyTorch
    compiles the Llama's layers: a fifth faster, but it needs a C++ compiler.

    Raises
    ------
    FileNotFoundError
        If there is no CLIP to read.
    ValueError
        If the folder holds a run with other settings.
    """
    run.mkdir(parents=True, exist_ok=True)
    tokenizer = build_tokenizer()
    model = build_model(settings, clip_folder, tokenizer)
    steppers = loop.optimizers(model, settings, ("language_model.layers", "projector"))
    start = loop.resume(run, settings, model, steppers)
    encoder = clip.Settings(**json.loads((clip_folder / "training.json").read_text()))
    features, drawn, special, examples = _reading(model, settings, encoder, run.parent, clip_folder)
    if start == 0:
        standardise(model, torch.from_numpy(np.array(features[:256, 0])))
    exam = set_exam(model, settings, encoder.scenes)
    batches = Batches(features, drawn, special, examples, tokenizer, settings)
    reduced = settings.precision == "bfloat16"
    if compiled:
        for layer in model.model.language_model.layers:
            layer.compile(dynamic=False)
    log = loop.Log(run, start)
    with ThreadPoolExecutor(1) as ahead:  # questions are drawn while the last ones are learned
        coming = ahead.submit(batches.draw, start)
        for step in tqdm(
            range(start, settings.steps), initial=start, total=settings.steps, desc="LLaVA"
        ):
            seen, packed = coming.result()
            if step + 1 < settings.steps:
                coming = ahead.submit(batches.draw, step + 1)
            with torch.autocast("cpu", torch.bfloat16) if reduced else nullcontext():
                loss = answer_loss(model, seen, packed)
            loss.backward()
            loop.update(steppers, learning_rate(step, settings))
            log.losses.append(loss.item())
            if (step + 1) % every == 0 or step + 1 == settings.steps:
                with torch.compiler.set_stance("force_eager"):  # its rows differ in length
                    log.write(step + 1, validate(model, tokenizer, exam))
                loop.save_checkpoint(run, settings, model, steppers, step + 1)
    return model


def _reading(model, settings: Settings, encoder: clip.Settings, runs: Path, clip_folder: Path):
    """Patch tokens and scenes of the CLIP's own training pictures, and of the visual patterns."""
    size = encoder.image_size + encoder.margin
    weights = hashlib.sha256((clip_folder / "open_clip_model.safetensors").read_bytes())

    def read(pictures: np.ndarray) -> np.ndarray:
        world = Path(pictures.filename).stem
        name = f"{world}-{weights.hexdigest()[:8]}-{settings.seed}-{settings.crops}"
        path = runs / "features" / f"{name}.npy"
        return cache_features(model, pictures, settings.crops, settings.seed, path)

    data = load_training_set(runs / "pictures", encoder.data_seed, encoder.scenes, size, 0)
    shown = load_pattern_pictures(runs / "pictures", settings.seed, settings.patterns, size)
    return (
        read(data.images),
        training_scenes(encoder.data_seed, 0, encoder.scenes),
        read(shown),
        pattern_examples(settings.seed, 0, settings.patterns),
    )


def save(model: LlavaForConditionalGeneration, tokenizer, settings: Settings, folder: Path) -> None:
    """Write what ``from_pretrained`` loads: float16 weights, configurations, processor."""
    folder.mkdir(parents=True, exist_ok=True)
    build_processor(model, tokenizer).save_pretrained(folder)
    stored = copy.deepcopy(model).half()
    for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
        setattr(stored.generation_config, name, getattr(tokenizer, name))
    stored.save_pretrained(folder)
    (folder / "training.json").write_text(json.dumps(asdict(settings), indent=2) + "\n")


def main(arguments: list[str] | None = None) -> None:
    """Command line: train and write the weights."""
    what = "Train the mini LLaVA (an hour and a half on two cores that do other work too)."
    parser = loop.command_line(what, "runs/mini-llava", Settings())
    parser.add_argument("--clip", type=Path, default=clip.ASSETS, help="folder of the CLIP to read")
    parser.add_argument("--compile", action="store_true", help="faster; needs a C++ compiler")
    options = vars(parser.parse_args(arguments))
    run, out, folder, compiled = (options.pop(k) for k in ("run", "out", "clip", "compile"))
    out = out or run / "model"
    settings = Settings(**options)
    model = train(settings, run, folder, compiled=compiled)
    save(model, build_tokenizer(), settings, out)
    shutil.copy(run / "log.jsonl", out / "training_log.jsonl")


if __name__ == "__main__":
    main()
