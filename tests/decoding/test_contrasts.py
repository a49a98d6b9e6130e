"""Formulas of contrastive decoding, by hand and against a few straight lines."""

from __future__ import annotations

import math

import pytest
import torch

from erragree_utils.decoding import M3ID, VCD, TextContrast
from erragree_utils.decoding.contrasts import add_noise

CONTRASTS = (VCD(), M3ID(threshold=0.05), M3ID(), TextContrast(), VCD(alpha=0.5, beta=0.3))
STRENGTH_0 = (VCD(alpha=0), M3ID(decay=0), M3ID().with_strength(0), TextContrast(strength=0))
each_contrast = pytest.mark.parametrize("contrast", CONTRASTS, ids=repr)


def reference_combine(contrast, l_c: torch.Tensor, l_u: torch.Tensor, t: int) -> torch.Tensor:
    """The formulas, for one token."""
    l_c, l_u = l_c.log_softmax(-1), l_u.log_softmax(-1)
    if isinstance(contrast, VCD):
        mixed = (1 + contrast.alpha) * l_c - contrast.alpha * l_u
        mixed[l_c < math.log(contrast.beta) + l_c.max()] = -torch.inf
        return mixed
    if isinstance(contrast, M3ID):
        g = math.exp(-contrast.decay * (t + contrast.t0))
        unsure = l_c.exp().max() < contrast.threshold
        return l_c + unsure * contrast.strength * (1 - g) / g * (l_c - l_u)
    return l_c + contrast.strength * (l_c - l_u)


def reference_noise(pixels: torch.Tensor, step: int, noise: torch.Tensor) -> torch.Tensor:
    """The image after so many small steps of forward diffusion, one factor at a time."""
    abar = 1.0
    for k in range(step + 1):
        abar *= 1 - ((0.5e-2 - 1e-5) / (1 + math.exp(6 - 12 * k / 999)) + 1e-5)
    return abar**0.5 * pixels + (1 - abar) ** 0.5 * noise


class TestCombine:
    CONDITIONAL = torch.tensor([[2.0, 1.0, -1.0]])
    OTHER = torch.tensor([[2.0, 0.0, 0.0]])

    def test_the_defaults_are_the_published_ones(self):
        assert VCD() == VCD(alpha=1.0, beta=0.1, noise_step=500)
        assert M3ID() == M3ID(decay=0.02, threshold=0.3, t0=10, strength=1)
        assert TextContrast() == TextContrast(strength=1.0)

    def test_vcd_by_hand(self):
        # exp(-1 - 2) = 0.05 is below 0.1: the third token is implausible.
        expected = torch.tensor([[2.0, 2.0, -torch.inf]])
        assert torch.equal(VCD().combine(self.CONDITIONAL, self.OTHER, 1), expected)
        expected = torch.tensor([[2.0, 2.0, -2.0]])
        assert torch.equal(VCD(beta=0).combine(self.CONDITIONAL, self.OTHER, 1), expected)

    def test_a_token_at_the_cut_off_of_vcd_is_kept(self):
        found = VCD(beta=1).combine(self.CONDITIONAL, self.OTHER, 1)
        assert found.tolist() == [[2.0, -math.inf, -math.inf]]

    def test_text_contrast_by_hand(self):
        found = TextContrast(0.5).combine(self.CONDITIONAL, self.OTHER, 1)
        assert torch.equal(found, torch.tensor([[2.0, 1.5, -1.5]]))

    def test_m3id_grows_with_the_answer_and_leads_by_t0(self):
        assert M3ID(t0=0).weight(1) == pytest.approx(0.0202, abs=1e-4)
        assert M3ID().weight(1) == pytest.approx(math.exp(0.22) - 1)
        assert M3ID().weight(9) > M3ID().weight(2) > M3ID().weight(1)

    def test_m3id_corrects_only_rows_where_the_model_is_unsure(self):
        sure, unsure = torch.tensor([9.0, 0.0, 0.0, 0.0]), torch.tensor([0.3, 0.1, 0.0, 0.2])
        conditional = torch.stack([sure, unsure])
        found = M3ID().combine(conditional, torch.zeros(2, 4), 1)
        assert torch.equal(found[0], sure)
        torch.testing.assert_close(found[1], unsure * math.exp(0.22))
        always = M3ID(threshold=1).combine(conditional, torch.zeros(2, 4), 1)
        torch.testing.assert_close(always, conditional * math.exp(0.22))

    def test_m3id_leaves_a_token_that_has_just_the_probability_of_its_threshold(self):
        even = torch.tensor([[1.0, 1.0]])
        assert torch.equal(M3ID(threshold=0.5).combine(even, torch.tensor([[1.0, 0.0]]), 1), even)

    @each_contrast
    def test_all_are_the_reference_up_to_a_constant(self, contrast):
        rng = torch.Generator().manual_seed(0)
        conditional, other = torch.randn(2, 16, 30, generator=rng) * 2
        for step in (1, 2, 7):
            found = contrast.combine(conditional, other, step).log_softmax(-1)
            rows = zip(conditional, other, strict=True)
            expected = torch.stack([reference_combine(contrast, *row, step) for row in rows])
            torch.testing.assert_close(found, expected.log_softmax(-1), atol=1e-5, rtol=0)

    @pytest.mark.parametrize("contrast", STRENGTH_0, ids=repr)
    def test_strength_0_leaves_the_likeliest_token_and_all_that_are_plausible(self, contrast):
        found = contrast.combine(self.CONDITIONAL, self.OTHER, 1)
        kept = found.isfinite()
        assert torch.equal(found[kept], self.CONDITIONAL[kept]) and kept[0, 0]

    @pytest.mark.parametrize("contrast", [VCD(beta=0), M3ID(threshold=1), TextContrast()])
    def test_one_strength_means_the_same_to_all_for_the_first_token(self, contrast):
        found = contrast.with_strength(0.7).combine(self.CONDITIONAL, self.OTHER, 1)
        torch.testing.assert_close(
            found, self.CONDITIONAL + 0.7 * (self.CONDITIONAL - self.OTHER), atol=1e-6, rtol=0
        )

    @each_contrast
    def test_tokens_that_are_ruled_out_stay_so(self, contrast):
        conditional, other = self.CONDITIONAL.clone(), self.OTHER.clone()
        conditional[0, 1] = other[0, 1] = -torch.inf
        found = contrast.combine(conditional, other, 1)
        assert found[0, 1] == -torch.inf and not found.isnan().any()

    def test_half_precision_is_combined_in_single(self):
        found = TextContrast().combine(self.CONDITIONAL.half(), self.OTHER.half(), 1)
        assert found.dtype == torch.float32

    def test_streams_of_different_shapes_and_steps_before_the_first_are_refused(self):
        with pytest.raises(ValueError, match=r"one shape .*not \(1, 3\) and \(1, 2\)"):
            VCD().combine(self.CONDITIONAL, self.OTHER[:, :2], 1)
        with pytest.raises(ValueError, match="counts the answer's tokens from 1, and is 0"):
            M3ID().combine(self.CONDITIONAL, self.OTHER, 0)

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda: VCD(alpha=-1), "alpha must be a number 0 or above, not -1"),
            (lambda: VCD(beta=1.5), "beta must be a number between 0 and 1, not 1.5"),
            (lambda: VCD(noise_step=1000), "whole number from 0 to 999, not 1000"),
            (lambda: M3ID(decay=math.nan), "decay must be a number"),
            (lambda: M3ID(threshold=2), "threshold must be a number between 0 and 1"),
            (lambda: M3ID(t0=-2), "t0 must be a number 0 or above, not -2"),
            (lambda: TextContrast(math.inf), "strength must be a number 0 or above, not inf"),
            (lambda: M3ID(decay=0).with_strength(1), "give M3ID a positive decay"),
            (lambda: M3ID().with_strength(-1), "strength must be a number 0 or above"),
        ],
    )
    def test_parameters_that_make_no_sense(self, make, message):
        with pytest.raises(ValueError, match=message):
            make()


class TestNoise:
    def test_it_is_the_published_schedule(self):
        rng = torch.Generator().manual_seed(0)
        pixels, noise = torch.randn(2, 2, 3, 8, 8, generator=rng)
        for step in (0, 500, 999):
            expected = reference_noise(pixels, step, noise)
            torch.testing.assert_close(add_noise(pixels, step, noise), expected, atol=1e-5, rtol=0)

    def test_more_steps_leave_less_of_the_image(self):
        ones, none = torch.ones(1), torch.zeros(1)
        kept = [add_noise(ones, step, none).item() for step in (0, 250, 500, 999)]
        assert kept == sorted(kept, reverse=True)
        assert kept[0] > 0.999 and 0.5 < kept[2] < 0.9 and kept[3] < 0.4
