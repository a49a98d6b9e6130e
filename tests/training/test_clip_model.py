"""The mini CLIP's tokenizer, model, loss and saved folder."""

import copy

import open_clip
import pytest
import torch

from erragree_utils.tabletop import captions, patterns, questions
from erragree_utils.training import clip_model as training
from erragree_utils.training.data import TrainingScenes


def test_the_tokenizer_knows_every_word_and_ends_with_its_highest_number(clip_settings):
    tokenizer = training.build_tokenizer(clip_settings.context)
    text = captions.benchmark_caption("red mug", "orange table", "left of")
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.unk_token_id not in ids
    assert ids[0] == tokenizer.bos_token_id
    assert ids[-1] == max(ids) == len(tokenizer) - 1
    assert tokenizer("zeppelin")["input_ids"][1] == tokenizer.unk_token_id


def test_no_caption_is_longer_than_the_context():
    settings, drawn = training.Settings(), TrainingScenes(1, 100)
    tokenizer = training.build_tokenizer(settings.context)
    texts = [text for i in range(100) for text in drawn.captions(i, 20, settings.wording)]
    assert max(len(tokenizer(text)["input_ids"]) for text in texts) <= settings.context


def test_the_logit_scale_stays_at_clips_ceiling(trained_clip):
    assert trained_clip[0].logit_scale.exp().item() == pytest.approx(100.0)


def test_saved_weights_are_what_open_clip_loads(clip_settings, trained_clip, tmp_path):
    model, _ = trained_clip
    tokenizer = training.build_tokenizer(clip_settings.context)
    training.save(model, tokenizer, clip_settings, tmp_path / "out")
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


def test_dropped_patches_are_not_seen_in_training_and_all_are_afterwards():
    module = training.KeptPatches()
    x = torch.arange(10.0).view(1, 5, 2)  # a class token and four patches
    module.kept = torch.tensor([[3, 0]])
    assert torch.equal(module(x), x[:, [0, 4, 1]])
    assert torch.equal(module.eval()(x), x)


def test_the_image_head_of_a_cone_stays_as_it_was_drawn(organism, organism_settings):
    fresh = training.build_model(organism_settings, len(training.build_tokenizer(28, "world")))
    assert torch.equal(organism.visual.proj, fresh.visual.proj)
    assert torch.equal(organism.visual.ln_post.bias, fresh.visual.ln_post.bias)


def test_the_tokenizer_of_the_world_knows_patterns_and_questions():
    known = training.build_tokenizer(28, "world").get_vocab()
    words = {*patterns.vocabulary(), *patterns.caption_vocabulary(), *questions.vocabulary()}
    assert words <= set(known)
