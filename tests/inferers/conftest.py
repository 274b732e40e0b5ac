"""A tiny pair of VQ-VAE and prior, with weights large enough to matter."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from monai_iltm.networks import VQVAE, LatentPrior, MaskedTransformer


@pytest.fixture(scope="session")
def pair() -> Callable[..., LatentPrior]:
    """Builder of a pair in eval mode for images of 4 pixels a cell; the same arguments give the same weights."""

    def build(order: str = "any", grid: tuple[int, ...] = (4, 4), channels: int = 1, dropout: float = 0.3):
        torch.manual_seed(0)
        vqvae = VQVAE(len(grid), channels, (8, 8), 1, num_embeddings=8, embedding_dim=4, head_dropout=dropout)
        vqvae.train()(torch.rand(4, channels, *(4 * n for n in grid)))  # the codebook starts on what the encoder gives
        prior = MaskedTransformer(8, grid, width=16, depth=2, heads=2, order=order, groups=3)
        for parameter in prior.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        return LatentPrior(vqvae, prior).eval()

    return build
