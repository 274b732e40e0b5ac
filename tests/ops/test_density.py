from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import gaussian_kde, norm
from torch import Tensor

from monai_iltm.ops import density
from monai_iltm.ops.density import kde_log_density, stream_log_density
from monai_iltm.ops.density_kernel import TILE, available


@pytest.fixture(autouse=True, params=["fused", "plain"])
def way(request, monkeypatch) -> str:
    """Every test with the compiled kernel and without it."""
    if request.param == "plain":
        monkeypatch.setattr(density, "available", lambda: False)
    elif not available():
        pytest.skip("numba is not installed")
    return request.param


def random_case(n: int, *shape: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    image = torch.rand(*shape, generator=generator)
    return image, (image + 0.2 * torch.randn(n, *shape, generator=generator)).clamp(0, 1)


@pytest.mark.parametrize("n", [1, 7, 300])
def test_equal_reconstructions_give_a_normal_density_of_the_floor(n):
    image = torch.tensor([0.1, 0.3, 0.5]).view(1, 1, 1, 3)
    log_density = kde_log_density(image, torch.full((n, 1, 1, 1, 3), 0.3), 0.05)
    assert log_density.flatten().tolist() == pytest.approx(norm(0.3, 0.05).logpdf([0.1, 0.3, 0.5]), rel=1e-5)


def test_two_values_by_hand():
    """r = 0 and 1: sigma = 1 / 2, h = (4 / 6)^(1/5) / 2 + eps; at x = 1/2 both kernels count alike."""
    recons = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1, 1)
    h = (4 / 6) ** 0.2 / 2 + 0.05
    expected = -((0.5 / h) ** 2) / 2 - math.log(h * math.sqrt(2 * math.pi))
    assert kde_log_density(torch.full((1, 1, 1, 1), 0.5), recons).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("size", [(3, 4), (2, 3, 2)])
def test_equals_scipy_voxel_by_voxel(size):
    image, recons = random_case(20, 2, 1, *size)
    log_density = kde_log_density(image, recons, 0.05)
    for i in np.ndindex(*image.shape):
        values = recons[(slice(None), *i)].double().numpy()
        h = values.std() * (4 / (3 * 20)) ** 0.2 + 0.05
        reference = gaussian_kde(values, bw_method=h / values.std(ddof=1))
        assert log_density[i].item() == pytest.approx(reference.logpdf([image[i].item()])[0], abs=1e-4)


def test_the_density_integrates_to_one():
    _, recons = random_case(9, 1, 1, 1, 1)
    x = torch.linspace(-2, 3, 5001).view(1, 1, 1, -1)
    density = kde_log_density(x, recons.expand(-1, -1, -1, -1, 5001)).exp()
    assert torch.trapezoid(density.flatten(), x.flatten()).item() == pytest.approx(1, abs=1e-4)


def test_channels_have_a_density_each_and_their_logs_are_summed():
    image, recons = random_case(12, 2, 3, 4, 5)
    one_by_one = [kde_log_density(image[:, c : c + 1], recons[:, :, c : c + 1]) for c in range(3)]
    assert kde_log_density(image, recons).shape == (2, 1, 4, 5)
    assert torch.allclose(kde_log_density(image, recons), sum(one_by_one), atol=1e-5)


@settings(max_examples=25)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=5), st.integers(0, 1000))
def test_streamed_in_chunks_equals_the_whole(sizes, seed):
    image, recons = random_case(sum(sizes), 2, 2, 3, 3, seed=seed)
    log_density, mean = stream_log_density(image, lambda: recons.split(sizes))
    assert torch.allclose(log_density, kde_log_density(image, recons), atol=1e-4)
    assert torch.allclose(mean, recons.mean(0), atol=1e-6)


@settings(max_examples=25)
@given(st.integers(1, 12), st.integers(0, 1000))
def test_the_order_of_reconstructions_is_irrelevant(n, seed):
    image, recons = random_case(n, 1, 1, 3, 3, seed=seed)
    shuffled = recons[torch.randperm(n, generator=torch.Generator().manual_seed(seed))]
    assert torch.allclose(kde_log_density(image, recons), kde_log_density(image, shuffled), atol=1e-5)


def test_a_density_has_units():
    """On 0..255 data, with the floor at 12.75, it is log 255 lower a channel."""
    image, recons = random_case(10, 1, 2, 3, 3)
    scaled = kde_log_density(255 * image, 255 * recons, 12.75)
    assert torch.allclose(scaled, kde_log_density(image, recons, 0.05) - 2 * math.log(255), atol=1e-4)


def test_far_from_all_reconstructions_it_stays_finite():
    log_density = kde_log_density(torch.ones(1, 1, 1, 1), torch.zeros(5, 1, 1, 1, 1), 0.005)
    assert log_density.item() == pytest.approx(-(200**2) / 2 - math.log(0.005 * math.sqrt(2 * math.pi)), rel=1e-5)


def test_float32_whatever_comes_in():
    image, recons = random_case(6, 1, 1, 4, 4)
    image, recons = image.bfloat16(), recons.bfloat16()
    plain = kde_log_density(image.float(), recons.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed, mean = stream_log_density(image, lambda: [recons])
    assert mixed.dtype == mean.dtype == torch.float32
    assert torch.allclose(mixed, plain, atol=1e-5)


@pytest.mark.parametrize("floor", [0.0, -0.1, math.nan])
def test_a_floor_that_is_not_positive_is_refused(floor):
    image, recons = random_case(3, 1, 1, 2, 2)
    with pytest.raises(ValueError, match="bandwidth_floor"):
        kde_log_density(image, recons, floor)


def test_no_reconstruction_and_other_shapes_are_refused():
    image, recons = random_case(3, 1, 1, 2, 2)
    with pytest.raises(ValueError, match="no reconstruction"):
        kde_log_density(image, recons[:0])
    with pytest.raises(ValueError, match="no reconstruction"):
        stream_log_density(image, list)
    with pytest.raises(ValueError, match=r"\(3, 1, 1, 2, 1\)"):
        kde_log_density(image, recons[..., :1])
    with_empty, _ = stream_log_density(image, lambda: [recons[:0], recons])
    assert torch.equal(with_empty, stream_log_density(image, lambda: [recons])[0])


@pytest.mark.parametrize("voxels", [1, TILE - 1, TILE, 2 * TILE + 5, 40 * TILE + 1])
@pytest.mark.parametrize("n", [1, 2, 300])
def test_any_number_of_voxels_and_reconstructions_equals_float64(monkeypatch, voxels, n):
    monkeypatch.setattr(density, "BLOCK", 700)  # several blocks where there is no kernel
    image, recons = random_case(n, 1, 1, 1, voxels)
    image[..., ::7] += 3  # far from all
    x, r = image.double(), recons.double()
    h = r.std(0, correction=0) * (4 / (3 * n)) ** 0.2 + 0.05
    expected = (-(((x - r) / h) ** 2) / 2).logsumexp(0) - h.log() - math.log(n * math.sqrt(2 * math.pi))
    assert torch.allclose(kde_log_density(image, recons).double(), expected, rtol=3e-5, atol=1e-4)


def test_threads_change_nothing(way):
    image, recons = random_case(30, 1, 1, 1, 7 * TILE)
    threads = torch.get_num_threads()
    maps = []
    try:
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            maps.append(kde_log_density(image, recons))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(maps[0], maps[1])
    assert torch.equal(maps[0], maps[2])
