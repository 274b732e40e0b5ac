from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from torch.optim import Muon

from monai_iltm.engines.optimiser import MuonAdamW, StackedMuon, warmup_cosine
from monai_iltm.networks import MaskedTransformer


def prior() -> MaskedTransformer:
    torch.manual_seed(0)
    return MaskedTransformer(8, (2, 3), width=8, depth=2, heads=2, order="any")


def rates(optimizer: MuonAdamW) -> list[float]:
    return [group["lr"] for group in optimizer.param_groups]


def test_muon_has_the_blocks_matrices_and_adamw_everything_else():
    network = prior()
    optimizer = MuonAdamW(network, lr=0.02, adamw_lr=0.002)
    muon, adamw = ([id(p) for group in part.param_groups for p in group["params"]] for part in optimizer.parts.values())
    names = {id(p): name for name, p in network.named_parameters()}
    assert sorted([*muon, *adamw]) == sorted(names)
    assert {names[i].split(".", 2)[2] for i in muon} == {"qkv.weight", "out.weight", "mlp.0.weight", "mlp.2.weight"}
    assert rates(optimizer) == [0.02, 0.002]


def test_matrices_that_are_stacked_step_as_torchs_muon_has_them_step():
    generator = torch.Generator().manual_seed(0)
    shapes = [(6, 4), (4, 6), (6, 4), (5, 5)]
    ours, theirs = ([torch.ones(shape).requires_grad_() for shape in shapes] for _ in range(2))
    told = {"lr": 0.1, "weight_decay": 0.3}
    optimizers = StackedMuon(ours, **told), Muon(theirs, **told)
    for _ in range(4):
        for one, other in zip(ours, theirs, strict=True):
            one.grad = torch.randn(one.shape, generator=generator)
            other.grad = one.grad.clone()
        ours[3].grad = theirs[3].grad = None
        for optimizer in optimizers:
            optimizer.step()
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=2e-3)  # rounded to bfloat16 in between
    assert (ours[0] - 1).abs().max() > 0.1
    assert torch.equal(ours[3], torch.ones(5, 5))
    states = [optimizer.state_dict()["state"][2]["momentum_buffer"] for optimizer in optimizers]
    assert torch.equal(*states)


def test_every_parameter_moves_and_the_loss_falls():
    network = prior()
    optimizer = MuonAdamW(network, adamw_lr=0.02)
    before = {name: p.clone() for name, p in network.named_parameters()}
    tokens, losses = torch.arange(6).expand(4, -1), []
    for iteration in range(60):
        optimizer.zero_grad()
        loss = network.loss(tokens, generator=torch.Generator().manual_seed(iteration))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])
    assert all(not torch.equal(p, before[name]) for name, p in network.named_parameters())


@pytest.mark.parametrize("resumed", [False, True])
def test_a_schedule_moves_both_rates_and_after_a_resume_too(resumed):
    """Two of twenty steps of warm-up, then half a cosine down to nothing."""
    optimizer = MuonAdamW(prior(), lr=0.02, adamw_lr=0.002)
    schedule = warmup_cosine(optimizer, epochs=4, cases=14, batch_size=3, warmup_share=0.1)
    seen = []
    for step in range(20):
        if resumed and step == 9:
            state = optimizer.state_dict(), schedule.state_dict()
            optimizer = MuonAdamW(prior(), lr=0.02, adamw_lr=0.002)
            schedule = warmup_cosine(optimizer, epochs=4, cases=14, batch_size=3, warmup_share=0.1)
            optimizer.load_state_dict(state[0])
            schedule.load_state_dict(state[1])
        seen.append(rates(optimizer))
        assert [part.param_groups[0]["lr"] for part in optimizer.parts.values()] == seen[-1]
        optimizer.step()
        schedule.step()
    shares = [step / 2 if step < 2 else (1 + math.cos(math.pi * (step - 2) / 18)) / 2 for step in range(20)]
    for step, share in enumerate(shares):
        assert seen[step] == pytest.approx([0.02 * share, 0.002 * share], abs=1e-9)
    assert rates(optimizer) == pytest.approx([0, 0], abs=1e-9)


def test_a_single_step_has_a_schedule_too():
    engine = SimpleNamespace(optimizer=MuonAdamW(prior()))
    schedule = warmup_cosine(engine.optimizer, epochs=1, cases=1, batch_size=4)
    engine.optimizer.step()
    schedule.step()
    assert all(math.isfinite(rate) for rate in rates(engine.optimizer))
