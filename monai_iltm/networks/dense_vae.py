"""A variational autoencoder whose code is one dense vector, and its loss."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from monai.networks.layers import Act, Conv, Norm
from torch import Tensor, nn

BOTTLENECK = 8  # cells that the shortest axis of an image is brought down to
WIDTHS = (32, 64, 128)  # features after the first halvings; all later ones have the last number
KERNEL, NARROWER = 5, 8  # of the convolutions; the dense layers read an eighth of the features


class DenseVAE(nn.Module):
    """Image to its reconstruction from the mean of its code.

    Convolutions of 5 with stride 2, batch norm and leaky ReLU bring the image down to eight cells on its shortest axis,
    and mirrored ones back up; between them lies a normal code of ``latent`` numbers.

    Args:
        image_size: of 2D or 3D images, every axis a multiple of ``factor``. channels: of the image.
        latent: numbers of the code. dropout: before and after it.

    Raises:
        ValueError: an axis that is no multiple of ``factor``, or too short to be halved.

    Source: the dense VAE of Baur et al., Medical Image Analysis 2021, in PyTorch and for any size.
    """

    def __init__(self, image_size: Sequence[int], channels: int = 1, latent: int = 128, dropout: float = 0.2) -> None:
        super().__init__()
        halvings = int(math.log2(max(1.0, min(image_size) / BOTTLENECK)))
        self.factor = 2**halvings
        if not halvings or any(n % self.factor for n in image_size):
            found = f"{tuple(image_size)}, with {halvings} halvings of its shortest axis"
            raise ValueError(f"DenseVAE: every axis of image_size is a multiple of 2 to the halvings, found {found}")
        dims, self.grid = len(image_size), tuple(n // self.factor for n in image_size)
        widths = [channels, *(WIDTHS[min(step, len(WIDTHS) - 1)] for step in range(halvings))]
        conv, last = Conv[Conv.CONV, dims], widths[-1]
        narrow = max(1, last // NARROWER)
        cells = narrow * math.prod(self.grid)
        down = [_block(dims, a, b, Conv.CONV) for a, b in pairwise(widths)]
        up = [_block(dims, b, a, Conv.CONVTRANS) for a, b in pairwise(widths[1:])]
        self.encoder = nn.Sequential(*down, conv(last, narrow, 1), nn.Flatten(), nn.Dropout(dropout))
        self.mean, self.log_var = nn.Linear(cells, latent), nn.Linear(cells, latent)
        self.decoder = nn.Sequential(
            nn.Linear(latent, cells),
            nn.Dropout(dropout),
            nn.Unflatten(1, (narrow, *self.grid)),
            conv(narrow, last, 1),
            *reversed(up),
            _up(dims, widths[1], widths[1]),
            conv(widths[1], channels, 1),
        )

    def encode(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of the code, [B, latent] each, of images f32 [B, C, *S]."""
        features = self.encoder(image)
        return self.mean(features), self.log_var(features)

    def decode(self, code: Tensor) -> Tensor:
        """Images [B, C, *S] of codes [B, latent]."""
        return self.decoder(code)

    def forward(self, image: Tensor) -> Tensor:
        return self.decode(self.encode(image)[0])

    def kl(self, image: Tensor) -> Tensor:
        """Divergence of each image's code from a standard normal one, nats: [B], higher = stranger."""
        return divergence(*self.encode(image))


class DenseVAELoss(nn.Module):
    """Mean squared error over all that no mask covers, and ``kl_weight`` times the divergence of the code.

    Args:
        network: what is trained. kl_weight: of the divergence, in nats an image, beside an error in units of intensity
            squared, summed over a voxel's channels and averaged over voxels.
    """

    def __init__(self, network: DenseVAE, kl_weight: float = 1e-4) -> None:
        super().__init__()
        self.network, self.kl_weight = network, kl_weight

    def forward(self, batch: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """``batch["image"]`` f32 [B, C, *S] and, where it is there, "mask" [B, 1, *S], non-zero = leave out -> loss,
        reconstruction and kl, scalars."""
        image = batch["image"]
        mean, log_var = self.network.encode(image)
        noise = torch.randn(mean.shape, generator=generator).to(mean)
        made = self.network.decode(mean + noise * (0.5 * log_var).exp())
        error = (made.float() - image).square().sum(1, keepdim=True)  # [B, 1, *S]
        kept = torch.ones_like(error) if "mask" not in batch else (batch["mask"] == 0).to(error)
        reconstruction = (error * kept).sum() / kept.sum().clamp(min=1)
        kl = divergence(mean.float(), log_var.float()).mean()
        return {"loss": reconstruction + self.kl_weight * kl, "reconstruction": reconstruction, "kl": kl}


def divergence(mean: Tensor, log_var: Tensor) -> Tensor:
    """KL divergence of normals [B, n] from the standard one, nats: [B]."""
    return -0.5 * (1 + log_var - mean.square() - log_var.exp()).sum(1)


def _block(dims: int, inputs: int, outputs: int, kind: str) -> nn.Module:
    """Half, or twice, the size, normalised."""
    if kind == Conv.CONVTRANS:
        layer = _up(dims, inputs, outputs)
    else:
        layer = Conv[Conv.CONV, dims](inputs, outputs, KERNEL, stride=2, padding=KERNEL // 2)
    return nn.Sequential(layer, Norm[Norm.BATCH, dims](outputs), Act[Act.LEAKYRELU]())


def _up(dims: int, inputs: int, outputs: int) -> nn.Module:
    return Conv[Conv.CONVTRANS, dims](inputs, outputs, KERNEL, stride=2, padding=KERNEL // 2, output_padding=1)
