from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch

from monai_iltm.engines.optimiser import MuonAdamW, warmup_cosine
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
    schedule = warmup_cosine(optimizer, epochs=4, steps_per_epoch=5, warmup_share=0.1)
    seen = []
    for step in range(20):
        if resumed and step == 9:
            state = optimizer.state_dict(), schedule.state_dict()
            optimizer = MuonAdamW(prior(), lr=0.02, adamw_lr=0.002)
            schedule = warmup_cosine(optimizer, epochs=4, steps_per_epoch=5, warmup_share=0.1)
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
    schedule = warmup_cosine(engine.optimizer, epochs=1, steps_per_epoch=1)
    engine.optimizer.step()
    schedule.step()
    assert all(math.isfinite(rate) for rate in rates(engine.optimizer))
