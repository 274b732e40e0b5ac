from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from monai_iltm.networks import MaskedTransformer
from monai_iltm.networks.prefix import joint
from monai_iltm.ops.likelihood import token_log_likelihood
from monai_iltm.ops.tokens import fixed_groups

GRIDS = [(3, 4), (2, 1, 3)]


def sequences(net: MaskedTransformer, batch: int = 3, share: float = 0.4, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Random tokens and suspects; the first case has no suspect, the last nothing else."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(net.num_codes, (batch, net.length), generator=generator)
    suspect = torch.rand(batch, net.length, generator=generator) < share
    suspect[0], suspect[-1] = False, True
    return tokens, suspect


def raster_by_hand(net, loops, tokens: list[int], suspect: list[bool], i: int) -> Tensor:
    """Logits of token i from a sequence that ends with its query and holds no earlier suspect at all."""
    codes = [net.bos] + [net.mask if suspect[j] else tokens[j] for j in range(i)]
    kept = [j for j in range(i + 1) if j == 0 or j == i or not suspect[j - 1]]  # entry j holds token j - 1
    keys = [n for n, j in enumerate(kept) if j == 0 or not suspect[j - 1]]
    looks = [[n for n in keys if n <= row] for row in range(len(kept))]
    return loops(net, [codes[j] for j in kept], kept, looks)[-1]


def any_by_hand(net, loops, tokens: list[int], trusted: list[int], i: int) -> Tensor:
    """Logits of token i from BOS and the trusted positions, which see each other; the query sees them alone."""
    known = list(range(1 + len(trusted)))
    codes = [net.bos, *(tokens[j] for j in trusted), net.mask]
    return loops(net, codes, [None, *trusted, i], [known] * (len(known) + 1))[-1]


def test_without_layers_a_logit_is_the_head_of_code_plus_position():
    net = MaskedTransformer(3, (2, 2), width=4, depth=0, heads=1, order="raster").eval()
    tokens = torch.tensor([[2, 0, 1, 1]])
    rows = [net.axes[0].weight[i // 2] + net.axes[1].weight[i % 2] for i in range(4)]
    codes = [net.bos, 2, 0, 1]
    x = torch.stack([net.embedding.weight[c] + row for c, row in zip(codes, rows, strict=True)])
    assert torch.allclose(net(tokens)[0], net.head(net.norm(x)), atol=1e-6)


@pytest.mark.parametrize("grid", GRIDS)
def test_raster_equals_the_truncated_sequence_without_suspects(tiny, loops, grid):
    net = tiny("raster", grid)
    tokens, suspect = sequences(net)
    logits = net(tokens, suspect)
    log_p = token_log_likelihood(net, tokens, suspect)
    for b, i in itertools.product(range(len(tokens)), range(net.length)):
        by_hand = raster_by_hand(net, loops, tokens[b].tolist(), suspect[b].tolist(), i)
        assert torch.allclose(logits[b, i], by_hand, atol=1e-9)
        assert log_p[b, i].item() == pytest.approx(by_hand.log_softmax(0)[tokens[b, i]].item(), abs=1e-5)


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("deal", [None, 5])
def test_any_equals_hiding_each_group(tiny, loops, grid, deal):
    net = tiny("any", grid, groups=4)
    tokens, suspect = sequences(net)
    generators = [None if deal is None else torch.Generator().manual_seed(deal) for _ in range(3)]
    group = fixed_groups(net.length, 4, generators[0])
    logits = net(tokens, suspect, generators[1])
    log_p = token_log_likelihood(net, tokens, suspect, generators[2])
    for b, i in itertools.product(range(len(tokens)), range(net.length)):
        trusted = [j for j in range(net.length) if group[j] != group[i] and not suspect[b, j]]
        by_hand = any_by_hand(net, loops, tokens[b].tolist(), trusted, i)
        assert torch.allclose(logits[b, i], by_hand, atol=1e-9)
        assert log_p[b, i].item() == pytest.approx(by_hand.log_softmax(0)[tokens[b, i]].item(), abs=1e-5)


@pytest.mark.parametrize("groups", [1, 5, 12, 40])
def test_any_number_of_groups_fits_any_length(tiny, loops, groups):
    net = tiny("any", groups=groups)
    tokens, suspect = sequences(net)
    group = fixed_groups(net.length, groups)
    trusted = [j for j in range(net.length) if group[j] != group[6] and not suspect[1, j]]
    by_hand = any_by_hand(net, loops, tokens[1].tolist(), trusted, 6)
    assert torch.allclose(net(tokens, suspect)[1, 6], by_hand, atol=1e-9)


def test_the_fixed_deal_repeats_and_a_generator_deals_anew(tiny):
    net = tiny("any")
    tokens, _ = sequences(net)
    deals = [net(tokens, generator=torch.Generator().manual_seed(s)) for s in (1, 1, 2)]
    assert torch.equal(net(tokens), net(tokens))
    assert torch.equal(deals[0], deals[1])
    assert not torch.allclose(deals[0], deals[2])


@pytest.mark.parametrize("multiple", [1, 5])
def test_joint_queries_see_the_prefix_and_the_targets_before_them(tiny, loops, multiple):
    net = tiny("any")
    tokens, suspect = sequences(net)
    where = torch.tensor([[7, 2, 9], [0, 11, 3], [4, 5, 6]])
    target = torch.zeros_like(suspect).scatter(1, where, True)
    trusted = ~suspect & ~target
    logits = joint(net, tokens, trusted, where, multiple)
    for b, n in itertools.product(range(3), range(3)):
        prefix = trusted[b].nonzero()[:, 0].tolist()
        before, row, p = where[b, :n].tolist(), tokens[b].tolist(), 1 + len(prefix)
        codes = [net.bos, *(row[j] for j in [*prefix, *before]), net.mask]
        looks = [list(range(max(p, i + 1))) for i in range(p + n)] + [list(range(p + n))]
        by_hand = loops(net, codes, [None, *prefix, *before, int(where[b, n])], looks)[-1]
        assert torch.allclose(logits[b, n], by_hand, atol=1e-9)


def test_raster_is_causal(tiny):
    net = tiny("raster")
    tokens, _ = sequences(net)
    whole = net(tokens)
    for i in range(net.length):
        changed = tokens.clone()
        changed[:, i] = (tokens[:, i] + 1) % net.num_codes
        other = net(changed)
        assert torch.equal(other[:, : i + 1], whole[:, : i + 1])
        assert i == net.length - 1 or not torch.allclose(other[:, i + 1], whole[:, i + 1])


@pytest.mark.parametrize("order", ["raster", "any"])
def test_no_suspects_and_none_given_are_the_same(tiny, order):
    net = tiny(order)
    tokens, suspect = sequences(net)
    assert torch.allclose(net(tokens), net(tokens, torch.zeros_like(suspect)), atol=1e-12)


def test_raster_loss_is_the_mean_over_trusted_tokens_of_each_sequence(tiny):
    net = tiny("raster")
    tokens, suspect = sequences(net)
    log_p = token_log_likelihood(net, tokens, suspect)
    by_hand = sum(-log_p[b][~suspect[b]].mean().item() for b in (0, 1)) / 3  # the third has no trusted token
    assert net.loss(tokens, suspect).item() == pytest.approx(by_hand, rel=1e-5)


def test_any_loss_is_the_mean_over_the_drawn_targets(tiny, loops):
    net = tiny("any")
    tokens, suspect = sequences(net)
    noise = torch.rand(3, net.length, generator=torch.Generator().manual_seed(1))
    for seed in range(6):  # marginal and joint alike
        share, joint = torch.rand(2, generator=torch.Generator().manual_seed(seed)).tolist()
        sums = []
        for b in (0, 1):
            order = [int(j) for j in noise[b].argsort() if not suspect[b, j]]
            targets = math.ceil((0.08 + 0.6 * share) * len(order))
            prefix = sorted(order[targets:])
            values = []
            for n, i in enumerate(order[:targets]):
                codes, row, p = [net.bos], tokens[b].tolist(), 1 + len(prefix)
                before = order[:n] if joint < 0.5 else []
                codes += [row[j] for j in [*prefix, *before]] + [net.mask]
                looks = [list(range(max(p, j + 1))) for j in range(p + len(before))] + [list(range(p + len(before)))]
                logits = loops(net, codes, [None, *prefix, *before, i], looks)[-1]
                values.append(-logits.log_softmax(0)[row[i]].item())
            sums.append(sum(values) / targets)
        loss = net.loss(tokens, suspect, torch.Generator().manual_seed(seed), noise)
        assert loss.item() == pytest.approx(sum(sums) / 3, rel=1e-5)


@pytest.mark.parametrize("order", ["raster", "any"])
def test_a_batch_split_in_two_has_the_loss_of_the_whole(tiny, order):
    net = tiny(order)
    tokens, suspect = sequences(net, batch=4)
    noise = torch.rand(4, net.length, generator=torch.Generator().manual_seed(1))
    for seed in range(4):
        whole, one, two = (
            net.loss(tokens[part], suspect[part], torch.Generator().manual_seed(seed), noise[part])
            for part in (slice(4), slice(2), slice(2, 4))
        )
        assert whole.item() == pytest.approx((one.item() + two.item()) / 2, rel=1e-6)


@pytest.mark.parametrize("order", ["raster", "any"])
def test_queries_leave_the_state_as_it_was(tiny, order):
    net = tiny(order, dropout=0.1).train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    tokens, suspect = sequences(net)
    net(tokens, suspect)
    token_log_likelihood(net, tokens, suspect)
    net.loss(tokens, suspect)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_positions_are_one_table_per_axis():
    net = MaskedTransformer(4, (26, 21, 27), width=8, depth=1, heads=1, order="any")
    assert sum(axis.num_embeddings for axis in net.axes) == 74


@pytest.mark.parametrize("order", ["raster", "any"])
def test_training_learns_a_rule_of_the_grid(order):
    """Rows repeat their first code: with K = 4 a prior that has learned it halves log 4 easily."""
    torch.manual_seed(0)
    net = MaskedTransformer(4, (4, 4), width=32, depth=1, heads=2, order=order)
    optimiser = torch.optim.Adam(net.parameters(), 1e-2)
    generator = torch.Generator().manual_seed(0)
    for _ in range(60):
        tokens = torch.randint(4, (32, 4, 1), generator=generator).expand(-1, 4, 4).flatten(1)
        loss = net.loss(tokens, generator=generator)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert -token_log_likelihood(net.eval(), tokens).mean() < 0.7


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"order": "spiral"}, "'spiral'"),
        ({"grid": (4,)}, r"grid \(4,\)"),
        ({"heads": 3}, "heads 3"),
        ({"groups": 0}, "groups 0"),
        ({"paper_masking": True, "order": "any"}, "paper_masking"),
    ],
)
def test_impossible_networks_are_refused(change, words):
    with pytest.raises(ValueError, match=words):
        MaskedTransformer(
            **({"num_codes": 4, "grid": (2, 2), "width": 8, "depth": 1, "heads": 2} | {"order": "raster"} | change)
        )


@pytest.mark.parametrize("order", ["raster", "any"])
def test_other_lengths_and_other_masks_are_refused(tiny, order):
    net = tiny(order)
    tokens, suspect = sequences(net)
    for ask in (net, net.loss):
        with pytest.raises(ValueError, match=r"\[B, 12\].*\(3, 11\)"):
            ask(tokens[:, 1:])
        with pytest.raises(ValueError, match="int64"):
            ask(tokens, suspect.long())
        with pytest.raises(ValueError, match=r"\(3, 3, 4\)"):
            ask(tokens, suspect.unflatten(1, (3, 4)))
