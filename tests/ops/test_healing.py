from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from torch import Tensor

from monai_iltm.networks import MaskedTransformer
from monai_iltm.networks.prefix import joint
from monai_iltm.ops.healing import apart, draw_code, heal

GRIDS = [(3, 4), (2, 3, 2)]
ORDERS = ["raster", "any"]


def case(net: MaskedTransformer, batch: int = 3, share: float = 0.4, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Random tokens and suspects; of several cases the first has no suspect and the last nothing else."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(net.num_codes, (batch, net.length), generator=generator)
    suspect = torch.rand(batch, net.length, generator=generator) < share
    if batch > 2:
        suspect[0], suspect[-1] = False, True
    return tokens, suspect


def inverse(logits: Tensor, dice: Tensor) -> int:
    """The first code whose cumulative probability exceeds the dice."""
    total = 0.0
    for code, p in enumerate(logits.double().softmax(-1).tolist()):
        total += p
        if total > dice.item():
            return code
    return len(logits) - 1


@torch.no_grad()
def heal_raster_plainly(net, tokens, suspect, draws, generator, at_once) -> Tensor:
    """One draw at a time, the whole sequence through the network for every suspect; always one a step."""
    healed = tokens.repeat(draws, 1, 1)
    for b, row in enumerate(suspect):
        where = row.nonzero()[:, 0].tolist()
        dice = torch.rand(draws, len(where), generator=generator)
        for n, (i, position) in itertools.product(range(draws), enumerate(where)):
            healed[n, b, position] = inverse(net(healed[n, b : b + 1])[0, position], dice[n, i])
    return healed


@torch.no_grad()
def heal_any_plainly(net, tokens, suspect, draws, generator, at_once) -> Tensor:
    """One draw at a time, prefix and all steps filled in so far through the network for every suspect."""
    healed = tokens.repeat(draws, 1, 1)
    numbers = [torch.rand(2, draws, int(row.sum()), generator=generator) for row in suspect]
    for b, n in itertools.product(range(len(tokens)), range(draws)):
        where, (keys, dice) = suspect[b].nonzero()[:, 0], numbers[b][:, n]
        if at_once > 1 and len(where):
            keys = apart(where[None], net.grid, keys[None, None])[0, 0]
        where = where[keys.argsort()]
        for i in range(len(where)):
            seen = torch.cat([where[: i - i % at_once], where[i : i + 1]])
            logits = joint(net, healed[n, b][None], ~suspect[b][None], seen[None])[0, -1]
            healed[n, b, where[i]] = inverse(logits, dice[i])
    return healed


PLAINLY = {"raster": heal_raster_plainly, "any": heal_any_plainly}


def test_draw_code_by_hand():
    """Cumulative .5, .5, .8, 1: the second code has no mass and is never drawn."""
    logits = torch.tensor([0.5, 0.0, 0.3, 0.2]).log().expand(6, 4)
    dice = torch.tensor([0.0, 0.49, 0.5, 0.79, 0.81, 1 - 2**-24])
    assert draw_code(logits, dice).tolist() == [0, 0, 2, 2, 3, 3]


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.integers(1, 50), st.floats(0, 20))
def test_draw_code_is_the_inverse_distribution(seed, codes, spread):
    generator = torch.Generator().manual_seed(seed)
    logits = spread * torch.randn(20, codes, generator=generator)
    dice = torch.rand(20, generator=generator)
    drawn = draw_code(logits, dice)
    upper = logits.double().softmax(-1).cumsum(-1).gather(1, drawn[:, None])[:, 0]
    lower = upper - logits.double().softmax(-1).gather(1, drawn[:, None])[:, 0]
    assert ((lower - 1e-5 <= dice) & (dice <= upper + 1e-5)).all()
    assert torch.equal(draw_code(logits.view(4, 5, codes), dice.view(4, 5)).flatten(), drawn)


@pytest.mark.parametrize("at_once", [1, 3, 20])
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("order", ORDERS)
def test_cached_equals_plain_healing_draw_by_draw(tiny, order, grid, at_once):
    net = tiny(order, grid)
    tokens, suspect = case(net)
    cached = heal(net, tokens, suspect, 4, torch.Generator().manual_seed(3), at_once)
    plain = PLAINLY[order](net, tokens, suspect, 4, torch.Generator().manual_seed(3), at_once)
    assert torch.equal(cached, plain)


@pytest.mark.parametrize("order", ORDERS)
@settings(max_examples=15)
@given(seed=st.integers(0, 10**6), share=st.floats(0, 1), batch=st.integers(1, 4))
def test_trusted_tokens_stay_and_suspects_are_codes(tiny, order, seed, share, batch):
    net = tiny(order)
    tokens, suspect = case(net, batch, share, seed)
    healed = heal(net, tokens, suspect, 3, torch.Generator().manual_seed(seed))
    assert healed.shape == (3, batch, net.length)
    assert torch.equal(healed[:, ~suspect], tokens[~suspect].expand(3, -1))
    assert healed.min() >= 0
    assert healed.max() < net.num_codes


@pytest.mark.parametrize("order", ORDERS)
@settings(max_examples=15)
@given(seed=st.integers(0, 10**6), share=st.floats(0, 1))
def test_what_stood_at_a_suspect_changes_nothing(tiny, order, seed, share):
    net = tiny(order)
    tokens, suspect = case(net, 2, share, seed)
    changed = torch.where(suspect, (tokens + 1) % net.num_codes, tokens)
    one, other = (heal(net, t, suspect, 3, torch.Generator().manual_seed(seed)) for t in (tokens, changed))
    assert torch.equal(one, other)


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("order", ORDERS)
def test_no_suspect_gives_the_original_and_all_suspects_work(tiny, order, grid):
    net = tiny(order, grid)
    tokens, suspect = case(net)
    untouched = heal(net, tokens, torch.zeros_like(suspect), 5)
    assert torch.equal(untouched, tokens.expand(5, -1, -1))
    untouched[0] += 1  # no draw shares its memory with another
    assert torch.equal(untouched[1], tokens)
    everything = heal(net, tokens, torch.ones_like(suspect), 5, torch.Generator().manual_seed(0))
    assert len(everything.flatten(0, 1).unique(dim=0)) > 5


@pytest.mark.parametrize("order", ORDERS)
def test_a_generator_repeats_and_draws_differ(tiny, order):
    net = tiny(order)
    tokens, suspect = case(net)
    one, same, other = (heal(net, tokens, suspect, 6, torch.Generator().manual_seed(s)) for s in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert len(one[:, 2].unique(dim=0)) > 1


def test_raster_draws_follow_the_chain_rule(tiny):
    net, draws = tiny("raster", grid=(2, 2), codes=3), 6000
    tokens, suspect = torch.tensor([[2, 0, 1, 0]]), torch.tensor([[False, True, False, True]])
    healed = heal(net, tokens, suspect, draws, torch.Generator().manual_seed(0))[:, 0]
    every = torch.tensor([[2, a, 1, b] for a, b in itertools.product(range(3), repeat=2)])
    p = net(every).double().softmax(-1).detach()
    expected = [(p[n, 1, row[1]] * p[n, 3, row[3]]).item() for n, row in enumerate(every)]
    assert_drawn(healed, every, expected)


def test_any_draws_follow_the_chain_rule_in_either_order(tiny):
    net, draws = tiny("any", grid=(2, 2), codes=3), 6000
    tokens, suspect = torch.tensor([[2, 0, 1, 0]]), torch.tensor([[False, True, False, True]])
    healed = heal(net, tokens, suspect, draws, torch.Generator().manual_seed(0))[:, 0]
    every = torch.tensor([[2, a, 1, b] for a, b in itertools.product(range(3), repeat=2)])
    expected = torch.zeros(9, dtype=torch.double)
    for first in ([1, 3], [3, 1]):
        where = torch.tensor(first).expand(9, -1)
        codes = every.gather(1, where)
        p = joint(net, every, ~suspect.expand(9, -1), where).softmax(-1).gather(2, codes[..., None])
        expected += p.prod(1)[:, 0].detach() / 2
    assert_drawn(healed, every, expected.tolist())


def assert_drawn(healed: Tensor, every: Tensor, expected: list[float]) -> None:
    """Chi-square of how often each sequence was drawn; the seed is fixed, so this fails never or always."""
    counts = (healed[:, None] == every).all(-1).sum(0)
    assert int(counts.sum()) == len(healed)
    p = np.array(expected)
    assert chisquare(counts.numpy(), p / p.sum() * len(healed)).pvalue > 0.01


def test_a_wrong_distribution_would_be_noticed(tiny):
    net = tiny("raster", grid=(2, 2), codes=3)
    blank = torch.zeros(1, 4, dtype=torch.long)
    healed = heal(net, blank, torch.tensor([[True, False, False, False]]), 6000, torch.Generator().manual_seed(0))[:, 0]
    every = torch.tensor([[a, 0, 0, 0] for a in range(3)])
    with pytest.raises(AssertionError):
        assert_drawn(healed, every, [1 / 3] * 3)


@pytest.mark.parametrize("order", ORDERS)
def test_healing_writes_nothing_and_asks_for_no_gradient(tiny, order):
    net = tiny(order)
    tokens, suspect = case(net)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    kept = tokens.clone()
    assert not heal(net, tokens, suspect, 2).requires_grad
    assert torch.equal(tokens, kept)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


@pytest.mark.parametrize("order", ORDERS)
def test_no_draw_and_other_shapes_are_refused(tiny, order):
    net = tiny(order)
    tokens, suspect = case(net)
    for numbers in ({"draws": 0}, {"draws": 2, "at_once": 0}):
        with pytest.raises(ValueError, match=r"found .*\b0"):
            heal(net, tokens, suspect, **numbers)
    with pytest.raises(ValueError, match=r"\(3, 3, 4\)"):
        heal(net, tokens, suspect.unflatten(1, (3, 4)), 2)
    with pytest.raises(ValueError, match="float32"):
        heal(net, tokens, suspect.float(), 2)


def test_several_at_once_know_what_was_drawn_before_and_not_each_other(tiny):
    """Step by step against the whole sequence: the third and fourth suspect from the prefix and the first two."""
    net = tiny("any")
    tokens, suspect = case(net, 1)
    where = suspect[0].nonzero()[:4, 0]
    cache = net.draw_cache(tokens, ~suspect, 1, 4)
    cache.step(tokens.new_empty(1, 1, 0), where[None, None, :2])
    codes = tokens[:, where[:2]]
    logits = cache.step(codes[None], where[None, None])[0, 0]
    for i, position in enumerate(where[2:].tolist()):
        alone = torch.tensor([[*where[:2].tolist(), position]])
        expected = joint(net, tokens, ~suspect, alone)[0, -1]
        assert torch.allclose(logits[i], expected, atol=1e-5)


@settings(max_examples=20)
@given(seed=st.integers(0, 10**6), at_once=st.integers(1, 20))
def test_healing_several_at_once_is_healing(tiny, seed, at_once):
    net = tiny("any")
    tokens, suspect = case(net, 3, 0.5, seed)
    healed = heal(net, tokens, suspect, 3, torch.Generator().manual_seed(seed), at_once)
    assert torch.equal(healed[:, ~suspect], tokens[~suspect].expand(3, -1))
    changed = torch.where(suspect, (tokens + 1) % net.num_codes, tokens)
    assert torch.equal(heal(net, changed, suspect, 3, torch.Generator().manual_seed(seed), at_once), healed)


@pytest.mark.parametrize("grid", [(6, 4), (4, 2, 6), (5, 3), (3, 5, 1)])
def test_those_in_sequence_are_seldom_neighbours(grid):
    """Of all cells in order, only where a class ends can two in sequence touch."""
    cells = math.prod(grid)
    noise = torch.rand(1, 5, cells, generator=torch.Generator().manual_seed(0))
    order = apart(torch.arange(cells)[None], grid, noise).argsort(-1)[0]
    places = torch.stack(torch.unravel_index(order, grid), -1)
    touching = (places[:, 1:] - places[:, :-1]).abs().amax(-1) <= 1
    assert (touching.sum(1) < 2 ** len(grid)).all()
    assert len({tuple(row.tolist()) for row in order}) == 5
