"""Questions from captions, strict answers, and VQAScore: one interface for CLIP and the MLLM."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from erragree_utils.scoring.vqascore import (
    ANSWERS,
    QUESTION,
    RELATION_QUESTION,
    CaptionError,
    Statement,
    caption_scores,
    parse_answer,
    parse_caption,
    relation_question,
    vqascores,
)
from PIL import Image
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from erragree_utils import evaluate, load_clip, load_mllm, summarize, summarize_sets
from erragree_utils.benchmarks import Benchmark, ImageError, ImagePair
from erragree_utils.models.mllm import SYSTEM, LogLikelihood
from erragree_utils.tabletop import captions as tabletop_captions
from erragree_utils.tabletop import questions as tabletop_questions

TEMPLATE = (
    "{% for message in messages %}{% if message['role'] != 'system' %}"
    "{{ message['role'].upper() + ': '}}{% endif %}"
    "{% for content in message['content'] if content['type'] == 'image' %}{{ '<image>\n' }}"
    "{% endfor %}{% for content in message['content'] if content['type'] == 'text' %}"
    "{{ content['text'] + ' '}}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
LEFT, RIGHT = "A red mug to the left of a blue table", "A red mug to the right of a blue table"
ON, UNDER = "A red mug on a blue table", "A red mug under a blue table"


class TestCaptions:
    @pytest.mark.parametrize(
        ("caption", "expected"),
        [
            (LEFT, Statement("red mug", "left", "blue table")),
            (ON, Statement("red mug", "on", "blue table")),
            (UNDER, Statement("red mug", "under", "blue table")),
            ("A mug in-front of an armchair.", Statement("mug", "front", "armchair")),
            ("A mug in front of a plate", Statement("mug", "front", "plate")),
            ("A beer bottle behind the tv", Statement("beer bottle", "behind", "tv")),
            ("the cap is on the right of a bowl", Statement("cap", "right", "bowl")),
            ("A mug on the left side of a cup", Statement("mug", "left", "cup")),
            ("A photo of a dog above a cat", Statement("dog", "above", "cat")),
            ("A melon on a table", Statement("melon", "on", "table")),
        ],
    )
    def test_things_come_without_articles_and_one_relation_is_read(self, caption, expected):
        assert parse_caption(caption) == expected

    @pytest.mark.parametrize(
        "caption",
        [
            "A dog",
            "A dog on the left",
            "A mug on a plate under a lamp",
            "on a table",
            "",
            "Left of",
        ],
    )
    def test_captions_that_do_not_relate_two_things_are_refused(self, caption):
        with pytest.raises(CaptionError, match="use method 'vqascore'"):
            parse_caption(caption)

    def test_spaces_do_not_matter(self):
        assert parse_caption("A  mug to the\n left  of  a plate ") == Statement(
            "mug", "left", "plate"
        )

    @pytest.mark.parametrize("relation", tabletop_captions.WORDS)
    def test_every_caption_of_the_tabletop_world_is_read(self, relation):
        caption = tabletop_captions.benchmark_caption("orange egg", "green stool", relation)
        statement = parse_caption(caption)
        assert (statement.first, statement.second) == ("orange egg", "green stool")
        assert ANSWERS[statement.relation] == tabletop_questions.ANSWERS[relation]


class TestQuestions:
    def test_they_are_the_papers_words(self):
        assert QUESTION.format(caption="X") == (
            'Does this figure show "X"? Please answer yes or no.'
        )
        question = relation_question(parse_caption(LEFT), ["left", "right", "on", "under"])
        assert question == (
            "Where is the red mug in relation to the blue table? "
            "Answer with left, right, on or under."
        )

    def test_the_mini_model_is_trained_on_the_same_words(self):
        assert tabletop_questions.VQASCORE == QUESTION
        assert tabletop_questions.RELATION == RELATION_QUESTION
        statement = Statement("mug", "left", "chair")
        for family in (("left", "right", "on", "under"), ("left", "right", "front", "behind")):
            offered = relation_question(statement, family).partition("Answer with ")[2][:-1]
            assert offered in tabletop_questions.OPTIONS.values()

    def test_neither_the_relation_nor_the_order_of_options_tells_the_answer(self):
        asked = {
            relation_question(parse_caption(caption), options)
            for caption in (LEFT, RIGHT)
            for options in (["left", "right"], ["right", "left", "right"])
        }
        assert len(asked) == 1
        assert asked.pop().endswith("Answer with left or right.")


FOUR = ["left", "right", "on", "under"]


class TestAnswers:
    @pytest.mark.parametrize(
        ("answer", "options", "expected"),
        [
            ("left", FOUR, "left"),
            (" Left.\n", FOUR, "left"),
            ("The mug is on the left of the table", FOUR, "left"),
            ("on the right side", FOUR, "right"),
            ("to its right", FOUR, "right"),
            ("On", FOUR, "on"),
            ("On top of the table.", FOUR, "on"),
            ("underneath", FOUR, "under"),
            ("In front", ["front", "behind"], "front"),
            ("in-front of it", ["front", "behind"], "front"),
            ("front", ["front", "behind"], "front"),
            ("On the table, to the left of the plate", ["left", "right"], "left"),
        ],
    )
    def test_an_answer_that_names_one_option(self, answer, options, expected):
        assert parse_answer(answer, options) == expected

    @pytest.mark.parametrize(
        "answer",
        [
            "", "yes", "left or right", "Right, the mug is on the left.", "not on the left",
            "It isn't left", "It isn’t left", "behind", "leftover", "on the table, left of it",
            "The mug and the table.", "neither left",
        ],
    )  # fmt: skip
    def test_all_other_answers_are_not_parsed(self, answer):
        assert parse_answer(answer, FOUR) is None

    def test_an_option_that_is_not_on_offer_is_no_answer(self):
        assert parse_answer("on", ["left", "right"]) is None
        assert parse_answer("on the left", ["on", "under"]) is None


RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
# What a picture of each colour shows, in the world of these tests.
SHOWN = {RED: "left", GREEN: "right", BLUE: "on", WHITE: "under"}
CAPTIONS = dict(zip(FOUR, (LEFT, RIGHT, ON, UNDER), strict=True))


class Seer:
    """A model that answers as the picture's colour tells, so that tables can be checked by eye."""

    name = "seer"

    def __init__(self, replies: dict[str, str] | None = None):
        self.images, self.asked, self.replies = 0, [], replies or {}

    def _see(self, image) -> str:
        self.images += 1
        return SHOWN[image.getpixel((0, 0))]

    def answer_logprobs(self, images, branches, batch_size=32, progress=False):
        rows = []
        for image, row in zip(images, branches, strict=True):
            shown = CAPTIONS[self._see(image)]
            self.asked += row
            rows.append([
                LogLikelihood(float(np.log(0.9 if f'"{shown}"' in question else 0.2)), 1)
                for question, _ in row
            ])  # fmt: skip
        return rows

    def option_logprobs(self, images, questions, options, batch_size=32, progress=False):
        seen = [self._see(image) for image in images]
        self.asked += questions
        return [
            np.array([-0.1 if word == shown else -3.0 for word in row])
            for shown, row in zip(seen, options, strict=True)
        ]

    def generate(self, images, questions, max_new_tokens=16, batch_size=32, progress=False):
        seen = [self._see(image) for image in images]
        self.asked += questions
        return [self.replies.get(shown, shown) for shown in seen]


def pair(name, relations, colours, set_id="s") -> ImagePair:
    texts = tuple(CAPTIONS[relation] for relation in relations)
    images = tuple(Image.new("RGB", (8, 8), colour) for colour in colours)
    return ImagePair(name, set_id, "/".join(relations), texts, images)


SET = (pair("p", ("left", "right"), (RED, GREEN)), pair("q", ("on", "under"), (BLUE, WHITE)))
BENCH = Benchmark("seen", SET)
COLUMNS = [
    "pair_id", "set_id", "relation", "image_index", "model", "method", "n_options", "score_own",
    "score_other", "correct",
]  # fmt: skip


class TestEvaluate:
    @pytest.mark.parametrize("method", ["vqascore", "vqascore-all", "options"])
    def test_the_table_is_that_of_clip(self, method):
        pred = evaluate(Seer(), BENCH, method)
        assert list(pred.columns) == COLUMNS
        assert pred["image_index"].tolist() == [0, 1, 0, 1]
        assert set(pred["method"]) == {method} and set(pred["model"]) == {"seer"}
        assert pred["correct"].all()
        assert summarize(pred)["pair_accuracy"].item() == 1

    def test_vqascore_is_the_probability_of_yes_for_each_caption(self):
        model = Seer()
        pred = evaluate(model, BENCH, "vqascore")
        np.testing.assert_allclose(pred["score_own"], 0.9)
        np.testing.assert_allclose(pred["score_other"], 0.2)
        assert (pred["n_options"] == 2).all() and model.images == 4
        assert (QUESTION.format(caption=LEFT), "Yes") in model.asked
        assert len(model.asked) == 8

    def test_vqascore_all_scores_the_captions_of_the_whole_set(self):
        model = Seer()
        pred = evaluate(model, BENCH, "vqascore-all")
        assert (pred["n_options"] == 4).all() and len(model.asked) == 16
        assert summarize_sets(pred)["set_chance"].item() == 1 / 256

    def test_a_picture_that_shows_the_other_caption_is_wrong(self):
        wrong = Benchmark("w", (pair("p", ("left", "right"), (GREEN, GREEN)),))
        for method in ("vqascore", "options", "prompted"):
            assert evaluate(Seer(), wrong, method)["correct"].tolist() == [False, True], method

    def test_captions_that_score_alike_are_a_tie_and_not_correct(self):
        blind = Benchmark("b", (pair("p", ("left", "right"), (BLUE, BLUE)),))
        pred = evaluate(Seer(), blind, "vqascore")
        assert (pred["score_own"] == pred["score_other"]).all() and not pred["correct"].any()

    def test_an_image_that_two_pairs_share_is_encoded_once(self):
        shared = Image.new("RGB", (8, 8), RED)
        pairs = [ImagePair(f"p{i}", f"s{i}", "left", (LEFT, RIGHT), (shared,)) for i in range(3)]
        model = Seer()
        assert evaluate(model, Benchmark("b", pairs), "vqascore")["correct"].all()
        assert model.images == 1

    def test_prompted_adds_the_answer_and_whether_it_was_parsed(self):
        model = Seer({"left": "The mug is on the left.", "right": "left or right", "on": "sure"})
        pred = evaluate(model, BENCH, "prompted")
        assert list(pred.columns) == [*COLUMNS, "answer", "parsed"]
        assert pred["answer"][0] == "The mug is on the left."
        assert pred["parsed"].tolist() == [True, False, False, True]
        assert pred["correct"].tolist() == [True, False, False, True]
        assert pred.loc[~pred["parsed"], ["score_own", "score_other"]].to_numpy().max() == 0
        assert set(pred["n_options"]) == {2}
        assert model.asked[0].endswith("Answer with left or right.")
        assert model.asked[2].endswith("Answer with on or under.")

    def test_prompted_four_way_offers_the_relations_of_the_set(self):
        model = Seer({"left": "on"})
        pred = evaluate(model, BENCH, "prompted-4way")
        assert (pred["n_options"] == 4).all()
        assert pred["correct"].tolist() == [False, True, True, True]
        assert pred["parsed"].all() and pred["score_other"][0] == 1
        assert len(set(model.asked)) == 1
        assert model.asked[0].endswith("Answer with left, right, on or under.")

    def test_captions_without_a_relation_are_named_with_their_pair(self):
        lone = ImagePair("dog", "s", "left", ("A dog", "A cat"), (Image.new("RGB", (8, 8)),))
        with pytest.raises(CaptionError, match="pair 'dog': the caption 'A dog'"):
            evaluate(Seer(), Benchmark("b", (lone,)), "prompted")

    def test_methods_of_the_other_kind_of_model_are_refused(self):
        with pytest.raises(
            ValueError,
            match="'matching' is not for .*choose one of vqascore, vqascore-all, options, prompted",
        ):
            evaluate(Seer(), BENCH)


def words() -> list[str]:
    text = " ".join([
        SYSTEM, "USER : ASSISTANT : Yes No in front behind above below left right", QUESTION,
        RELATION_QUESTION, *CAPTIONS.values(),
    ])  # fmt: skip
    core = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Punctuation()])
    found = {word.lower() for word, _ in core.pre_tokenize_str(text)}
    return ["<pad>", "<unk>", "<s>", "</s>", "<image>", *sorted(found)]


def write_mini(folder: Path) -> Path:
    """A checkpoint like the mini LLaVA: word-level tokenizer, 64 image tokens; random weights."""
    vocabulary = words()
    core = Tokenizer(models.WordLevel({w: i for i, w in enumerate(vocabulary)}, unk_token="<unk>"))
    core.normalizer = normalizers.Lowercase()
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.Punctuation()]
    )
    core.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", vocabulary.index("<s>"))]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", unk_token="<unk>", bos_token="<s>",
        eos_token="</s>", additional_special_tokens=["<image>"],
    )  # fmt: skip
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=24, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
            image_size=80, patch_size=10, projection_dim=16,
        ),
        text_config=LlamaConfig(
            hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
            vocab_size=len(vocabulary), max_position_embeddings=256,
        ),
        image_token_index=vocabulary.index("<image>"), image_seq_length=64,
    )  # fmt: skip
    torch.manual_seed(0)
    model = LlavaForConditionalGeneration(config)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data *= 5
    model.half().save_pretrained(folder)
    LlavaProcessor(
        CLIPImageProcessor(size={"shortest_edge": 80}, crop_size={"height": 80, "width": 80}),
        tokenizer, patch_size=10, vision_feature_select_strategy="default",
        num_additional_image_tokens=1, chat_template=TEMPLATE,
    ).save_pretrained(folder)  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def mini(tmp_path_factory):
    return load_mllm(write_mini(tmp_path_factory.mktemp("models") / "tiny"), device="cpu")


def noise(n: int) -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [
        Image.fromarray(rng.integers(0, 255, (4, 4, 3), dtype=np.uint8)).resize((80, 80))
        for _ in range(n)
    ]


@pytest.fixture(scope="module")
def random_bench() -> Benchmark:
    images = noise(32)
    return Benchmark("noise", [
        ImagePair(f"{i}-{j}", str(i), "left/right", texts, tuple(images[4 * i + j : 4 * i + j + 2]))
        for i in range(8)
        for j, texts in ((0, (LEFT, RIGHT)), (2, (ON, UNDER)))
    ])  # fmt: skip


class TestRealModel:
    """With a model of the mini LLaVA's classes; what it says means nothing, that it agrees does."""

    def test_vqascore_is_the_next_tokens_probability_of_yes(self, mini):
        image = noise(1)[0]
        (found,) = vqascores(mini, [image], [[LEFT, UNDER]])
        for caption, score in zip((LEFT, UNDER), found, strict=True):
            prompt = mini.prompt(QUESTION.format(caption=caption))
            inputs = mini.processor(images=image, text=prompt, return_tensors="pt")
            with torch.no_grad():
                chances = mini.model(**inputs).logits[0, -1].softmax(-1)
            yes = mini.processor.tokenizer.convert_tokens_to_ids("yes")
            assert score == pytest.approx(chances[yes].item(), abs=1e-5)

    @pytest.mark.parametrize("method", ["vqascore", "options", "prompted"])
    def test_a_blind_reader_gives_both_images_of_a_pair_the_same_scores(
        self, mini, random_bench, method
    ):
        pred = evaluate(mini, random_bench, method, blind=True).groupby("pair_id")
        own, other = (pred[name].agg(list).tolist() for name in ("score_own", "score_other"))
        for mine, theirs in zip(own, other, strict=True):
            np.testing.assert_allclose(mine, theirs[::-1], atol=1e-6)

    @pytest.mark.parametrize("method", ["vqascore", "vqascore-all", "options", "prompted-4way"])
    def test_the_batch_size_changes_no_decision(self, mini, random_bench, method):
        one, many = (evaluate(mini, random_bench, method, batch_size=size) for size in (1, 32))
        assert len(many) == 32
        np.testing.assert_allclose(one["score_own"], many["score_own"], atol=1e-5)
        np.testing.assert_allclose(one["score_other"], many["score_other"], atol=1e-5)
        assert one["correct"].equals(many["correct"])
        if method == "prompted-4way":
            assert one["answer"].tolist() == many["answer"].tolist()
        else:
            assert 0 < many["correct"].mean() < 1  # not all alike, so that it means something

    def test_words_that_a_word_level_tokenizer_does_not_know_are_told(self, mini):
        with pytest.warns(UserWarning, match="words tiny does not know: 1 questions, .*zeppelin"):
            vqascores(mini, noise(1), [[LEFT, "A red zeppelin"]])
        with pytest.warns(UserWarning, match="does not know"):
            mini.generate(noise(1), "Where is the zeppelin?", max_new_tokens=1)

    def test_what_cannot_be_encoded_is_named_with_its_pair(self, mini, random_bench):
        first = random_bench[0]
        narrow = ImagePair("narrow", "s", "left", first.captions, (Image.new("RGB", (0, 9)),))
        for method in ("vqascore", "options", "prompted"):
            with pytest.raises(ImageError, match="pair 'narrow': image 0 in memory has no pixels"):
                evaluate(mini, Benchmark("b", (first, narrow)), method)

    def test_captions_may_come_from_generators(self, mini):
        rows = [[LEFT, RIGHT], [RIGHT]]
        for model in (mini, load_clip("mini", device="cpu")):
            found = caption_scores(model, noise(2), ((text for text in row) for row in rows))
            expected = caption_scores(model, noise(2), rows)
            assert [len(row) for row in found] == [2, 1]
            for a, b in zip(found, expected, strict=True):
                np.testing.assert_array_equal(a, b)

    def test_one_caption_where_a_list_belongs_is_not_read_letter_by_letter(self, mini):
        with pytest.raises(TypeError, match="captions of image 0 is a list, not a single str"):
            caption_scores(mini, noise(1), [LEFT])

    def test_clip_and_the_mllm_score_captions_by_one_call(self, mini):
        class Clip:
            def embed_images(self, images, batch_size, progress):
                return np.array([[1, 0], [0.6, 0.8]], np.float32)[: len(list(images))]

            def embed_texts(self, texts):
                return np.array([[1, 0] if "left" in text else [0, 1] for text in texts])

        rows = [[LEFT, RIGHT], [RIGHT]]
        cosines = caption_scores(Clip(), noise(2), rows)
        chances = caption_scores(mini, noise(2), rows)
        assert [row.shape for row in cosines] == [row.shape for row in chances] == [(2,), (1,)]
        np.testing.assert_allclose(np.concatenate(cosines), [1, 0, 0.8], atol=1e-6)
        np.testing.assert_allclose(
            np.concatenate(chances), np.concatenate(vqascores(mini, noise(2), rows))
        )
        with pytest.raises(TypeError, match="neither a Clip nor a Mllm"):
            caption_scores(object(), noise(1), [[LEFT]])
