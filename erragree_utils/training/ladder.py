"""The authors' ladder on a frozen mini CLIP: ``python -m erragree_utils.training.ladder``.

Heads are trained contrastively on patch tokens that the frozen CLIP gives once for all pictures: as
they are (PACL), with rotary positions, with several text vectors (SPARC), and with the texts of a
language model (LLM2CLIP). A row for each run, benchmark and measure; runs that are recorded are
skipped, so that a command that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.nn import functional as F
from tqdm.auto import tqdm

from ..benchmarks.base import ImagePair
from ..benchmarks.tabletop import FAMILIES, load_tabletop
from ..models import ASSETS, load_clip
from ..models.clip import Clip
from ..models.clip_weights import SHIPPED
from ..models.mllm import Mllm, load_mllm
from ..models.states import mllm_states, pool_grid
from ..scoring.captions import side_examples
from ..scoring.embeddings import asked_about
from ..tabletop.captions import Wording, from_across
from ..tabletop.questions import DESCRIBE
from .clip_model import Settings
from .data import TrainingScenes
from .features import tower_mark, weights_mark
from .ladder_heads import RUNGS, Captioner, Heads, Reading, chosen, scores
from .ladder_tables import AS_IT_IS, KEY, TABLES, read_table
from .llava_model import shared_tokenizer
from .organisms import LEFT_RIGHT, read_sides

#: The frozen models: what the ladder calls them, and what `load_clip` does.
MODELS = {"hidden": "mini", "lost": "mini-lost"}
#: Whose captions the heads are trained on: the aligned model's, in which left and right are mostly
#: the viewer's, or those of the frozen model itself, in which they are as often meant from across
#: the table.
CAPTIONS = ("aligned", "own")
READ_BY_LLAVA = "hidden"
SEEDS = 5
SCENES, CAPTIONS_EACH = 4000, 4
BENCH_SEEDS, SETS = (601, 602, 603), 100  # no recipe and no chapter uses these draws
AMONG = 25  # images of which a caption has to find its own
QUARTERS = 4  # text vectors of the rung with several: the means of the quarters of a caption
#: Batch, steps and first learning rate of heads on frozen texts, of those that learn to read
#: words, and of those that learn to write them.
MATCHING, READING, CAPTIONING = (128, 1000, 3e-3), (64, 1500, 2e-3), (32, 1500, 2e-3)
#: Trained in seconds, to see that recorded runs come out again.
SHORT = {"scenes": 400, "steps": 200, "sets": 25}
COLUMNS = [*KEY, "benchmark", "metric", "value", "n", "per_pair", "steps", "seconds", "hardware"]


# --- what the frozen models give -----------------------------------------------------------------


def stream_of(seed: int, scenes: int = SCENES) -> TrainingScenes:
    """The scenes of a seed, which no other seed and no other recipe has."""
    return TrainingScenes(2000 + seed, scenes, twins=0.5)


def pooled(tokens: np.ndarray) -> torch.Tensor:
    """Patch tokens (N, side * side, D), averaged over 2 x 2 places: (N, PATCHES, D)."""
    n, patches, width = tokens.shape
    cells = pool_grid(math.isqrt(patches) // 2)(np.asarray(tokens, np.float32))
    return torch.from_numpy(cells).unflatten(1, (-1, width))


def image_vectors(model: str, images: Sequence[Image.Image]) -> dict[str, torch.Tensor]:
    """What heads may read of images, by `Reading.image`: (N, 1 or PATCHES, D)."""
    clip = clip_of(model)
    return {
        "vector": torch.from_numpy(clip.embed_images(images))[:, None],
        "patches": pooled(clip.patch_tokens(images)),
        **({"llava": _llava_states(images)} if model == READ_BY_LLAVA else {}),
    }


@lru_cache
def _mllm() -> Mllm:
    return load_mllm("mini", device="cpu")


def _llava_states(images: Sequence[Image.Image]) -> torch.Tensor:
    """The last state (N, 1, width) of the mini LLaVA, asked to describe each image."""
    name = f"layer {_mllm().model.config.text_config.num_hidden_layers} last"
    return torch.from_numpy(mllm_states(_mllm(), images, DESCRIBE, only=name)[name])[:, None]


def training_vectors(model: str, scenes: TrainingScenes, runs: Path) -> dict[str, torch.Tensor]:
    """`image_vectors` of a stream's pictures, computed once and kept in a file."""
    pictures = scenes.pictures(runs / "pictures", clip_of(model).image_size)
    mark = tower_mark(ASSETS / SHIPPED[MODELS[model]])
    if model == READ_BY_LLAVA:
        mark += f"-{weights_mark(ASSETS / 'mini-llava' / 'model.safetensors')}"
    path = runs / "features" / f"{Path(pictures.filename).stem}-{mark}.safetensors"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        found = image_vectors(model, list(map(Image.fromarray, pictures)))
        half = {name: vectors.half().contiguous() for name, vectors in found.items()}
        save_file(half, path.with_suffix(".part"))
        path.with_suffix(".part").rename(path)
    return {name: vectors.float() for name, vectors in load_file(path).items()}


@lru_cache
def clip_of(model: str) -> Clip:
    """The frozen model, on the CPU."""
    return load_clip(MODELS[model], device="cpu")


@torch.inference_mode()
def text_vectors(clip: Clip, texts: Sequence[str]) -> dict[str, torch.Tensor]:
    """What heads may read of texts, by `Reading.text`: (N, 1 or QUARTERS, width), words (N, L)."""
    model, tokens = clip.model, clip.tokenizer(list(texts))
    ends = tokens.argmax(dim=1)  # the end token has the highest number
    length = int(ends.max()) + 1
    x = model.token_embedding(tokens[:, :length]) + model.positional_embedding[:length]
    x = model.ln_final(model.transformer(x, attn_mask=model.attn_mask[:length, :length]))
    last = x[torch.arange(len(x)), ends] @ model.text_projection
    # A caption shorter than its quarters counts some words twice.
    quarters = torch.stack(
        [
            F.adaptive_avg_pool1d(states[: end + 1].T, QUARTERS).T
            for states, end in zip(x, ends.tolist(), strict=True)
        ]
    )
    return {
        "vector": F.normalize(last, dim=-1)[:, None],
        "quarters": quarters,
        "language model": _language_states(texts),
        "words": word_numbers(texts),
    }


def word_numbers(texts: Sequence[str]) -> torch.Tensor:
    """The words of texts (N, L) with an end each, padded behind."""
    tokenizer = shared_tokenizer()
    ended = [f"{text}{tokenizer.eos_token}" for text in texts]
    return tokenizer(ended, padding=True, padding_side="right", return_tensors="pt")["input_ids"]


def _language_states(texts: Sequence[str]) -> torch.Tensor:
    """The mini LLaVA's last states of each text, averaged over its words: (N, 1, width)."""
    read = shared_tokenizer(instructed=True)(
        list(texts), padding=True, padding_side="right", return_tensors="pt"
    )
    mask = read["attention_mask"]
    model = _mllm().model.model.language_model
    states = model(input_ids=read["input_ids"], attention_mask=mask, use_cache=False)[0]
    return (states * mask[..., None]).sum(1, keepdim=True) / mask.sum(1)[:, None, None]


def wording(model: str, captions: str) -> Wording:
    """How the training captions speak of places."""
    folder = SHIPPED[MODELS[model] if captions == "own" else "mini-aligned"]
    settings = json.loads((ASSETS / folder / "training.json").read_text())
    return Settings(**settings).wording


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
    """What a model gives of the pairs: vectors of images and of captions, and the sides."""
    clip, pairs = clip_of(model), [pair for part in exam_pairs(name, sets) for pair in part]
    texts = [text for pair in pairs for text in pair.captions]
    examples = side_examples(texts)
    return {
        "images": image_vectors(model, [image for pair in pairs for image in pair.images]),
        "texts": text_vectors(clip, texts),
        "side": (examples["side"] == "left").to_numpy(),
        "group": np.unique(examples["group"], return_inverse=True)[1],
        "asked": asked_about(clip, examples) if FAMILIES[name] == "b" else None,
    }


class AsItIs:
    """CLIP without heads."""

    reading = Reading("vector")
    scores = staticmethod(scores)
    vectors = staticmethod(chosen)


@torch.inference_mode()
def measure(model: str, name: str, sets: int, heads: Heads | Captioner | AsItIs) -> Iterator[tuple]:
    """Measures of a benchmark: metric, value, n, a digit a pair.

    ``individual``, ``pair``, ``relative`` (relative preference), ``retrieval`` (own image first
    among `AMONG` of the same word and draw), and ``probe``: a linear probe of the side on the
    image's vector, which the first caption of the pair selects where there are several.
    """
    asked = exam(model, name, sets)
    images, texts = asked["images"][heads.reading.image], asked["texts"][heads.reading.text]
    n = len(images) // 2
    itself = np.arange(2 * n)
    both = np.stack([itself, itself ^ 1], 1)
    told = [heads.scores(images[[i]], texts[row])[0] for i, row in enumerate(both)]
    own, other = torch.stack(told).T.reshape(2, n, 2).numpy()
    matched, preferred = (own > other).sum(1), (own.sum(1) > other.sum(1)).astype(int)
    ranked = np.zeros(n, int)
    for start in range(0, n, AMONG):
        for k in (0, 1):
            rows = slice(2 * start + k, 2 * (start + AMONG), 2)
            table = heads.scores(images[rows], texts[rows])
            ranked[start : start + AMONG] += (table >= table.diagonal()).sum(0).numpy() == 1
    for metric, right, of in (
        ("individual", matched, 2), ("pair", (matched == 2).astype(int), 1),
        ("relative", preferred, 1), ("retrieval", ranked, 2),
    ):  # fmt: skip
        yield metric, right.mean() / of, n, "".join(map(str, right))
    seen = heads.vectors(images, texts[itself // 2 * 2]).numpy()
    right = read_sides(seen, asked["side"], asked["group"], asked["asked"]).reshape(n, 2).sum(1)
    yield "probe", right.mean() / 2, n, "".join(map(str, right))


# --- runs ----------------------------------------------------------------------------------------


def recipe(rung: str) -> tuple[int, int, float]:
    """Batch, steps and first learning rate, which falls to zero."""
    reading = RUNGS[rung]
    return CAPTIONING if reading.writes else READING if reading.text == "words" else MATCHING


def train(
    images: torch.Tensor,
    texts: torch.Tensor,
    rung: str,
    seed: int,
    steps: int | None = None,
    opposites: torch.Tensor | None = None,
) -> Heads | Captioner:
    """Heads of a rung, trained on images (N, P, D) and their captions (N, captions, ...).

    A rung with negatives needs the `opposites` of the captions; one without sides has itself.
    """
    torch.manual_seed(seed)
    reading, rng = RUNGS[rung], np.random.default_rng(seed)
    batch, usual, rate = recipe(rung)
    size = len(shared_tokenizer()) if reading.text == "words" else texts.shape[-1]
    heads = Captioner(reading, size) if reading.writes else Heads(reading, size)
    for part, n, sees in heads.stages(steps or usual):
        # Each stage has its own optimiser, and only what it trains moves.
        adam = torch.optim.Adam(part.parameters(), rate)
        falling = torch.optim.lr_scheduler.LinearLR(adam, 1.0, 0.0, n)
        for _ in tqdm(range(n), desc=rung, leave=False):
            index = rng.choice(len(texts), min(batch, len(texts)), replace=False)
            which = rng.integers(texts.shape[1], size=len(index))
            given = [images[index] if sees else images[index, :0], texts[index, which]]
            if reading.negatives:
                wrong = opposites[index, which]
                given.append(wrong[(wrong != given[1]).any(1)])
            heads.zero_grad()
            heads.loss(*given).backward()
            torch.nn.utils.clip_grad_norm_(part.parameters(), 1.0)
            adam.step()
            falling.step()
    return heads.eval()


def training_data(
    model: str, captions: str, seed: int, runs: Path, scenes: int = SCENES
) -> tuple[dict, dict, torch.Tensor]:
    """What a seed's heads are trained on: images and captions by what is read, and wrong captions.

    Images (N, P, D), captions (N, CAPTIONS_EACH, ...), words of the opposite ones.
    """
    stream, how = stream_of(seed, scenes), wording(model, captions)
    said = [text for i in range(scenes) for text in stream.captions(i, CAPTIONS_EACH, how)]
    texts = {
        kind: found.clone().unflatten(0, (-1, CAPTIONS_EACH))
        for kind, found in text_vectors(clip_of(model), said).items()
    }
    opposites = word_numbers(list(map(from_across, said))).unflatten(0, (-1, CAPTIONS_EACH))
    return training_vectors(model, stream, runs), texts, opposites


def run(
    model: str, captions: str, seed: int, rungs: Iterable[str], runs: Path,
    scenes: int = SCENES, steps: int | None = None, sets: int = SETS,
) -> Iterator[pd.DataFrame]:  # fmt: skip
    """Train the heads of each rung and measure them: rows of the columns `COLUMNS`."""
    images, texts, opposites = training_data(model, captions, seed, runs, scenes)
    for rung in rungs:
        began, reading = time.time(), RUNGS[rung]
        given = images[reading.image], texts[reading.text]
        heads = train(*given, rung, seed, steps, opposites)
        ends = (steps or recipe(rung)[1], round(time.time() - began, 1), platform.machine())
        yield _rows((model, captions, rung, seed), heads, sets, ends)


def _rows(key: tuple, heads: Heads | Captioner | AsItIs, sets: int, ends: tuple) -> pd.DataFrame:
    rows = [
        (*key, name, *row, *ends) for name in FAMILIES for row in measure(key[0], name, sets, heads)
    ]
    return pd.DataFrame(rows, columns=COLUMNS).astype({"per_pair": str})


def main(arguments: list[str] | None = None) -> None:
    """Command line: train what is missing, and write the table."""
    parser = argparse.ArgumentParser(description="The ladder of heads on a frozen mini CLIP.")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--captions", nargs="+", choices=CAPTIONS, default=["aligned"])
    parser.add_argument("--rungs", nargs="+", choices=RUNGS, default=list(RUNGS))
    parser.add_argument("--seeds", type=int, nargs="+", choices=range(SEEDS), default=range(SEEDS))
    parser.add_argument("--steps", type=int, help="other than the usual")
    parser.add_argument("--sets", type=int, default=SETS, help="of each benchmark seed")
    parser.add_argument("--scenes", type=int, default=SCENES, help="of each seed")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="pictures, image vectors")
    parser.add_argument("--out", type=Path, default=TABLES, help="folder of the table")
    options = parser.parse_args(arguments)
    path = options.out / "measures.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    tables = [read_table(path)] if path.exists() else []
    done = {key for t in tables for key in t[KEY].itertuples(index=False, name=None)}

    def add(rows: pd.DataFrame) -> None:
        tables.append(rows)
        pd.concat(tables).to_csv(path, index=False, float_format="%.4f")

    for model in options.models:
        if (key := (model, "none", AS_IT_IS, 0)) not in done:
            add(_rows(key, AsItIs(), options.sets, (0, 0.0, platform.machine())))
    for captions, seed, model in product(options.captions, options.seeds, options.models):
        todo = [
            rung for rung in options.rungs
            if (model, captions, rung, seed) not in done
            and (RUNGS[rung].image != "llava" or model == READ_BY_LLAVA)
        ]  # fmt: skip
        if todo:
            how = (options.runs, options.scenes, options.steps, options.sets)
            for rows in run(model, captions, seed, todo, *how):
                add(rows)


if __name__ == "__main__":
    main()
