"""The models of the ablations. Each gives a table of scores, images by texts."""

from __future__ import annotations

import math

import torch
from open_clip.transformer import Transformer, VisionTransformer
from torch import nn
from torch.nn import functional as F
from transformers import LlavaForConditionalGeneration

from ...tabletop.questions import VQASCORE, Question
from .. import llava
from .experiments import Settings
from .world import tokens_of

PROMPT = "Describe the image."  # the mini LLaVA's own, before an image is embedded
SHARPNESS = 10.0  # of the weights that a text gives to patches, on cosines
MAX_SCALE = 100.0  # of cosines (Radford et al. 2021, section 2.5)


def build(settings: Settings) -> Model:
    """The untrained model of an experiment, by its seed.

    Raises
    ------
    ValueError
        If the settings name something that does not exist or does not go together.
    """
    _check(settings)
    torch.manual_seed(settings.seed)
    if settings.objective == "captioning":
        return Captioner(settings)
    if settings.objective == "answering":
        return Reader(settings)
    return Converted(settings) if "llava" in settings.encoder else Matcher(settings)


_CHOICES = {
    "objective": ("contrastive", "captioning", "answering"),
    "encoder": ("new", "mini-llava", "mini-llava untaught"),
    "tokens": ("cls", "mean", "weighted", "patches"),
    "text": ("new", "mini-llava"),
    "text_tokens": ("end", "all"),
}


def _check(settings: Settings) -> None:
    for name, choices in _CHOICES.items():
        if getattr(settings, name) not in choices:
            raise ValueError(
                f"{name} must be one of {', '.join(choices)}, not {getattr(settings, name)!r}"
            )
    reads = settings.objective != "contrastive"
    if settings.tokens not in (("cls", "patches") if reads else ("cls", "mean", "weighted")):
        raise ValueError(f"tokens={settings.tokens!r} does not go with {settings.objective}")
    if settings.tokens != "weighted" and (settings.rotary or settings.text_tokens == "all"):
        raise ValueError("rotary and several text tokens need tokens='weighted'")
    if (settings.objective == "answering") != (settings.encoder == "mini-llava" and reads):
        raise ValueError("objective='answering' needs encoder='mini-llava'; captioning, 'new'")


class Model(nn.Module):
    """What the ablations' models share.

    Subclasses give ``loss(images, texts, negative)`` in nats, ``scores(images, texts)`` (N, M) and
    ``image_vectors(images, texts)`` (N, D), whose cosines tell how alike images are.
    """

    def paired(self, images: torch.Tensor, texts: torch.Tensor) -> torch.Tensor:
        """Score (N,) of each image with the text in its row."""
        rows = zip(images.split(1), texts.split(1), strict=True)
        return torch.cat([self.scores(image, text).flatten() for image, text in rows])

    def loss(self, images: torch.Tensor, texts: torch.Tensor, negative: torch.Tensor):
        raise NotImplementedError

    def scores(self, images: torch.Tensor, texts: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    def image_vectors(self, images: torch.Tensor, texts: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError


class TokenReader(Model):
    """A model whose text side reads image tokens: ``read(images)`` (N, P, width)."""

    def read(self, images: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    def image_vectors(self, images, texts):
        return F.normalize(self.read(images).mean(1), dim=-1)


# --- encoders ------------------------------------------------------------------------------------


def vision_tower(s: Settings) -> VisionTransformer:
    """A ViT that gives its class token and its patch tokens after the last layer norm."""
    tower = VisionTransformer(
        s.image_size, s.patch, s.width, s.layers, s.width // 32, 4.0,
        output_dim=s.embed_dim, output_tokens=True,
    )  # fmt: skip
    tower.proj = None  # models project on their own
    if not s.positions:
        tower.positional_embedding.data.zero_()
        tower.positional_embedding.requires_grad_(False)
    return tower


class TextTower(nn.Module):
    """CLIP's causal text transformer. Image tokens may come before the words."""

    def __init__(self, s: Settings):
        super().__init__()
        self.width = s.width
        self.words = nn.Embedding(len(tokens_of()), s.width)
        self.places = nn.Parameter(0.01 * torch.randn(s.context, s.width))
        self.transformer = Transformer(s.width, s.text_layers, s.width // 32)
        self.last = nn.LayerNorm(s.width)
        nn.init.normal_(self.words.weight, std=0.02)

    def forward(self, texts: torch.Tensor, prefix: torch.Tensor | None = None) -> torch.Tensor:
        """States (N, length, width) of texts (N, length), the prefix's left out."""
        x = self.words(texts) + self.places[: texts.shape[1]]
        n = 0 if prefix is None else prefix.shape[1]
        if prefix is not None:
            x = torch.cat([prefix, x], dim=1)
        mask = torch.full((x.shape[1], x.shape[1]), float("-inf")).triu(1)
        return self.last(self.transformer(x, attn_mask=mask))[:, n:]


class LlamaText(nn.Module):
    """The mini LLaVA's language model as a text encoder."""

    def __init__(self):
        super().__init__()
        model = mini_llava(True)
        self.llama = model.model.language_model
        self.width = model.config.text_config.hidden_size

    def forward(self, texts: torch.Tensor) -> torch.Tensor:
        """States (N, length, width) of texts (N, length)."""
        return self.llama(texts, use_cache=False).last_hidden_state  # causal: padding is not seen


def mini_llava(learned: bool, seed: int = 0) -> LlavaForConditionalGeneration:
    """The shipped mini LLaVA in float32.

    If not `learned`, all but its frozen vision encoder is initialised at random, by `seed`.

    Raises
    ------
    FileNotFoundError
        If the weights are not there.
    """
    if not (llava.ASSETS / "model.safetensors").exists():
        raise FileNotFoundError(
            f"no mini LLaVA in {llava.ASSETS}; train it: python -m erragree_utils.training.llava"
        )
    if learned:
        return LlavaForConditionalGeneration.from_pretrained(llava.ASSETS, dtype=torch.float32)
    fresh = llava.build_model(llava.Settings(seed=seed), llava.clip.ASSETS, tokens_of())
    fresh.model.language_model.set_attn_implementation("sdpa")
    return fresh


def text_ends(texts: torch.Tensor) -> torch.Tensor:
    """Place (N,) of the end token of each text (N, length)."""
    return (texts != tokens_of().pad_token_id).sum(1) - 1


def _at_end(states: torch.Tensor, texts: torch.Tensor) -> torch.Tensor:
    return states[torch.arange(len(texts)), text_ends(texts)]


def rotate(patches: torch.Tensor, base: float = 100.0) -> torch.Tensor:
    """Rotate patch vectors (N, P, D) by their place: half the numbers by column, half by row.

    Rotary position embedding (Su et al. 2021, equation 34) with slower frequencies, since a row of
    patches is short.
    """
    _, n, width = patches.shape
    side, quarter = math.isqrt(n), width // 4
    speed = base ** (-torch.arange(quarter) / quarter)
    row, column = (a.flatten() for a in torch.meshgrid(*[torch.arange(side)] * 2, indexing="ij"))
    angle = torch.cat([column[:, None] * speed, row[:, None] * speed], dim=1)
    a, b = patches[..., 0::2], patches[..., 1::2]
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([a * cos - b * sin, a * sin + b * cos], dim=-1).flatten(-2)


# --- matching ------------------------------------------------------------------------------------


def contrastive_loss(scores: torch.Tensor) -> torch.Tensor:
    """CLIP's symmetric cross-entropy on scores (N, N + M); the M texts more have no image."""
    target = torch.arange(len(scores))
    own = scores[:, : len(scores)]
    return 0.5 * (F.cross_entropy(scores, target) + F.cross_entropy(own.T, target))


class DualEncoder(Model):
    """An image and a text are embedded apart; cosines are their scores.

    Subclasses give ``embed_images`` and ``embed_texts``.
    """

    def __init__(self):
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def embed_images(self, images: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    def embed_texts(self, texts: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    def scores(self, images: torch.Tensor, texts: torch.Tensor) -> torch.Tensor:
        """Cosines (N, M)."""
        return self.embed_images(images) @ self.embed_texts(texts).T

    def loss(self, images, texts, negative):
        cosines = self.scores(images, torch.cat([texts, negative]))
        return contrastive_loss(self.log_scale.exp().clamp(max=MAX_SCALE) * cosines)

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
        if s.tokens == "cls":
            return F.normalize(self.image_projection(cls), dim=-1)
        projected = self.image_projection(patches)
        if s.tokens == "mean":
            return F.normalize(projected.mean(1), dim=-1)
        return F.normalize(rotate(projected) if s.rotary else projected, dim=-1)

    def embed_texts(self, texts: torch.Tensor) -> torch.Tensor:
        """Unit vectors (N, D) of end tokens, or (N, length, D) of all tokens."""
        states = self.text(texts)
        if self.settings.text_tokens == "end":
            states = _at_end(states, texts)
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
            t = _at_end(t, texts)
        weight = (SHARPNESS * torch.einsum("npd,nd->np", x, t)).softmax(-1)
        return F.normalize(torch.einsum("np,npd->nd", weight, x), dim=-1)


def weighted_cosines(patches: torch.Tensor, texts: torch.Tensor) -> torch.Tensor:
    """Cosine of each text with the mean of each image's patches, weighted by that text.

    After PACL (Mukhoti et al. 2023), whose weights are a softmax of the same products; here the
    products are sharpened, the mean is scaled to length one, and all is trained together.

    Parameters
    ----------
    patches : torch.Tensor, shape (N, P, D)
        Unit vectors.
    texts : torch.Tensor, shape (M, D)
        Unit vectors.

    Returns
    -------
    torch.Tensor, shape (N, M)
    """
    cosines = torch.einsum("npd,md->nmp", patches, texts)
    weight = (SHARPNESS * cosines).softmax(-1)
    gram = patches @ patches.transpose(1, 2)
    # the length of a mean is known from the patches' products: no (N, M, D) table is needed
    length = ((weight @ gram) * weight).sum(-1).clamp(min=1e-8).sqrt()
    return (weight * cosines).sum(-1) / length


# --- captioning ----------------------------------------------------------------------------------


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
        self.head = nn.Linear(s.width, len(tokens_of()))

    def read(self, images: torch.Tensor) -> torch.Tensor:
        """Image tokens (N, P, width)."""
        cls, patches = self.visual(images)
        return cls[:, None] if self.settings.tokens == "cls" else patches

    def log_likelihoods(self, seen: torch.Tensor, texts: torch.Tensor) -> torch.Tensor:
        """Log-likelihood (N,) of each text (N, length) for image tokens (N, P, width), in nats."""
        states = self.text(texts[:, :-1], self.projector(seen))
        target = texts[:, 1:]
        nats = F.cross_entropy(self.head(states).transpose(1, 2), target, reduction="none")
        return -(nats * (target != tokens_of().pad_token_id)).sum(1)

    def loss(self, images, texts, negative):
        """Mean over the tokens of all captions."""
        return -self.log_likelihoods(self.read(images), texts).sum() / text_ends(texts).sum()

    def scores(self, images, texts):
        """Log-likelihoods (N, M) of all texts."""
        return torch.stack([
            self.log_likelihoods(image.expand(len(texts), -1, -1), texts)
            for image in self.read(images)
        ])  # fmt: skip

    def paired(self, images, texts):
        return self.log_likelihoods(self.read(images), texts)


# --- reading -------------------------------------------------------------------------------------


class Reader(TokenReader):
    """The mini LLaVA with a new projector, reading patch tokens or the class token alone.

    A caption's score is the log of VQAScore: that of "yes" to whether the image shows it.
    """

    def __init__(self, s: Settings):
        super().__init__()
        self.settings = s
        self.llava = mini_llava(True)
        width = self.llava.config.vision_config.hidden_size
        fresh = type(self.llava.model.multi_modal_projector)(self.llava.config)
        # of norm 1 whichever tokens are read, as LLaVA's training standardises its own
        self.llava.model.multi_modal_projector = nn.Sequential(nn.LayerNorm(width), fresh)
        self.llava.model.language_model.set_attn_implementation("packed")
        self.llava.model.vision_tower.requires_grad_(False)
        self.yes = tokens_of().convert_tokens_to_ids("yes")

    @torch.no_grad()
    def read(self, images: torch.Tensor) -> torch.Tensor:
        """Image tokens (N, P, width) of the frozen ViT."""
        out = self.llava.model.vision_tower(images, output_hidden_states=True)
        if self.settings.tokens == "cls":
            return out.pooler_output[:, None]
        return out.hidden_states[self.llava.config.vision_feature_layer][:, 1:]

    def loss(self, images, texts, negative):
        """Of the answers; `texts` are lists of questions about each image."""
        seen = self.read(images)
        length = llava.Settings.tuning_length
        packed, _ = llava.pack(tokens_of(), texts, seen.shape[1], length)
        with torch.autocast("cpu", torch.bfloat16):  # as in the mini LLaVA's own training
            return llava.answer_loss(self.llava, seen, packed)

    def scores(self, images, texts):
        asked, seen = _verifications(texts), self.read(images)
        parts = [
            self._yes(seen, [asked[i : i + _ASKED]] * len(images))
            for i in range(0, len(asked), _ASKED)
        ]
        return torch.cat(parts, dim=1)

    def paired(self, images, texts):
        return self._yes(self.read(images), [[q] for q in _verifications(texts)])[:, 0]

    def _yes(self, seen: torch.Tensor, rows: list[list[Question]]) -> torch.Tensor:
        """Log-probability (N, K) of "yes" to each image's K questions."""
        packed, _ = llava.pack(tokens_of(), rows, seen.shape[1])
        states = llava.packed_states(self.llava, seen, packed)
        answers = states[packed.targets != llava.IGNORED][::2]  # each is a word and the end
        chance = self.llava.lm_head(answers).log_softmax(-1)[:, self.yes]
        return chance.view(len(rows), -1)


_ASKED = 20  # questions about an image at a time


def _verifications(texts: torch.Tensor) -> list[Question]:
    captions = tokens_of().batch_decode(texts, skip_special_tokens=True)
    return [Question("verify", VQASCORE.format(caption=text), "Yes") for text in captions]


# --- conversion ----------------------------------------------------------------------------------


class Converted(DualEncoder):
    """The mini LLaVA as a contrastive encoder: states of the last token.

    One side is an image with a prompt, the other a text, as in Jiang et al. 2024 ("VLM2Vec"). Its
    vision encoder stays frozen.
    """

    def __init__(self, s: Settings):
        super().__init__()
        llava_ = mini_llava(s.encoder == "mini-llava", s.seed)
        inner = llava_.model
        self.visual, self.projector = inner.vision_tower, inner.multi_modal_projector
        self.llama = inner.language_model
        self.visual.requires_grad_(False)
        self.layer = llava_.config.vision_feature_layer
        line = f"<s>{llava.SYSTEM} USER: " + "<image>" + f"{PROMPT} ASSISTANT:"
        ids = tokens_of().backend_tokenizer.encode(line, add_special_tokens=False).ids
        at = ids.index(tokens_of().convert_tokens_to_ids("<image>"))
        self.before, self.after = (torch.tensor(part) for part in (ids[:at], ids[at + 1 :]))

    def embed_images(self, images: torch.Tensor) -> torch.Tensor:
        """Unit vectors (N, width)."""
        with torch.no_grad():
            seen = self.visual(images, output_hidden_states=True).hidden_states[self.layer][:, 1:]
        before, after = (
            self.llama.embed_tokens(part).expand(len(images), -1, -1)
            for part in (self.before, self.after)
        )
        row = torch.cat([before, self.projector(seen), after], dim=1)
        return F.normalize(self._last(inputs_embeds=row)[:, -1], dim=-1)

    def embed_texts(self, texts: torch.Tensor) -> torch.Tensor:
        """Unit vectors (N, width)."""
        return F.normalize(_at_end(self._last(input_ids=texts), texts), dim=-1)

    def _last(self, **inputs) -> torch.Tensor:
        return self.llama(**inputs, use_cache=False).last_hidden_state
