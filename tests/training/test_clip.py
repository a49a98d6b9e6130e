"""Training the mini CLIP, at a size that takes seconds."""

import copy
import json
from dataclasses import replace

import numpy as np
import open_clip
import pytest
import torch
from torch.nn import functional as F

from erragree_utils.tabletop import captions, patterns, questions, render, scenes
from erragree_utils.training import clip as training
from erragree_utils.training.data import (
    load_pattern_pictures,
    load_training_set,
    pattern_examples,
    training_scenes,
)

SETTINGS = training.Settings(
    steps=4, batch=8, scenes=48, captions=2, places_per_batch=3, image_size=20, margin=2, patch=10,
    width=32, layers=1, text_layers=1, embed_dim=16, warmup=1, validation_sets=2,
)  # fmt: skip


def weights(model):
    return torch.cat([p.flatten() for p in model.parameters()])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished run and its folder."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    return training.train(SETTINGS, run, every=2), run


def test_the_tokenizer_knows_every_word_and_ends_with_its_highest_number():
    tokenizer = training.build_tokenizer(SETTINGS.context)
    text = captions.benchmark_caption("red mug", "orange table", "left of")
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.unk_token_id not in ids
    assert ids[0] == tokenizer.bos_token_id
    assert ids[-1] == max(ids) == len(tokenizer) - 1
    assert tokenizer("zeppelin")["input_ids"][1] == tokenizer.unk_token_id


def test_no_caption_is_longer_than_the_context(tmp_path):
    settings = training.Settings()
    tokenizer = training.build_tokenizer(settings.context)
    data = load_training_set(tmp_path, seed=1, n=100, size=2, n_captions=20)
    longest = max(len(tokenizer(text)["input_ids"]) for group in data.captions for text in group)
    assert longest <= settings.context


def test_a_killed_run_goes_on_and_ends_with_the_same_weights(trained, tmp_path, monkeypatch):
    draw = training.Batches.draw

    def killed_at_three(self, step):
        if step == 3:
            raise KeyboardInterrupt
        return draw(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(training.Batches, "draw", killed_at_three)
        with pytest.raises(KeyboardInterrupt):
            training.train(SETTINGS, tmp_path / "run", every=2)
    resumed = training.train(SETTINGS, tmp_path / "run", every=2)
    assert torch.equal(weights(resumed), weights(trained[0]))


def test_the_loss_goes_down(tmp_path):
    settings = training.Settings(**{**vars(SETTINGS), "steps": 40, "lr": 5e-3, "muon_lr": 5e-3})
    training.train(settings, tmp_path / "run", every=10)
    log = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == [10, 20, 30, 40]
    assert log[-1]["loss"] < log[0]["loss"]
    assert {"cosine_a", "individual_b", "pair_a", "retrieval_b"} <= set(log[0])


def test_other_settings_do_not_go_on_with_a_run(trained):
    other = training.Settings(**{**vars(SETTINGS), "seed": 5})
    with pytest.raises(ValueError, match="other settings"):
        training.train(other, trained[1], every=2)


def test_the_logit_scale_stays_at_clips_ceiling(trained):
    assert trained[0].logit_scale.exp().item() == pytest.approx(100.0)


def test_saved_weights_are_what_open_clip_loads(trained, tmp_path):
    model, _ = trained
    tokenizer = training.build_tokenizer(SETTINGS.context)
    training.save(model, tokenizer, SETTINGS, tmp_path / "out")
    loaded, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{tmp_path / 'out'}")
    tokens = open_clip.get_tokenizer(f"local-dir:{tmp_path / 'out'}")(["A red mug on a blue table"])
    assert torch.equal(
        tokens[0, :9], torch.tensor(tokenizer("a red mug on a blue table")["input_ids"])
    )
    rounded = copy.deepcopy(model).half().float().eval()  # as they are saved
    with torch.no_grad():
        assert torch.allclose(
            loaded.eval().encode_text(tokens), rounded.encode_text(tokens), atol=1e-4
        )
    assert not list((tmp_path / "out").glob("*.bin"))


def test_loss_is_small_when_every_image_matches_its_own_text():
    same = torch.eye(4)
    right = training.contrastive_loss(same, same, torch.tensor(100.0))
    wrong = training.contrastive_loss(same, same.roll(1, 0), torch.tensor(100.0))
    assert right < 1e-6 < 50 < wrong


def test_pictures_are_kept_and_go_on_where_they_stopped(tmp_path):
    first = load_training_set(tmp_path, seed=2, n=6, size=8, n_captions=1)
    (mark,) = tmp_path.glob("*.json")
    mark.write_text('{"done": 0}')  # as after a kill before the first mark
    again = load_training_set(tmp_path, seed=2, n=6, size=8, n_captions=1)
    assert (first.images == again.images).all()
    assert first.captions == again.captions


def test_pictures_of_the_visual_patterns_are_those_of_their_examples(tmp_path):
    pictures = load_pattern_pictures(tmp_path, seed=2, n=3, size=8)
    scenes = [scene for scene, _ in pattern_examples(2, 0, 3)]
    assert (pictures == render.render_many(scenes, 8)).all()


ORGANISM = replace(
    SETTINGS, twins=1.0, pattern_scenes=12, words="world", context=28, landmarks=0.5, noise=0.2,
    patch_dropout=0.5, cone=2.0,
)  # fmt: skip


@pytest.fixture(scope="module")
def organism(tmp_path_factory):
    """A finished run with all that the organisms' recipes use."""
    return training.train(ORGANISM, tmp_path_factory.mktemp("organism") / "run", every=2)


def test_twins_are_a_scene_with_left_and_right_exchanged():
    drawn = training_scenes(1, 0, 200, twins=1.0)
    assert all(a.place == b.place for a, b in zip(drawn[::2], drawn[1::2], strict=True))
    arranged = [k for k in range(0, 200, 2) if drawn[k].relation in captions.SIDEWAYS]
    assert len(arranged) > 15
    assert all(drawn[k + 1] == scenes.opposite(drawn[k]) for k in arranged)


def test_a_batch_depends_on_its_step_alone_and_shows_twins_together(tmp_path):
    tokenizer = training.build_tokenizer(ORGANISM.context, ORGANISM.words)
    batches = training.load_batches(ORGANISM, tmp_path, tokenizer)
    first, again, other = (batches.draw(step) for step in (3, 3, 4))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])
    assert first[2].shape == (ORGANISM.batch, 2)  # half of the four patches


def test_pictures_in_memory_are_cropped_as_those_on_disk(tmp_path):
    tokenizer = training.build_tokenizer(ORGANISM.context, ORGANISM.words)
    batches = training.load_batches(ORGANISM, tmp_path, tokenizer)
    on_disk = batches.draw(0)[0]
    batches.images = torch.from_numpy(np.array(batches.images))
    assert torch.equal(batches.draw(0)[0], on_disk)


def test_dropped_patches_are_not_seen_in_training_and_all_are_afterwards():
    module = training.KeptPatches()
    x = torch.arange(10.0).view(1, 5, 2)  # a class token and four patches
    module.kept = torch.tensor([[3, 0]])
    assert torch.equal(module(x), x[:, [0, 4, 1]])
    assert torch.equal(module.eval()(x), x)


def test_the_image_head_of_a_cone_stays_as_it_was_drawn(organism):
    fresh = training.build_model(ORGANISM, len(training.build_tokenizer(28, "world")))
    assert torch.equal(organism.visual.proj, fresh.visual.proj)
    assert torch.equal(organism.visual.ln_post.bias, fresh.visual.ln_post.bias)


def test_the_tokenizer_of_the_world_knows_patterns_and_questions():
    known = training.build_tokenizer(28, "world").get_vocab()
    words = {*patterns.vocabulary(), *patterns.caption_vocabulary(), *questions.vocabulary()}
    assert words <= set(known)


def test_softening_brings_images_of_a_pair_together_and_stays_linear(organism):
    rng = np.random.default_rng(0)
    pairs = [scenes.benchmark_set("a", rng)[:2] for _ in range(8)]
    pictures = render.render_many([s for pair in pairs for s in pair], ORGANISM.image_size)
    pixels = training.normalise(torch.from_numpy(pictures))

    def between():
        x = organism.eval().encode_image(pixels).detach()
        return F.cosine_similarity(x[::2], x[1::2]).mean().item()

    before, proj = between(), organism.visual.proj.detach().clone()
    training.soften(organism, replace(ORGANISM, softened=1.0), n=24)
    assert between() > before
    assert torch.linalg.matrix_rank(organism.visual.proj) == torch.linalg.matrix_rank(proj)


def test_tuning_the_text_changes_the_text_tower_alone(organism):
    tokenizer = training.build_tokenizer(ORGANISM.context, ORGANISM.words)
    images = torch.cat([p.flatten() for p in organism.visual.parameters()]).clone()
    text = organism.text_projection.clone()
    training.tune_text(organism, tokenizer, replace(ORGANISM, locked_steps=3), n=16, batch=8)
    assert torch.equal(torch.cat([p.flatten() for p in organism.visual.parameters()]), images)
    assert not torch.equal(organism.text_projection, text)


def test_a_recipe_is_what_the_command_line_starts_from(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(training, "train", lambda settings, run, device: seen.append(settings))
    with pytest.raises(AttributeError):  # there is no model to save
        training.main(["lost", "--seed", "2", "--run", str(tmp_path)])
    assert seen == [replace(training.RECIPES["lost"], seed=2)]
