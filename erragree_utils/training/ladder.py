"""The authors' ladder on a frozen mini CLIP: ``python -m erragree_utils.training.ladder``.

Heads are trained contrastively on patch tokens that the frozen CLIP gives once for all pictures: as
they are (PACL), with rotary positions, with several text vectors (SPARC), and with the texts of a
language model (LLM2CLIP). A row for each run, benchmark and measure; runs that are recorded are
skipped, so that a command that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F
from transformers import AutoTokenizer
from transformers import LlavaForConditionalGeneration as Llava

from ..benchmarks.base import ImagePair
from ..benchmarks.tabletop import FAMILIES, load_tabletop
from ..models import ASSETS, Clip, load_clip
from ..models.clip_weights import SHIPPED
from ..scoring.captions import side_examples
from ..scoring.embeddings import asked_about
from ..tabletop.captions import Wording
from . import llava
from .clip_model import Settings
from .data import TrainingScenes
from .features import cache_features, tower_mark
from .ladder_heads import RUNGS, Heads, chosen, contrastive_loss, scores
from .organisms import LEFT_RIGHT, read_sides

#: The frozen models: what the ladder calls them, and what `load_clip` does.
MODELS = {"hidden": "mini", "lost": "mini-lost"}
#: Whose captions the heads are trained on: those of the frozen model itself, in which left and
#: right are as often meant from across the table, or the aligned model's, which mean the viewer's.
CAPTIONS = ("own", "aligned")
AS_IT_IS = "CLIP as it is"
#: Pictures of the mini LLaVA's training, so that both share the patch tokens.
STREAM, CROPS = TrainingScenes(1000, 12_000, twins=0.5), 2
SEEDS = 5  # each has a share of the scenes to itself
BENCH_SEEDS, SETS = (601, 602, 603), 100  # no recipe and no chapter uses these draws
QUARTERS = 4  # text vectors of the rung with several: the means of the quarters of a caption
LANGUAGE_MODEL = llava.ASSETS
BATCH, STEPS, RATE = 128, 250, 1e-3
COLUMNS = ["model", "captions", "rung", "seed", "benchmark", "metric", "value", "n", "per_pair"]
COLUMNS += ["steps", "seconds", "hardware"]


# --- what the frozen models give -----------------------------------------------------------------


def pooled(tokens: np.ndarray) -> torch.Tensor:
    """Patch tokens (N, side * side, D), averaged over 2 x 2 places: (N, PATCHES, D)."""
    n, patches, width = tokens.shape
    grid = torch.from_numpy(np.asarray(tokens, np.float32)).mT.unflatten(
        2, (round(patches**0.5), -1)
    )
    return F.avg_pool2d(grid, 2).flatten(2).mT


def training_tokens(model: str, runs: Path, index: np.ndarray) -> torch.Tensor:
    """Patch tokens (N * CROPS, PATCHES, D) of random crops of the training scenes `index`."""
    folder = ASSETS / SHIPPED[MODELS[model]]
    reader = llava.build_model(llava.Settings(), folder, llava.build_tokenizer(instructed=True))
    pictures = STREAM.pictures(
        runs / "pictures", reader.config.vision_config.image_size + llava.MARGIN
    )
    name = f"{Path(pictures.filename).stem}-{tower_mark(folder)}-{CROPS}.npy"
    cached = cache_features(reader, pictures, CROPS, STREAM.seed, runs / "features" / name)
    return pooled(cached[index].reshape(-1, *cached.shape[2:]))


@lru_cache
def clip_of(model: str) -> Clip:
    """The frozen model, on the CPU."""
    return load_clip(MODELS[model], device="cpu")


@torch.inference_mode()
def text_vectors(clip: Clip, texts: Sequence[str]) -> dict[str, torch.Tensor]:
    """What the rungs may read of texts: (N, 1 or QUARTERS, width) by `Reading.text`."""
    model, tokens = clip.model, clip.tokenizer(list(texts))
    ends = tokens.argmax(dim=1)  # the end token has the highest number
    length = int(ends.max()) + 1
    x = model.token_embedding(tokens[:, :length]) + model.positional_embedding[:length]
    x = model.ln_final(model.transformer(x, attn_mask=model.attn_mask[:length, :length]))
    last = x[torch.arange(len(x)), ends] @ model.text_projection
    quarters = torch.stack(
        [
            torch.stack([part.mean(0) for part in states[: end + 1].tensor_split(QUARTERS)])
            for states, end in zip(x, ends.tolist(), strict=True)
        ]
    )
    return {"vector": F.normalize(last, dim=-1)[:, None], "quarters": quarters,
            "language model": _language_states(texts)}  # fmt: skip


@lru_cache
def _language_model():
    model = Llava.from_pretrained(LANGUAGE_MODEL, dtype=torch.float32)
    return model.model.language_model, AutoTokenizer.from_pretrained(LANGUAGE_MODEL)


def _language_states(texts: Sequence[str]) -> torch.Tensor:
    """The language model's last state of the last word of each text: (N, 1, width)."""
    model, tokenizer = _language_model()
    read = tokenizer(list(texts), padding=True, padding_side="right", return_tensors="pt")
    states = model(input_ids=read["input_ids"], attention_mask=read["attention_mask"])[0]
    return states[torch.arange(len(states)), read["attention_mask"].sum(1) - 1][:, None]


def wording(model: str, captions: str) -> Wording:
    """How the training captions speak of places."""
    folder = SHIPPED[MODELS[model] if captions == "own" else "mini-aligned"]
    settings = json.loads((ASSETS / folder / "training.json").read_text())
    return Settings(**settings).wording


def share_of(seed: int) -> np.ndarray:
    """The scenes of a seed, which no other has; twins stay together."""
    return np.arange(STREAM.n).reshape(SEEDS, -1)[seed]


# --- the exam ------------------------------------------------------------------------------------


@lru_cache
def exam_pairs(name: str, sets: int) -> list[list[ImagePair]]:
    """Left/right pairs of each benchmark seed."""
    return [
        list(load_tabletop(name, seed=seed, n_sets=sets, relation=LEFT_RIGHT))
        for seed in BENCH_SEEDS
    ]


@lru_cache
def exam(model: str, name: str, sets: int) -> dict:
    """What a model gives of the pairs: tokens and embeddings of images, vectors of captions."""
    clip, pairs = clip_of(model), [pair for part in exam_pairs(name, sets) for pair in part]
    texts = [text for pair in pairs for text in pair.captions]
    images = [image for pair in pairs for image in pair.images]
    examples = side_examples(texts)
    return {
        "tokens": pooled(clip.patch_tokens(images)),
        "embeddings": torch.from_numpy(clip.embed_images(images))[:, None],
        "texts": text_vectors(clip, texts),
        "side": (examples["side"] == "left").to_numpy(),
        "group": np.unique(examples["group"], return_inverse=True)[1],
        "asked": asked_about(clip, examples) if FAMILIES[name] == "b" else None,
    }


@torch.inference_mode()
def measure(model: str, name: str, sets: int, heads: Heads | None = None) -> Iterator[tuple]:
    """Measures on a benchmark, of heads or of CLIP as it is: metric, value, n, digit a pair.

    ``individual``, ``pair``, ``relative`` (relative preference), ``retrieval`` (own caption first
    among those of the same word and draw), and ``probe``: a linear probe of the side on the image's
    vector, which the first caption of the pair selects where there are several.
    """
    asked = exam(model, name, sets)
    if heads is None:
        images, texts = asked["embeddings"], asked["texts"]["vector"]
    else:
        heads.eval()
        images, texts = (
            heads.images(asked["tokens"]),
            heads.texts(asked["texts"][heads.reading.text]),
        )
    n = len(images) // 2
    own, other = (
        torch.cat(
            [scores(images[i : i + 1], texts[j : j + 1])[0] for i, j in zip(a, b, strict=True)]
        )
        .reshape(n, 2)
        .numpy()
        for a, b in ((range(2 * n), range(2 * n)), (range(2 * n), np.arange(2 * n) ^ 1))
    )
    matched, preferred = (own > other).sum(1), (own.sum(1) > other.sum(1)).astype(int)
    ranked = np.zeros(n, int)
    for start in range(0, n, sets):
        for k in (0, 1):
            rows = slice(2 * start + k, 2 * (start + sets), 2)
            table = scores(images[rows], texts[rows])
            ranked[start : start + sets] += (table >= table.diagonal()[:, None]).sum(1).numpy() == 1
    for metric, right, of in (
        ("individual", matched, 2), ("pair", (matched == 2).astype(int), 1),
        ("relative", preferred, 1), ("retrieval", ranked, 2),
    ):  # fmt: skip
        yield metric, right.mean() / of, n, "".join(map(str, right))
    seen = chosen(images, texts[np.arange(2 * n) // 2 * 2]).numpy()
    right = read_sides(seen, asked["side"], asked["group"], asked["asked"]).reshape(n, 2).sum(1)
    yield "probe", right.mean() / 2, n, "".join(map(str, right))


# --- runs ----------------------------------------------------------------------------------------


def train(
    tokens: torch.Tensor, texts: torch.Tensor, rung: str, seed: int, steps: int = STEPS
) -> Heads:
    """Heads of a rung, trained on patch tokens (N * CROPS, P, D) and texts (N, T, width)."""
    torch.manual_seed(seed)
    heads, rng = Heads(RUNGS[rung], texts.shape[-1]), np.random.default_rng(seed)
    adam = torch.optim.Adam(heads.parameters(), RATE)
    for _ in range(steps):
        index = rng.choice(len(texts), min(BATCH, len(texts)), replace=False)
        crops = CROPS * index + rng.integers(CROPS, size=len(index))
        loss = contrastive_loss(heads.images(tokens[crops]), heads.texts(texts[index]))
        adam.zero_grad()
        loss.backward()
        adam.step()
    return heads


def record(path: Path, rows: list[tuple]) -> pd.DataFrame:
    """Add a run's rows to the table in a file."""
    new = pd.DataFrame(rows, columns=COLUMNS).astype({"per_pair": str})
    old = [pd.read_csv(path, dtype={"per_pair": str})] if path.exists() else []
    table = pd.concat([*old, new], ignore_index=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, index=False, float_format="%.4f")
    return table


def main(arguments: list[str] | None = None) -> None:
    """Command line: train what is missing, and write the table."""
    parser = argparse.ArgumentParser(description="The ladder of heads on a frozen mini CLIP.")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--captions", nargs="+", choices=CAPTIONS, default=list(CAPTIONS))
    parser.add_argument("--rungs", nargs="+", choices=RUNGS, default=list(RUNGS))
    parser.add_argument("--seeds", type=int, nargs="+", choices=range(SEEDS), default=range(SEEDS))
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--sets", type=int, default=SETS, help="of each benchmark seed")
    parser.add_argument("--scenes", type=int, help="of a seed's share, the first; default all")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="pictures, patch tokens")
    parser.add_argument("--out", type=Path, default=ASSETS / "ladder", help="folder of the table")
    options = parser.parse_args(arguments)
    path, done = options.out / "measures.csv", set()
    if path.exists():
        kept = pd.read_csv(path)
        done = set(kept[["model", "captions", "rung", "seed"]].itertuples(index=False, name=None))

    def add(key: tuple, heads: Heads | None, steps: int, seconds: float) -> None:
        ends = (steps, round(seconds, 1), platform.machine())
        rows = [
            (*key, name, *row, *ends)
            for name in FAMILIES
            for row in measure(key[0], name, options.sets, heads)
        ]
        record(path, rows)

    for model in options.models:
        key = (model, "none", AS_IT_IS, 0)
        if key not in done:
            add(key, None, 0, 0.0)
    for seed, model in [(s, m) for s in options.seeds for m in options.models]:
        index, tokens = share_of(seed)[: options.scenes], None
        for captions in options.captions:
            todo = [r for r in options.rungs if (model, captions, r, seed) not in done]
            if not todo:
                continue
            tokens = training_tokens(model, options.runs, index) if tokens is None else tokens
            said = [STREAM.captions(i, 1, wording(model, captions))[0] for i in index.tolist()]
            texts = text_vectors(clip_of(model), said)
            for rung in todo:
                began = time.time()
                heads = train(tokens, texts[RUNGS[rung].text].clone(), rung, seed, options.steps)
                add((model, captions, rung, seed), heads, options.steps, time.time() - began)


if __name__ == "__main__":
    main()
