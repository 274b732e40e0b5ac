"""With a suspect mask, nothing anywhere depends on which code stands at a suspect position."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from monai_iltm.networks import MaskedTransformer
from monai_iltm.ops.likelihood import token_log_likelihood

GRIDS = [(3, 4), (2, 3, 2)]
ORDERS = ["raster", "any"]


def case(net: MaskedTransformer, seed: int, share: float) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens, the same tokens with every suspect's code changed, and the suspects, [2, L] each."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(net.num_codes, (2, net.length), generator=generator)
    suspect = torch.rand(2, net.length, generator=generator) < share
    shift = torch.randint(1, net.num_codes, (2, net.length), generator=generator)
    return tokens, torch.where(suspect, (tokens + shift) % net.num_codes, tokens), suspect


def gradients(net: MaskedTransformer, value: Tensor) -> list[Tensor]:
    parameters = list(net.parameters())
    found = torch.autograd.grad(value, parameters, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)]


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("order", ORDERS)
@settings(max_examples=15)
@given(seed=st.integers(0, 10**6), share=st.floats(0, 1), deal=st.none() | st.integers(0, 9))
def test_no_logit_and_no_gradient_of_forward_depends_on_suspects(tiny, order, grid, seed, share, deal):
    net = tiny(order, grid)
    tokens, changed, suspect = case(net, seed, share)
    weights = torch.randn(2, net.length, net.num_codes, dtype=torch.double, generator=torch.Generator().manual_seed(1))
    results = []
    for version in (tokens, changed):
        generator = None if deal is None else torch.Generator().manual_seed(deal)
        logits = net(version, suspect, generator)
        results.append([logits, *gradients(net, (logits * weights).sum())])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
    assert results[0][0].isfinite().all()


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("order", ORDERS)
@settings(max_examples=15)
@given(seed=st.integers(0, 10**6), share=st.floats(0, 1), draw=st.integers(0, 9))
def test_neither_loss_nor_its_gradient_depends_on_suspects(tiny, order, grid, seed, share, draw):
    net = tiny(order, grid)
    tokens, changed, suspect = case(net, seed, share)
    results = []
    for version in (tokens, changed):
        loss = net.loss(version, suspect, torch.Generator().manual_seed(draw))
        results.append([loss, *gradients(net, loss)])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
    assert all(value.isfinite().all() for value in results[0])


@pytest.mark.parametrize("order", ORDERS)
def test_the_score_of_trusted_tokens_ignores_suspects(tiny, order):
    net = tiny(order)
    tokens, changed, suspect = case(net, 0, 0.4)
    scores = [token_log_likelihood(net, version, suspect) for version in (tokens, changed)]
    assert torch.equal(scores[0][~suspect], scores[1][~suspect])
    assert not torch.equal(scores[0][suspect], scores[1][suspect])  # suspects are scored for what they are


@pytest.mark.parametrize("grid", GRIDS)
def test_the_published_masking_leaks(tiny, grid):
    net = tiny("raster", grid, paper_masking=True)
    tokens = torch.zeros(1, net.length, dtype=torch.long)
    suspect = torch.zeros_like(tokens, dtype=torch.bool)
    suspect[0, 4] = True
    changed = tokens.masked_fill(suspect, 3)
    logits, other = net(tokens, suspect), net(changed, suspect)
    moved = (logits - other).abs().amax(-1)[0] > 1e-6
    assert moved.nonzero()[:, 0].tolist() == [5]  # through the residual stream of the next position
    assert net.loss(tokens, suspect) != net.loss(changed, suspect)


def test_the_published_masking_without_suspects_is_the_plain_one(tiny):
    tokens, _, suspect = case(net := tiny("raster"), 0, 0.0)
    assert torch.equal(tiny("raster", paper_masking=True)(tokens, suspect), net(tokens, suspect))


@pytest.mark.parametrize("order", ORDERS)
def test_a_sequence_without_trusted_tokens_adds_no_loss_and_no_gradient(tiny, order):
    net = tiny(order)
    tokens, _, suspect = case(net, 0, 0.4)
    suspect[1] = True
    noise = torch.rand(2, net.length, generator=torch.Generator().manual_seed(0))
    for draw in range(4):
        both = net.loss(tokens, suspect, torch.Generator().manual_seed(draw), noise)
        alone = net.loss(tokens[:1], suspect[:1], torch.Generator().manual_seed(draw), noise[:1])
        assert both.item() == pytest.approx(alone.item() / 2, rel=1e-6)
        for a, b in zip(gradients(net, both), gradients(net, alone), strict=True):
            assert torch.allclose(a, b / 2, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("order", ORDERS)
def test_a_batch_without_trusted_tokens_has_loss_zero_and_zero_gradient(tiny, order):
    net = tiny(order)
    tokens = torch.zeros(2, net.length, dtype=torch.long)
    for draw in range(4):
        net.zero_grad()
        loss = net.loss(tokens, torch.ones_like(tokens, dtype=torch.bool), torch.Generator().manual_seed(draw))
        loss.backward()
        assert loss.item() == 0
        assert all(torch.equal(p.grad, torch.zeros_like(p)) for p in net.parameters() if p.grad is not None)


@pytest.mark.parametrize("order", ORDERS)
def test_every_parameter_has_a_gradient_whatever_is_suspect(tiny, order):
    """DistributedDataParallel waits for all of them."""
    net = tiny(order)
    tokens = torch.zeros(2, net.length, dtype=torch.long)
    for share in (0.0, 0.5, 1.0):
        suspect = torch.rand(2, net.length, generator=torch.Generator().manual_seed(0)) < share
        for draw in range(4):
            net.zero_grad()
            net.loss(tokens, suspect, torch.Generator().manual_seed(draw)).backward()
            assert [name for name, p in net.named_parameters() if p.grad is None] == []
