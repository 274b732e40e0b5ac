from __future__ import annotations

import torch

from monai_iltm.inferers import ResidualInferer


def test_the_map_is_what_the_reconstruction_misses(pair):
    vqvae = pair(channels=3).vqvae
    images = torch.rand(2, 3, 16, 16)
    residual = ResidualInferer()(images, vqvae)
    missed = images - vqvae.decode(vqvae.embed(vqvae.index_quantize(images)))
    assert residual.shape == (2, 1, 16, 16)
    torch.testing.assert_close(residual[:, 0], (missed[:, 0].abs() + missed[:, 1].abs() + missed[:, 2].abs()) / 3)
    assert not residual.requires_grad


def test_it_is_zero_where_the_reconstruction_is_perfect():
    images = torch.rand(1, 1, 8, 8, 8)
    assert not ResidualInferer()(images, torch.nn.Identity()).any()


def test_numbers_by_hand():
    """Off by 0.1 everywhere: an MSE of 0.01, which is 20 dB; a perfect copy has 100 dB."""
    images = torch.stack([torch.full((1, 4, 4), 0.2), torch.zeros(1, 4, 4)])
    scored = ResidualInferer().score(images, lambda x: torch.where(x > 0, x - 0.1, x))
    expected = {"mse": [0.01, 0.0], "mae": [0.1, 0.0], "psnr": [20.0, 100.0]}
    for name, values in expected.items():
        torch.testing.assert_close(scored.numbers[name], torch.tensor(values))
    torch.testing.assert_close(scored.pictures["reconstruction"][0], torch.full((1, 4, 4), 0.1))
