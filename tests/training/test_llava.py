"""Training the mini LLaVA, at a size that takes seconds."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import LlavaForConditionalGeneration, LlavaProcessor

from erragree_utils.models.clip import load_clip
from erragree_utils.tabletop import patterns, questions, render, scenes
from erragree_utils.tabletop.questions import Question
from erragree_utils.training import clip
from erragree_utils.training import llava as training
from erragree_utils.training.data import training_scenes

CLIP = clip.Settings(
    scenes=64, image_size=40, margin=4, patch=10, width=32, layers=3, text_layers=1, embed_dim=16
)
SETTINGS = training.Settings(
    alignment_steps=2, tuning_steps=4, batch=4, alignment_length=40, tuning_length=60, crops=2,
    width=32, layers=2, mlp=48, warmup=1, two_images=0.5, precision="float32", validation_scenes=6,
    validation_sets=2, patterns=10, pattern_share=0.3, validation_contrasts=1,
)  # fmt: skip
PATCHES = 16


def weights(model):
    return torch.cat([p.flatten() for p in model.parameters()])


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    """A mini CLIP with random weights, as its training writes it."""
    folder = tmp_path_factory.mktemp("clip")
    tokenizer = clip.build_tokenizer(CLIP.context)
    clip.save(clip.build_model(CLIP, len(tokenizer)), tokenizer, CLIP, folder)
    return folder


@pytest.fixture(scope="module")
def trained(clip_folder, tmp_path_factory):
    """A finished run and its folder."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    return training.train(SETTINGS, run, clip_folder, every=2), run


@pytest.fixture(scope="module")
def saved(trained, tmp_path_factory):
    """The folder of the trained weights."""
    folder = tmp_path_factory.mktemp("out")
    training.save(trained[0], training.build_tokenizer(), SETTINGS, folder)
    return folder


@pytest.fixture(scope="module")
def pictures():
    return render.render_many(training_scenes(3, 0, 4), CLIP.image_size)


def prompt(text, system=f"{training.SYSTEM} "):
    return f"{system}USER: <image>\n{text} ASSISTANT:"


# --- the checkpoint ------------------------------------------------------------------------------


def test_every_vision_tensor_is_the_clips_bit_by_bit(saved, clip_folder):
    theirs, ours = (
        load_file(clip_folder / "open_clip_model.safetensors"),
        load_file(saved / "model.safetensors"),
    )
    names = [name for name in ours if "vision_tower" in name]
    expected = training.vision_weights(theirs, CLIP.layers)
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


def test_open_clip_and_transformers_compute_the_same_patch_tokens(saved, clip_folder, pictures):
    images = [Image.fromarray(p) for p in pictures]
    theirs = load_clip(clip_folder, device="cpu").patch_tokens(images)
    model = LlavaForConditionalGeneration.from_pretrained(saved, dtype=torch.float32)
    processor = LlavaProcessor.from_pretrained(saved)
    pixels = processor.image_processor(images, return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        tower = model.model.vision_tower(pixels, output_hidden_states=True)
    ours = tower.hidden_states[model.config.vision_feature_layer][:, 1:]
    assert ours.shape == (4, PATCHES, CLIP.width)
    assert np.abs(ours.numpy() - theirs).max() <= 1e-5
    assert torch.allclose(training.patch_tokens(model, pictures), ours, atol=1e-5)


def test_the_settings_are_llava_15s(saved):
    config = json.loads((saved / "config.json").read_text())
    assert config["architectures"] == ["LlavaForConditionalGeneration"]
    assert config["vision_feature_layer"] == -2
    assert config["vision_feature_select_strategy"] == "default"
    assert config["vision_config"]["hidden_act"] == "gelu"
    assert not list(saved.glob("*.bin"))


def test_the_saved_model_answers_from_an_image(saved, pictures):
    model = LlavaForConditionalGeneration.from_pretrained(saved, dtype=torch.float32).eval()
    processor = LlavaProcessor.from_pretrained(saved)
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


# --- the tokenizer -------------------------------------------------------------------------------


def test_the_chat_format_is_llava_15s():
    tokenizer = training.build_tokenizer()
    assert tokenizer.tokenize(prompt('Is this "A red mug"?')) == [
        training.SYSTEM, "USER:", "<image>", "is", "this", '"', "a", "red", "mug", '"', "?",
        "ASSISTANT:",
    ]  # fmt: skip
    ids = tokenizer(prompt("Is there a mug in the image?"))["input_ids"]
    assert ids[0] == tokenizer.bos_token_id and tokenizer.unk_token_id not in ids
    assert tokenizer("USER: zeppelin")["input_ids"][-1] == tokenizer.unk_token_id


def test_the_chat_template_writes_the_prompt(saved):
    processor = LlavaProcessor.from_pretrained(saved)
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


# --- packing -------------------------------------------------------------------------------------


@pytest.mark.parametrize("plain", [False, True], ids=["with-system-line", "without"])
def test_a_packed_row_computes_what_single_prompts_do(saved, clip_folder, pictures, plain):
    """Logits of every answer, packed and by the model's own forward pass over pictures."""
    tokenizer, processor = training.build_tokenizer(), LlavaProcessor.from_pretrained(saved)
    model = LlavaForConditionalGeneration.from_pretrained(saved, dtype=torch.float32).eval()
    rng = np.random.default_rng(0)
    shares = dict.fromkeys(questions.SKILLS, 1.0)
    drawn = training_scenes(3, 0, 2)
    rows = [questions.draw_questions(scene, rng, 5, shares) for scene in drawn]
    packed, kept = training.pack(tokenizer, rows, PATCHES, plain=[plain] * 2)
    assert kept == rows
    pictures = pictures[:2]
    with torch.no_grad():
        states = training.packed_states(model, training.patch_tokens(model, pictures), packed)
        logits = model.lm_head(states)
        for r, row in enumerate(rows):
            for k, question in enumerate(row, start=1):
                system = "" if plain else f"{training.SYSTEM} "
                text = f"{prompt(question.text, system)} {question.answer}</s>"
                inputs = processor(
                    images=Image.fromarray(pictures[r]), text=text, return_tensors="pt"
                )
                alone = model(**inputs).logits[0]
                where = (packed.segments[r] == k) & (packed.targets[r] != training.IGNORED)
                n = int(where.sum())
                assert torch.equal(packed.targets[r][where], inputs["input_ids"][0, -n:])
                assert (logits[r][where] - alone[-n - 1 : -1]).abs().max() <= 1e-4


def test_two_images_stand_in_one_prompt(saved, pictures):
    """As above, with what two images add up to in place of one."""
    tokenizer, processor = training.build_tokenizer(), LlavaProcessor.from_pretrained(saved)
    model = LlavaForConditionalGeneration.from_pretrained(saved, dtype=torch.float32).eval()
    drawn = training_scenes(3, 0, 2)
    row = questions.draw_questions_of_two(tuple(drawn), np.random.default_rng(0), 3)
    packed, _ = training.pack(tokenizer, [row], 2 * PATCHES)
    with torch.no_grad():
        tokens = training.patch_tokens(model, pictures[:2])
        states = training.packed_states(model, torch.cat([tokens[:1], tokens[1:]], dim=1), packed)
        text = f"{training.SYSTEM} USER: <image>\n<image>\n{row[1].text} ASSISTANT:"
        images = [Image.fromarray(p) for p in pictures[:2]]
        alone = model(**processor(images=images, text=text, return_tensors="pt")).logits[0, -1]
    (first, *_) = torch.nonzero(
        (packed.segments[0] == 2) & (packed.targets[0] != training.IGNORED)
    ).flatten()
    assert (model.lm_head(states)[0, first] - alone).abs().max() <= 1e-4


def test_the_loss_counts_answers_only(trained):
    tokenizer = training.build_tokenizer()
    row = [Question("colour", "What colour is the mug?", "red"), Question("x", "Is it?", "no")]
    packed, _ = training.pack(tokenizer, [row], PATCHES)
    counted = packed.targets[packed.targets != training.IGNORED]
    assert tokenizer.convert_ids_to_tokens(counted.tolist()) == ["red", "</s>", "no", "</s>"]


def test_questions_see_the_image_and_themselves_alone():
    tokenizer = training.build_tokenizer()
    row = [Question("colour", "What colour is the mug?", "red")] * 2
    packed, _ = training.pack(tokenizer, [row, row[:1]], PATCHES, plain=[False, True])
    open_ = packed.mask()[:, 0] == 0
    start = PATCHES + 3
    first, second = (torch.nonzero(packed.segments[0] == k).flatten() for k in (1, 2))
    assert open_[0][second, :start].all() and not open_[0][second][:, first].any()
    assert not open_.triu(1).any()
    assert not open_[1][start:, 1].any() and open_[0][start:, 1].all()  # the system line
    assert packed.positions[0, second[0]] == start and packed.positions[1, first[0]] == start - 1


def test_a_question_that_does_not_fit_is_left_out():
    tokenizer = training.build_tokenizer()
    long = Question("describe", questions.DESCRIBE, "a red mug to the left of a blue table")
    short = Question("colour", "What colour is the mug?", "red")
    packed, kept = training.pack(tokenizer, [[short, long, short]], PATCHES, length=20)
    assert kept == [[short, short]]
    assert packed.tokens.shape[1] == PATCHES + 3 + 20
    assert packed.segments.max() == 2


# --- training ------------------------------------------------------------------------------------


def test_the_vision_tower_stays_frozen(trained, clip_folder):
    tower = trained[0].model.vision_tower.state_dict()
    _, stored = training.load_vision(clip_folder)
    for name, tensor in stored.items():
        match = [key for key in tower if key.endswith(name)]
        assert len(match) == 1 and torch.equal(tower[match[0]], tensor.float())


def test_a_killed_run_goes_on_and_ends_with_the_same_weights(
    trained, clip_folder, tmp_path, monkeypatch
):
    draw = training.Batches.draw

    def killed_at_three(self, step):
        if step == 3:
            raise KeyboardInterrupt
        return draw(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(training.Batches, "draw", killed_at_three)
        with pytest.raises(KeyboardInterrupt):
            training.train(SETTINGS, tmp_path / "run", clip_folder, every=2)
    resumed = training.train(SETTINGS, tmp_path / "run", clip_folder, every=2)
    assert torch.equal(weights(resumed), weights(trained[0]))


def test_other_settings_do_not_go_on_with_a_run(trained, clip_folder):
    with pytest.raises(ValueError, match="other settings"):
        training.train(replace(SETTINGS, seed=5), trained[1], clip_folder)


def test_without_a_clip_the_message_says_how_to_train_one(tmp_path):
    with pytest.raises(FileNotFoundError, match="erragree_utils.training.clip"):
        training.train(SETTINGS, tmp_path / "run", tmp_path / "nowhere")


def test_the_log_holds_every_skill_and_what_the_chapters_measure(trained):
    log = [json.loads(line) for line in (trained[1] / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == [2, 4, 6]
    measured = {
        f"{pair} {what}"
        for pair in ("a left/right", "a on/under", "b left/right", "b front/behind")
        for what in ("individual", "pair", "two-way", "four-way")
    }
    measured |= {
        f"pattern {p} {what}" for p in patterns.PATTERNS for what in ("individual", "pair")
    }
    assert measured | set(questions.SKILLS) | {"two images"} <= set(log[0])
    assert all(0 <= value <= 1 for key, value in log[0].items() if key in measured)


def test_the_loss_goes_down(clip_folder, tmp_path):
    settings = replace(SETTINGS, alignment_steps=40, tuning_steps=0, lr=1e-2, muon_lr=1e-2)
    training.train(settings, tmp_path / "run", clip_folder, every=20)
    log = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert log[1]["loss"] < 0.8 * log[0]["loss"]


def test_mixed_precision_trains_float32_weights(clip_folder, tmp_path):
    settings = replace(SETTINGS, precision="bfloat16")
    model = training.train(settings, tmp_path / "run", clip_folder, every=6)
    assert all(p.dtype == torch.float32 and p.isfinite().all() for p in model.parameters())


def test_patch_tokens_are_kept_and_go_on_where_they_stopped(clip_folder, tmp_path, monkeypatch):
    model = training.build_model(SETTINGS, clip_folder, training.build_tokenizer())
    larger = render.render_many(training_scenes(3, 0, 5), CLIP.image_size + 4)
    monkeypatch.setattr(training, "CHUNK", 2)
    whole = training.cache_features(model, larger, 2, 0, tmp_path / "tokens.npy")
    assert whole.shape == (5, 2, PATCHES, CLIP.width)
    first = np.array(whole)
    mark = tmp_path / "tokens.json"
    np.lib.format.open_memmap(tmp_path / "tokens.npy", "r+")[2:] = 0
    mark.write_text('{"done": 2}')  # as after a kill
    again = training.cache_features(model, larger, 2, 0, tmp_path / "tokens.npy")
    assert np.array_equal(again, first)


def test_the_projector_starts_with_standardised_inputs(clip_folder):
    model = training.build_model(SETTINGS, clip_folder, training.build_tokenizer())
    torch.manual_seed(0)
    features = 7 + 5 * torch.randn(100, PATCHES, CLIP.width)
    training.standardise(model, features)
    out = model.model.multi_modal_projector.linear_1(features)
    assert out.mean(dim=(0, 1)).abs().max() < 0.1
    assert 0.5 < out.std() < 2


def test_questions_of_benchmark_scenes_are_the_protocols():
    scene = scenes.benchmark_set("a", np.random.default_rng(0))[1]  # right of
    first, second = (thing.name for thing in scene.things)
    own, false, two_way, four_way = training.benchmark_questions(scene, "a")
    assert f"to the right of a {second}".replace(" a o", " an o") in own.text
    assert own.text.replace("right", "left") == false.text
    assert (own.answer, false.answer) == ("Yes", "No")
    assert four_way.text == (
        f"Where is the {first} in relation to the {second}? Answer with left, right, on or under."
    )
    assert two_way.text.endswith("Answer with left or right.")
    assert two_way.answer == four_way.answer == "right"


def test_yes_or_no_comes_seldom_at_first():
    settings = training.Settings()
    early, late = (
        training.shares(step, settings) for step in (settings.alignment_steps, settings.steps)
    )
    assert training.shares(0, settings) == training.ALIGNMENT
    assert early["verify"] < 0.5 * late["verify"] == 0.5 * training.TUNING["verify"]
    assert early["colour"] == late["colour"]


def test_the_learning_rate_rises_stays_and_falls_to_zero():
    s = training.Settings()
    rates = [training.learning_rate(step, s) for step in (0, s.warmup, s.steps // 3, s.steps)]
    assert rates[0] < 0.01 and rates[1] == rates[2] == 1.0 and rates[3] == 0.0


# --- the weights that this package ships ---------------------------------------------------------


def test_the_shipped_readers_eyes_are_the_shipped_clips():
    theirs = load_file(clip.ASSETS / "open_clip_model.safetensors")
    ours = load_file(training.ASSETS / "model.safetensors")
    layers = json.loads((clip.ASSETS / "training.json").read_text())["layers"]
    vision = {name: t for name, t in ours.items() if "vision_tower" in name}
    expected = training.vision_weights(theirs, layers)
    assert len(vision) == len(expected)
    for name, tensor in expected.items():
        (same,) = (t for key, t in vision.items() if key.endswith(f".{name}"))
        assert torch.equal(tensor, same), name
