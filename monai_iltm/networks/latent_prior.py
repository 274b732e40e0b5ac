"""VQ-VAE and prior in one module with one state dict: the pair that is deployed."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from monai_iltm.networks.masked_transformer import MaskedTransformer
from monai_iltm.networks.vqvae import VQVAE
from monai_iltm.ops.likelihood import token_log_likelihood
from monai_iltm.ops.tokens import to_image_grid


class LatentPrior(nn.Module):
    """Image to how unlikely each of its tokens is; an inferer such as ``KDEInferer`` makes the anomaly map of it.

    Args:
        vqvae: stage 1; transformer: stage 2, with as many codes as the codebook.

    Raises:
        ValueError: the two disagree on the number of codes or the dimensions.
    """

    def __init__(self, vqvae: VQVAE, transformer: MaskedTransformer) -> None:
        super().__init__()
        if vqvae.num_embeddings != transformer.num_codes or vqvae.spatial_dims != len(transformer.grid):
            raise ValueError(
                f"LatentPrior: the VQ-VAE has {vqvae.num_embeddings} codes in {vqvae.spatial_dims}D, the transformer "
                f"{transformer.num_codes} on the grid {transformer.grid}"
            )
        self.vqvae, self.transformer = vqvae, transformer

    @property
    def factor(self) -> int:
        """Voxels of a token on every axis: those of an image are a multiple of it."""
        return self.vqvae.factor

    def tokens(self, image: Tensor) -> Tensor:
        """Tokens i64 [B, L] of images f32 [B, C, *S].

        Raises:
            ValueError: an image whose size is not the grid times the VQ-VAE's factor.
        """
        grid, factor = self.transformer.grid, self.vqvae.factor
        expected = tuple(n * factor for n in grid)
        if tuple(image.shape[2:]) != expected:
            raise ValueError(f"LatentPrior: expected images of {expected}, found {tuple(image.shape[2:])}")
        return self.vqvae.index_quantize(image).flatten(1)

    def forward(self, image: Tensor) -> Tensor:
        """The cheap, deterministic score: -log p of every token, in nats, brought to the image grid [B, 1, *S]."""
        tokens = self.tokens(image)
        log_p = token_log_likelihood(self.transformer, tokens)
        return to_image_grid(-log_p, self.transformer.grid, image.shape[2:])


def token_grid(image_size: Sequence[int], vqvae: VQVAE) -> tuple[int, ...]:
    """Cells per axis of images of this size. Raises ValueError where an axis is no multiple of the VQ-VAE's factor."""
    if any(n % vqvae.factor for n in image_size):
        found = f"{tuple(image_size)} is no multiple of the VQ-VAE's factor {vqvae.factor}"
        raise ValueError(f"token_grid: image_size {found}")
    return tuple(n // vqvae.factor for n in image_size)
