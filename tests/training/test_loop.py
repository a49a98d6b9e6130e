"""What both trainings share."""

import json

import torch

from erragree_utils.training import clip
from erragree_utils.training import loop as training


def test_the_log_of_a_killed_run_has_each_step_once(tmp_path):
    log = tmp_path / "log.jsonl"
    log.write_text('{"step": 2, "minutes": 1.5}\n{"step": 4, "minutes": 3.0}\n')
    assert training.forget_after(log, 2) == 1.5
    assert [json.loads(line)["step"] for line in log.read_text().splitlines()] == [2]


def test_an_update_steps_at_a_share_of_the_first_rate_and_clears_gradients():
    weight = torch.nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([weight], lr=0.5)
    for factor, expected in ((1.0, 0.5), (0.5, 0.25)):  # the share is of the first, not the last
        weight.data.fill_(1.0)
        weight.sum().backward()
        training.update([optimizer], factor)
        assert weight.item() == 1.0 - expected and weight.grad is None


def test_a_log_line_holds_the_mean_loss_since_the_last_and_time_over_all_starts(tmp_path):
    (tmp_path / "log.jsonl").write_text('{"step": 2, "minutes": 1.5}\n')
    log = training.Log(tmp_path, 2)
    log.losses += [1.0, 3.0]
    log.write(4, {"pair": 0.25})
    first, second = map(json.loads, (tmp_path / "log.jsonl").read_text().splitlines())
    assert first["step"] == 2 and second["minutes"] >= 1.5
    assert (second["step"], second["loss"], second["pair"]) == (4, 2.0, 0.25)
    assert log.losses == []


def test_every_setting_is_an_option_of_its_own_type():
    parser = training.command_line("Train.", "runs/here", clip.Settings())
    plain = vars(parser.parse_args([]))
    assert (str(plain.pop("run")), plain.pop("out")) == ("runs/here", None)
    assert clip.Settings(**plain) == clip.Settings()
    given = parser.parse_args(["--position-share", "0.3", "--steps", "12"])
    assert (given.position_share, given.steps) == (0.3, 12)


def test_matrices_treated_together_end_as_with_pytorchs_muon():
    torch.manual_seed(0)
    shapes = [(12, 4)] * 3 + [(4, 12)] * 2
    one, other = ([torch.nn.Parameter(torch.ones(s)) for s in shapes] for _ in range(2))
    options = {"lr": 0.1, "weight_decay": 0.1}
    alone = training.Muon(one, together=False, **options)
    together = training.Muon(other, together=True, **options)
    for _ in range(3):
        for p, q in zip(one, other, strict=True):
            p.grad = torch.randn_like(p)
            q.grad = p.grad.clone()
        alone.step()
        together.step()
    assert all(torch.allclose(p, q, atol=2e-3) for p, q in zip(one, other, strict=True))


def test_a_step_returns_the_loss_and_moves_the_weights():
    weight = torch.nn.Parameter(torch.tensor([2.0]))
    step = training.Step(lambda x: (weight * x).sum(), [torch.optim.SGD([weight], lr=0.5)])
    assert step(torch.tensor([3.0])).item() == 6.0
    assert weight.item() == 0.5
    assert step(torch.tensor([3.0])).item() == 1.5
