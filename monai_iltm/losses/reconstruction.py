"""How far a reconstruction is from its image, and the VQ-VAE's training loss."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from monai_iltm.networks.vqvae import VQVAE
from monai_iltm.ops.spectral import amplitude_loss


class ReconstructionLoss(nn.Module):
    """Mean squared error, and ``spectral_weight`` times that of the Fourier amplitudes; a scalar.

    Args:
        spectral_weight: 1.0 in Patel et al.'s published code.
        perceptual, perceptual_weight: any module (a, b) -> scalar, such as MONAI's PerceptualLoss with weights that
            lie on this machine; 0.001 in the published code. None leaves it out: nothing is downloaded.
    """

    def __init__(
        self, spectral_weight: float = 1.0, perceptual: nn.Module | None = None, perceptual_weight: float = 0.001
    ) -> None:
        super().__init__()
        self.spectral_weight, self.perceptual, self.perceptual_weight = spectral_weight, perceptual, perceptual_weight

    def forward(self, reconstruction: Tensor, image: Tensor) -> Tensor:
        loss = nn.functional.mse_loss(reconstruction, image)
        if self.spectral_weight:
            loss = loss + self.spectral_weight * amplitude_loss(reconstruction, image)
        if self.perceptual is not None:
            loss = loss + self.perceptual_weight * self.perceptual(reconstruction, image)
        return loss


class VQVAELoss(nn.Module):
    """A VQ-VAE's error and its commitment to the codes; masks are not known to it.

    Args:
        network: what is trained. The others: of ``ReconstructionLoss``.
    """

    def __init__(
        self,
        network: VQVAE,
        spectral_weight: float = 1.0,
        perceptual: nn.Module | None = None,
        perceptual_weight: float = 0.001,
    ) -> None:
        super().__init__()
        self.network = network
        self.error = ReconstructionLoss(spectral_weight, perceptual, perceptual_weight)

    def forward(self, batch: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """``batch["image"]`` f32 [B, C, *S] -> loss, reconstruction and commitment, scalars."""
        image = batch["image"]
        reconstruction, commitment = self.network(image)
        with torch.autocast(image.device.type, enabled=False):  # differences of near equals need all their digits
            error = self.error(reconstruction.float(), image)
        return {"loss": error + commitment, "reconstruction": error, "commitment": commitment}
