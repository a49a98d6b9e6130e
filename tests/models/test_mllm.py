"""LLaVA models: a stand-in for llava-1.5-7b-hf in its published layout, and what can go wrong.

The stand-in has the published classes, file names, tensor names, 336-px preprocessing, 576 image
tokens and chat template; its weights are few and random.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import (
    LlavaForConditionalGeneration,
    LlavaProcessor,
)

from erragree_utils import score
from erragree_utils.benchmarks import ImagePair
from erragree_utils.models import EncodeError, ModelError
from erragree_utils.models.batches import Room
from erragree_utils.models.mllm import load_mllm

SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)
YES_NO = 'Does this figure show "{}"? Please answer yes or no.'
CAPTIONS = (
    "A red mug to the left of a blue table",
    "A red mug to the right of a blue table",
    "A dog",
)
BRANCHES = [(YES_NO.format(caption), "Yes") for caption in CAPTIONS]


@pytest.fixture(scope="module")
def small(llava_folder):
    return load_mllm(llava_folder, device="cpu")


def noise(n: int, seed: int = 0) -> list[Image.Image]:
    """Images of different sizes, in which patches differ."""
    rng = np.random.default_rng(seed)
    return [
        Image.fromarray(rng.integers(0, 255, (3, 4 + i % 3, 3), dtype=np.uint8)).resize(
            (90 + 10 * i, 120)
        )
        for i in range(n)
    ]


def padded(image: Image.Image, mean=(122, 116, 104)) -> Image.Image:
    """The image in the middle of a square of CLIP's mean colour, as LLaVA-1.5's own code has it."""
    side = max(image.size)
    pixels = np.full((side, side, 3), mean, np.uint8)
    top, left = (side - image.height) // 2, (side - image.width) // 2
    pixels[top : top + image.height, left : left + image.width] = np.asarray(image)
    return Image.fromarray(pixels)


def alone(model, images, question, answer) -> float:
    """Log-likelihood of an answer by one plain forward pass of Transformers, without a cache."""
    images = [padded(image) for image in images]
    prompt = model.prompt(question, len(images))
    asked, answered = (
        model.processor(images=images or None, text=text, return_tensors="pt")
        for text in (prompt, f"{prompt} {answer}")
    )
    ids, start = answered["input_ids"][0], asked["input_ids"].shape[1]
    with torch.no_grad():
        scores = model.model(**answered, use_cache=False).logits[0].log_softmax(-1)
    return sum(scores[i - 1, ids[i]].item() for i in range(start, len(ids)))


def totals(rows) -> np.ndarray:
    return np.array([[score.total for score in row] for row in rows])


class TestPrompt:
    def test_it_is_the_published_template_after_the_system_line(self, small):
        assert small.prompt("Where is the mug?") == (
            f"{SYSTEM} USER: <image>\nWhere is the mug? ASSISTANT:"
        )

    def test_images_come_first_and_may_be_several_or_none(self, small):
        assert "USER: <image>\n<image>\nWhy? ASSISTANT:" in small.prompt("Why?", n_images=2)
        assert small.prompt("Why?", n_images=0).endswith("questions. USER: Why? ASSISTANT:")

    def test_templates_of_another_kind_stay_as_they_are(self, small, monkeypatch):
        other = "{{ bos_token }}[INST] {{ messages[-1]['content'][-1]['text'] }} [/INST]"
        monkeypatch.setattr(small.processor, "chat_template", other)
        assert small.prompt("Why?") == "<s>[INST] Why? [/INST]"
        (ids,) = small.engine.tokens(["<s>[INST]"]).values()
        assert ids.count(small.processor.tokenizer.bos_token_id) == 1

    @pytest.mark.parametrize("template", ["{% if", "{{ messages[9].content }}", "{{ nothing() }}"])
    def test_a_template_that_cannot_be_filled_in_is_refused(self, small, monkeypatch, template):
        monkeypatch.setattr(small.processor, "chat_template", template)
        with pytest.raises(ModelError, match="chat template of small-llava cannot be filled in"):
            small.prompt("Why?")

    def test_a_checkpoint_without_a_template_is_refused(self, small, monkeypatch):
        monkeypatch.setattr(small.processor, "chat_template", None)
        with pytest.raises(ModelError, match="without a chat template.*newer revision"):
            small.prompt("Why?")


class TestStandIn:
    """It is read as the real one will be."""

    def test_the_config_is_llava_1_5s(self, small):
        config = small.model.config
        assert isinstance(small.model, LlavaForConditionalGeneration)
        assert isinstance(small.processor, LlavaProcessor)
        assert config.vision_feature_layer == -2
        assert config.vision_feature_select_strategy == "default"

    def test_images_become_336_pixels_and_576_tokens(self, small):
        inputs = small.engine.inputs([(noise(1), "Why?")], 0)
        assert inputs["pixel_values"].shape == (1, 3, 336, 336)
        assert (inputs["input_ids"] == small.processor.image_token_id).sum() == 576

    def test_every_published_tensor_name_finds_its_place(self, small, llava_folder):
        stored = {}
        for file in llava_folder.glob("*.safetensors"):
            stored |= load_file(file)
        assert len(stored) == len(small.model.state_dict())
        name = "encoder.layers.0.mlp.fc1.weight"
        loaded = [v for k, v in small.model.state_dict().items() if k.endswith(name)]
        assert torch.equal(loaded[0], stored[f"vision_tower.vision_model.{name}"].float())

    def test_it_computes_in_float32_without_gradients(self, small):
        assert {p.dtype for p in small.model.parameters()} == {torch.float32}
        assert not any(p.requires_grad for p in small.model.parameters())
        assert not small.model.training
        assert repr(small).startswith("<Mllm small-llava: weights from ")


class TestLogprobs:
    def test_they_are_those_of_plain_forward_passes_without_a_cache(self, small):
        images = noise(3)
        found = totals(small.answer_logprobs(images, [BRANCHES] * 3))
        plain = [[alone(small, [image], *branch) for branch in BRANCHES] for image in images]
        np.testing.assert_allclose(found, plain, atol=1e-4)
        assert np.ptp(found, axis=0).min() > 1e-3  # images make a difference

    def test_options_are_the_answers_to_one_question(self, small):
        options = ["left", "in front of the red mug"]
        raw = small.option_logprobs(noise(2), "Where?", options, normalize=False)
        branches = [[("Where?", option) for option in options]] * 2
        found = small.answer_logprobs(noise(2), branches)
        np.testing.assert_allclose(raw, totals(found), atol=1e-6)
        lengths = [score.n_tokens for score in found[0]]
        assert lengths[1] > lengths[0]
        normal = small.option_logprobs(noise(2), "Where?", options)
        np.testing.assert_allclose(normal, np.array(raw) / lengths, atol=1e-6)

    def test_options_and_questions_may_differ_and_images_come_from_a_generator(self, small):
        found = small.option_logprobs(
            (image for image in noise(2)), ["Where?", "Who?"], [["left", "right"], ["on"]]
        )
        assert [len(row) for row in found] == [2, 1]
        assert found[1][0] == pytest.approx(alone(small, noise(2)[1:], "Who?", "on"), abs=1e-4)

    def test_out_of_memory_halves_the_batch_for_all_calls_to_come(self, small, monkeypatch):
        answers, sizes = small.engine.answers, []

        def tight(streams, rows, *more):
            sizes.append(len(rows))
            if len(rows) > 2:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return answers(streams, rows, *more)

        monkeypatch.setattr(small.engine, "answers", tight)
        monkeypatch.setattr(small.engine, "room", Room())
        with pytest.warns(UserWarning, match="batch size reduced to 2"):
            found = small.answer_logprobs(noise(5), [BRANCHES] * 5, batch_size=4)
        assert sizes == [4, 2, 2, 1] and len(found) == 5
        sizes.clear()
        small.option_logprobs(noise(3), "Why?", ["left"], batch_size=4)
        assert sizes == [2, 1]


class TestTheAuthorsVQAScore:
    """By a reference that has nothing of ours: padding, template and end token are its own."""

    @staticmethod
    def by_hand(model, image, caption) -> float:
        mean = [int(255 * share) for share in model.processor.image_processor.image_mean]
        prompt = f"{SYSTEM} USER: <image>\n{YES_NO.format(caption)} ASSISTANT:"
        asked, answered = (
            model.processor(images=padded(image, mean), text=text, return_tensors="pt")
            for text in (prompt, f"{prompt} Yes</s>")
        )
        ids, start = answered["input_ids"][0], asked["input_ids"].shape[1]
        assert ids[-1] == model.processor.tokenizer.eos_token_id
        with torch.no_grad():
            scores = model.model(**answered, use_cache=False).logits[0].log_softmax(-1)
        return float(scores[start - 1 : -1].gather(1, ids[start:, None]).mean().exp())

    def test_it_is_ours_for_squares_and_for_wide_and_high_pictures(self, small):
        rng = np.random.default_rng(3)
        images = [
            Image.fromarray(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8)).resize(size)
            for size in ((96, 96), (128, 96), (96, 128))
        ]
        pairs = [ImagePair(f"{x.size}", "s", "", CAPTIONS[:2], (x,)) for x in images]
        found = score(small, pairs, "vqascore-authors")["score"].to_numpy().reshape(3, 2)
        expected = [[self.by_hand(small, x, text) for text in CAPTIONS[:2]] for x in images]
        np.testing.assert_allclose(np.log(found), np.log(expected), atol=1e-4)
        assert small.dtype == torch.float32 and np.ptp(np.log(expected), axis=0).min() > 1e-3


class TestGenerate:
    def test_a_batch_answers_as_each_image_does_alone(self, small):
        questions = ["Where?", "Where is the red mug? " * 3, "Why?", "A dog?"]
        together = small.generate(noise(4), questions, max_new_tokens=8)
        single = [
            small.generate([image], question, max_new_tokens=8)[0]
            for image, question in zip(noise(4), questions, strict=True)
        ]
        assert together == single
        assert len(set(together)) > 1

    def test_answers_are_the_likeliest_tokens(self, small):
        image, prompt = noise(1)[0], small.prompt("Why?")
        inputs = small.processor(images=image, text=prompt, return_tensors="pt")
        with torch.no_grad():
            token = small.model(**inputs).logits[0, -1].argmax()
        expected = small.processor.tokenizer.decode(token, skip_special_tokens=True).strip()
        assert small.generate([image], "Why?", max_new_tokens=1) == [expected]

    def test_questions_without_images(self, small):
        assert len(small.generate([None, None], ["Why?", "Where is it?"], max_new_tokens=2)) == 2


class TestGenerators:
    """What is checked first and read afterwards may be a generator all the same."""

    def test_options_for_all_images(self, small):
        options = ["left", "in front of the red mug"]
        expected = small.option_logprobs(noise(2), "Where?", options)
        found = small.option_logprobs(noise(2), "Where?", (option for option in options))
        np.testing.assert_array_equal(found, expected)
        assert np.shape(found) == (2, 2)

    def test_options_of_each_image_as_rows_or_within_them(self, small):
        rows = [["left", "right"], ["on"]]
        expected = small.option_logprobs(noise(2), "Where?", rows)
        for given in ((row for row in rows), [(o for o in row) for row in rows]):
            found = small.option_logprobs(noise(2), "Where?", given)
            for a, b in zip(found, expected, strict=True):
                np.testing.assert_array_equal(a, b)

    def test_questions_branches_and_groups_of_images(self, small):
        images = noise(4)
        groups = [images[:2], images[2:]]
        expected = totals(small.answer_logprobs(groups, [BRANCHES] * 2))
        found = small.answer_logprobs(
            ((image for image in group) for group in groups), ((b for b in BRANCHES) for _ in "12")
        )
        np.testing.assert_array_equal(totals(found), expected)
        answers = small.generate(images, ["Why?"] * 4, max_new_tokens=2)
        assert small.generate(images, ("Why?" for _ in images), max_new_tokens=2) == answers

    def test_a_group_outlives_a_batch_that_was_too_large(self, small, monkeypatch):
        answers, sizes = small.engine.answers, []

        def tight(streams, rows, *more):
            sizes.append(streams[0].n_images)
            if len(rows) > 1:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return answers(streams, rows, *more)

        monkeypatch.setattr(small.engine, "answers", tight)
        monkeypatch.setattr(small.engine, "room", Room())
        groups = [(image for image in noise(2)) for _ in "12"]
        with pytest.warns(UserWarning, match="batch size reduced to 1"):
            small.option_logprobs(groups, "Why?", ["left"])
        assert sizes == [[2, 2], [2], [2]]


class TestWhatCannotBeAsked:
    def test_damaged_images_in_memory_are_named(self, small, tmp_path):
        path = tmp_path / "cut.jpg"
        noise(1)[0].save(path)
        path.write_bytes(path.read_bytes()[:-400])
        for call in (small.generate, lambda *a: small.option_logprobs(*a, ["left"])):
            with pytest.raises(EncodeError, match="image 1 cannot be read .*truncated") as error:
                call([*noise(1), Image.open(path)], "Why?")
            assert error.value.index == 1

    @pytest.mark.parametrize("question", ["", "  ", None, 3, b"Why?", "Why \ud800?"])
    def test_questions_without_words(self, small, question):
        told = "the question of entry 1.* (not a text with words|holds half a character)"
        for call in (small.generate, lambda *a: small.option_logprobs(*a, ["left"])):
            with pytest.raises(EncodeError, match=told):
                call(noise(2), ["Why?", question])

    def test_options_that_are_missing_or_of_two_kinds(self, small):
        with pytest.raises(ValueError, match="2 images, but 0 options"):
            small.option_logprobs(noise(2), "Why?", [])
        with pytest.raises(TypeError, match="texts, or a list of texts for each image, not both"):
            small.option_logprobs(noise(2), "Why?", ["left", ["on"]])

    def test_one_image_instead_of_a_list(self, small):
        with pytest.raises(TypeError, match=r"wrap the single one in \[ \]"):
            small.generate(noise(1)[0], "Why?")

    def test_other_things_than_images_are_named(self, small):
        with pytest.raises(EncodeError, match="image 1 is a str, not a PIL image") as error:
            small.generate([*noise(1), "mug.jpeg"], "Why?")
        assert error.value.index == 1

    def test_images_without_pixels(self, small):
        with pytest.raises(EncodeError, match="image 0 has no pixels: 0 x 4"):
            small.generate([Image.new("RGB", (0, 4))], "Why?")

    def test_answers_without_words(self, small):
        with pytest.raises(EncodeError, match="an answer of entry 0 is ' ', not a text with words"):
            small.option_logprobs(noise(1), "Why?", ["left", " "])

    def test_questions_that_hold_the_image_token(self, small):
        with pytest.raises(EncodeError, match="holds the image token itself"):
            small.option_logprobs(noise(1), "Why <image>?", ["left"])

    def test_too_many_images(self, small):
        for call in (small.generate, lambda *a: small.option_logprobs(*a, ["left"])):
            with pytest.raises(EncodeError, match="entry 1 has 4.* tokens.* reads 4096: shorten"):
                call([None, noise(8)], "Why?")

    def test_images_that_cannot_be_preprocessed_are_named(self, small, monkeypatch):
        prepare = type(small.processor.image_processor).__call__

        def picky(self, images, *args, **kwargs):
            flat = [images] if isinstance(images, Image.Image) else images
            if any(image.width == 130 for image in flat):
                raise ValueError("too wide")
            return prepare(self, images, *args, **kwargs)

        monkeypatch.setattr(type(small.processor.image_processor), "__call__", picky)
        with pytest.raises(EncodeError, match=r"image 1 \(RGB, 130 x 120 px\).*too wide"):
            small.generate([*noise(1), Image.new("RGB", (130, 120))], "Why?")

    @pytest.mark.parametrize("questions", [["Why?"], ["Why?"] * 3])
    def test_not_as_many_questions_as_images(self, small, questions):
        with pytest.raises(ValueError, match="2 images, but . questions: give one for each"):
            small.generate(noise(2), questions)
        if len(questions) < 2:
            with pytest.raises(ValueError, match="more images than questions"):
                small.generate((image for image in noise(2)), questions)

    def test_damaged_weights_give_no_score(self, spoilt_llava):
        model = load_mllm(spoilt_llava, device="cpu")
        model.model.lm_head.weight.data[:] = float("nan")
        with pytest.raises(EncodeError, match="entry 0 is not finite.*weights are damaged"):
            model.option_logprobs(noise(1), "Why?", ["left"])

    def test_damaged_weights_give_no_answer(self, spoilt_llava):
        model = load_mllm(spoilt_llava, device="cpu")
        model.model.lm_head.weight.data[3] = float("nan")
        with pytest.raises(EncodeError, match="logits for entry 0 are not numbers.*damaged"):
            model.generate(noise(2), "Why?")

    @pytest.mark.parametrize("bad", [float("nan"), float("inf")])
    def test_the_entry_whose_logits_are_no_numbers_is_named(self, small, bad):
        passes = []

        def overflow(module, inputs, logits):
            passes.append(len(logits))
            # A batch is a pass for what comes before the question, then one for each token.
            if len(passes) == 4 + 1 + 2:  # the second token of the second batch
                logits[1, -1, 7] = bad

        before = small.generate(noise(4), "Why?", max_new_tokens=3, batch_size=2)
        handle = small.model.lm_head.register_forward_hook(overflow)
        try:
            with pytest.raises(EncodeError, match="logits for entry 3") as error:
                small.generate(noise(4), "Why?", max_new_tokens=3, batch_size=2)
        finally:
            handle.remove()
        assert error.value.index == 3
        assert small.generate(noise(4), "Why?", max_new_tokens=3, batch_size=2) == before


class TestSquares:
    """How a photograph becomes the square that the tower reads."""

    @pytest.fixture(scope="class")
    def edges(self) -> list[Image.Image]:
        """Two pictures of 4:3 that differ in the leftmost tenth alone."""
        plain = Image.fromarray(np.full((90, 120, 3), 128, np.uint8))
        marked = plain.copy()
        marked.paste("red", (0, 0, 12, 90))
        return [plain, marked]

    def test_llava_1_5_pads_them_and_keeps_what_lies_at_the_edge(self, small, edges):
        assert small.square == "pad"
        first, second = small.option_logprobs(edges, "What is it?", ["left"])
        assert abs(first - second).item() > 1e-3
        assert small.framed(edges[1]).size == (120, 120)
        np.testing.assert_array_equal(small.framed(edges[1]), padded(edges[1]))

    def test_cropped_at_the_centre_it_is_lost(self, llava_folder, edges):
        model = load_mllm(llava_folder, device="cpu", square="crop")
        first, second = model.option_logprobs(edges, "What is it?", ["left"])
        np.testing.assert_array_equal(first, second)
        assert model.framed(edges[1]).size == (90, 90)

    def test_squares_are_the_same_either_way(self, small, llava_folder):
        images = [image.resize((120, 120)) for image in noise(2)]
        cropping = load_mllm(llava_folder, device="cpu", square="crop")
        both = [m.option_logprobs(images, "Why?", ["left"]) for m in (small, cropping)]
        for a, b in zip(*both, strict=True):
            np.testing.assert_array_equal(a, b)

    def test_other_ways_are_refused(self, llava_folder):
        with pytest.raises(ValueError, match="square is 'pad' or 'crop', not 'stretch'"):
            load_mllm(llava_folder, device="cpu", square="stretch")
