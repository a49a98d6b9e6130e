"""LLaVA models: a stand-in for llava-1.5-7b-hf in its published layout, and what can go wrong.

The stand-in has the published classes, file names, tensor names, 336-px preprocessing, 576 image
tokens and chat template; its weights are few and random.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Tokenizer, pre_tokenizers, trainers
from tokenizers import models as token_models
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlamaTokenizer,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)
from transformers.quantizers.quantizers_utils import should_convert_module

from erragree_utils.models import EncodeError, ModelError, checkpoint, mllm, precision
from erragree_utils.models.mllm import load_mllm
from erragree_utils.models.precision import Precision, plan_precision

# As published with llava-hf/llava-1.5-7b-hf.
TEMPLATE = (
    "{% for message in messages %}{% if message['role'] != 'system' %}"
    "{{ message['role'].upper() + ': '}}{% endif %}{# Render all images first #}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}"
    "{{ '<image>\n' }}{% endfor %}{# Render all text next #}"
    "{% if message['role'] != 'assistant' %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}"
    "{{ content['text'] + ' '}}{% endfor %}{% else %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}"
    "{% generation %}{{ content['text'] + ' '}}{% endgeneration %}{% endfor %}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
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
PUBLISHED = "llava-hf/llava-1.5-7b-hf"


def tokenizer() -> LlamaTokenizer:
    """A byte-pair tokenizer of Llama's kind, with LLaVA's two further tokens at the end."""
    core = Tokenizer(token_models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=520, special_tokens=special, show_progress=False)
    text = f"{SYSTEM} USER: ASSISTANT: Yes No left right on under in front behind"
    core.train_from_iterator([text, *(question for question, _ in BRANCHES)], trainer)
    trained = json.loads(core.to_str())["model"]
    made = LlamaTokenizer(
        vocab=trained["vocab"], merges=[tuple(m) for m in trained["merges"]], add_bos_token=True
    )
    made.add_tokens([AddedToken("<image>", special=True, normalized=False)], special_tokens=True)
    made.add_special_tokens({"pad_token": "<pad>"})
    return made


def write_stand_in(folder: Path) -> Path:
    """Every file of the published repository, small: two shards of float16 and their index."""
    words = tokenizer()
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=32, intermediate_size=64, num_hidden_layers=3, num_attention_heads=2,
            image_size=336, patch_size=14, projection_dim=24,
        ),
        text_config=LlamaConfig(
            hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
            vocab_size=len(words) + 62, max_position_embeddings=4096,
        ),
        image_token_index=words.convert_tokens_to_ids("<image>"), image_seq_length=576,
        vision_feature_layer=-2, vision_feature_select_strategy="default",
    )  # fmt: skip
    torch.manual_seed(1)
    model = LlavaForConditionalGeneration(config)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data *= 5  # so that answers depend on images, though nothing was learnt
    model.half().save_pretrained(folder)
    whole = folder / "model.safetensors"
    weights = {
        re.sub(r"^vision_tower\.(?!vision_model)", "vision_tower.vision_model.", name): value
        for name, value in load_file(whole).items()
    }
    whole.unlink()
    write_shards(folder, weights)
    words.save_pretrained(folder)
    preprocessing = CLIPImageProcessor(
        size={"shortest_edge": 336}, crop_size={"height": 336, "width": 336}
    )
    preprocessing.save_pretrained(folder)
    (folder / "processor_config.json").write_text(json.dumps({
        "image_token": "<image>", "num_additional_image_tokens": 1, "patch_size": 14,
        "processor_class": "LlavaProcessor", "vision_feature_select_strategy": "default",
    }))  # fmt: skip
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": TEMPLATE}))
    return folder


def write_shards(folder: Path, weights: dict[str, torch.Tensor]) -> None:
    names, place = sorted(weights), {}
    for number, part in enumerate((names[::2], names[1::2]), 1):
        file = f"model-0000{number}-of-00002.safetensors"
        tensors = {name: weights[name].contiguous() for name in part}
        save_file(tensors, folder / file, metadata={"format": "pt"})
        place |= dict.fromkeys(part, file)
    index = {"metadata": {"total_size": 0}, "weight_map": place}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_stand_in(tmp_path_factory.mktemp("models") / "small-llava")


@pytest.fixture
def spoilt(folder, tmp_path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(folder, tmp_path / "spoilt"))


@pytest.fixture(scope="module")
def small(folder):
    return load_mllm(folder, device="cpu")


def noise(n: int, seed: int = 0) -> list[Image.Image]:
    """Images of different sizes, in which patches differ."""
    rng = np.random.default_rng(seed)
    return [
        Image.fromarray(rng.integers(0, 255, (3, 4 + i % 3, 3), dtype=np.uint8)).resize(
            (90 + 10 * i, 120)
        )
        for i in range(n)
    ]


def alone(model, images, question, answer) -> float:
    """Log-likelihood of an answer by one plain forward pass of Transformers, without a cache."""
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

    def test_every_published_tensor_name_finds_its_place(self, small, folder):
        stored = {}
        for file in folder.glob("*.safetensors"):
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

    def test_out_of_memory_halves_the_batch(self, small, monkeypatch):
        answers, sizes = small.engine.answers, []

        def tight(streams, rows, first):
            sizes.append(len(rows))
            if len(rows) > 2:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return answers(streams, rows, first)

        monkeypatch.setattr(small.engine, "answers", tight)
        with pytest.warns(UserWarning, match="batch size reduced to 2"):
            found = small.answer_logprobs(noise(5), [BRANCHES] * 5, batch_size=4)
        assert sizes == [4, 2, 2, 1] and len(found) == 5


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

        def tight(streams, rows, first):
            sizes.append(streams[0].n_images)
            if len(rows) > 1:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return answers(streams, rows, first)

        monkeypatch.setattr(small.engine, "answers", tight)
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
            if any(image.width == 100 for image in flat):
                raise ValueError("too wide")
            return prepare(self, images, *args, **kwargs)

        monkeypatch.setattr(type(small.processor.image_processor), "__call__", picky)
        with pytest.raises(EncodeError, match=r"image 1 \(RGB, 100 x 120 px\).*too wide"):
            small.generate(noise(3), "Why?")

    @pytest.mark.parametrize("questions", [["Why?"], ["Why?"] * 3])
    def test_not_as_many_questions_as_images(self, small, questions):
        with pytest.raises(ValueError, match="2 images, but . questions: give one for each"):
            small.generate(noise(2), questions)
        if len(questions) < 2:
            with pytest.raises(ValueError, match="more images than questions"):
                small.generate((image for image in noise(2)), questions)

    def test_damaged_weights_give_no_score(self, spoilt):
        model = load_mllm(spoilt, device="cpu")
        model.model.lm_head.weight.data[:] = float("nan")
        with pytest.raises(EncodeError, match="entry 0 is not finite.*weights are damaged"):
            model.option_logprobs(noise(1), "Why?", ["left"])

    def test_damaged_weights_give_no_answer(self, spoilt):
        model = load_mllm(spoilt, device="cpu")
        model.model.lm_head.weight.data[3] = float("nan")
        with pytest.raises(EncodeError, match="logits for entry 0 are not numbers.*damaged"):
            model.generate(noise(2), "Why?")

    @pytest.mark.parametrize("bad", [float("nan"), float("inf")])
    def test_the_entry_whose_logits_are_no_numbers_is_named(self, small, bad):
        passes = []

        def overflow(module, inputs, logits):
            passes.append(len(logits))
            if len(passes) == 5:  # three tokens of the first batch, then the second of the second
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


class TestOlderProcessors:
    """Checkpoints saved before the processor knew how many tokens an image has."""

    FIELDS = ("patch_size", "vision_feature_select_strategy", "num_additional_image_tokens")

    def without(self, folder: Path, *fields: str) -> Path:
        path = folder / "processor_config.json"
        settings = json.loads(path.read_text())
        path.write_text(json.dumps({k: v for k, v in settings.items() if k not in fields}))
        return folder

    @pytest.mark.parametrize("fields", [FIELDS, *((field,) for field in FIELDS)], ids=str)
    def test_what_they_lack_comes_from_the_models_config(self, small, spoilt, fields):
        filled = load_mllm(self.without(spoilt, *fields), device="cpu")
        for field in self.FIELDS:
            assert getattr(filled.processor, field) == getattr(small.processor, field)
        found = filled.option_logprobs(noise(2), "Where?", ["left", "right"])
        expected = small.option_logprobs(noise(2), "Where?", ["left", "right"])
        np.testing.assert_array_equal(found, expected)

    def test_a_processor_without_any_settings_of_its_own(self, small, spoilt):
        (spoilt / "processor_config.json").unlink()
        assert load_mllm(spoilt, device="cpu").processor.patch_size == 14

    def test_a_count_of_tokens_that_is_not_the_models_is_told_at_load(self, spoilt):
        path = spoilt / "processor_config.json"
        settings = json.loads(path.read_text()) | {"num_additional_image_tokens": 0}
        path.write_text(json.dumps(settings))
        with pytest.raises(ModelError, match="makes 575 tokens of an image, the model 576"):
            load_mllm(spoilt)

    def test_a_field_that_nothing_tells_is_named_at_load(self, spoilt):
        processor = SimpleNamespace(patch_size=None)
        with pytest.raises(ModelError, match="patch_size is missing in .*processor_config"):
            checkpoint._complete(
                processor, SimpleNamespace(vision_config=SimpleNamespace()), spoilt
            )


class TestFolders:
    @pytest.mark.parametrize("name", [None, 3, b"mini", "", ["mini"]])
    def test_what_is_no_name(self, name):
        with pytest.raises(ModelError, match="unknown model: .* is not a name"):
            load_mllm(name)

    @pytest.mark.parametrize("name", ["./" + "x" * 300, "a\0b", "~nobody/x", Path("x" * 300)])
    def test_names_that_no_file_system_takes(self, name):
        with pytest.raises(ModelError):
            load_mllm(name)

    @pytest.mark.parametrize(
        ("kind", "width", "port"),
        [
            ("llava_llama", 4096, "llava-1.5-7b-hf"),
            ("llava_llama", 5120, "llava-1.5-13b-hf"),
            ("llava", 4096, "llava-1.5-7b-hf"),
        ],
    )
    def test_llavas_original_layout_leads_to_its_port(self, spoilt, kind, width, port):
        settings = {
            "model_type": kind, "architectures": ["LlavaLlamaForCausalLM"], "hidden_size": width,
            "mm_vision_tower": "openai/clip-vit-large-patch14-336",
        }  # fmt: skip
        (spoilt / "config.json").write_text(json.dumps(settings))
        with pytest.raises(ModelError, match=rf"load_mllm\('llava-hf/{port}'\)") as error:
            load_mllm(spoilt)
        assert "delete" not in str(error.value).lower()

    def test_a_clip_leads_to_its_own_loader(self, spoilt):
        CLIPVisionConfig().save_pretrained(spoilt)
        with pytest.raises(ModelError, match="is a 'clip_vision_model'.*loaded by load_clip"):
            load_mllm(spoilt)

    @pytest.mark.parametrize(
        ("file", "kind"),
        [
            ("config.json", "AutoConfig"),
            ("tokenizer_config.json", "AutoTokenizer"),
            ("processor_config.json", "AutoProcessor"),
            ("preprocessor_config.json", "AutoImageProcessor"),
            ("generation_config.json", "GenerationConfig"),
        ],
    )
    def test_no_file_makes_it_run_code(self, spoilt, tmp_path, monkeypatch, file, kind):
        mark, path = tmp_path / "was_here", spoilt / file
        (spoilt / "own.py").write_text(f"open({str(mark)!r}, 'w')\nclass Own: ...\n")
        settings = json.loads(path.read_text()) if path.is_file() else {}
        path.write_text(json.dumps({**settings, "auto_map": {kind: "own.Own"}}))
        monkeypatch.setattr("builtins.input", lambda _: "y")
        with pytest.raises(ModelError, match=rf"{file} asks for code.*never run"):
            load_mllm(spoilt)
        assert not mark.exists()

    def test_unknown_names(self):
        with pytest.raises(ModelError, match="unknown model 'llava': names are 'mini', folders"):
            load_mllm("llava")

    def test_folders_that_are_not_there(self, tmp_path):
        with pytest.raises(ModelError, match=r"nowhere lacks config\.json"):
            load_mllm(tmp_path / "nowhere")

    def test_a_revision_of_a_folder(self, folder):
        with pytest.raises(ModelError, match="revision='main' makes no sense"):
            load_mllm(folder, revision="main")

    def test_an_absent_mini_says_how_to_make_it(self, tmp_path, monkeypatch):
        monkeypatch.setattr(checkpoint, "ASSETS", tmp_path)
        with pytest.raises(ModelError, match="python -m erragree_utils.training.llava"):
            load_mllm("mini")

    def test_missing_weights_are_named(self, spoilt):
        (spoilt / "model-00002-of-00002.safetensors").unlink()
        with pytest.raises(ModelError, match="lacks model-00002-of-00002.safetensors"):
            load_mllm(spoilt)

    def test_weights_that_could_run_code_are_not_read(self, spoilt):
        for file in spoilt.glob("model*"):
            file.unlink()
        torch.save({}, spoilt / "pytorch_model.bin")
        with pytest.raises(ModelError, match="lacks model.safetensors.*can run code"):
            load_mllm(spoilt)

    def test_truncated_weights(self, spoilt):
        file = spoilt / "model-00001-of-00002.safetensors"
        file.write_bytes(file.read_bytes()[:-100])
        with pytest.raises(ModelError, match="weights are damaged or were not copied whole"):
            load_mllm(spoilt)

    def test_tensors_that_are_missing_are_not_made_up(self, spoilt):
        weights = {}
        for file in spoilt.glob("*.safetensors"):
            weights |= load_file(file)
        del weights["multi_modal_projector.linear_1.weight"]
        write_shards(spoilt, weights)
        with pytest.raises(ModelError, match="1 tensors are missing, such as .*linear_1.weight"):
            load_mllm(spoilt)

    def test_weights_that_the_config_leaves_unused_are_told(self, spoilt):
        path = spoilt / "config.json"
        settings = json.loads(path.read_text())
        settings["text_config"]["num_hidden_layers"] = 1
        path.write_text(json.dumps(settings))
        with pytest.warns(UserWarning, match=r"spoilt: 9 tensors in .* not used.*layers\.1\.") as w:
            load_mllm(spoilt, device="cpu")
        assert w[-1].filename == __file__

    def test_preprocessing_that_does_not_fit_the_tower_is_told_at_load(self, spoilt):
        path = spoilt / "preprocessor_config.json"
        settings = json.loads(path.read_text())
        path.write_text(json.dumps({**settings, "do_center_crop": False}))
        with pytest.raises(ModelError, match=r"makes pictures of 336 x \d+ pixels.* reads 336"):
            load_mllm(spoilt)

    @pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "preprocessor_config.json"])
    def test_broken_settings(self, spoilt, file):
        (spoilt / file).write_text('{"model_type": ')
        with pytest.raises(ModelError, match="cannot be read.*fetch it again"):
            load_mllm(spoilt)

    def test_models_of_other_families(self, spoilt):
        LlamaConfig(hidden_size=32).save_pretrained(spoilt)
        with pytest.raises(ModelError, match="is a 'llama', not one of the LLaVA family"):
            load_mllm(spoilt)

    def test_code_of_a_checkpoint_is_not_run(self, spoilt):
        config = json.loads((spoilt / "config.json").read_text())
        config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Own"}}
        (spoilt / "config.json").write_text(json.dumps(config))
        (spoilt / "own.py").write_text("raise SystemExit('code of the checkpoint was run')")
        with pytest.raises(ModelError, match=r"config\.json asks for code.*never run"):
            load_mllm(spoilt)


CUDA, CPU = torch.device("cuda"), torch.device("cpu")
BILLION, GIB = 10**9, 2**30


def on_gpu(gib: float, n: float = 7.06, **choices) -> Precision:
    options = {"has_bf16": True, "checkpoint": torch.float16} | choices
    return plan_precision(int(n * BILLION), CUDA, memory=int(gib * GIB), **options)


class TestPrecision:
    """Cards report less than their name says: a T4 of 16 GB has 14.7 GiB, a 3090 23.7."""

    @pytest.mark.parametrize("gib", [7.8, 11.6, 14.7, 15.6])
    def test_small_gpus_hold_7b_at_4_bits_and_say_so(self, gib):
        plan = on_gpu(gib)
        assert (plan.quantization, plan.dtype) == ("4bit", torch.float16)
        assert f"GPU's {gib:.0f} GiB do not hold its 13 GiB" in plan.reason

    @pytest.mark.parametrize("gib", [19.7, 23.7, 39.4, 79.1])
    def test_large_gpus_hold_it_in_half_precision(self, gib):
        assert on_gpu(gib) == Precision(torch.float16)

    def test_half_precision_is_the_checkpoints_kind_where_the_gpu_has_it(self):
        assert on_gpu(24, checkpoint=torch.bfloat16).dtype == torch.bfloat16
        assert on_gpu(24, checkpoint=torch.bfloat16, has_bf16=False).dtype == torch.float16

    def test_small_models_are_float32(self):
        assert on_gpu(8, n=0.004) == Precision(torch.float32)
        assert plan_precision(4_000_000, CPU) == Precision(torch.float32)

    def test_explicit_choices_win(self):
        assert on_gpu(14.7, quantization="none") == Precision(torch.float16)
        assert on_gpu(14.7, dtype="bf16") == Precision(torch.bfloat16)
        assert on_gpu(79, quantization="4bit").quantization == "4bit"
        assert on_gpu(79, quantization="8bit", dtype="bfloat16") == Precision(
            torch.bfloat16, "8bit"
        )

    def test_models_that_do_not_fit_at_all(self):
        with pytest.raises(ModelError, match="needs 22 GiB even at 4 bits; the GPU has 15"):
            on_gpu(14.7, n=33)

    def test_without_a_gpu_time_and_memory_are_told_before_anything_is_fetched(self):
        with pytest.raises(ModelError) as error:
            plan_precision(int(7.06e9), CPU, memory=64 * GIB, name="llava")
        text = str(error.value)
        assert "llava is slow without a GPU: it has 7.1 billion weights, 29 GiB" in text
        assert "9 TFLOP on each image and question: 18 to 92 seconds" in text
        assert "give device='cpu'" in text

    def test_who_insists_on_the_cpu_gets_it_in_the_format_that_fits(self):
        plans = {
            gib: plan_precision(int(7.06e9), CPU, memory=gib * GIB, insisted=True)
            for gib in (64, 23)
        }
        assert [plan.dtype for plan in plans.values()] == [torch.float32, torch.bfloat16]
        assert "no CUDA GPU is used" in plans[23].reason

    def test_a_machine_that_is_too_small_is_told_so_even_then(self):
        with pytest.raises(ModelError, match="too large for this machine.*16 GiB.*has 8"):
            plan_precision(int(7.06e9), CPU, memory=8 * GIB, insisted=True)

    def test_choices_that_make_no_sense(self):
        with pytest.raises(ValueError, match="unknown quantization '2bit'"):
            on_gpu(24, quantization="2bit")
        with pytest.raises(ValueError, match="'4bit' needs a CUDA GPU, the device is 'cpu'"):
            plan_precision(1000, CPU, quantization="4bit")
        with pytest.raises(ValueError, match="float16 is for GPUs"):
            plan_precision(1000, CPU, dtype="float16")

    def test_the_encoder_and_the_projector_are_never_quantized(self, small):
        layers = [n for n, m in small.model.named_modules() if isinstance(m, torch.nn.Linear)]
        chosen = {name for name in layers if should_convert_module(name, precision.EXACT)}
        assert chosen == {name for name in layers if "language_model.layers" in name} != set()

    def test_missing_packages_for_quantization_are_named(self, monkeypatch):
        monkeypatch.setattr(precision.importlib.util, "find_spec", lambda name: None)
        with pytest.raises(ModelError, match="pip install bitsandbytes accelerate, or give"):
            precision.quantization_config(Precision(torch.float16, "4bit"))

    def test_out_of_memory_while_loading_says_what_to_do(self, folder, monkeypatch):
        def full(*_, **__):
            raise torch.OutOfMemoryError("CUDA out of memory")

        monkeypatch.setattr(checkpoint.AutoModelForImageTextToText, "from_pretrained", full)
        with pytest.raises(ModelError, match="out of memory while loading small-llava.*4bit"):
            load_mllm(folder, device="cpu")


SHARD = "model-00001-of-00002.safetensors"
COMMIT = "c0ffee" * 6 + "beef"
CALLS = """
import json, sys, urllib.request
from huggingface_hub import close_session, constants
constants.DOWNLOAD_CHUNK_SIZE = 8192  # the client keeps whole chunks only: ours are small files
from erragree_utils.models import ModelError, checkpoint, mllm
checkpoint.REVISIONS["owner/pinned"] = sys.argv[1]
for name, revision in json.loads(sys.argv[2]):
    if name == "close":
        urllib.request.urlopen(constants.ENDPOINT + "/close").close()
        close_session()  # and with it the connections that are still open
        continue
    try:
        model = mllm.load_mllm(name, device="cpu", revision=revision)
        print("RESULT " + json.dumps([model.name, model.revision, model.generate([None], "Why?")]))
    except ModelError as error:
        print("RESULT " + json.dumps(str(error)))
"""


class Hub(ThreadingHTTPServer):
    """A stand-in for the hub on this machine: the same addresses, headers and answers."""

    daemon_threads = True

    def __init__(self, folder: Path):
        super().__init__(("127.0.0.1", 0), HubRequest)
        self.files = {path.name: path.read_bytes() for path in folder.iterdir()}
        self.asked: dict[str, list[tuple[str, str | None]]] = defaultdict(list)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class HubRequest(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        path = self.path.split("?")[0].strip("/")
        if path == "close":
            self.server.shutdown()
            self.server.server_close()
            return self.send(200, b"", {"Connection": "close"})
        repo = "/".join(path.removeprefix("api/models/").split("/")[:2])
        refusals = {
            "owner/missing": (404, "RepoNotFound"),
            "owner/private": (401, "RepoNotFound"),
            "owner/gated": (403, "GatedRepo"),
            "owner/forbidden": (403, ""),
            "owner/busy": (429, ""),
        }
        if repo in refusals:
            return self.send(refusals[repo][0], b"{}", {"X-Error-Code": refusals[repo][1]})
        if path.startswith("api/models/"):
            return self.describe(path, repo)
        revision, _, name = path.removeprefix(f"{repo}/resolve/").partition("/")
        if revision not in ("main", COMMIT) or name not in self.server.files:
            return self.send(404, b"{}", {"X-Error-Code": "EntryNotFound"})
        return self.give(repo, name, body)

    def describe(self, path: str, repo: str) -> None:
        asked_for = path.rsplit("/", 1)[-1]
        if asked_for not in ("main", COMMIT):
            return self.send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        files = self.server.files
        if "/tree/" in path:
            told = [
                {"type": "file", "path": name, "size": len(data), "oid": etag(data)}
                for name, data in files.items()
            ]
        else:
            told = {"id": repo, "sha": COMMIT, "siblings": [{"rfilename": name} for name in files]}
        self.send(200, json.dumps(told).encode(), {"Content-Type": "application/json"})

    def give(self, repo: str, name: str, body: bool) -> None:
        data, begin = self.server.files[name], 0
        headers = {"ETag": f'"{etag(data)}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        if not body:
            return self.send(200, data, headers, body=False)
        log = self.server.asked[repo]
        log.append((name, self.headers["Range"]))
        tries = sum(entry[0] == name for entry in log)
        if repo in ("owner/breaks", "owner/down") and name == SHARD and tries == 1:
            self.send(200, data, headers, cut=len(data) // 2)
            self.close_connection = True
            return None
        if repo == "owner/down" and name == SHARD and tries == 2:
            return self.send(503, b"", {})
        if self.headers["Range"]:
            begin = int(re.fullmatch(r"bytes=(\d+)-", self.headers["Range"])[1])
            headers["Content-Range"] = f"bytes {begin}-{len(data) - 1}/{len(data)}"
        self.send(206 if begin else 200, data[begin:], headers)

    def send(self, status: int, data: bytes, headers, body: bool = True, cut: int | None = None):
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(key, value)
        self.end_headers()
        if body and self.command != "HEAD":
            self.wfile.write(data[:cut])

    def log_message(self, *_):
        pass


def etag(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()


NAMES = [
    ("owner/whole", None),
    ("owner/whole", None),
    ("owner/pinned", None),
    ("owner/breaks", None),
    ("owner/down", None),
    ("owner/down", None),
    ("owner/missing", None),
    ("owner/private", None),
    ("owner/gated", None),
    ("owner/forbidden", None),
    ("owner/busy", None),
    ("owner/whole", "v9"),
    ("owner/a/b", None),
    ("close", None),  # the hub is gone from here on
    ("owner/whole", None),
    ("owner/other", None),
]


@pytest.fixture(scope="module")
def visit(folder, tmp_path_factory):
    """What came of `load_mllm` for each of NAMES, and what the hub was asked.

    In a process of its own: the address of the hub is read when its client is imported.
    """
    hub = Hub(folder)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))}
    environment |= {
        "HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path_factory.mktemp("home")),
        "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(mllm.__file__).parents[2]),
    }  # fmt: skip
    command = [sys.executable, "-c", CALLS, COMMIT, json.dumps(NAMES)]
    threading.Thread(target=hub.serve_forever, daemon=True).start()
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    finally:
        hub.shutdown()
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    called = [call for call in NAMES if call[0] != "close"]
    assert len(lines) == len(called), done.stdout + done.stderr
    outcome: dict[str, list] = defaultdict(list)
    for (name, revision), line in zip(called, lines, strict=True):
        key = f"{name}@{revision}" if revision else name
        outcome[key].append(json.loads(line.removeprefix("RESULT ")))
    return outcome, hub.asked


class TestHub:
    def test_a_complete_download_answers_as_the_folder_does(self, visit, small):
        name, commit, answer = visit[0]["owner/whole"][0]
        assert (name, commit) == ("owner/whole", COMMIT)
        assert answer == small.generate([None], "Why?")

    def test_a_second_call_fetches_nothing(self, visit, folder):
        assert visit[0]["owner/whole"][1] == visit[0]["owner/whole"][0]
        names = [name for name, _ in visit[1]["owner/whole"]]
        assert len(names) == len(set(names))
        assert {path.name for path in folder.glob("*.safetensors")} <= set(names)

    def test_a_pinned_commit_is_what_is_fetched(self, visit):
        assert visit[0]["owner/pinned"][0][1] == COMMIT

    def test_a_broken_connection_is_taken_up_where_it_broke(self, visit, folder):
        assert visit[0]["owner/breaks"][0][1:] == visit[0]["owner/whole"][0][1:]
        first, second = [asked for name, asked in visit[1]["owner/breaks"] if name == SHARD]
        assert first is None
        begin = int(second.removeprefix("bytes=").rstrip("-"))
        assert 0 < begin <= (folder / SHARD).stat().st_size // 2

    def test_a_download_that_broke_off_says_so_and_the_next_call_fetches_the_rest(self, visit):
        broken, complete = visit[0]["owner/down"]
        assert "the download of owner/down broke off" in broken
        assert "Call again: files that are complete are kept" in broken
        assert complete[1:] == visit[0]["owner/whole"][0][1:]
        names = [name for name, _ in visit[1]["owner/down"] if not name.endswith("safetensors")]
        assert len(names) == len(set(names))

    def test_models_that_are_missing_or_private(self, visit):
        for name, status in (("owner/missing", 404), ("owner/private", 401)):
            (text,) = visit[0][name]
            assert f"the hub knows no public model '{name}' (HTTP {status})" in text
            assert "check the spelling" in text and "hf auth login" in text

    def test_models_that_are_gated_or_forbidden(self, visit):
        for name in ("owner/gated", "owner/forbidden"):
            (text,) = visit[0][name]
            assert f"access to {name} is refused (HTTP 403)" in text
            assert "Accept its conditions" in text and "HF_TOKEN" in text

    def test_a_hub_that_has_had_too_many_requests(self, visit):
        (text,) = visit[0]["owner/busy"]
        assert "429" in text and "hf download owner/busy" in text

    def test_revisions_that_are_not_there(self, visit):
        assert "owner/whole has no revision 'v9'" in visit[0]["owner/whole@v9"][0]

    def test_names_that_cannot_be(self, visit):
        assert "'owner/a/b' is no name of a model on the hub" in visit[0]["owner/a/b"][0]

    def test_without_a_network_what_is_there_is_used_and_else_the_ways_are_told(self, visit):
        cached, absent = visit[0]["owner/whole"][2], visit[0]["owner/other"][0]
        assert cached == visit[0]["owner/whole"][0]
        assert "the hub cannot be reached" in absent
        assert "hf download owner/other --revision main --local-dir FOLDER" in absent

    def test_the_papers_model_is_pinned_to_a_commit(self):
        assert re.fullmatch(r"[0-9a-f]{40}", checkpoint.REVISIONS[PUBLISHED])
