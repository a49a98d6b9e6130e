"""From models, benchmarks and methods to the table of scores, and what is decided by it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from erragree_utils import evaluate, load_clip, score, summarize, summarize_sets
from erragree_utils.benchmarks import Benchmark, ImageError, ImagePair, QuestionPair
from erragree_utils.decoding import M3ID, VCD, TextContrast
from erragree_utils.decoding.processor import named_seed
from erragree_utils.decoding.streams import contrastive_option_logprobs, generate_contrastive
from erragree_utils.measures.decisions import match, position_bias, predict, prefer
from erragree_utils.models import EncodeError
from erragree_utils.models.mllm import LogLikelihood
from erragree_utils.scoring import (
    METHODS,
    Answer,
    BothImages,
    Matching,
    Options,
    RelativePreference,
    VQAScore,
)
from erragree_utils.scoring.captions import CaptionError
from erragree_utils.scoring.questions import VQA_QUESTION
from erragree_utils.training.clip import Settings, build_model, build_tokenizer, save

pytestmark = pytest.mark.filterwarnings("ignore:(texts|questions or answers) with words")
HEAD = ["benchmark", "model", "method", "set_id", "pair_id", "relation"]
COLUMNS = [*HEAD, "image_index", "option_index", "own", "score"]
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
# What a picture of each colour shows, in the world of these tests.
CAPTIONS = {
    "left": "A red mug to the left of a blue table",
    "right": "A red mug to the right of a blue table",
    "on": "A red mug on a blue table",
    "under": "A red mug under a blue table",
}
SHOWN = dict(zip((RED, GREEN, BLUE, WHITE), CAPTIONS, strict=True))


def plain(colour) -> Image.Image:
    return Image.new("RGB", (40, 40), colour)


def question(name: str = "p", colours=(RED, GREEN), pattern: str = "colour", **more):
    asked = ("What colour is the mug?", ("red", "green"))
    return QuestionPair(name, pattern, *asked, tuple(map(plain, colours)), **more)


QUESTIONS = [question("p"), question("q"), question("r", pattern="count")]


class Seer:
    """A language model that sees what a picture shows, and says so; `replies` in other words.

    Log-odds of "red" are `bias`, and `gain` more or less as the image it looks at is red or green.
    Of two images it looks at the one it is asked about, or at the one in place `looks_at`.
    """

    name = "seer"

    def __init__(self, gain=2.0, bias=0.0, looks_at=None, replies=None):
        self.gain, self.bias, self.looks_at, self.replies = gain, bias, looks_at, replies or {}
        self.images, self.asked, self.sizes = 0, [], []

    def _score(self, image, text: str, answer: str) -> float:
        if answer in ("red", "green"):
            odds = self.bias + self.gain * (1 if image.getpixel((0, 0)) == RED else -1)
            return odds / 2 * (1 if answer == "red" else -1) - 5
        shown = SHOWN[image.getpixel((0, 0))]
        if answer == "Yes":
            return float(np.log(0.9 if f'"{CAPTIONS[shown]}"' in text else 0.2))
        return -0.1 if answer == shown else -3.0

    def answer_logprobs(self, images, branches, batch_size=32):
        rows = []
        self.sizes.append(batch_size)
        for shown, row in zip(images, branches, strict=True):
            self.images += 1
            self.asked += row
            rows.append([])
            for text, answer in row:
                image = shown
                if isinstance(shown, list):
                    image = shown["second" in text if self.looks_at is None else self.looks_at]
                n = 2 if isinstance(shown, list) else 1
                rows[-1].append(LogLikelihood(n * self._score(image, text, answer), n))
        return rows

    def option_logprobs(self, images, questions, options, normalize=True, **_):
        rows = []
        for image, text, row in zip(images, questions, options, strict=True):
            self.asked.append(text)
            rows.append(np.array([self._score(image, text, word) for word in row]))
        return rows

    def generate(self, images, questions, **_):
        self.asked += questions
        shown = [SHOWN[image.getpixel((0, 0))] for image in images]
        return [self.replies.get(word, word) for word in shown]


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    """A small CLIP with the mini one's vocabulary and random weights, read through open_clip."""
    settings = Settings(image_size=20, width=32, layers=2, text_layers=1, embed_dim=16)
    tokenizer = build_tokenizer(settings.context)
    folder = tmp_path_factory.mktemp("untrained")
    save(build_model(settings, len(tokenizer)), tokenizer, settings, folder)
    return load_clip(folder, device="cpu")


@pytest.fixture(scope="module")
def noise() -> Benchmark:
    """Sets of four images in which a model with random weights sees differences."""
    rng = np.random.default_rng(0)
    pairs = []
    for i in range(3):
        for relations in (("left", "right"), ("on", "under")):
            images = (rng.integers(0, 255, (4, 4, 3), dtype=np.uint8) for _ in (0, 1))
            sources = tuple(Image.fromarray(image).resize((40, 40)) for image in images)
            texts = tuple(CAPTIONS[relation] for relation in relations)
            name = f"{i}-{relations[0]}"
            pairs.append(ImagePair(name, str(i), "/".join(relations), texts, sources))
    return Benchmark("noise", pairs)


@pytest.fixture(scope="module")
def asked(noise) -> Benchmark:
    """Questions about the same images, with the letters of their options for every second pair."""
    words = ("left", "right")
    return Benchmark("asked", [
        QuestionPair(pair.pair_id, pair.relation, "Where is the red mug?", words, pair.sources,
                     pair.captions, first_listed=i % 2, lettered=i % 2 == 1)
        for i, pair in enumerate(noise)
    ])  # fmt: skip


def of_captions(*changes: tuple[str, str, Any, Any]) -> Benchmark:
    return Benchmark("seen", [
        ImagePair(name, "s", f"{a}/{b}", (CAPTIONS[a], CAPTIONS[b]), tuple(map(plain, colours)))
        for name, a, b, colours in changes
    ])  # fmt: skip


SEEN = of_captions(("p", "left", "right", (RED, GREEN)), ("q", "on", "under", (BLUE, WHITE)))


class TestRows:
    def test_each_image_has_a_row_for_each_option_in_the_benchmarks_order(self, colours, pair):
        bench = Benchmark("two", [pair("q", ("red", "green"), (RED, GREEN), "s"),
                                  pair("p", ("blue", "red"), (BLUE, RED))])  # fmt: skip
        table = score(colours, bench)
        assert list(table) == COLUMNS
        assert table[["set_id", "pair_id", "image_index", "option_index"]].to_numpy().tolist() == [
            ["s", "q", 0, 0], ["s", "q", 0, 1], ["s", "q", 1, 0], ["s", "q", 1, 1],
            ["p", "p", 0, 0], ["p", "p", 0, 1], ["p", "p", 1, 0], ["p", "p", 1, 1],
        ]  # fmt: skip
        assert table["own"].tolist() == [True, False, False, True] * 2
        assert (table["own"] == (table["score"] > 0.9)).all()
        assert set(zip(table["benchmark"], table["model"], table["method"], strict=True)) == {
            ("two", "colours", "matching")
        }
        kinds = table.dtypes[["image_index", "option_index", "own", "score"]].tolist()
        assert kinds == [int, int, bool, float]

    def test_an_option_is_the_same_text_for_both_images(self, colours, pair):
        table = score(colours, [pair("p", ("green", "red"), (RED, RED))])
        first, second = (table[table["image_index"] == i]["score"].tolist() for i in (0, 1))
        assert first == second and first[1] > first[0]
        assert evaluate(colours, [pair("p", ("green", "red"), (RED, RED))])["correct"].tolist() == [
            False, True,
        ]  # fmt: skip

    def test_all_captions_of_the_set_compete_in_one_order_for_all_its_images(self, colours, pair):
        pairs = [pair("p", ("red", "green"), (RED, GREEN), "s"),
                 pair("q", ("blue", "red green blue"), (BLUE, WHITE), "s", "on/under")]  # fmt: skip
        table = score(colours, pairs, "matching-all")
        assert table["option_index"].tolist() == [0, 1, 2, 3] * 4
        assert table["own"].to_numpy().reshape(4, 4).tolist() == np.eye(4, dtype=bool).tolist()
        found = predict(table)
        assert found["correct"].all() and (found["n_options"] == 4).all()
        texts = colours.embed_texts(["red", "red green blue"])  # the best of the red image's others
        assert found["score_other"][0] == pytest.approx(texts[1] @ [1, 0, 0], abs=1e-5)
        assert summarize(found)["pair_chance"].item() == 1 / 16
        assert summarize_sets(found)["set_chance"].item() == 1 / 256

    def test_two_way_can_be_right_where_four_way_is_wrong(self, colours, pair):
        # Both images of the second pair are red: its captions lose to "red", not to each other.
        pairs = [pair("p", ("red", "green"), (RED, GREEN), "s"),
                 pair("q", ("red blue", "green"), (RED, GREEN), "s", "on/under")]  # fmt: skip
        two, four = (evaluate(colours, pairs, name) for name in ("matching", "matching-all"))
        assert two["correct"].tolist() == [True] * 4
        assert four["correct"].tolist() == [True, True, False, True]
        assert four["n_options"].tolist() == [3] * 4  # "green" is one option, though stated twice

    def test_equal_captions_leave_a_tie_and_a_tie_is_not_correct(self, colours, pair):
        for captions in (("red", "red"), ("one thing", "another")):
            table = score(colours, [pair("p", captions, (RED, GREEN))])
            assert table["own"].to_numpy().reshape(2, 2).sum(axis=1).tolist() == [1, 1]
            assert not predict(table)["correct"].any()

    def test_single_images_have_the_rows_of_one(self, colours, pair):
        single = [pair("p", ("red", "green"), (RED,), relation="left")]
        assert score(colours, single)["image_index"].tolist() == [0, 0]
        found = evaluate(colours, single)
        assert (len(found), found["correct"].item()) == (1, True)
        assert np.isnan(summarize(found)["pair_accuracy"].item())

    def test_from_text_to_image_a_caption_stands_for_the_image_and_images_are_its_options(
        self, colours, pair
    ):
        # Both images are nearest to "red"; yet of the two images each caption prefers its own.
        pairs = [pair("p", ("red", "red green"), (RED, (255, 40, 0)))]
        to_text, to_image = (
            score(colours, pairs, name) for name in ("matching", "matching-text-to-image")
        )
        cosines = colours.embed_images(pairs[0].images) @ colours.embed_texts(pairs[0].captions).T
        np.testing.assert_allclose(to_text["score"], cosines.ravel(), atol=1e-6)
        np.testing.assert_allclose(to_image["score"], cosines.T.ravel(), atol=1e-6)
        assert list(to_image) == COLUMNS and to_image["own"].tolist() == [True, False, False, True]
        assert predict(to_text)["correct"].tolist() == [True, False]
        assert predict(to_image)["correct"].tolist() == [True, True]

    def test_from_text_to_image_a_tie_is_not_correct_for_either_caption(self, colours, pair):
        same = [pair("p", ("red", "green"), (RED, RED))]
        assert not evaluate(colours, same, "matching-text-to-image")["correct"].any()
        with pytest.raises(ValueError, match="pair 'p' has a single image"):
            score(colours, [pair("p", ("red", "green"), (RED,))], "matching-text-to-image")


class TestBothDirections:
    """Of matching, by CLIP and by VQAScore."""

    NAMES = {"clip": ("matching", "matching-text-to-image"),
             "mllm": ("vqascore", "vqascore-text-to-image")}  # fmt: skip

    @pytest.mark.parametrize("role", NAMES)
    def test_they_use_the_same_four_scores(self, tiny, untrained, noise, role):
        model = {"clip": untrained, "mllm": tiny}[role]
        to_text, to_image = (score(model, noise, name) for name in self.NAMES[role])
        index = ["pair_id", "image_index", "option_index"]
        swapped = to_image.rename(columns={index[1]: index[2], index[2]: index[1]})
        mine, other = (t.set_index(index)["score"].sort_index() for t in (to_text, swapped))
        pd.testing.assert_series_equal(mine, other, rtol=1e-6)
        assert (to_image["own"] == (to_image["image_index"] == to_image["option_index"])).all()

    @pytest.mark.parametrize("role", NAMES)
    def test_the_group_score_counts_pairs_right_in_both(self, tiny, untrained, noise, role):
        model = {"clip": untrained, "mllm": tiny}[role]
        both = evaluate(model, noise, "group-score").set_index("pair_id")
        for name, column in zip(self.NAMES[role], ("text_correct", "image_correct"), strict=True):
            pairs = evaluate(model, noise, name).groupby("pair_id")["correct"].all()
            assert (both[column] == pairs[both.index]).all()
        assert (both["correct"] == both["text_correct"] & both["image_correct"]).all()

    def test_an_image_that_two_pairs_share_is_read_once(self, tiny, noise):
        one = noise[0]
        twice = [one, replace(one, pair_id="again", sources=one.sources[::-1])]
        table = score(tiny, twice, "vqascore-text-to-image")
        own = table[table["pair_id"] == one.pair_id].set_index(["image_index", "option_index"])
        again = table[table["pair_id"] == "again"].set_index(["image_index", "option_index"])
        for caption in (0, 1):
            assert own["score"][caption, 0] == again["score"][caption, 1]

    def test_a_set_has_no_direction_from_text_to_image(self, untrained, tiny, noise):
        for model, method in ((untrained, Matching), (tiny, VQAScore)):
            with pytest.raises(ValueError, match="chooses between the pair's two images"):
                score(model, noise, {"x": method("set", direction="text-to-image")})


class TestSeveralAtOnce:
    def test_models_benchmarks_and_methods_have_the_names_that_one_gives_them(self, tiny, noise):
        table = score(
            {"a": tiny, "b": tiny}, {"first": noise[:2], "last": noise[-2:]},
            {"words": "options", "raw": Options(METHODS["options"].question, normalize=False)},
        )  # fmt: skip
        assert list(table) == COLUMNS and list(table.index) == list(range(len(table)))
        parts = dict(list(table.groupby(["benchmark", "model", "method"])))
        assert list(parts) == [(x, y, z) for x in ("first", "last") for y in "ab"
                               for z in ("raw", "words")]  # fmt: skip
        for (bench, model, method), mine in parts.items():
            pairs = noise[:2] if bench == "first" else noise[-2:]
            asked = {"words": "options", "raw": METHODS["options"]}[method]
            alone = score({model: tiny}, {bench: pairs}, {method: asked},
                          normalize=method == "words")  # fmt: skip
            pd.testing.assert_frame_equal(mine.reset_index(drop=True), alone)
        table = score([tiny, Seer()], [SEEN, Benchmark("left", SEEN[:1])], ["vqascore", "options"])
        for column, names in (("model", ["tiny", "seer"]), ("benchmark", ["seen", "left"])):
            assert table[column].unique().tolist() == names
        assert len(table) == 2 * 2 * (8 + 4)

    def test_two_things_of_one_name_need_names_of_ones_own(self, tiny, noise, colours):
        with pytest.raises(ValueError, match="give a mapping of names of your own"):
            score([tiny, tiny], noise, "vqascore")
        with pytest.raises(ValueError, match="give a mapping of names of your own"):
            score(colours, [noise[:2], noise[2:]])

    def test_a_name_and_its_dataclass_give_the_same_table(self, tiny, untrained, noise, asked):
        for name, method in METHODS.items():
            model = untrained if "clip" in method.roles else tiny
            bench = bench_for(name, noise, asked)[:2]
            pd.testing.assert_frame_equal(score(model, bench, name), score(model, bench, method))

    def test_a_changed_field_shows_in_the_name_and_decides_the_scores(self, tiny, noise):
        table = score(tiny, noise, ["vqascore", VQAScore("set")], blind=True)
        assert table["method"].unique().tolist() == ["vqascore, blind=True",
                                                     "vqascore-all, blind=True"]  # fmt: skip
        own = score(tiny, noise, {"mine": VQAScore(question='Is this "{caption}"?', answer="No")})
        assert set(own["method"]) == {"mine"}
        assert not np.allclose(own["score"], score(tiny, noise, "vqascore")["score"])
        with pytest.raises(ValueError, match="has no zeal to choose"):
            score(tiny, noise, "vqascore", zeal=1)

    def test_pairs_may_come_bare_or_from_a_generator(self, tiny, asked):
        for method in ("question-options", "greedy", "two-images", "vcd"):
            table = score(tiny, (pair for pair in asked), method)
            assert set(table["benchmark"]) == {""}
            expected = score(tiny, asked, method).assign(benchmark="")
            pd.testing.assert_frame_equal(table, expected)

    def test_tables_of_images_and_of_pairs_are_evaluated_apart(self, tiny, asked):
        with pytest.raises(ValueError, match="evaluate each apart"):
            evaluate(tiny, asked, ["question-options", "relative-preference"])


def bench_for(name: str, noise: Benchmark, asked: Benchmark) -> Benchmark:
    """Pairs with questions for the methods that ask them, else captions alone."""
    method = METHODS[name]
    own = isinstance(method, Options | Answer) and method.question is None
    return asked if own or isinstance(method, BothImages | RelativePreference) else noise


class TestPromises:
    """What every method promises, whatever it is."""

    @pytest.mark.parametrize("name", METHODS)
    def test_neither_the_batch_size_nor_the_other_pairs_nor_their_order_change_anything(
        self, tiny, untrained, noise, asked, name
    ):
        bench = bench_for(name, noise, asked)
        for role in METHODS[name].roles:
            model = {"clip": untrained, "mllm": tiny}[role]
            whole = score(model, bench, name, batch_size=32)
            last = tuple(bench)[::-1][: 4 if "-all" in name or "4way" in name else 3]
            part = score(model, Benchmark(bench.name, last), name, batch_size=1)
            columns = ["pair_id", "image_index", "option_index"]
            columns += ["position"] if "position" in whole else []
            if len(last) == 4:  # captions come in the order of the set's pairs
                whole, part = (t[t["own"]] for t in (whole, part))
                columns.remove("option_index")
                whole, part = (t.drop(columns="option_index") for t in (whole, part))
            mine = whole[whole["pair_id"].isin(part["pair_id"])]
            mine, part = (t.sort_values(columns, ignore_index=True) for t in (mine, part))
            pd.testing.assert_frame_equal(mine, part, rtol=0, atol=1e-5)
            assert whole["answer" if "answer" in whole else "score"].nunique() > 1

    @pytest.mark.parametrize("name", METHODS)
    def test_evaluate_is_the_decision_of_the_scores(self, tiny, untrained, noise, asked, name):
        bench = bench_for(name, noise, asked)
        for role in METHODS[name].roles:
            model = {"clip": untrained, "mllm": tiny}[role]
            decide = {"image": predict, "pair": prefer, "match": match}[METHODS[name].decides]
            expected = decide(score(model, bench, name))
            pd.testing.assert_frame_equal(evaluate(model, bench, name, batch_size=32), expected)
            assert len(expected) == len(bench) * (2 if decide is predict else 1)

    @pytest.mark.parametrize("name", ["vqascore", "options", "prompted", "question-options",
                                      "greedy"])  # fmt: skip
    def test_a_blind_reader_gives_both_images_of_a_pair_the_same_scores(
        self, tiny, noise, asked, name
    ):
        table = score(tiny, bench_for(name, noise, asked), name, blind=True)
        wide = table.pivot(index="pair_id", columns=["image_index", "option_index"], values="score")
        np.testing.assert_allclose(wide[0], wide[1], atol=1e-6)
        assert (predict(table).groupby("pair_id")["correct"].sum() <= 1).all()


class TestClip:
    def test_each_image_and_each_caption_is_encoded_once(self, colours):
        shared = plain(RED)
        pairs = [ImagePair(f"p{i}", f"s{i}", "left", ("red", "green"), (shared,)) for i in range(5)]
        assert len(evaluate(colours, pairs)) == 5
        assert colours.images == 1 and set(colours.texts.values()) == {1}

    def test_files_are_not_all_held_in_memory(self, colours, tmp_path):
        # A generator arrives at the model, which opens as many images as it needs at a time.
        paths = [tmp_path / f"{i}.png" for i in range(6)]
        for path in paths:
            plain(RED).save(path)

        class OneByOne(type(colours)):
            def embed_images(self, images, batch_size=64):
                rows = []
                for image in images:
                    rows.append(super().embed_images([image]))
                    opened.append(len(rows))
                return np.concatenate(rows)

        class Watched(ImagePair):
            @property
            def images(self):
                opened.append(f"open {self.pair_id}")
                return super().images

        opened: list[Any] = []
        texts = ("red", "green")
        score(OneByOne(), [Watched(f"p{i}", f"s{i}", "l", texts, (p,))
                           for i, p in enumerate(paths)])  # fmt: skip
        assert opened[:4] == ["open p0", 1, "open p1", 2]

    def test_a_real_one_gives_the_cosines_of_its_embeddings(self, untrained, noise):
        images = untrained.embed_images([image for pair in noise for image in pair.images])
        texts = untrained.embed_texts([text for pair in noise for text in pair.captions])
        cosines = np.einsum(
            "pid,pod->pio", *(x.reshape(len(noise), 2, -1) for x in (images, texts))
        )
        table = score(untrained, noise, batch_size=3)
        np.testing.assert_allclose(table["score"], cosines.ravel(), atol=1e-6)

    def test_it_reads_a_question_with_each_of_its_answers_where_there_are_no_statements(
        self, untrained
    ):
        bare, stated = QUESTIONS[0], question(statements=("a red mug", "a green mug"))
        asked = ["What colour is the mug? red", "What colour is the mug? green"]
        for pair, texts in ((bare, asked), (stated, ["a red mug", "a green mug"])):
            expected = untrained.embed_images(pair.images) @ untrained.embed_texts(texts).T
            found = score(untrained, [pair], "relative-preference")["score"]
            np.testing.assert_allclose(found, expected.ravel(), atol=1e-6)


class TestVqascore:
    def test_it_is_the_probability_of_yes_for_each_caption(self):
        model = Seer()
        table = score(model, SEEN, "vqascore")
        np.testing.assert_allclose(table["score"], np.where(table["own"], 0.9, 0.2))
        assert (model.images, len(model.asked)) == (4, 8)
        assert (VQA_QUESTION.format(caption=CAPTIONS["left"]), "Yes") in model.asked

    def test_the_captions_of_a_set_are_asked_about_in_one_visit_to_each_image(self):
        model = Seer()
        found = evaluate(model, SEEN, "vqascore-all")
        assert (model.images, len(model.asked)) == (4, 16) and found["correct"].all()
        assert summarize_sets(found)["set_chance"].item() == 1 / 256

    def test_an_image_that_several_pairs_have_is_read_once_with_the_captions_of_all(self):
        shared, texts = plain(RED), list(CAPTIONS.values())
        pairs = [ImagePair(f"p{i}", f"s{i}", "left", (texts[0], texts[i]), (shared,))
                 for i in (1, 2, 3)]  # fmt: skip
        model = Seer()
        assert evaluate(model, pairs, "vqascore")["correct"].all()
        assert model.images == 1 and len(model.asked) == 4

    def test_by_a_real_model_it_is_the_next_tokens_probability(self, tiny, noise):
        import torch

        table = score(tiny, noise[:1], "vqascore").set_index(["image_index", "option_index"])
        yes = tiny.processor.tokenizer.convert_tokens_to_ids("yes")
        for (i, k), row in table.iterrows():
            prompt = tiny.prompt(VQA_QUESTION.format(caption=noise[0].captions[k]))
            inputs = tiny.processor(images=noise[0].images[i], text=prompt, return_tensors="pt")
            with torch.no_grad():
                chances = tiny.model(**inputs).logits[0, -1].softmax(-1)
            assert row["score"] == pytest.approx(chances[yes].item(), abs=1e-5)

    def test_the_authors_form_rates_yes_with_the_end_token(self, tiny, noise):
        """exp of the mean log-probability of both, by a plain pass over the whole answer."""
        import torch

        table = score(tiny, noise[:1], "vqascore-authors").set_index(
            ["image_index", "option_index"]
        )
        words = tiny.processor.tokenizer
        answer = [words.convert_tokens_to_ids("yes"), words.eos_token_id]
        for (i, k), row in table.iterrows():
            prompt = tiny.prompt(VQA_QUESTION.format(caption=noise[0].captions[k]))
            inputs = tiny.processor(images=noise[0].images[i], text=prompt, return_tensors="pt")
            ids = torch.cat([inputs.pop("input_ids"), torch.tensor([answer])], dim=1)
            inputs["attention_mask"] = torch.ones_like(ids)
            with torch.no_grad():
                scores = tiny.model(input_ids=ids, **inputs).logits[0].log_softmax(-1)
            expected = (scores[-3, answer[0]] + scores[-2, answer[1]]) / 2
            assert row["score"] == pytest.approx(expected.exp().item(), abs=1e-5)
        assert not np.allclose(table["score"], score(tiny, noise[:1], "vqascore")["score"])


class TestRelationsInWords:
    def test_the_words_for_the_pairs_relations_are_scored(self):
        model = Seer()
        table = score(model, SEEN, "options")
        np.testing.assert_allclose(table["score"], np.where(table["own"], -0.1, -3.0))
        assert model.asked[0] == (
            "Where is the red mug in relation to the blue table? Answer with left or right."
        )

    def test_the_question_may_be_another(self):
        model = Seer()
        score(model, SEEN, Options("{first}: {options}?"))
        assert model.asked[0] == "red mug: left or right?"

    def test_written_answers_add_the_answer_and_whether_it_named_one_option(self):
        replies = {"left": "The mug is on the left.", "right": "left or right", "on": "sure"}
        model = Seer(replies=replies)
        table = score(model, SEEN, "prompted")
        assert list(table) == [*COLUMNS, "answer", "parsed"]
        assert (
            table["answer"][:4].tolist() == ["The mug is on the left."] * 2 + ["left or right"] * 2
        )
        assert table["score"].tolist() == [1, 0, 0, 0, 0, 0, 0, 1]
        found = predict(table)
        assert found["parsed"].tolist() == [True, False, False, True]
        assert found["correct"].tolist() == [True, False, False, True]
        assert model.asked[0].endswith("Answer with left or right.")
        assert model.asked[2].endswith("Answer with on or under.")

    def test_four_way_offers_the_relations_of_the_set(self):
        model = Seer(replies={"left": "on"})
        found = evaluate(model, SEEN, "prompted-4way")
        assert (found["n_options"] == 4).all() and found["parsed"].all()
        assert found["correct"].tolist() == [False, True, True, True]
        assert found["score_other"][0] == 1 and len(set(model.asked)) == 1
        assert model.asked[0].endswith("Answer with left, right, on or under.")

    def test_a_picture_that_shows_the_other_caption_is_wrong(self):
        wrong = of_captions(("p", "left", "right", (GREEN, GREEN)))
        for method in ("vqascore", "options", "prompted"):
            assert evaluate(Seer(), wrong, method)["correct"].tolist() == [False, True], method

    def test_captions_that_score_alike_are_a_tie_and_not_correct(self):
        found = evaluate(Seer(), of_captions(("p", "left", "right", (BLUE, BLUE))), "vqascore")
        assert (found["score_own"] == found["score_other"]).all() and not found["correct"].any()


class TestQuestions:
    def test_options_are_those_of_the_question_as_it_stands(self, tiny, asked):
        images = [image for pair in asked for image in pair.images]
        for normalize in (True, False):
            table = score(tiny, asked, "question-options", normalize=normalize)
            expected = tiny.option_logprobs(
                images, "Where is the red mug?", ["left", "right"], normalize=normalize
            )
            np.testing.assert_allclose(table["score"], np.concatenate(expected), atol=1e-5)

    def test_answers_are_greedy_and_options_are_printed_where_the_pair_has_letters(
        self, tiny, asked
    ):
        table = evaluate(tiny, asked, "greedy")
        images = [image for pair in asked for image in pair.images]
        prompts = [pair.prompt for pair in asked for _ in (0, 1)]
        assert table["answer"].tolist() == tiny.generate(images, prompts)
        assert "(a) right (b) left" in prompts[2] and "(a)" not in prompts[0]

    def test_an_answer_may_be_a_letter_where_letters_were_printed(self):
        class Echo(Seer):
            def generate(self, images, questions, max_new_tokens, **_):
                self.asked += [*questions, max_new_tokens]
                return ["(b)" for _ in images]

        model = Echo()
        found = evaluate(model, [question(first_listed=1)], Answer(max_new_tokens=3))
        assert model.asked == ["What colour is the mug? (a) green (b) red"] * 2 + [3]
        assert found["correct"].tolist() == [True, False]  # (b) is the first image's answer
        assert found["score_own"].tolist() == [1, 0] and found["parsed"].all()
        found = evaluate(model, [question(lettered=False)], "greedy")
        assert not found["parsed"].any() and not found["correct"].any()

    def test_what_is_asked_does_not_depend_on_which_image_is_the_first(self, tiny, asked):
        turned = [
            replace(pair, options=pair.options[::-1], sources=pair.sources[::-1],
                    first_listed=1 - pair.first_listed)
            for pair in asked
        ]  # fmt: skip
        before, after = (evaluate(tiny, some, "greedy") for some in (asked, turned))
        after["image_index"] = 1 - after["image_index"]
        after = after.sort_values(["pair_id", "image_index"])
        before = before.sort_values(["pair_id", "image_index"])
        assert after["answer"].tolist() == before["answer"].tolist()
        assert after["correct"].tolist() == before["correct"].tolist()

    def test_a_bias_that_spoils_the_answers_leaves_the_relative_preference(self):
        biased = Seer(bias=9)
        assert evaluate(biased, QUESTIONS, "question-options")["correct"].mean() == 0.5
        found = evaluate(biased, QUESTIONS, "relative-preference")
        assert found["correct"].all() and found["preference_0"].tolist() == [11] * 3
        assert set(found["method"]) == {"relative-preference"}


SECOND_STREAMS = {
    "vcd": VCD(beta=0), "strong": VCD(alpha=3, beta=0), "text": TextContrast(2), "m3id": M3ID(),
    "plain": TextContrast(0), "nearer": VCD(beta=0, noise_step=300),
}  # fmt: skip


class TestContrasts:
    def test_scores_are_those_of_the_decoding_with_noise_by_the_pairs_name(self, tiny, asked):
        images = [image for pair in asked for image in pair.images]
        seeds = [named_seed(pair.pair_id, i) for pair in asked for i in (0, 1)]
        chosen = {name: Options(contrast=each) for name, each in SECOND_STREAMS.items()}
        table = score(tiny, asked, chosen)
        assert sorted(table["method"].unique()) == sorted(SECOND_STREAMS)
        for name, contrast in SECOND_STREAMS.items():
            mine = table.loc[table["method"] == name, "score"]
            expected = contrastive_option_logprobs(
                tiny, images, "Where is the red mug?", ["left", "right"], [contrast], seed=seeds
            )
            np.testing.assert_allclose(mine, np.ravel(expected), atol=1e-5)
        mine = table.loc[table["method"] == "plain", "score"]
        np.testing.assert_allclose(mine, score(tiny, asked, Options())["score"], atol=1e-5)

    def test_those_with_one_second_stream_share_a_pass_through_the_model(
        self, tiny, asked, monkeypatch
    ):
        calls, forward = [], tiny.engine.forward
        counted = lambda *args, **more: calls.append(1) or forward(*args, **more)  # noqa: E731
        monkeypatch.setattr(tiny.engine, "forward", counted)

        def passes(*contrasts, **more) -> int:
            calls.clear()
            score(tiny, asked, [Options(contrast=each, **more) for each in contrasts])
            return len(calls)

        text, noised = passes(TextContrast()), passes(VCD(beta=0))
        assert passes(*map(TextContrast, range(5)), M3ID(), M3ID(t0=0)) == text
        assert passes(VCD(beta=0), VCD(2, beta=0), VCD(0, beta=0)) == noised
        assert passes(VCD(beta=0), VCD(beta=0, noise_step=1), TextContrast()) == 2 * noised + text
        calls.clear()
        score(tiny, asked, [Options(contrast=TextContrast(), normalize=n) for n in (True, False)])
        assert len(calls) == 2 * text

    @pytest.mark.parametrize("contrast", [VCD(alpha=3.0), TextContrast()], ids=repr)
    def test_answers_are_those_of_the_decoding(self, tiny, asked, contrast):
        found = evaluate(tiny, asked, Answer(contrast=contrast), batch_size=3)
        expected = generate_contrastive(
            tiny, [image for pair in asked for image in pair.images],
            [pair.prompt for pair in asked for _ in (0, 1)], contrast,
            seed=[named_seed(pair.pair_id, i) for pair in asked for i in (0, 1)],
        )  # fmt: skip
        assert found["answer"].tolist() == expected
        plainly = evaluate(tiny, asked, "greedy")["answer"].tolist()
        assert expected != plainly
        none = evaluate(tiny, asked, Answer(contrast=TextContrast(0)))
        assert none["answer"].tolist() == plainly

    def test_single_images_have_the_noise_of_their_own_pair_too(self, tiny, noise):
        single = [replace(pair, sources=pair.sources[:1]) for pair in noise]
        method = Options(METHODS["options"].question, VCD(beta=0))
        whole, alone = (score(tiny, some, method) for some in (single, single[2:3]))
        mine = whole[whole["pair_id"] == single[2].pair_id]
        np.testing.assert_allclose(mine["score"], alone["score"], atol=1e-5)

    def test_halves_of_a_batch_are_those_of_two_streams(self, tiny, asked, monkeypatch):
        sizes, gather = [], tiny.engine.gather

        def noted(rows, total, batch_size, *more, **kwargs):
            sizes.append(batch_size)
            return gather(rows, total, batch_size, *more, **kwargs)

        monkeypatch.setattr(tiny.engine, "gather", noted)
        for method in ("question-options", "vcd", "two-images", Options(contrast=VCD(beta=0))):
            score(tiny, asked, method, batch_size=8)
        score(tiny, asked, "two-images", batch_size=1)
        assert sizes == [8, 4, 4, 4, 1]


class TestBothImages:
    def test_both_are_asked_about_in_both_orders(self):
        model = Seer()
        table = score(model, QUESTIONS[:1], "two-images")
        assert list(table) == [*COLUMNS, "position"]
        assert len(table) == 8 and len(model.asked) == 8 and model.images == 2
        assert {text for text, _ in model.asked} == {
            "Look at the first image. What colour is the mug?",
            "Look at the second image. What colour is the mug?",
        }
        scores = table.set_index(["image_index", "option_index", "position"])["score"]
        for position in (0, 1):  # filed under the image that was asked about
            assert scores[0, 0, position] == scores[1, 1, position] == -4
            assert scores[0, 1, position] == scores[1, 0, position] == -6
        found = predict(table)
        assert found[["correct", "correct_first", "correct_second"]].all(axis=None)
        assert prefer(table)["correct"].all()
        totals = score(model, QUESTIONS[:1], "two-images", normalize=False)
        np.testing.assert_allclose(totals["score"], 2 * table["score"])

    @pytest.mark.parametrize(("looks_at", "first", "second"), [(0, 1, 0), (1, 0, 1)])
    def test_a_model_that_reads_one_place_only_gains_nothing_and_shows_its_bias(
        self, looks_at, first, second
    ):
        table = score(Seer(looks_at=looks_at), QUESTIONS, "two-images")
        bias = position_bias(table)
        assert (bias["accuracy_first"], bias["accuracy_second"]) == (first, second)
        assert bias["difference"] == first - second and bias["consistent"] == 0
        assert not predict(table)["correct"].any()  # all ties
        assert not prefer(table)["correct"].any()

    def test_the_prompt_may_be_another(self):
        model = Seer()
        score(model, QUESTIONS[:1], BothImages("In the {which} picture: {question}"))
        assert model.asked[0][0] == "In the first picture: What colour is the mug?"

    def test_they_stand_in_the_prompt_in_its_order(self, tiny):
        table = score(tiny, QUESTIONS[:1], "two-images")
        scores = table.set_index(["image_index", "option_index", "position"])["score"]
        a, b = QUESTIONS[0].images
        text = "Look at the second image. What colour is the mug?"
        in_order, swapped = tiny.option_logprobs([[a, b], [b, a]], text, ["red", "green"])
        np.testing.assert_allclose([scores[1, k, 1] for k in (0, 1)], in_order, atol=1e-5)
        np.testing.assert_allclose([scores[0, k, 1] for k in (0, 1)], swapped, atol=1e-5)


@dataclass(frozen=True)
class Lone:
    """A question about a single image."""

    pair_id: str = "lone"
    set_id: str = "lone"
    relation: str = "x"
    captions: tuple[str, ...] = ("red", "green")
    question: str = "Why?"
    options: tuple[str, ...] = ("red", "green")
    sources: tuple = (plain(RED),)
    images: tuple = (plain(RED),)


class TestWhatCannotBeScored:
    def test_empty_benchmarks(self, colours, tiny):
        for model, method in ((colours, "matching"), (tiny, "greedy"), (tiny, "two-images")):
            for nothing in ([], Benchmark("none", ())):
                with pytest.raises(ValueError, match="the benchmark has no pairs"):
                    score(model, nothing, method)

    def test_methods_that_are_unknown_or_not_for_the_model(self, colours):
        with pytest.raises(ValueError, match="unknown method 'guess'; choose one of matching"):
            score(colours, SEEN, "guess")
        with pytest.raises(ValueError, match="'vqascore' is not for .*choose one of matching, mat"):
            score(colours, SEEN, "vqascore")
        with pytest.raises(ValueError, match="'matching' is not for .*choose one of vqascore, vqa"):
            score(Seer(), SEEN)
        with pytest.raises(TypeError, match="neither a Clip nor a Mllm"):
            score({"x": object()}, SEEN)

    def test_clip_cannot_be_asked_blind(self, colours):
        with pytest.raises(ValueError, match="Matching.* has no blind to choose"):
            score(colours, SEEN, blind=True)

    def test_pairs_without_a_question_relation_or_second_image_are_named(self):
        dog = ImagePair("dog", "s", "left", ("A dog", "A cat"), (plain(RED),))
        for method in ("options", "prompted", "prompted-4way"):
            with pytest.raises(CaptionError, match="pair 'dog': the caption 'A dog'"):
                score(Seer(), [dog], method)
        for method in ("question-options", "greedy"):
            with pytest.raises(ValueError, match="pair 'dog' has no question of its own: use 'opt"):
                score(Seer(), [dog], method)
        with pytest.raises(ValueError, match="pair 'p' has no question of its own"):
            score(Seer(), SEEN, "two-images")
        with pytest.raises(ValueError, match="pair 'lone' has a single image: two are shown"):
            score(Seer(), [Lone()], "two-images")
        with pytest.raises(ValueError, match="each pair needs scores of two images"):
            evaluate(Seer(), [Lone()], "relative-preference")

    def test_damaged_images_are_named_with_their_pair(self, untrained, tiny, noise, tmp_path):
        gone = ImagePair("mug", "s", "left", noise[0].captions, (tmp_path / "gone.jpeg",))
        narrow = replace(gone, pair_id="narrow", sources=(Image.new("RGB", (0, 9)),))
        for model, method in ((untrained, "matching"), (tiny, "vqascore"), (tiny, "options"),
                              (tiny, "prompted")):  # fmt: skip
            with pytest.raises(ImageError, match=r"'mug'.*gone\.jpeg"):
                score(model, [noise[0], gone], method)
            with pytest.raises(ImageError, match="pair 'narrow': image 0 in memory has no pixels"):
                score(model, [noise[0], narrow], method)

    def test_what_a_model_cannot_encode_is_named_with_its_pair(self, untrained, pair, monkeypatch):
        good = pair("p", ("red", "green"), (RED, GREEN), "s")
        with pytest.raises(EncodeError, match="text 2 is ''"):
            score(untrained, [good, pair("q", ("", "red"), (RED, RED))])
        preprocess = untrained.preprocess

        def refuse_white(image):
            if image.getpixel((0, 0)) == WHITE:
                raise ValueError("too bright")
            return preprocess(image)

        monkeypatch.setattr(untrained, "preprocess", refuse_white)
        with pytest.raises(EncodeError, match="image 1 of pair 'q': image 3 .*too bright"):
            score(untrained, [good, pair("q", ("blue", "white"), (BLUE, WHITE))], batch_size=2)

    @pytest.mark.parametrize(
        ("method", "name"),
        [("question-options", "image 1 of pair 'q': .* entry 3"), ("vcd", "image 1 of pair 'q'"),
         ("greedy", "image 1 of pair 'q'"), ("two-images", "pair 'q', in order: .* entry 2"),
         ("vqascore", "image 1 of pair 'q': .* entry 3")],
    )  # fmt: skip
    def test_scores_that_are_no_numbers_are_named_with_their_pair(
        self, tiny, noise, monkeypatch, method, name
    ):
        bad = noise[0].images[0]
        stated = {"statements": (CAPTIONS["on"], CAPTIONS["under"])}
        pairs = [question("p"), replace(question("q"), sources=(plain(RED), bad), **stated)]
        target = tiny.processor.image_processor(bad, return_tensors="pt")["pixel_values"][0]

        def overflow(module, args, kwargs):
            pixels = kwargs.get("pixel_values", *args).clone()
            pixels[(pixels == target).flatten(1).all(dim=1)] = float("nan")
            return (), {**kwargs, "pixel_values": pixels}

        handle = tiny.model.model.vision_tower.register_forward_pre_hook(overflow, with_kwargs=True)
        try:
            with pytest.raises(EncodeError, match=f"{name}.*weights are damaged"):
                score(tiny, pairs, method)
        finally:
            handle.remove()


def test_matching_by_its_class_alone_is_plain_matching(colours, pair):
    pairs = [pair("p", ("red", "green"), (RED, GREEN))]
    pd.testing.assert_frame_equal(score(colours, pairs), score(colours, pairs, Matching()))
