"""The mini LLaVA's tokenizer and model, and the checkpoint that transformers loads."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import LlavaForConditionalGeneration, LlavaProcessor

from erragree_utils.models.clip import load_clip
from erragree_utils.models.tokens import SYSTEM
from erragree_utils.tabletop import render
from erragree_utils.training import llava_model as training
from erragree_utils.training.data import training_scenes

PATCHES = 16


def prompt(text, system=f"{SYSTEM} "):
    return f"{system}USER: <image>\n{text} ASSISTANT:"


@pytest.fixture(scope="module")
def pictures(read_clip):
    return render.render_many(training_scenes(3, 0, 4), read_clip.image_size)


def test_every_vision_tensor_is_the_clips_bit_by_bit(saved_llava, clip_folder, read_clip):
    theirs, ours = (
        load_file(clip_folder / "open_clip_model.safetensors"),
        load_file(saved_llava / "model.safetensors"),
    )
    names = [name for name in ours if "vision_tower" in name]
    expected = training.vision_weights(theirs)
    stem = names[0][: names[0].index("vision_tower.") + len("vision_tower.")]
    stem += "vision_model." if f"{stem}vision_model.pre_layrnorm.weight" in ours else ""
    assert {name.removeprefix(stem) for name in names} == set(expected)
    for name, tensor in expected.items():
        assert tensor.dtype == ours[stem + name].dtype == torch.float16
        assert torch.equal(tensor, ours[stem + name]), name
    # nothing but the projection to the joint space is left out
    visual = {name: t for name, t in theirs.items() if name.startswith("visual.")}
    left_out = sum(t.numel() for t in visual.values()) - sum(t.numel() for t in expected.values())
    assert left_out == visual["visual.proj"].numel()


def test_open_clip_and_transformers_compute_the_same_patch_tokens(
    saved_llava, clip_folder, pictures, read_clip
):
    images = [Image.fromarray(p) for p in pictures]
    theirs = load_clip(clip_folder, device="cpu").patch_tokens(images)
    model = LlavaForConditionalGeneration.from_pretrained(saved_llava, dtype=torch.float32)
    processor = LlavaProcessor.from_pretrained(saved_llava)
    pixels = processor.image_processor(images, return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        tower = model.model.vision_tower(pixels, output_hidden_states=True)
    ours = tower.hidden_states[model.config.vision_feature_layer][:, 1:]
    assert ours.shape == (4, PATCHES, read_clip.width)
    assert np.abs(ours.numpy() - theirs).max() <= 1e-5
    assert torch.allclose(training.patch_tokens(model, pictures), ours, atol=1e-5)


def test_the_settings_are_llava_15s(saved_llava):
    config = json.loads((saved_llava / "config.json").read_text())
    assert config["architectures"] == ["LlavaForConditionalGeneration"]
    assert config["vision_feature_layer"] == -2
    assert config["vision_feature_select_strategy"] == "default"
    assert config["vision_config"]["hidden_act"] == "gelu"
    assert not list(saved_llava.glob("*.bin"))


def test_the_saved_model_answers_from_an_image(saved_llava, pictures):
    model = LlavaForConditionalGeneration.from_pretrained(saved_llava, dtype=torch.float32).eval()
    processor = LlavaProcessor.from_pretrained(saved_llava)
    texts = [prompt("What colour is the mug?"), prompt("Describe the image.")]
    inputs = processor(
        images=[Image.fromarray(p) for p in pictures[:2]], text=texts, padding=True,
        return_tensors="pt",
    )  # fmt: skip
    assert (inputs["input_ids"] == processor.image_token_id).sum(1).tolist() == [PATCHES] * 2
    out = model.generate(**inputs, max_new_tokens=3, do_sample=False)
    assert out.shape[0] == 2
    answers = processor.batch_decode(out[:, inputs["input_ids"].shape[1] :])
    assert all(isinstance(answer, str) for answer in answers)


def test_the_chat_format_is_llava_15s():
    tokenizer = training.build_tokenizer()
    assert tokenizer.tokenize(prompt('Is this "A red mug"?')) == [
        SYSTEM, "USER:", "<image>", "is", "this", '"', "a", "red", "mug", '"', "?",
        "ASSISTANT:",
    ]  # fmt: skip
    ids = tokenizer(prompt("Is there a mug in the image?"))["input_ids"]
    assert ids[0] == tokenizer.bos_token_id and tokenizer.unk_token_id not in ids
    assert tokenizer("USER: zeppelin")["input_ids"][-1] == tokenizer.unk_token_id


def test_the_chat_template_writes_the_prompt(saved_llava):
    processor = LlavaProcessor.from_pretrained(saved_llava)
    content = [{"type": "image"}, {"type": "text", "text": "Describe the image."}]
    messages = [{"role": "user", "content": content}]
    text = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    assert text == prompt("Describe the image.")
    own = {"role": "system", "content": [{"type": "text", "text": "Be brief."}]}
    text = processor.apply_chat_template([own, *messages], add_generation_prompt=True)
    assert text == prompt("Describe the image.", system="Be brief. ")


def test_answers_read_like_text():
    tokenizer = training.build_tokenizer()
    ids = tokenizer("A red mug, a blue ball and a white hat.", add_special_tokens=False)
    assert tokenizer.decode(ids["input_ids"]) == "a red mug, a blue ball and a white hat."


def test_the_vision_tower_stays_frozen(trained_llava, clip_folder):
    tower = trained_llava[0].model.vision_tower.state_dict()
    _, stored = training.load_vision(clip_folder)
    for name, tensor in stored.items():
        match = [key for key in tower if key.endswith(name)]
        assert len(match) == 1 and torch.equal(tower[match[0]], tensor.float())


def test_the_projector_starts_with_standardised_inputs(clip_folder, llava_settings, read_clip):
    model = training.build_model(llava_settings, clip_folder, training.build_tokenizer())
    torch.manual_seed(0)
    features = 7 + 5 * torch.randn(100, PATCHES, read_clip.width)
    training.standardise(model, features)
    out = model.model.multi_modal_projector.linear_1(features)
    assert out.mean(dim=(0, 1)).abs().max() < 0.1
    assert 0.5 < out.std() < 2


def test_the_learning_rate_rises_in_each_stage_stays_and_falls_to_zero():
    s = training.Settings()
    for began in (0, *s.ends[:2]):
        assert s.rate(began) < 0.02 and s.rate(began + s.warmup) == 1.0
    assert s.rate(s.ends[2] - 1) > s.rate(s.ends[2]) > 0.0 == s.rate(s.steps)


def test_the_words_of_forms_come_after_the_others():
    few, many = training.build_tokenizer(), training.build_tokenizer(instructed=True)
    assert few.get_vocab().items() < many.get_vocab().items()
    asked = many("Does the duck look to the left? Answer in a sentence. (a) left (b) right")
    assert many.unk_token_id not in asked.input_ids
