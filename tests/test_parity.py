"""Decisions are those of a plain reference: batch 1, no cache, option by option, by the libraries.

The references below call open_clip and Transformers directly. The last part shows that decisions do
not depend on what the official scripts' depend on: the true option's place, ties, and a fixed order
of categories.
"""

from __future__ import annotations

import random
import re
from dataclasses import replace

import numpy as np
import open_clip
import pandas as pd
import pytest
import torch
from transformers import LlavaForConditionalGeneration, LlavaProcessor

from erragree_utils import evaluate, load_benchmark, load_clip, load_mllm, summarize, summarize_sets
from erragree_utils.benchmarks import Benchmark, ImagePair
from erragree_utils.models import ASSETS

SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions. "
)
CAPTION = re.compile(
    r"An? (.+?) (?:to the )?(left of|right of|on|under|in front of|behind) an? (.+)"
)
# Below this, rounding decides: a batch of one and one of many add in different orders.
ROUNDING = 1e-5

pytestmark = pytest.mark.filterwarnings("ignore:texts with words")


class PlainClip:
    """One image or text at a time, through open_clip."""

    def __init__(self):
        name = f"local-dir:{ASSETS / 'mini-clip'}"
        self.model, _, self.preprocess = open_clip.create_model_and_transforms(name)
        self.model.eval()
        self.tokenizer = open_clip.get_tokenizer(name)

    @torch.no_grad()
    def score(self, image, text) -> float:
        a = self.model.encode_image(self.preprocess(image)[None])[0]
        b = self.model.encode_text(self.tokenizer([text]))[0]
        return float(torch.nn.functional.cosine_similarity(a, b, dim=0))


class PlainLlava:
    """One prompt at a time, through Transformers, without a cache."""

    def __init__(self):
        folder = ASSETS / "mini-llava"
        self.model = LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
        self.model.eval()
        self.processor = LlavaProcessor.from_pretrained(folder)

    @torch.no_grad()
    def logits(self, image, question, answer=""):
        text = f"{SYSTEM}USER: <image>\n{question} ASSISTANT:{answer}"
        inputs = self.processor(images=image, text=text, return_tensors="pt")
        return inputs["input_ids"][0], self.model(**inputs, use_cache=False).logits[0]

    def yes(self, image, caption) -> float:
        """VQAScore (section 3 of the paper)."""
        question = f'Does this figure show "{caption}"? Please answer yes or no.'
        yes = self.processor.tokenizer("Yes", add_special_tokens=False)["input_ids"][0]
        return float(self.logits(image, question)[1][-1].softmax(-1)[yes])

    def option(self, image, question, option) -> float:
        """Mean log-likelihood of an option's tokens."""
        start = len(self.logits(image, question)[0])
        ids, logits = self.logits(image, question, f" {option}")
        scores = logits.log_softmax(-1)
        return float(np.mean([scores[i - 1, ids[i]] for i in range(start, len(ids))]))

    def answer(self, image, question, longest=16) -> str:
        """The likeliest token, again and again."""
        words = ""
        for _ in range(longest):
            token = int(self.logits(image, question, words)[1][-1].argmax())
            if token == self.model.generation_config.eos_token_id:
                break
            words += " " + self.processor.tokenizer.decode([token])
        return words.strip()


@pytest.fixture(scope="module")
def plain_clip():
    return PlainClip()


@pytest.fixture(scope="module")
def plain_llava():
    return PlainLlava()


@pytest.fixture(scope="module")
def clip():
    return load_clip("mini", device="cpu")


@pytest.fixture(scope="module")
def mllm():
    return load_mllm("mini", device="cpu")


@pytest.fixture(scope="module", params=["tabletop-a", "tabletop-b"])
def whatsup(request) -> Benchmark:
    return load_benchmark(request.param, seed=41, n_sets=3)


@pytest.fixture(scope="module")
def mmvp() -> Benchmark:
    return load_benchmark("tabletop-mmvp", seed=41, n_pairs=2, mined=False)


def of_its_set(bench: Benchmark, pair: ImagePair, i: int) -> list[str]:
    """An image's caption, then the three others of its set, as What'sUp's files list them."""
    captions = [text for other in bench if other.set_id == pair.set_id for text in other.captions]
    return [pair.captions[i], *(text for text in captions if text != pair.captions[i])]


def assert_same(ours: pd.DataFrame, own: list[float], other: list[float]) -> None:
    """Scores within rounding, and the same decisions wherever rounding does not decide."""
    own, other = np.array(own), np.array(other)
    np.testing.assert_allclose(ours["score_own"], own, atol=ROUNDING)
    np.testing.assert_allclose(ours["score_other"], other, atol=ROUNDING)
    clear = np.abs(own - other) > 2 * ROUNDING
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(ours["correct"][clear], (own > other)[clear])


class TestWhatsUp:
    def test_two_way_by_clip(self, clip, plain_clip, whatsup):
        ours = evaluate(clip, whatsup, "matching", batch_size=5)
        own, other = [], []
        for pair in whatsup:
            for i, image in enumerate(pair.images):
                own.append(plain_clip.score(image, pair.captions[i]))
                other.append(plain_clip.score(image, pair.captions[1 - i]))
        assert_same(ours, own, other)

    def test_four_way_by_clip(self, clip, plain_clip, whatsup):
        ours = evaluate(clip, whatsup, "matching-all", batch_size=5)
        scores = [
            [plain_clip.score(image, text) for text in of_its_set(whatsup, pair, i)]
            for pair in whatsup
            for i, image in enumerate(pair.images)
        ]
        assert {len(row) for row in scores} == {4}
        assert_same(ours, [row[0] for row in scores], [max(row[1:]) for row in scores])

    def test_two_way_four_way_and_sets_by_vqascore(self, mllm, plain_llava, whatsup):
        scores, sets = [], []
        for pair in whatsup:
            for i, image in enumerate(pair.images):
                row = [plain_llava.yes(image, text) for text in of_its_set(whatsup, pair, i)]
                place = of_its_set(whatsup, pair, i).index(pair.captions[1 - i])
                scores.append((row[0], row[place], max(row[1:])))
                sets.append(pair.set_id)
        own, pair_other, set_other = zip(*scores, strict=True)
        two, four = (evaluate(mllm, whatsup, m, batch_size=5) for m in ("vqascore", "vqascore-all"))
        assert_same(two, own, pair_other)
        assert_same(four, own, set_other)
        right = pd.Series(np.array(own) > np.array(set_other)).groupby(sets).all()
        assert summarize_sets(four)["set_accuracy"].item() == right.mean()

    def test_prompted_answers(self, mllm, plain_llava, whatsup):
        ours = evaluate(mllm, whatsup, "prompted", batch_size=5)
        answers, right = [], []
        for pair in whatsup:
            stated = [CAPTION.fullmatch(text).groups() for text in pair.captions]
            words = [relation.removesuffix(" of") for _, relation, _ in stated]
            question = (
                f"Where is the {stated[0][0]} in relation to the {stated[0][2]}? "
                f"Answer with {words[0]} or {words[1]}."
            )
            for i, image in enumerate(pair.images):
                answers.append(plain_llava.answer(image, question))
                right.append(answers[-1] == words[i])
        assert ours["answer"].tolist() == answers
        assert ours["correct"].tolist() == right


class TestMmvp:
    def test_greedy_answers(self, mllm, plain_llava, mmvp):
        ours = evaluate(mllm, mmvp, "greedy", batch_size=5)
        answers = [plain_llava.answer(im, pair.question) for pair in mmvp for im in pair.images]
        own = [option for pair in mmvp for option in pair.options]
        assert ours["answer"].tolist() == answers
        right = [a.lower() == o.lower() for a, o in zip(answers, own, strict=True)]
        assert ours["correct"].tolist() == right
        pairs = pd.Series(right).groupby(ours["pair_id"].to_numpy()).all()
        assert summarize(ours)["pair_accuracy"].item() == pairs.mean()

    def test_scored_options(self, mllm, plain_llava, mmvp):
        ours = evaluate(mllm, mmvp, "question-options", batch_size=5)
        scores = [
            [plain_llava.option(image, pair.question, pair.options[k]) for k in (i, 1 - i)]
            for pair in mmvp
            for i, image in enumerate(pair.images)
        ]
        assert_same(ours, *zip(*scores, strict=True))

    def test_text_to_image_as_mmvp_vlm_is_scored(self, clip, plain_clip, mmvp):
        ours = evaluate(clip, mmvp, "matching-text-to-image", batch_size=5)
        scores = [
            [plain_clip.score(pair.images[k], pair.statements[i]) for k in (i, 1 - i)]
            for pair in mmvp
            for i in (0, 1)
        ]
        assert_same(ours, *zip(*scores, strict=True))


def turned(pair):
    """The same pair, told from its second image's side."""
    changes = {"sources": pair.sources[::-1]}
    if isinstance(pair, ImagePair):
        return replace(pair, captions=pair.captions[::-1], **changes)
    changes |= {"options": pair.options[::-1], "statements": pair.statements[::-1]}
    return replace(pair, first_listed=1 - pair.first_listed, **changes)


def shuffled(bench: Benchmark) -> tuple[Benchmark, set[str]]:
    """Pairs in another order, half of them turned; and the names of these."""
    rng = random.Random(5)
    pairs = rng.sample(list(bench), len(bench))
    flipped = {pair.pair_id for pair in pairs[::2]}
    mixed = [turned(pair) if pair.pair_id in flipped else pair for pair in pairs]
    return Benchmark(bench.name, tuple(mixed)), flipped


def decisions(table: pd.DataFrame, flipped: set[str] = frozenset()) -> pd.Series:
    """By pair and image, with turned pairs turned back."""
    place = table["image_index"].where(
        ~table["pair_id"].isin(flipped), table["image_index"].max() - table["image_index"]
    )
    return table.set_index(["pair_id", place])["correct"].sort_index()


class TestTrapsOfTheOfficialScripts:
    @pytest.mark.parametrize(
        "method",
        ["matching", "matching-all", "matching-text-to-image", "vqascore", "vqascore-all",
         "options", "prompted", "prompted-4way"],
    )  # fmt: skip
    def test_the_order_of_pairs_images_and_captions_decides_nothing(
        self, clip, mllm, whatsup, method
    ):
        model = clip if method.startswith("matching") else mllm
        other, flipped = shuffled(whatsup)
        before, after = (evaluate(model, bench, method) for bench in (whatsup, other))
        pd.testing.assert_series_equal(decisions(before), decisions(after, flipped))

    @pytest.mark.parametrize(
        ("method", "role"),
        [("greedy", "mllm"), ("question-options", "mllm"), ("two-images", "mllm"),
         ("relative-preference", "clip"), ("relative-preference", "mllm"), ("matching", "clip")],
    )  # fmt: skip
    def test_nor_that_of_options_and_statements(self, clip, mllm, mmvp, method, role):
        model = {"clip": clip, "mllm": mllm}[role]
        other, flipped = shuffled(mmvp)
        before, after = (evaluate(model, bench, method, batch_size=8) for bench in (mmvp, other))
        pd.testing.assert_series_equal(decisions(before), decisions(after, flipped))

    def test_a_tie_is_not_decided_by_the_true_option_standing_first(self, clip, whatsup):
        # What'sUp's script takes the first of the best, and the true caption is listed first.
        unknown = [replace(pair, captions=("zzz", "qqq")) for pair in whatsup]
        ours = evaluate(clip, Benchmark("unknown", tuple(unknown)), "matching")
        scores = ours[["score_own", "score_other"]].to_numpy()
        assert (scores.argmax(axis=1) == 0).all()  # all right, by a model that knows nothing
        assert not ours["correct"].any()

    def test_a_tie_between_images_is_not_decided_by_their_place(self, clip, mmvp):
        # MMVP-VLM's script: image 1 if its share is above 0.5, else image 2.
        same = [replace(pair, sources=(pair.sources[0],) * 2) for pair in mmvp]
        ours = evaluate(clip, Benchmark("same", tuple(same)), "matching-text-to-image")
        first = np.where(ours["image_index"] == 0, ours["score_own"], ours["score_other"])
        second = np.where(ours["image_index"] == 0, ours["score_other"], ours["score_own"])
        share = 1 / (1 + np.exp(100 * (second - first)))
        official = np.where(share > 0.5, 0, 1) == ours["image_index"]
        assert official.mean() == 0.5  # each second statement counts as right
        assert not ours["correct"].any()

    def test_a_pair_counts_for_its_own_category_wherever_it_stands(self, clip, mmvp):
        def by_place(table: pd.DataFrame) -> dict[str, float]:
            """MMVP-VLM's script: the category follows from how many pairs came before."""
            right = table.groupby("pair_id", sort=False)["correct"].all().to_numpy()
            shares = right.reshape(len(mmvp.relations), -1).mean(axis=1)
            return dict(zip(mmvp.relations, shares, strict=True))

        other, _ = shuffled(mmvp)
        before, after = (evaluate(clip, b, "matching-text-to-image") for b in (mmvp, other))
        ours = [summarize(table, by="relation")["pair_accuracy"] for table in (before, after)]
        pd.testing.assert_series_equal(ours[0].sort_index(), ours[1].sort_index())
        assert by_place(before) == ours[0].to_dict()
        assert by_place(after) != by_place(before)
