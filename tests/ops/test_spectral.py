from __future__ import annotations

import math

import pytest
import torch

from monai_iltm.ops.spectral import amplitude_loss


@pytest.mark.parametrize("size", [(8, 8), (4, 6, 8)])
def test_of_constant_images_it_is_the_squared_difference(size):
    """An orthonormal FFT puts c sqrt(n) on frequency zero, and the mean over n frequencies undoes the n."""
    a, b = torch.full((2, 1, *size), 0.7), torch.full((2, 1, *size), 0.4)
    assert amplitude_loss(a, b).item() == pytest.approx(0.09, rel=1e-4)


def test_of_a_wave_it_is_half_the_squared_amplitude():
    wave = 0.6 * torch.cos(2 * math.pi * 3 * torch.arange(16) / 16).expand(1, 2, 16, 16)
    assert amplitude_loss(wave, torch.zeros_like(wave)).item() == pytest.approx(0.18, rel=1e-4)


def test_a_shift_costs_nothing_and_another_image_does():
    image = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert amplitude_loss(image, image).item() == 0
    assert amplitude_loss(image, image.roll((3, 2), (2, 3))).item() == pytest.approx(0, abs=1e-10)
    assert amplitude_loss(image, image**2).item() > 1e-3


@pytest.mark.parametrize("value", [0.0, 0.5])
def test_the_gradient_is_finite_on_a_constant_image(value):
    image = torch.full((1, 1, 8, 8), value, requires_grad=True)
    amplitude_loss(image, torch.rand(1, 1, 8, 8)).backward()
    assert torch.isfinite(image.grad).all()


def test_the_gradient_leads_to_the_image():
    target = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    image = target.roll(1, -1).mul(0.8).requires_grad_()
    before = amplitude_loss(image, target)
    (step,) = torch.autograd.grad(before, image)
    assert amplitude_loss(image - step, target) < before


def test_float32_whatever_comes_in():
    image = torch.rand(1, 1, 8, 8).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert amplitude_loss(image, image).dtype == torch.float32
