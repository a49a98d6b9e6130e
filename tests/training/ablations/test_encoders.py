"""What reads images and texts in the ablations."""

import torch

from erragree_utils.training.ablations import encoders


def test_rotation_keeps_lengths_and_tells_places_apart():
    same = torch.randn(1, 1, 16).expand(1, 9, 16)
    turned = encoders.rotate(same)
    assert torch.allclose(turned.norm(dim=-1), same.norm(dim=-1), atol=1e-5)
    assert torch.equal(turned[0, 0], same[0, 0])  # the first place is not turned
    assert torch.pdist(turned[0]).min() > 0.05


def test_what_has_learned_nothing_differs_from_seed_to_seed():
    a, b = (encoders.untaught_llava(seed) for seed in (0, 1))
    assert not torch.equal(a.lm_head.weight, b.lm_head.weight)
    eyes = [model.model.vision_tower.state_dict() for model in (a, b)]
    assert all(torch.equal(eyes[0][key], eyes[1][key]) for key in eyes[0])
