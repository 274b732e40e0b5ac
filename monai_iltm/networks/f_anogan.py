"""f-AnoGAN: a generator, its critic, an encoder into the code of the generator; and their losses."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from monai.networks.layers import Act, Conv, Norm
from torch import Tensor, nn

SMALLEST = 4  # cells that the shortest axis of an image is brought down to
WIDTHS = (32, 64, 128)  # features after the first halvings; all later ones have the last number
KERNEL = 4  # of the convolutions that halve


class FAnoGAN(nn.Module):
    """Image to the image that the generator makes of its code.

    Args:
        image_size: of 2D or 3D images, every axis a multiple of ``factor``. channels: of the image.
        latent: numbers of the code, normal ones.

    Raises:
        ValueError: an axis that is no multiple of ``factor``, or too short to be halved.

    Source: Schlegl et al., Medical Image Analysis 2019; plain convolutions for any size instead of residual blocks.
    """

    def __init__(self, image_size: Sequence[int], channels: int = 1, latent: int = 128) -> None:
        super().__init__()
        halvings = int(math.log2(max(1.0, min(image_size) / SMALLEST)))
        self.factor, self.latent, dims = 2**halvings, latent, len(image_size)
        if not halvings or any(n % self.factor for n in image_size):
            found = f"{tuple(image_size)}, with {halvings} halvings of its shortest axis"
            raise ValueError(f"FAnoGAN: every axis of image_size is a multiple of 2 to the halvings, found {found}")
        grid = tuple(n // self.factor for n in image_size)
        widths = [channels, *(WIDTHS[min(step, len(WIDTHS) - 1)] for step in range(halvings))]
        cells = widths[-1] * math.prod(grid)
        self.generator = nn.Sequential(
            nn.Linear(latent, cells),
            nn.Unflatten(1, (widths[-1], *grid)),
            *(_up(dims, b, a if step else b) for step, (a, b) in reversed(list(enumerate(pairwise(widths))))),
            Conv[Conv.CONV, dims](widths[1], channels, 3, padding=1),
            nn.Sigmoid(),
        )
        # the critic without a norm: it is asked of every image alone
        self.features = nn.Sequential(*(_down(dims, a, b, False) for a, b in pairwise(widths)), nn.Flatten())
        self.verdict = nn.Linear(cells, 1)
        down = [_down(dims, a, b, True) for a, b in pairwise(widths)]
        self.encoder = nn.Sequential(*down, nn.Flatten(), nn.Linear(cells, latent))

    def forward(self, image: Tensor) -> Tensor:
        """f32 [B, C, *S] in [0, 1] of the same."""
        return self.generator(self.encoder(image))

    def feature_distance(self, image: Tensor) -> Tensor:
        """Mean squared distance of the critic's features of each image from those of what is made of it: [B]."""
        return (self.features(image) - self.features(self(image))).square().mean(1)


class CriticLoss(nn.Module):
    """Wasserstein distance of made images from real ones, as the critic sees it, and what keeps its slope near 1.

    Args:
        network: whose critic is trained. penalty: weight of (|gradient| - 1)^2 between a real and a made image.

    Source: Gulrajani et al., NeurIPS 2017.
    """

    def __init__(self, network: FAnoGAN, penalty: float = 10.0) -> None:
        super().__init__()
        self.features, self.verdict, self.penalty = network.features, network.verdict, penalty
        self.frozen = (network.generator, network.latent)  # no part of what this loss trains

    def forward(self, batch: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """``batch["image"]`` f32 [B, C, *S] -> loss; distance, higher = told apart better; slope, mean |gradient|."""
        real = batch["image"]
        made = made_images(*self.frozen, len(real), real, generator).detach()
        distance = self.critic(real).mean() - self.critic(made).mean()
        weight = torch.rand(len(real), *[1] * (real.ndim - 1), generator=generator).to(real)
        slope = self.slopes(weight * real + (1 - weight) * made)
        loss = self.penalty * (slope - 1).square().mean() - distance
        return {"loss": loss, "distance": distance, "slope": slope.mean()}

    def critic(self, image: Tensor) -> Tensor:
        """[B], higher = more real."""
        return self.verdict(self.features(image)).float()[:, 0]

    def slopes(self, image: Tensor) -> Tensor:
        """Norm of the critic's gradient at each image, [B], in float32."""
        image = image.detach().float().requires_grad_()
        with torch.autocast(image.device.type, enabled=False):
            (gradient,) = torch.autograd.grad(self.critic(image).sum(), image, create_graph=True)
        return gradient.flatten(1).norm(dim=1)


class GeneratorLoss(nn.Module):
    """How unreal the critic finds made images.

    network: whose generator is trained.
    """

    def __init__(self, network: FAnoGAN) -> None:
        super().__init__()
        self.generator, self.latent = network.generator, network.latent
        self.frozen = (network.features, network.verdict)

    def forward(self, batch: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """As many as ``batch["image"]`` f32 [B, C, *S] -> loss."""
        made = made_images(self.generator, self.latent, len(batch["image"]), batch["image"], generator)
        features, verdict = self.frozen
        return {"loss": -verdict(features(made)).float().mean()}


class EncoderLoss(nn.Module):
    """Squared error of the image that is made of an image's code, and of the critic's features of it ("izi_f").

    Args:
        network: whose encoder is trained; the rest, trained before, stays. kappa: weight of the features.
    """

    def __init__(self, network: FAnoGAN, kappa: float = 1.0) -> None:
        super().__init__()
        self.encoder, self.kappa = network.encoder, kappa
        self.frozen = (network.generator.requires_grad_(False), network.features.requires_grad_(False))

    def forward(self, batch: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """``batch["image"]`` f32 [B, C, *S] -> loss; image and features, mean squared errors."""
        real, (generate, features) = batch["image"], self.frozen
        made = generate.eval()(self.encoder(real)).float()
        image = (made - real).square().mean()
        distance = (features(made) - features(real)).float().square().mean()
        return {"loss": image + self.kappa * distance, "image": image, "features": distance}


def made_images(generate: nn.Module, latent: int, count: int, like: Tensor, generator: torch.Generator) -> Tensor:
    """``count`` images of random codes, on the device of a tensor."""
    return generate(torch.randn(count, latent, generator=generator).to(like)).float()


def _down(dims: int, inputs: int, outputs: int, normalised: bool) -> nn.Module:
    """Half the size."""
    conv = Conv[Conv.CONV, dims](inputs, outputs, KERNEL, stride=2, padding=1)
    norm = [Norm[Norm.BATCH, dims](outputs)] if normalised else []
    return nn.Sequential(conv, *norm, Act[Act.LEAKYRELU](negative_slope=0.2))


def _up(dims: int, inputs: int, outputs: int) -> nn.Module:
    """Twice the size."""
    conv = Conv[Conv.CONV, dims](inputs, outputs, 3, padding=1)
    return nn.Sequential(nn.Upsample(scale_factor=2), conv, Norm[Norm.BATCH, dims](outputs), Act[Act.RELU]())
