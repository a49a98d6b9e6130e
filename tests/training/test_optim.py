"""Optimizers and single steps."""

import torch

from erragree_utils.training.optim import Muon, Step


def test_matrices_treated_together_end_as_with_pytorchs_muon():
    torch.manual_seed(0)
    shapes = [(12, 4)] * 3 + [(4, 12)] * 2
    one, other = ([torch.nn.Parameter(torch.ones(s)) for s in shapes] for _ in range(2))
    options = {"lr": 0.1, "weight_decay": 0.1}
    alone = Muon(one, together=False, **options)
    together = Muon(other, together=True, **options)
    for _ in range(3):
        for p, q in zip(one, other, strict=True):
            p.grad = torch.randn_like(p)
            q.grad = p.grad.clone()
        alone.step()
        together.step()
    assert all(torch.allclose(p, q, atol=2e-3) for p, q in zip(one, other, strict=True))


def test_a_step_moves_at_a_share_of_the_first_rate_and_returns_the_loss_before():
    weight = torch.nn.Parameter(torch.tensor([2.0]))
    step = Step(lambda x: (weight * x).sum(), [torch.optim.SGD([weight], lr=0.5)])
    for factor, before, after in ((1.0, 6.0, 0.5), (0.5, 1.5, -0.25), (1.0, -0.75, -1.75)):
        assert step(factor, torch.tensor([3.0])).item() == before
        assert weight.item() == after
