"""Agreement of two images in the frequency domain."""

from __future__ import annotations

import torch
from torch import Tensor

# Keeps the gradient of an amplitude finite where a frequency is absent (a constant image has one frequency alone).
SMALLEST_POWER = 1e-12


def amplitude_loss(image: Tensor, other: Tensor) -> Tensor:
    """Mean squared difference of the orthonormal FFT amplitudes of f32 [B, C, *S] images: a scalar.

    Source: the spectral loss of Jukebox (Dhariwal et al. 2020), as in Patel et al.'s published code.
    """
    return (_amplitude(image) - _amplitude(other)).square().mean()


def _amplitude(image: Tensor) -> Tensor:
    axes = tuple(range(2, image.ndim))
    power = torch.view_as_real(torch.fft.fftn(image.float(), dim=axes, norm="ortho")).square().sum(-1)
    return (power + SMALLEST_POWER).sqrt()
