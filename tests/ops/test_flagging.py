from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from monai_iltm.networks.prefix import marginal
from monai_iltm.ops.flagging import flag, flag_rule
from monai_iltm.ops.healing import heal
from monai_iltm.ops.likelihood import log_probability, p_value
from monai_iltm.ops.tokens import fixed_groups

LOGITS = torch.tensor([0.5, 0.3, 0.15, 0.05]).log().expand(1, 4, 4)  # the same at every position
CODES = torch.tensor([[0, 1, 2, 3]])  # so p is 0.5, 0.3, 0.15, 0.05 and the p-value 1, 0.5, 0.2, 0.05


def random_tokens(*shape: int, codes: int = 5, seed: int = 0) -> torch.Tensor:
    return torch.randint(codes, shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (flag_rule(alpha=0.04), [False, False, False, False]),
        (flag_rule(alpha=0.21), [False, False, True, True]),
        (flag_rule(alpha=0.51), [False, True, True, True]),
        (flag_rule(threshold=0.2), [False, False, True, True]),
        (flag_rule(threshold_times_uniform=0.3), [False, False, False, True]),
        (flag_rule(threshold_times_uniform=4.1), [True, True, True, True]),
    ],
)
def test_every_rule_by_hand(rule, expected):
    assert rule(LOGITS, CODES).tolist() == [expected]


@given(st.floats(0.01, 5), st.integers(2, 40), st.integers(0, 1000))
def test_the_two_thresholds_differ_by_the_number_of_codes(times, codes, seed):
    """t = c / K."""
    logits = torch.randn(2, 9, codes, generator=torch.Generator().manual_seed(seed))
    tokens = random_tokens(2, 9, codes=codes, seed=seed)
    p = logits.softmax(-1).gather(-1, tokens[..., None])[..., 0]
    suspect = flag_rule(threshold_times_uniform=times)(logits, tokens)
    sure = (p - times / codes).abs() > 1e-6
    assert torch.equal(suspect[sure], (p < times / codes)[sure])
    if times / codes < 1:
        assert torch.equal(suspect, flag_rule(threshold=times / codes)(logits, tokens))


@pytest.mark.parametrize("alpha", [0.05, 0.2])
def test_alpha_is_the_share_flagged_of_what_the_model_holds_for_normal(tiny, alpha):
    """On the model's own samples: never more than alpha, and, with many codes, not much less."""
    net = tiny("raster", codes=64)
    start = torch.zeros(1, net.length, dtype=torch.long)
    everything = torch.ones_like(start, dtype=torch.bool)
    samples = heal(net, start, everything, 600, torch.Generator().manual_seed(0))[:, 0]
    share = flag(net, samples, flag_rule(alpha=alpha))[0].double().mean().item()
    deviation = math.sqrt(alpha * (1 - alpha) / samples.numel())
    assert 0.6 * alpha < share < alpha + 3 * deviation


@pytest.mark.parametrize("order", ["raster", "any"])
def test_one_look_scores_the_tokens_as_they_are(tiny, order):
    net, tokens = tiny(order), random_tokens(3, 12)
    suspect, looked = flag(net, tokens, flag_rule(alpha=0.3))
    logits = net(tokens)
    assert torch.equal(looked, logits)
    assert torch.equal(suspect, p_value(logits, tokens) < 0.3)
    assert 0 < suspect.sum() < suspect.numel()


def test_a_second_look_hides_the_first_suspects_from_every_context(tiny):
    """Token by token: predicted from the trusted tokens outside its group that the first look left."""
    net, tokens, rule = tiny("any", groups=3), random_tokens(1, 12), flag_rule(alpha=0.4)
    first, _ = flag(net, tokens, rule, looks=1)
    second, looked = flag(net, tokens, rule, looks=2)
    log_p = log_probability(looked, tokens)
    group = fixed_groups(12, 3)
    assert first.any()
    for i in range(12):
        trusted = ~first & (group != group[i])
        logits = marginal(net, tokens, trusted, torch.tensor([[i]]))
        here = tokens[:, i : i + 1]
        assert log_p[0, i].item() == pytest.approx(log_probability(logits, here).item(), abs=1e-5)
        assert bool(second[0, i]) == bool(rule(logits, here))


@pytest.mark.parametrize("order", ["raster", "any"])
def test_what_stands_at_a_first_suspect_does_not_touch_the_second_look(tiny, order):
    net, tokens = tiny(order), random_tokens(1, 12, seed=1)
    first, _ = flag(net, tokens, flag_rule(alpha=0.3))
    assert first.any()
    _, looked = flag(net, tokens, lambda *_: first, looks=2)
    _, other = flag(net, torch.where(first, (tokens + 1) % 5, tokens), lambda *_: first, looks=2)
    assert torch.equal(looked, other)


def test_looks_before_the_last_are_in_bfloat16_with_amp(tiny):
    """The last look hides what the rough one found, and is itself exact."""
    net, tokens, rule = tiny("any", groups=3).float(), random_tokens(2, 12), flag_rule(alpha=0.4)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        rough = net(tokens)
    assert rough.dtype == torch.bfloat16
    first = rule(rough, tokens)
    second, looked = flag(net, tokens, rule, looks=2, amp=True)
    assert torch.equal(looked, net(tokens, suspect=first))
    assert torch.equal(second, rule(looked, tokens))
    alone, logits = flag(net, tokens, rule, looks=1, amp=True)
    assert torch.equal(logits, net(tokens))
    assert torch.equal(alone, rule(logits, tokens))


def test_another_deal_of_groups_gives_other_contexts(tiny):
    net, tokens, rule = tiny("any"), random_tokens(2, 12), flag_rule(alpha=0.3)
    fixed = flag(net, tokens, rule)[1]
    dealt = [flag(net, tokens, rule, generator=torch.Generator().manual_seed(seed))[1] for seed in (1, 1, 2)]
    assert torch.equal(dealt[0], dealt[1])
    assert not torch.equal(dealt[0], dealt[2])
    assert torch.equal(fixed, flag(net, tokens, rule)[1])


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ({}, "exactly one"),
        ({"alpha": 0.05, "threshold": 0.005}, "exactly one"),
        ({"alpha": 0.0}, "alpha is positive"),
        ({"alpha": 1.0}, "below 1"),
        ({"threshold": -0.1}, "threshold is positive"),
        ({"threshold_times_uniform": 0.0}, "positive"),
        ({"alpha": math.nan}, "alpha is positive"),
    ],
)
def test_a_rule_is_exactly_one_number_in_its_range(numbers, words):
    with pytest.raises(ValueError, match=words):
        flag_rule(**numbers)


def test_no_look_at_all_is_refused(tiny):
    with pytest.raises(ValueError, match="looks is at least 1, found 0"):
        flag(tiny("raster"), random_tokens(1, 12), flag_rule(alpha=0.1), looks=0)
