"""The brute-force loops for both orders stand in tests/networks/test_masked_transformer.py, beside the network's."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_iltm.ops.healing import heal
from monai_iltm.ops.likelihood import log_probability, p_value, token_log_likelihood

THREE = torch.tensor([0.5, 0.3, 0.2]).log().expand(1, 3, 3)  # the same distribution at three places
CODES = torch.tensor([[0, 1, 2]])


def test_log_probability_by_hand():
    assert log_probability(THREE + 7, CODES)[0].exp().tolist() == pytest.approx([0.5, 0.3, 0.2])
    assert log_probability(torch.zeros(1, 1, 8), CODES[:, :1]).item() == pytest.approx(-math.log(8))


def test_p_value_by_hand():
    """Mass of the codes no likelier: .5 + .3 + .2, .3 + .2, .2; and all of it where all are alike."""
    assert p_value(THREE, CODES)[0].tolist() == pytest.approx([1, 0.5, 0.2])
    assert p_value(torch.zeros(1, 3, 3), CODES)[0].tolist() == pytest.approx([1, 1, 1])


def test_logits_out_of_reach_stay_finite():
    logits = torch.tensor([[[0.0, -500.0]]])
    assert log_probability(logits, torch.tensor([[1]])).item() == -500
    assert p_value(logits, torch.tensor([[1]])).item() == 0


def test_half_precision_logits_are_scored_in_float32():
    logits = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0)).bfloat16()
    tokens = torch.tensor([[0, 1, 2], [2, 3, 4]])
    for score in (log_probability, p_value):
        assert score(logits, tokens).dtype == torch.float32
        assert torch.equal(score(logits, tokens), score(logits.float(), tokens))


@settings(max_examples=50)
@given(st.integers(0, 10**6), st.integers(2, 40), st.floats(0, 5), st.floats(0, 1))
def test_at_most_a_share_alpha_has_a_p_value_up_to_alpha(seed, codes, spread, alpha):
    """Exactly: the mass of codes whose p-value is at most alpha never exceeds alpha."""
    logits = spread * torch.randn(1, 1, codes, generator=torch.Generator().manual_seed(seed))
    values = p_value(logits.expand(1, codes, codes), torch.arange(codes)[None])[0]
    mass = logits[0, 0].softmax(0)[values <= alpha].sum().item()
    assert mass <= alpha + 1e-5


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.floats(-50, 50))
def test_p_values_follow_the_order_of_the_probabilities(seed, shift):
    logits = torch.randn(1, 1, 9, generator=torch.Generator().manual_seed(seed))
    codes = logits[0, 0].argsort()[None]
    values = p_value((logits + shift).expand(1, 9, 9), codes)[0]
    assert (values.diff() >= 0).all()
    assert values[-1].item() == pytest.approx(1, abs=1e-5)


def test_raster_flags_five_percent_of_what_the_prior_itself_draws(tiny):
    net = tiny("raster", codes=24)
    blank = torch.zeros(1, net.length, dtype=torch.long)
    drawn = heal(net, blank, torch.ones_like(blank, dtype=torch.bool), 400, torch.Generator().manual_seed(0))[:, 0]
    with torch.no_grad():
        share = (p_value(net(drawn), drawn) < 0.05).float().mean().item()
    assert 0.02 < share < 0.05 + 3 * math.sqrt(0.05 * 0.95 / drawn.numel())


def test_raster_sums_to_one_over_all_sequences(tiny):
    net = tiny("raster", grid=(2, 2), codes=3)
    every = torch.tensor(list(itertools.product(range(3), repeat=4)))
    assert token_log_likelihood(net, every).double().sum(1).exp().sum().item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("order", ["raster", "any"])
def test_each_token_sums_to_one_over_its_codes(tiny, order):
    """A token is not among the context of its own score."""
    net = tiny(order)
    tokens = torch.randint(net.num_codes, (1, net.length), generator=torch.Generator().manual_seed(0))
    for i in range(net.length):
        versions = tokens.repeat(net.num_codes, 1)
        versions[:, i] = torch.arange(net.num_codes)
        assert token_log_likelihood(net, versions)[:, i].exp().sum().item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("order", ["raster", "any"])
def test_cases_do_not_know_each_other(tiny, order):
    net, generator = tiny(order), torch.Generator().manual_seed(0)
    tokens = torch.randint(net.num_codes, (4, net.length), generator=generator)
    suspect = torch.rand(4, net.length, generator=generator) < 0.3
    whole = token_log_likelihood(net, tokens, suspect)
    alone = [token_log_likelihood(net, tokens[b : b + 1], suspect[b : b + 1]) for b in range(4)]
    assert whole.dtype == torch.float32
    assert not whole.requires_grad
    assert torch.allclose(whole, torch.cat(alone), atol=1e-6)
