"""The check that one batch and two passes of contrastive decoding choose the same tokens."""

from __future__ import annotations

import contrastive_decoding
import measuring
import pytest
import torch
from contrastive_decoding import Recorded, check, decided
from measuring import Disagreement
from option_scoring import read_jobs
from random_models import random_mllm
from transformers import CLIPVisionConfig, LlamaConfig

from erragree_utils.decoding import M3ID, VCD, TextContrast

END = 3


def recorded(*steps: tuple[list[int], list[float]]) -> Recorded:
    made = Recorded(TextContrast())
    made.steps = [
        (step, torch.tensor(tokens), torch.tensor(gaps))
        for step, (tokens, gaps) in enumerate(steps, 1)
    ]
    return made


class TestDecided:
    def test_tokens_count_up_to_the_first_that_rounding_may_decide(self):
        theirs = recorded(([7, 7], [2.0, 2.0]), ([8, 8], [2.0, 0.1]), ([9, 9], [2.0, 2.0]))
        mine = recorded(([7, 7], [2.0, 2.0]), ([8, 5], [2.0, 0.1]), ([9, 4], [2.0, 2.0]))
        assert decided(theirs, mine, 0.5, END) == (4, 4)

    def test_one_that_differs_all_the_same_is_an_error_and_the_last_that_counts(self):
        theirs = recorded(([7], [2.0]), ([8], [2.0]))
        mine = recorded(([6], [2.0]), ([8], [2.0]))
        assert decided(theirs, mine, 0.5, END) == (0, 1)

    def test_nothing_counts_behind_the_end(self):
        theirs, mine = (recorded(([END], [2.0]), ([k], [2.0])) for k in (8, 9))
        assert decided(theirs, mine, 0.5, END) == (1, 1)

    def test_each_batch_has_rows_of_its_own(self):
        made = recorded(([7, 8], [1.0, 2.0]))
        made.steps += made.steps
        assert [row[0][0] for row in made.answers()] == [7, 8, 7, 8]


@pytest.fixture(scope="module")
def half():
    vision = CLIPVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        image_size=56, patch_size=14, projection_dim=32,
    )  # fmt: skip
    text = LlamaConfig(
        hidden_size=128, intermediate_size=344, num_hidden_layers=8, num_attention_heads=4,
        vocab_size=1024, max_position_embeddings=512,
    )  # fmt: skip
    return random_mllm("small", vision, text, torch.device("cpu"), torch.bfloat16)


@pytest.fixture(scope="module")
def asked():
    images = [image for image, _ in read_jobs(5, size=56)]
    return images, ["Describe the image."] * len(images)


@pytest.mark.parametrize("contrast", [TextContrast(), M3ID(), VCD()], ids=repr)
def test_in_bfloat16_the_ways_agree_where_the_model_decides(half, asked, contrast):
    told = check(half, *asked, contrast)
    agree, n = (int(word) for word in told.split()[:3:2])
    assert n >= len(asked[0]) / 2 and agree >= 0.95 * n


def test_short_answers_of_a_model_that_never_ends_are_one_token(half, asked, capsys, monkeypatch):
    monkeypatch.setitem(contrastive_decoding.ROUNDS, "cpu", 1)
    contrastive_decoding.compare(half, *asked, tokens=1)
    shown = capsys.readouterr().out
    assert "1 tokens at most" in shown and "FAILED" not in shown
    written = [
        int(line.split(" of ")[1].split()[0]) for line in shown.splitlines() if "agree" in line
    ]
    assert len(written) == 3 and max(written) <= len(asked[0])


def test_a_check_that_fails_lets_the_others_go_on_and_ends_with_1(half, asked, capsys, monkeypatch):
    monkeypatch.setitem(contrastive_decoding.ROUNDS, "cpu", 1)
    monkeypatch.setattr(contrastive_decoding, "AGREE", 2.0)
    monkeypatch.setattr(measuring, "FAILURES", [])
    contrastive_decoding.compare(half, *asked, tokens=2)
    assert capsys.readouterr().out.count("FAILED: ") == len(measuring.FAILURES) == 3
    with pytest.raises(SystemExit, match="failed:\n.*one of the ways is wrong") as left:
        measuring.finish()
    assert left.value.code != 0


def test_a_second_stream_of_other_images_is_found(half, asked, monkeypatch):
    two_pass = contrastive_decoding.two_pass
    monkeypatch.setattr(
        contrastive_decoding, "two_pass",
        lambda mllm, images, *rest: two_pass(mllm, images[::-1], *rest),
    )  # fmt: skip
    with pytest.raises(Disagreement, match="one of the ways is wrong"):
        check(half, *asked, TextContrast())
