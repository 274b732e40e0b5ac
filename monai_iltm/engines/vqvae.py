"""Stage 1: one training step of the VQ-VAE, for MONAI's SupervisedTrainer."""

from __future__ import annotations

from typing import Any

import torch
from ignite.engine import Engine
from torch import Tensor, nn

from monai_iltm.distributed import inner
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
            perceptual = self.perceptual.to(image.device)  # no trainer moves a loss
            loss = loss + self.perceptual_weight * perceptual(reconstruction, image)
        return loss


def vqvae_step(engine: Any, batch: dict[str, Tensor]) -> dict[str, Any]:
    """One optimiser step on ``batch["image"]`` f32 [B, C, *S].

    Returns the step's loss, its two parts and the gradient-free reconstruction error; ``engine`` is a
    SupervisedTrainer whose network is a ``VQVAE``, plain or wrapped.
    """
    image = batch["image"].to(engine.state.device)
    engine.network.train()
    engine.optimizer.zero_grad(set_to_none=True)
    with torch.autocast(engine.state.device.type, dtype=torch.bfloat16, enabled=engine.amp):
        reconstruction, commitment = engine.network(image)
        error = engine.loss_function(reconstruction.float(), image)
    loss = error + commitment
    loss.backward()
    engine.optimizer.step()
    return {"loss": loss.item(), "reconstruction": error.item(), "commitment": commitment.item()}


def codebook_use(engine: Engine) -> dict[str, float]:
    """Perplexity of the running code counts, codes with a count of at least a hundredth of the mean, their spread."""
    codebook = inner(engine.network).codebook  # type: ignore[attr-defined]
    share = codebook.ema_cluster_size / codebook.ema_cluster_size.sum()
    entropy = -(share * share.clamp(min=1e-12).log()).sum()
    in_use = int((share * len(share) > 0.01).sum())
    return {"perplexity": entropy.exp().item(), "codes_in_use": in_use, "code_spread": codebook.spread}
