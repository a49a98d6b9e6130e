"""Small models, stores and benchmarks that the tests of the command line share."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from erragree_utils.study import cli
from erragree_utils.training import clip as clip_training
from erragree_utils.training import llava as llava_training


@pytest.fixture(scope="session")
def models(tmp_path_factory) -> list[str]:
    """Small untrained models of the mini ones' kinds, as arguments."""
    folders = [tmp_path_factory.mktemp("models") / name for name in ("tiny-clip", "tiny-llava")]
    settings = clip_training.Settings(
        image_size=20, width=32, layers=3, text_layers=1, embed_dim=16
    )
    tokenizer = clip_training.build_tokenizer(settings.context)
    clip = clip_training.build_model(settings, len(tokenizer))
    clip_training.save(clip, tokenizer, settings, folders[0])
    settings = llava_training.Settings(width=32, layers=1, mlp=64)
    tokenizer = llava_training.build_tokenizer()
    llava = llava_training.build_model(settings, folders[0], tokenizer)
    llava_training.save(llava, tokenizer, settings, folders[1])
    return [f"clip={folders[0]}", f"mllm={folders[1]}"]


@pytest.fixture(scope="session")
def done(models, tmp_path_factory) -> Path:
    """A store with the whole study at mini scale, of small models and few sets."""
    folder = tmp_path_factory.mktemp("done") / "r"
    options = ["--option", "tabletop-a.n_sets=6", "tabletop-b.n_sets=6",
               "tabletop-mmvp.n_pairs=1", "tabletop-mmvp.mined=false"]  # fmt: skip
    assert (
        cli.main(["run", "--out", str(folder), "--model", *models, "--quiet", *options]) == cli.OK
    )
    return folder


@pytest.fixture
def whatsup(tmp_path) -> Path:
    """A stand-in of What'sUp A as it is published, of three sets."""
    folder = tmp_path / "whatsup"
    images, entries = folder / "controlled_images", []
    images.mkdir(parents=True)
    phrases = {"left_of": "to the left of", "right_of": "to the right of", "on": "on",
               "under": "under"}  # fmt: skip
    for i, thing in enumerate(("mug", "bowl", "cap")):
        texts = {word: f"A {thing} {phrase} a chair" for word, phrase in phrases.items()}
        for k, word in enumerate(phrases):
            name = f"{thing}_{word}_chair.jpeg"
            Image.new("RGB", (30, 20), (60 * i, 60 * k, 90)).save(images / name)
            others = [text for text in texts.values() if text != texts[word]]
            entries.append({"image_path": f"data/controlled_images/{name}",
                            "caption_options": [texts[word], *others]})  # fmt: skip
    (folder / "controlled_images_dataset.json").write_text(json.dumps(entries))
    return folder
