"""Training losses: by their parts, by hand, and that they teach."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from monai_iltm.engines.step import TrainStep
from monai_iltm.losses import ReconstructionLoss, VQVAELoss
from monai_iltm.networks import VQVAE
from monai_iltm.ops.spectral import amplitude_loss


def test_the_reconstruction_loss_is_the_sum_of_its_parts():
    a, b = torch.rand(2, 1, 8, 8), torch.rand(2, 1, 8, 8)
    mse = nn.functional.mse_loss(a, b)
    assert ReconstructionLoss(0.0)(a, b) == mse
    assert ReconstructionLoss(0.5)(a, b).item() == pytest.approx((mse + 0.5 * amplitude_loss(a, b)).item())
    perceptual = ReconstructionLoss(0.0, nn.L1Loss(), 0.1)
    assert perceptual(a, b).item() == pytest.approx((mse + 0.1 * (a - b).abs().mean()).item())


@pytest.mark.parametrize("amp", [False, True])
def test_steps_of_a_vqvae_lower_its_loss(amp):
    torch.manual_seed(0)
    loss = VQVAELoss(VQVAE(2, 1, (8, 8), 1, num_embeddings=8, embedding_dim=4))
    state = SimpleNamespace(device=torch.device("cpu"), iteration=1)
    engine = SimpleNamespace(network=loss, optimizer=torch.optim.Adam(loss.parameters(), 1e-2), amp=amp, state=state)
    batch = {"image": torch.rand(4, 1, 16, 16)}
    told = [TrainStep()(engine, batch) for _ in range(25)]
    assert told[0].keys() == {"loss", "reconstruction", "commitment"}
    assert told[0]["loss"] == pytest.approx(told[0]["reconstruction"] + told[0]["commitment"], rel=1e-5)
    assert told[-1]["reconstruction"] < 0.8 * told[0]["reconstruction"]
