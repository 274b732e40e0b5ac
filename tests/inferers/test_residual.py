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
