"""Two protocols that compare the images of a pair: decisions, averages, biases, chance levels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from erragree_utils.decoding.contrast import (
    VCD,
    TextContrast,
    contrastive_option_logprobs,
    named_seed,
)
from erragree_utils.scoring.two_images import (
    contrast_scores,
    image_predictions,
    position_bias,
    relative_preference,
    single_image_scores,
    summarize_relative,
    two_image_scores,
    without_bias,
)
from PIL import Image
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

from erragree_utils import load_clip, summarize
from erragree_utils.measures.accuracy import as_percent
from erragree_utils.measures.comparison import compare
from erragree_utils.models import EncodeError
from erragree_utils.models.mllm import LogLikelihood, Mllm
from erragree_utils.training import llava

RED, GREEN = (255, 0, 0), (0, 255, 0)


@dataclass(frozen=True)
class Pair:
    """What the protocols need of a pair."""

    pair_id: str
    pattern: str
    question: str
    options: tuple[str, str]
    images: tuple[Any, ...]


def plain(colour) -> Image.Image:
    return Image.new("RGB", (40, 40), colour)


def pair(name: str = "p", images=(RED, GREEN), pattern: str = "colour") -> Pair:
    question = "What colour is the mug?"
    return Pair(name, pattern, question, ("red", "green"), tuple(map(plain, images)))


PAIRS = [pair("p"), pair("q"), pair("r", pattern="count")]


class Reader:
    """A model whose answers are set by what it is told to attend to.

    Log-odds of "red" are `bias`, and `gain` more or less as the image it looks at is red or green.
    Of two images it looks at the one it is asked about, or at the one in place `looks_at`.
    """

    name = "reader"

    def __init__(self, gain: float = 2.0, bias: float = 0.0, looks_at: int | None = None):
        self.gain, self.bias, self.looks_at, self.asked = gain, bias, looks_at, []

    def _score(self, image, option) -> float:
        odds = self.bias + self.gain * (1 if image.getpixel((0, 0)) == RED else -1)
        return odds / 2 * (1 if option == "red" else -1) - 5

    def option_logprobs(self, images, questions, options, normalize=True, batch_size=1, progress=0):
        rows = zip(images, options, strict=True)
        return [np.array([self._score(image, o) for o in mine]) for image, mine in rows]

    def answer_logprobs(self, images, branches, batch_size=1, progress=False):
        found = []
        for group, row in zip(images, branches, strict=True):
            self.asked += row
            found.append([])
            for question, option in row:
                meant = 0 if "first" in question else 1
                place = meant if self.looks_at is None else self.looks_at
                found[-1].append(LogLikelihood(2 * self._score(group[place], option), 2))
        return found


class TestRelativePreference:
    def test_the_image_that_prefers_option_0_more_should_be_image_0(self):
        table = relative_preference(single_image_scores(Reader(), PAIRS))
        assert table["pair_id"].tolist() == ["p", "q", "r"]
        assert table["correct"].all() and (table["chance"] == 0.5).all()
        assert table["preference_0"].tolist() == [2] * 3 and (table["preference_1"] == -2).all()
        wrong = single_image_scores(Reader(gain=-1), PAIRS)
        assert not relative_preference(wrong)["correct"].any()

    def test_a_bias_toward_one_option_that_spoils_the_answers_cancels(self):
        scores = single_image_scores(Reader(bias=9), PAIRS)
        assert image_predictions(scores)["correct"].mean() == 0.5
        assert relative_preference(scores)["correct"].all()

    def test_both_images_are_right_where_the_signal_exceeds_the_bias(self):
        rng = np.random.default_rng(0)
        scores = single_image_scores(Reader(), [pair(str(i)) for i in range(40)])
        scores["score"] = rng.normal(size=len(scores))
        table = relative_preference(scores).set_index("pair_id")
        both = image_predictions(scores).groupby("pair_id")["correct"].all()
        assert both.any() and not both.all()
        assert (table["signal"] > table["bias"].abs()).equals(both[table.index])
        assert (table["signal"] > 0).equals(table["correct"])

    def test_images_that_score_alike_are_a_tie_and_not_correct(self):
        scores = single_image_scores(Reader(), [pair(images=(RED, RED)), pair("q")])
        table = relative_preference(scores)
        assert table["correct"].tolist() == [False, True]
        assert table["tie"].tolist() == [True, False]
        assert summarize_relative(table)["n_ties"].item() == 1

    def test_it_takes_the_scale_of_no_score_into_account(self):
        scores = single_image_scores(Reader(), PAIRS)
        scores["score"] = np.random.default_rng(0).normal(size=len(scores))
        large = scores.assign(score=100 * scores["score"])
        a, b = relative_preference(scores), relative_preference(large)
        assert a["correct"].tolist() == b["correct"].tolist()

    def test_random_scores_are_right_at_the_chance_level(self):
        n, rng = 5000, np.random.default_rng(0)
        names = pd.MultiIndex.from_product(
            [range(n), (0, 1), (0, 1)], names=["pair_id", "image_index", "option_index"]
        )
        scores = names.to_frame(index=False).assign(score=rng.normal(size=4 * n))
        summary = summarize_relative(relative_preference(scores)).loc["all"]
        # Three standard errors.
        assert summary["relative_accuracy"] == pytest.approx(0.5, abs=3 * (0.25 / n) ** 0.5)
        assert summary["relative_chance"] == 0.5 and summary["n_pairs"] == n
        both = summarize(image_predictions(scores)).loc["all"]
        assert both["pair_accuracy"] == pytest.approx(0.25, abs=3 * (0.1875 / n) ** 0.5)
        assert both["pair_chance"] == 0.25

    def test_tables_of_several_models_are_kept_apart(self):
        good, bad = Reader(), Reader(gain=-1)
        bad.name = "bad"
        scores = pd.concat([single_image_scores(model, PAIRS) for model in (good, bad)])
        table = relative_preference(scores)
        summary = summarize_relative(table, by="model")
        assert summary["relative_accuracy"].to_dict() == {"reader": 1, "bad": 0}
        assert summary.index.name == "model"
        by = summarize_relative(table, by=["model", "pattern"])
        assert by.loc[("reader", "count"), "n_pairs"] == 1
        assert as_percent(summary)["relative chance"].tolist() == ["50", "50"]
        with pytest.raises(ValueError, match="pair 'p' twice.*to by="):
            summarize_relative(table)

    def test_two_such_tables_have_a_paired_test(self):
        good = relative_preference(single_image_scores(Reader(), PAIRS))
        bad = relative_preference(single_image_scores(Reader(gain=-1), PAIRS))
        result = compare(bad, good)
        assert result["only_b"] == 3 and result["difference"] == 1 and result["p_value"] == 0.25

    @pytest.mark.filterwarnings("ignore:texts with words mini does not know")
    def test_clip_is_scored_by_its_cosines_with_question_and_option(self):
        clip = load_clip("mini", device="cpu")
        scores = single_image_scores(clip, PAIRS[:1])
        assert set(scores["method"]) == {"matching"} and set(scores["model"]) == {"mini"}
        image = clip.embed_images([plain(GREEN)])
        texts = clip.embed_texts(["What colour is the mug? red", "What colour is the mug? green"])
        mine = scores.query("image_index == 1").sort_values("option_index")["score"]
        np.testing.assert_allclose(mine, (image @ texts.T)[0], atol=1e-5)
        other = single_image_scores(clip, PAIRS[:1], text="a {option} mug")
        assert not np.allclose(other["score"], scores["score"])

    def test_clip_reads_the_captions_of_pairs_that_have_some(self):
        captioned = pair()
        object.__setattr__(captioned, "captions", ("a red mug", "a green mug"))
        clip = load_clip("mini", device="cpu")
        found = single_image_scores(clip, [captioned])["score"]
        expected = single_image_scores(clip, PAIRS[:1], text="a {option} mug")["score"]
        np.testing.assert_allclose(found, expected, atol=1e-6)


class TestTwoImagePrompt:
    def test_both_images_are_asked_about_in_both_orders(self):
        model = Reader()
        scores = two_image_scores(model, PAIRS[:1])
        assert len(scores) == 8 and len(model.asked) == 8
        assert {question for question, _ in model.asked} == {
            "Look at the first image. What colour is the mug?",
            "Look at the second image. What colour is the mug?",
        }
        table = image_predictions(scores)
        assert table[["correct", "correct_first", "correct_second"]].all(axis=None)
        assert (table["chance"] == 0.5).all() and (table["pair_chance"] == 0.25).all()
        assert summarize(table)["pair_accuracy"].item() == 1
        assert relative_preference(scores)["correct"].all()

    def test_scores_are_those_of_the_image_they_are_filed_under(self):
        scores = two_image_scores(Reader(), PAIRS[:1]).set_index(
            ["image_index", "option_index", "position"]
        )["score"]
        for position in (0, 1):
            assert scores[0, 0, position] == scores[1, 1, position] == -4
            assert scores[0, 1, position] == scores[1, 0, position] == -6

    @pytest.mark.parametrize(("looks_at", "first", "second"), [(0, 1, 0), (1, 0, 1)])
    def test_a_model_that_reads_one_place_only_gains_nothing_and_shows_its_bias(
        self, looks_at, first, second
    ):
        scores = two_image_scores(Reader(looks_at=looks_at), PAIRS)
        bias = position_bias(scores)
        assert (bias["accuracy_first"], bias["accuracy_second"]) == (first, second)
        assert bias["difference"] == first - second and bias["consistent"] == 0
        assert bias["chance"] == 0.5 and bias["n_pairs"] == 3
        assert not image_predictions(scores)["correct"].any()  # all ties
        assert not relative_preference(scores)["correct"].any()

    def test_a_model_that_answers_alike_is_right_about_one_image_of_each_pair(self):
        scores = two_image_scores(Reader(gain=0.1, bias=3), PAIRS)
        summary = summarize(image_predictions(scores)).loc["all"]
        assert summary["individual_accuracy"] == 0.5 and summary["pair_accuracy"] == 0
        assert position_bias(scores)["consistent"] == 1
        assert relative_preference(scores)["correct"].all()

    def test_the_prompt_may_be_another(self):
        model = Reader()
        two_image_scores(model, PAIRS[:1], prompt="In the {which} picture: {question}")
        assert model.asked[0][0] == "In the first picture: What colour is the mug?"
        with pytest.raises(ValueError, match="has no {which}"):
            two_image_scores(model, PAIRS, prompt="{question}")

    def test_totals_instead_of_means(self):
        mean, total = (two_image_scores(Reader(), PAIRS, normalize=n) for n in (True, False))
        np.testing.assert_allclose(total["score"], 2 * mean["score"])


@pytest.fixture(scope="module")
def tiny() -> Mllm:
    """A LLaVA of two layers with random weights."""
    tokenizer = llava.build_tokenizer()
    torch.manual_seed(0)
    model = LlavaForConditionalGeneration(LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=24, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
            image_size=40, patch_size=10, projection_dim=16,
        ),
        text_config=LlamaConfig(
            hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
            vocab_size=len(tokenizer), max_position_embeddings=256,
        ),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"), image_seq_length=16,
    ))  # fmt: skip
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data *= 5
    processor = llava.build_processor(model, tokenizer)
    return Mllm("tiny", model, processor, torch.device("cpu"), torch.float32)


class TestWithoutBias:
    def test_a_bias_that_a_pattern_shares_is_removed_and_the_signal_stays(self):
        colour = single_image_scores(Reader(bias=9), [pair(f"c{i}") for i in range(4)])
        counts = [pair(f"n{i}", pattern="count") for i in range(4)]
        scores = pd.concat([colour, single_image_scores(Reader(bias=-7), counts)])
        found = without_bias(scores)
        table = relative_preference(found)
        np.testing.assert_allclose(table["bias"], 0, atol=1e-9)
        np.testing.assert_allclose(table["signal"], 2)
        assert not image_predictions(scores).groupby("pair_id")["correct"].all().any()
        assert image_predictions(found)["correct"].all()
        assert set(found["method"]) == {"options, bias removed"}

    def test_no_pair_has_a_part_in_its_own_correction(self):
        pairs = [pair(str(i)) for i in range(6)]
        scores = single_image_scores(Reader(), pairs)
        changed = scores.copy()
        mine = (changed["pair_id"] == "3") & (changed["option_index"] == 0)
        changed.loc[mine, "score"] += 100
        before, after = (
            relative_preference(without_bias(t)).set_index("pair_id")["bias"]
            for t in (scores, changed)
        )
        assert after["3"] - before["3"] == pytest.approx(100)
        moved = (after - before).drop("3")
        assert sorted(moved.round(6)) == [pytest.approx(-100 / 3)] * 3 + [0] * 2

    def test_groups_smaller_than_the_folds(self):
        with pytest.raises(ValueError, match="fewer pairs than there are folds"):
            without_bias(single_image_scores(Reader(), PAIRS))


class TestWithAModel:
    def test_many_contrasts_are_scored_as_each_by_itself(self, tiny):
        contrasts = {
            "vcd": VCD(beta=0), "strong": VCD(alpha=3, beta=0), "text": TextContrast(2),
            "plain": TextContrast(0),
        }  # fmt: skip
        table = contrast_scores(tiny, PAIRS, contrasts)
        seeds = [named_seed(p.pair_id, i) for p in PAIRS for i in (0, 1)]
        for name, contrast in contrasts.items():
            alone = single_image_scores(tiny, PAIRS, contrast, seed=seeds)
            mine = table[table["setting"] == name]
            np.testing.assert_allclose(mine["score"], alone["score"], atol=1e-5)
        plain_scores = single_image_scores(tiny, PAIRS)["score"]
        plain_row = table.loc[table["setting"] == "plain", "score"]
        np.testing.assert_allclose(plain_row, plain_scores, atol=1e-5)
        assert len(image_predictions(table)) == 4 * 6

    def test_the_second_stream_is_read_once_for_all_strengths(self, tiny, monkeypatch):
        calls = []
        forward = tiny.forward
        monkeypatch.setattr(tiny, "forward", lambda *a, **k: calls.append(1) or forward(*a, **k))
        contrast_scores(tiny, PAIRS, {"1": TextContrast(1)})
        one = len(calls)
        contrast_scores(tiny, PAIRS, {str(s): TextContrast(s) for s in range(5)})
        assert len(calls) == 2 * one
        with pytest.raises(ValueError, match="at least one contrast"):
            contrast_scores(tiny, PAIRS, {})

    def test_one_image_is_scored_as_option_logprobs_does(self, tiny):
        scores = single_image_scores(tiny, PAIRS)
        images = [image for p in PAIRS for image in p.images]
        plain_scores = tiny.option_logprobs(images, PAIRS[0].question, list(PAIRS[0].options))
        np.testing.assert_allclose(scores["score"], np.concatenate(plain_scores), atol=1e-5)

    @pytest.mark.parametrize("contrast", [VCD(beta=0), TextContrast()], ids=repr)
    def test_or_under_contrastive_decoding(self, tiny, contrast):
        scores = single_image_scores(tiny, PAIRS, contrast, seed=1)
        images = [image for p in PAIRS for image in p.images]
        expected = contrastive_option_logprobs(
            tiny, images, PAIRS[0].question, list(PAIRS[0].options), contrast, seed=1
        )
        np.testing.assert_allclose(scores["score"], np.concatenate(expected), atol=1e-5)
        assert set(scores["method"]) == {type(contrast).__name__}

    def test_two_images_are_those_of_the_prompt_in_its_order(self, tiny):
        scores = two_image_scores(tiny, PAIRS[:1]).set_index(
            ["image_index", "option_index", "position"]
        )["score"]
        a, b = PAIRS[0].images
        question = "Look at the second image. What colour is the mug?"
        in_order, swapped = tiny.option_logprobs([[a, b], [b, a]], question, ["red", "green"])
        np.testing.assert_allclose([scores[1, k, 1] for k in (0, 1)], in_order, atol=1e-5)
        np.testing.assert_allclose([scores[0, k, 1] for k in (0, 1)], swapped, atol=1e-5)


class TestGenerators:
    @pytest.mark.parametrize("score", [single_image_scores, two_image_scores])
    def test_pairs_may_come_from_one(self, tiny, score):
        pd.testing.assert_frame_equal(score(tiny, (p for p in PAIRS)), score(tiny, PAIRS))

    def test_also_for_many_contrasts(self, tiny):
        contrasts = {"text": TextContrast(1.0)}
        found = contrast_scores(tiny, (p for p in PAIRS), contrasts)
        pd.testing.assert_frame_equal(found, contrast_scores(tiny, PAIRS, contrasts))


class TestWhatCannotBeScored:
    def test_pairs(self):
        same = Pair("same", "x", "Why?", ("red", "red"), (plain(RED),) * 2)
        lone = pair("lone", images=(RED,))
        for call in (single_image_scores, two_image_scores):
            with pytest.raises(ValueError, match="no pairs"):
                call(Reader(), [])
            with pytest.raises(ValueError, match="pair 'same' needs two different options"):
                call(Reader(), [same])
            with pytest.raises(ValueError, match="pair 'lone' has 1 images, and needs two"):
                call(Reader(), [lone])

    def test_images_are_named_with_their_pair(self, tiny):
        broken = Pair("broken", "x", "Why?", ("red", "green"), (plain(RED), "mug.jpeg"))
        with pytest.raises(EncodeError, match="image 1 of pair 'broken': image 3 is a str"):
            single_image_scores(tiny, [pair(), broken])
        with pytest.raises(EncodeError, match="pair 'broken', in order: image 2 is a str"):
            two_image_scores(tiny, [pair(), broken])

    def test_models(self):
        with pytest.raises(TypeError, match="neither a Clip nor a Mllm"):
            single_image_scores(object(), PAIRS)
        with pytest.raises(ValueError, match="CLIP does not decode"):
            single_image_scores(load_clip("mini", device="cpu"), PAIRS, VCD())


class TestTablesThatAreRefused:
    SCORES = single_image_scores(Reader(), PAIRS)

    @pytest.mark.parametrize("read", [relative_preference, image_predictions])
    def test_tables_that_are_not_whole(self, read):
        with pytest.raises(ValueError, match="two images with two options each"):
            read(self.SCORES.iloc[1:])
        with pytest.raises(ValueError, match="pair 'p' has a score twice"):
            read(pd.concat([self.SCORES, self.SCORES]))
        with pytest.raises(ValueError, match="lacks option_index"):
            read(self.SCORES.drop(columns="option_index"))
        with pytest.raises(ValueError, match="the table is empty"):
            read(self.SCORES.iloc[:0])
        with pytest.raises(ValueError, match="pair 'p' has a score that is NaN"):
            read(self.SCORES.assign(score=np.nan))
        both = pd.concat([self.SCORES, two_image_scores(Reader(), PAIRS)])
        with pytest.raises(ValueError, match="single images and of two are mixed"):
            read(both)

    @pytest.mark.parametrize("read", [relative_preference, image_predictions])
    def test_options_that_are_both_ruled_out(self, read):
        with pytest.raises(ValueError, match=r"3 pairs .*score them with VCD\(beta=0\)"):
            read(self.SCORES.assign(score=-np.inf))

    def test_one_option_that_is_ruled_out_decides(self):
        scores = self.SCORES.copy()
        scores.loc[1, "score"] = -np.inf  # the other option of the first image
        assert relative_preference(scores)["correct"].all()

    def test_positions(self):
        with pytest.raises(ValueError, match="lacks position"):
            position_bias(self.SCORES)
        two = two_image_scores(Reader(), PAIRS)
        with pytest.raises(ValueError, match="in both positions"):
            image_predictions(two[two["position"] == 0])
        with pytest.raises(ValueError, match="several models or prompts"):
            position_bias(pd.concat([two, two.assign(model="other")]))
