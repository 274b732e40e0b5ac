from __future__ import annotations

import pytest
import torch
from torch import nn

from monai_iltm.networks.f_anogan import CriticLoss, EncoderLoss, FAnoGAN, GeneratorLoss


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def network(size: tuple[int, ...] = (16, 16)) -> FAnoGAN:
    torch.manual_seed(0)
    return FAnoGAN(size, 1, latent=4)


@pytest.mark.parametrize("size", [(16, 16), (32, 16), (16, 24, 16)])
def test_an_image_comes_back_in_its_size(size):
    net = network(size).eval()
    images = torch.rand(2, 1, *size)
    with torch.no_grad():
        assert net(images).shape == images.shape
        assert net.feature_distance(images).shape == (2,)


@pytest.mark.parametrize("size", [(16, 18), (4, 4)])
def test_a_size_that_cannot_be_is_refused(size):
    with pytest.raises(ValueError, match="FAnoGAN: every axis"):
        network(size)


def test_the_slope_of_a_linear_critic_is_the_norm_of_its_weights():
    net = network()
    net.features = nn.Flatten()
    net.verdict = nn.Linear(256, 1)
    slopes = CriticLoss(net).slopes(torch.rand(3, 1, 16, 16))
    torch.testing.assert_close(slopes, net.verdict.weight.norm().expand(3))


def test_the_critics_loss_is_its_parts():
    parts = CriticLoss(network(), penalty=0.0)({"image": torch.rand(3, 1, 16, 16)}, seeded())
    assert parts["loss"].item() == pytest.approx(-parts["distance"].item())


@pytest.mark.parametrize("kind", [CriticLoss, GeneratorLoss, EncoderLoss])
def test_each_loss_trains_its_own_part(kind):
    """Its parameters all have a gradient, and are of one part alone."""
    net = network()
    loss = kind(net)
    loss({"image": torch.rand(3, 1, 16, 16)}, seeded())["loss"].backward()
    own = {id(parameter) for parameter in loss.parameters()}
    assert all(parameter.grad is not None for parameter in loss.parameters())
    part = {CriticLoss: ("features", "verdict"), GeneratorLoss: ("generator",), EncoderLoss: ("encoder",)}[kind]
    assert own == {id(p) for name, p in net.named_parameters() if name.split(".")[0] in part}


def test_the_encoders_loss_of_a_perfect_copy_is_nothing():
    net = network()
    images = torch.rand(3, 1, 16, 16)
    loss = EncoderLoss(net)
    loss.frozen = (nn.Identity(), net.features)
    loss.encoder = nn.Identity()
    assert loss({"image": images}, seeded())["loss"].item() == 0.0
