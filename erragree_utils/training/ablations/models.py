"""The models of the ablations.

Each has ``loss(images, texts, negative)`` in nats, ``scores(images, texts)`` (N, M), ``paired``
(N,) for each image with its own text, and ``image_vectors(images, texts)`` (N, D), whose cosines
tell how alike images are.
"""

from __future__ import annotations

import math
from typing import Literal, TypeAlias, get_args, get_origin, get_type_hints

import torch
from torch import nn
from torch.nn import functional as F

from ...models.tokens import SYSTEM
from ...tabletop.questions import VQASCORE, Question
from .. import packing
from ..clip_model import matching_loss
from ..llava_model import Settings as LlavaSettings
from ..llava_model import shared_tokenizer
from .encoders import (
    LlamaText,
    TextTower,
    at_end,
    mini_llava,
    rotate,
    text_ends,
    untaught_llava,
    vision_tower,
)
from .experiments import Settings

PROMPT = "Describe the image."  # the mini LLaVA's own, before an image is embedded
SHARPNESS = 10.0  # of the weights that a text gives to patches, on cosines
MAX_SCALE = 100.0  # of cosines (Radford et al. 2021, section 2.5)
AT_ONCE = 20  # questions about an image


def build(settings: Settings) -> Model:
    """The untrained model of an experiment, by its seed.

    ValueError if the settings name something that does not exist or does not go together.
    """
    _check(settings)
    torch.manual_seed(settings.seed)
    if settings.objective == "captioning":
        return Captioner(settings)
    if settings.objective == "answering":
        return Reader(settings)
    return Converted(settings) if "llava" in settings.encoder else Matcher(settings)


def _check(settings: Settings) -> None:
    for name, kind in get_type_hints(Settings).items():
        value = getattr(settings, name)
        if get_origin(kind) is Literal and value not in get_args(kind):
            raise ValueError(f"{name} must be one of {', '.join(get_args(kind))}, not {value!r}")
    reads = settings.objective != "contrastive"
    if settings.tokens not in (("cls", "patches") if reads else ("cls", "mean", "weighted")):
        raise ValueError(f"tokens={settings.tokens!r} does not go with {settings.objective}")
    if settings.tokens != "weighted" and (settings.rotary or settings.text_tokens == "all"):
        raise ValueError("rotary and several text tokens need tokens='weighted'")
    if (settings.objective == "answering") != (settings.encoder == "mini-llava" and reads):
        raise ValueError("objective='answering' needs encoder='mini-llava'; captioning, 'new'")


# --- matching ------------------------------------------------------------------------------------


class DualEncoder(nn.Module):
    """An image and a text are embedded apart; cosines are their scores.

    Subclasses give ``embed_images`` and ``embed_texts``, unit vectors.
    """

    def __init__(self):
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def scores(self, images: torch.Tensor, texts: torch.Tensor) -> torch.Tensor:
        """Cosines (N, M)."""
        return self.embed_images(images) @ self.embed_texts(texts).T

    def paired(self, images: torch.Tensor, texts: torch.Tensor) -> torch.Tensor:
        rows = zip(images.split(1), texts.split(1), strict=True)
        return torch.cat([self.scores(image, text).flatten() for image, text in rows])

    def loss(self, images, texts, negative):
        cosines = self.scores(images, torch.cat([texts, negative]))
        return matching_loss(self.log_scale.exp().clamp(max=MAX_SCALE) * cosines)

    def image_vectors(self, images, texts):
        return self.embed_images(images)


class Matcher(DualEncoder):
    """A CLIP that matches an image's class token, mean patch token, or weighted patch tokens."""

    def __init__(self, s: Settings):
        super().__init__()
        self.settings = s
        self.visual = vision_tower(s)
        self.text = TextTower(s) if s.text == "new" else LlamaText()
        self.image_projection = nn.Linear(s.width, s.embed_dim, bias=False)
        self.text_projection = nn.Linear(self.text.width, s.embed_dim, bias=False)

    def embed_images(self, images: torch.Tensor) -> torch.Tensor:
        """Unit vectors (N, D), or of all patches (N, P, D)."""
        cls, patches = self.visual(images)
        s = self.settings
        projected = self.image_projection(cls if s.tokens == "cls" else patches)
        if s.tokens == "mean":
            projected = projected.mean(1)
        return F.normalize(rotate(projected) if s.rotary else projected, dim=-1)

    def embed_texts(self, texts: torch.Tensor) -> torch.Tensor:
        """Unit vectors (N, D) of end tokens, or (N, length, D) of all tokens."""
        states = self.text(texts)
        if self.settings.text_tokens == "end":
            states = at_end(states, texts)
        return F.normalize(self.text_projection(states), dim=-1)

    def scores(self, images: torch.Tensor, texts: torch.Tensor) -> torch.Tensor:
        """Cosines (N, M), of weighted patches where they are matched."""
        if self.settings.tokens != "weighted":
            return super().scores(images, texts)
        x, t = self.embed_images(images), self.embed_texts(texts)
        if t.ndim == 2:
            return weighted_cosines(x, t)
        some = weighted_cosines(x, t.flatten(0, 1)).view(len(x), *t.shape[:2])
        counted = torch.arange(t.shape[1]) <= text_ends(texts)[:, None]
        return (some * counted).sum(-1) / counted.sum(-1)

    def image_vectors(self, images, texts):
        """Embeddings; of weighted patches, what each image's text (N, length) weights."""
        x = self.embed_images(images)
        if x.ndim == 2:
            return x
        t = self.embed_texts(texts)
        if t.ndim == 3:
            t = at_end(t, texts)
        weight = (SHARPNESS * torch.einsum("npd,nd->np", x, t)).softmax(-1)
        return F.normalize(torch.einsum("np,npd->nd", weight, x), dim=-1)


def weighted_cosines(patches: torch.Tensor, texts: torch.Tensor) -> torch.Tensor:
    """Cosine (N, M) of each text with the mean of each image's patches, weighted by that text.

    After PACL (Mukhoti et al. 2023), whose weights are a softmax of the same products; here the
    products are sharpened, the mean is scaled to length one, and all is trained together.
    `patches` (N, P, D) and `texts` (M, D) are unit vectors.
    """
    cosines = torch.einsum("npd,md->nmp", patches, texts)
    weight = (SHARPNESS * cosines).softmax(-1)
    gram = patches @ patches.transpose(1, 2)
    # the patches' products give the length of a mean: no (N, M, D) table is needed
    length = ((weight @ gram) * weight).sum(-1).clamp(min=1e-8).sqrt()
    return (weight * cosines).sum(-1) / length


class Converted(DualEncoder):
    """The mini LLaVA as a contrastive encoder: states of the last token.

    One side is an image with a prompt, the other a text, as in Jiang et al. 2024 ("VLM2Vec"). Its
    vision encoder stays frozen.
    """

    def __init__(self, s: Settings):
        super().__init__()
        llava = mini_llava() if s.encoder == "mini-llava" else untaught_llava(s.seed)
        self.visual, self.projector = llava.model.vision_tower, llava.model.multi_modal_projector
        self.llama = llava.model.language_model
        self.visual.requires_grad_(False)
        self.layer = llava.config.vision_feature_layer
        parts = (f"<s>{SYSTEM} USER: ", f"{PROMPT} ASSISTANT:")
        core = shared_tokenizer().backend_tokenizer
        self.before, self.after = (
            torch.tensor(core.encode(part, add_special_tokens=False).ids) for part in parts
        )

    def embed_images(self, images: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            seen = self.visual(images, output_hidden_states=True).hidden_states[self.layer][:, 1:]
        before, after = (
            self.llama.embed_tokens(part).expand(len(images), -1, -1)
            for part in (self.before, self.after)
        )
        row = torch.cat([before, self.projector(seen), after], dim=1)
        return F.normalize(self._last(inputs_embeds=row)[:, -1], dim=-1)

    def embed_texts(self, texts: torch.Tensor) -> torch.Tensor:
        return F.normalize(at_end(self._last(input_ids=texts), texts), dim=-1)

    def _last(self, **inputs) -> torch.Tensor:
        return self.llama(**inputs, use_cache=False).last_hidden_state


# --- captioning and answering --------------------------------------------------------------------


class TokenReader(nn.Module):
    """A model whose text side reads image tokens: ``read(images)`` (N, P, width)."""

    def image_vectors(self, images, texts):
        return F.normalize(self.read(images).mean(1), dim=-1)


Model: TypeAlias = DualEncoder | TokenReader


class Captioner(TokenReader):
    """The same encoder read by a causal text transformer that writes the caption."""

    def __init__(self, s: Settings):
        super().__init__()
        self.settings = s
        self.visual = vision_tower(s)
        self.projector = nn.Sequential(
            nn.LayerNorm(s.width), nn.Linear(s.width, s.width), nn.GELU(),
            nn.Linear(s.width, s.width),
        )  # fmt: skip
        self.text = TextTower(s)
        self.head = nn.Linear(s.width, len(shared_tokenizer()))

    def read(self, images: torch.Tensor) -> torch.Tensor:
        cls, patches = self.visual(images)
        return cls[:, None] if self.settings.tokens == "cls" else patches

    def log_likelihoods(self, seen: torch.Tensor, texts: torch.Tensor) -> torch.Tensor:
        """Log-likelihood (N,) of each text (N, length) for image tokens (N, P, width), in nats."""
        states = self.text(texts[:, :-1], self.projector(seen))
        target = texts[:, 1:]
        nats = F.cross_entropy(self.head(states).transpose(1, 2), target, reduction="none")
        return -(nats * (target != shared_tokenizer().pad_token_id)).sum(1)

    def loss(self, images, texts, negative):
        """Mean over the tokens of all captions."""
        return -self.paired(images, texts).sum() / text_ends(texts).sum()

    def scores(self, images, texts):
        """Log-likelihoods (N, M) of all texts."""
        each = [image.expand(len(texts), -1, -1) for image in self.read(images)]
        return torch.stack([self.log_likelihoods(image, texts) for image in each])

    def paired(self, images, texts):
        return self.log_likelihoods(self.read(images), texts)


class Reader(TokenReader):
    """The mini LLaVA with a new projector, reading patch tokens or the class token alone.

    A caption's score is the log of VQAScore: that of "yes" to whether the image shows it.
    """

    def __init__(self, s: Settings):
        super().__init__()
        self.settings = s
        self.llava = mini_llava()
        width = self.llava.config.vision_config.hidden_size
        fresh = type(self.llava.model.multi_modal_projector)(self.llava.config)
        # of norm 1 whichever tokens are read, as LLaVA's training standardises its own
        self.llava.model.multi_modal_projector = nn.Sequential(nn.LayerNorm(width), fresh)
        self.llava.model.language_model.set_attn_implementation("packed")
        self.llava.model.vision_tower.requires_grad_(False)
        self.yes = shared_tokenizer().convert_tokens_to_ids("yes")

    @torch.no_grad()
    def read(self, images: torch.Tensor) -> torch.Tensor:
        """Image tokens of the frozen ViT."""
        out = self.llava.model.vision_tower(images, output_hidden_states=True)
        if self.settings.tokens == "cls":
            return out.pooler_output[:, None]
        return out.hidden_states[self.llava.config.vision_feature_layer][:, 1:]

    def loss(self, images, texts, negative):
        """Of the answers; `texts` are lists of questions about each image."""
        seen = self.read(images)
        packed = packing.pack(texts, seen.shape[1], LlavaSettings.tuning_length)
        with torch.autocast("cpu", torch.bfloat16):  # as in the mini LLaVA's own training
            return packing.answer_loss(self.llava, seen, packed)

    def scores(self, images, texts):
        questions, seen = _verifications(texts), self.read(images)
        parts = [questions[i : i + AT_ONCE] for i in range(0, len(questions), AT_ONCE)]
        return torch.cat([self._yes(seen, [part] * len(images)) for part in parts], dim=1)

    def paired(self, images, texts):
        return self._yes(self.read(images), [[q] for q in _verifications(texts)])[:, 0]

    def _yes(self, seen: torch.Tensor, rows: list[list[Question]]) -> torch.Tensor:
        """Log-probability (N, K) of "yes" to each image's K questions."""
        packed = packing.pack(rows, seen.shape[1])
        states = packing.packed_states(self.llava, seen, packed)
        answers = states[packed.targets != packing.IGNORED][::2]  # each is a word and the end
        chance = self.llava.lm_head(answers).log_softmax(-1)[:, self.yes]
        return chance.view(len(rows), -1)


def _verifications(texts: torch.Tensor) -> list[Question]:
    captions = shared_tokenizer().batch_decode(texts, skip_special_tokens=True)
    return [Question("verify", VQASCORE.format(caption=text), "Yes") for text in captions]
