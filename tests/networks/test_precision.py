"""Mixed precision and half precision: close to float32, finite, and what is handed on is float32."""

from __future__ import annotations

import pytest
import torch

from monai_iltm.networks import VQVAE, LatentPrior, MaskedTransformer
from monai_iltm.ops.healing import heal
from monai_iltm.ops.likelihood import token_log_likelihood


def case(order: str) -> tuple[MaskedTransformer, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    net = MaskedTransformer(5, (4, 4), width=16, depth=2, heads=2, order=order, groups=3).eval()
    tokens = torch.randint(5, (2, 16))
    return net, tokens, torch.rand(2, 16) < 0.4


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("order", ["raster", "any"])
def test_autocast_scores_heals_and_trains(order, dtype):
    net, tokens, suspect = case(order)
    plain = token_log_likelihood(net, tokens, suspect)
    with torch.autocast("cpu", dtype=dtype):
        log_p = token_log_likelihood(net, tokens, suspect)
        healed = heal(net, tokens, suspect, 3, torch.Generator().manual_seed(0))
        losses = [net.loss(tokens, suspect, torch.Generator().manual_seed(i)) for i in range(4)]
    assert log_p.dtype == torch.float32
    assert torch.allclose(log_p, plain, atol=0.05)
    assert torch.equal(healed[:, ~suspect], tokens[~suspect].expand(3, -1))
    assert all(loss.dtype == torch.float32 and loss.isfinite() for loss in losses)
    sum(losses).backward()
    assert all(p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("order", ["raster", "any"])
def test_a_network_in_half_precision_scores_and_heals(order, dtype):
    net, tokens, suspect = case(order)
    plain = token_log_likelihood(net, tokens, suspect)
    log_p = token_log_likelihood(net.to(dtype), tokens, suspect)
    assert log_p.dtype == torch.float32
    assert torch.allclose(log_p, plain, atol=0.05)
    assert heal(net, tokens, suspect, 3).shape == (3, 2, 16)


def test_the_codebook_looks_up_in_float32_under_autocast():
    torch.manual_seed(0)
    book = VQVAE(2, 1, channels=(8,), num_res_layers=1, num_embeddings=64, embedding_dim=8).codebook
    encodings = torch.randn(4, 8, 16, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        indices = book.quantize(encodings)[2]
    assert torch.equal(indices, book.quantize(encodings)[2])


def test_the_pair_gives_a_float32_map_under_autocast():
    torch.manual_seed(0)
    vqvae = VQVAE(2, 1, channels=(8, 8), num_res_layers=1, num_embeddings=6, embedding_dim=4)
    net = LatentPrior(vqvae, MaskedTransformer(6, (4, 4), width=16, depth=1, heads=2, order="any")).eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores = net(torch.rand(2, 1, 16, 16))
    assert scores.dtype == torch.float32
    assert scores.isfinite().all()
