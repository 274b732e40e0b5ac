from __future__ import annotations

import math

import pytest
import torch

from monai_iltm.networks.dense_vae import DenseVAE, DenseVAELoss, divergence

GENERATOR = torch.Generator


@pytest.mark.parametrize(
    ("size", "channels", "factor", "grid"),
    [((64, 64), 1, 8, (8, 8)), ((32, 48), 3, 4, (8, 12)), ((16, 24, 16), 1, 2, (8, 12, 8))],
)
def test_the_bottleneck_has_eight_cells_on_the_shortest_axis(size, channels, factor, grid):
    net = DenseVAE(size, channels).eval()
    images = torch.rand(2, channels, *size)
    assert (net.factor, net.grid) == (factor, grid)
    assert net(images).shape == images.shape
    assert net.kl(images).shape == (2,)


@pytest.mark.parametrize("size", [(8, 8), (16, 33)])
def test_sizes_that_cannot_be_halved_are_refused(size):
    with pytest.raises(ValueError, match=r"DenseVAE: every axis .* found \("):
        DenseVAE(size)


def test_the_divergence_by_hand():
    """Of a normal with mean 2 and variance e: (e + 4 - 1 - 1) / 2."""
    code = torch.tensor([[2.0], [0.0]]), torch.tensor([[1.0], [0.0]])
    assert divergence(*code).tolist() == pytest.approx([(math.e + 2) / 2, 0.0])


def test_what_a_mask_covers_neither_counts_nor_speaks_in_the_error():
    torch.manual_seed(0)
    loss, image = DenseVAELoss(DenseVAE((16, 16)), kl_weight=0.0).eval(), torch.rand(2, 1, 16, 16)
    mask = torch.zeros(2, 1, 16, 16)
    mask[:, :, :8] = 1.0
    with torch.no_grad():
        made = loss.network.decode(loss.network.encode(image)[0] + noise_of(loss, image))
        told = loss({"image": image, "mask": mask}, GENERATOR().manual_seed(1))
    assert told["reconstruction"].item() == pytest.approx((made - image)[:, :, 8:].square().mean().item(), rel=1e-5)


def noise_of(loss: DenseVAELoss, image: torch.Tensor) -> torch.Tensor:
    mean, log_var = loss.network.encode(image)
    return torch.randn(mean.shape, generator=GENERATOR().manual_seed(1)) * (0.5 * log_var).exp()


def test_with_all_masked_the_code_alone_is_trained():
    loss, image = DenseVAELoss(DenseVAE((16, 16))), torch.rand(2, 1, 16, 16)
    told = loss({"image": image, "mask": torch.ones(2, 1, 16, 16)}, GENERATOR())
    assert told["reconstruction"].item() == 0
    assert told["loss"].item() == pytest.approx(1e-4 * told["kl"].item())
