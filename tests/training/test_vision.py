"""Training the mini vision-only encoder, at a size that takes seconds."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from erragree_utils.models.vision import load_vision
from erragree_utils.tabletop import patterns, render
from erragree_utils.training import vision as training
from erragree_utils.training.data import MEAN, STD, near_duplicates, normalise

SETTINGS = training.Settings(
    steps=4, pairs=12, batch=4, image_size=40, margin=4, width=32, layers=2, warmup=1,
    validation_contrasts=1,
)  # fmt: skip


def weights(model):
    return torch.cat([p.flatten() for p in model.parameters()])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished run and its folder."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    return training.train(SETTINGS, run, every=2), run


@pytest.fixture(scope="module")
def saved(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("out")
    training.save(trained[0], SETTINGS, folder)
    return folder


def test_the_loss_is_small_when_every_view_finds_its_other_one():
    rows = torch.eye(4)
    assert training.instance_loss(rows, rows, 0.02) < 1e-6
    assert training.instance_loss(rows, rows.roll(1, 0), 0.02) > 10


def test_the_loss_is_simclrs():
    """Equation 1 of the paper, written out for one view at a time."""
    torch.manual_seed(0)
    first, second = torch.randn(2, 5, 8)
    views = F.normalize(torch.cat([first, second]), dim=-1)
    terms = []
    for i in range(10):
        similar = torch.exp(views[i] @ views.T / 0.1)
        terms.append(-torch.log(similar[(i + 5) % 10] / (similar.sum() - similar[i])))
    assert torch.allclose(training.instance_loss(first, second, 0.1), torch.stack(terms).mean())


def test_views_of_a_pair_are_cropped_alike_but_for_the_shift():
    settings = replace(SETTINGS, margin=8, shift=1, noise=0.0, batch=3)
    size = settings.image_size + settings.margin
    ramp = np.broadcast_to(np.arange(size, dtype=np.uint8), (size, size))  # a column's number
    pictures = np.broadcast_to(ramp[None, :, :, None], (8, size, size, 3))
    batches = training.Batches(pictures, settings)
    views = torch.stack(batches.draw(0))  # two views of two pictures of each pair
    assert torch.equal(views, torch.stack(batches.draw(0)))
    std, mean = torch.tensor(STD)[0], torch.tensor(MEAN)[0]
    left, right = (255 * (views[:, :, 0, 0, x] * std + mean) for x in (0, -1))
    light = (right - left) / (settings.image_size - 1)  # a step of the ramp has this height
    column = (left / light).round().reshape(2, 3, 2)
    spread = column.amax(dim=(0, 2)) - column.amin(dim=(0, 2))
    assert spread.max() <= 2 and column.unique().numel() > 1


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
    settings = replace(SETTINGS, steps=40, pairs=6)
    training.train(settings, tmp_path / "run", every=20)
    log = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert log[1]["loss"] < log[0]["loss"]


def test_the_log_holds_cosines_of_every_pattern(trained):
    log = [json.loads(line) for line in (trained[1] / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == [2, 4]
    for name in (*patterns.PATTERNS, "random"):
        assert -1 <= log[0][name] <= 1


def test_what_was_saved_loads_and_embeds_alike(trained, saved):
    vision = load_vision(saved, device="cpu")
    pictures = render.render_many(
        [scene for i in range(2) for scene in near_duplicates(3, i)], SETTINGS.image_size
    )
    embedded = vision.embed_images([Image.fromarray(p) for p in pictures], batch_size=3)
    model = trained[0].half().float().eval()
    with torch.no_grad():
        direct = F.normalize(model(normalise(torch.from_numpy(pictures))), dim=-1)
    assert embedded.shape == (4, SETTINGS.width) and embedded.dtype == np.float32
    assert np.abs(embedded - direct.numpy()).max() < 1e-4
    assert not list(saved.glob("*.bin"))
