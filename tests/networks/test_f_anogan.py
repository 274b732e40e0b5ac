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


def linear_critic(norm: float) -> FAnoGAN:
    """One whose slope is the same at every image."""
    net = network()
    net.features, net.verdict = nn.Flatten(), nn.Linear(256, 1)
    with torch.no_grad():
        net.verdict.weight.mul_(norm / net.verdict.weight.norm())
    return net


@pytest.mark.parametrize(("norm", "penalty"), [(3.0, 40.0), (1.0, 0.0), (0.5, 2.5)])
def test_the_penalty_of_a_linear_critic_by_hand(norm, penalty):
    """10 (norm - 1)^2, beside the distance that is to grow."""
    parts = CriticLoss(linear_critic(norm))({"image": torch.rand(3, 1, 16, 16)}, seeded())
    assert (parts["loss"] + parts["distance"]).item() == pytest.approx(penalty, abs=1e-4)


def test_the_slope_is_not_rounded_to_bfloat16():
    loss = CriticLoss(linear_critic(3.0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        slopes = loss.slopes(torch.rand(3, 1, 16, 16))
    assert slopes.dtype == torch.float32
    torch.testing.assert_close(slopes, torch.full((3,), 3.0), rtol=1e-5, atol=0)


def test_the_generator_is_pulled_to_what_the_critic_finds_more_real():
    """Of a critic that tells the sum of an image: minus the mean sum of what is made."""
    net = linear_critic(3.0)
    with torch.no_grad():
        net.verdict.weight.fill_(1.0)
        net.verdict.bias.zero_()
        made = net.generator(torch.randn(3, 4, generator=seeded()))
    loss = GeneratorLoss(net)({"image": torch.rand(3, 1, 16, 16)}, seeded())["loss"]
    assert loss.item() == pytest.approx(-made.sum().item() / 3, rel=1e-5)


@pytest.mark.parametrize("kappa", [0.0, 1.0, 5.0])
def test_kappa_weighs_the_features(kappa):
    parts = EncoderLoss(network(), kappa)({"image": torch.rand(3, 1, 16, 16)}, seeded())
    assert parts["features"].item() > 0
    assert parts["loss"].item() == pytest.approx((parts["image"] + kappa * parts["features"]).item())


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
