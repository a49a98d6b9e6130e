"""A training run and its folder."""

import json
from dataclasses import dataclass

import pytest
import torch

from erragree_utils.training import clip, loop
from erragree_utils.training.optim import Schedule


@dataclass(frozen=True)
class Settings(Schedule):
    steps: int = 4
    warmup: int = 1
    muon_lr: float = 0.1
    lr: float = 0.1
    weight_decay: float = 0.0


class Line(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.block = torch.nn.Linear(2, 2)


def run(folder, draw=lambda step: (torch.ones(3, 2) * step,), settings=Settings()):
    torch.manual_seed(0)
    model = Line()
    training = loop.Run(folder, settings, model, ("block",))
    training.fit(lambda x: model.block(x).square().mean(), draw, lambda: {"pair": 0.25}, 2)
    return model.block.weight, [
        json.loads(x) for x in (folder / "log.jsonl").read_text().splitlines()
    ]


def test_a_killed_run_goes_on_and_its_log_has_each_step_once(tmp_path):
    def killed_at_three(step):
        if step == 3:
            raise KeyboardInterrupt
        return (torch.ones(3, 2) * step,)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", killed_at_three)
    log = tmp_path / "killed" / "log.jsonl"
    (line,) = log.read_text().splitlines()
    earlier = json.loads(line) | {"minutes": 1.5}
    beyond = json.dumps(earlier | {"step": 3})  # as if the checkpoint had not been written
    log.write_text(json.dumps(earlier) + "\n" + beyond + "\n")
    weight, lines = run(tmp_path / "killed")
    whole, expected = run(tmp_path / "whole")
    assert torch.equal(weight, whole)
    assert [line["step"] for line in lines] == [2, 4] and lines[1]["minutes"] >= 1.5
    keys = ("step", "loss", "pair")
    assert [[x[k] for k in keys] for x in lines] == [[x[k] for k in keys] for x in expected]


def test_a_log_line_holds_the_mean_loss_since_the_last(tmp_path):
    losses = []

    def draw(step):
        return (torch.ones(3, 2) * step,)

    torch.manual_seed(0)
    model = Line()

    def loss(x):
        losses.append(model.block(x).square().mean())
        return losses[-1]

    loop.Run(tmp_path, Settings(), model, ("block",)).fit(loss, draw, dict, 2)
    lines = [json.loads(text) for text in (tmp_path / "log.jsonl").read_text().splitlines()]
    means = [torch.stack(losses[k : k + 2]).mean().item() for k in (0, 2)]
    assert [line["loss"] for line in lines] == pytest.approx(means, abs=1e-4)


def test_other_settings_do_not_go_on_with_a_run(tmp_path):
    run(tmp_path)
    with pytest.raises(ValueError, match="other settings; choose another folder"):
        run(tmp_path, settings=Settings(lr=0.2))


def test_every_setting_is_an_option_of_its_own_type():
    parser = loop.command_line("Train.", "here", clip.Settings())
    options, settings = loop.parse(parser, clip.Settings, [])
    assert (str(options.run), str(options.out)) == ("runs/here", "runs/here/model")
    assert settings == clip.Settings()
    _, settings = loop.parse(parser, clip.Settings, ["--position-share", "0.3", "--steps", "12"])
    assert (settings.position_share, settings.steps) == (0.3, 12)
