"""A critic's steps, then one of its opponent."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from monai_iltm.engines.adversarial import AdversarialStep


class Pull(nn.Module):
    """Pulls its number by the mean of the batch, and tells how often it was asked."""

    def __init__(self, sign: float) -> None:
        super().__init__()
        self.number, self.sign, self.drawn = nn.Parameter(torch.zeros(1)), sign, list[float]()

    def forward(self, batch: dict, generator: torch.Generator) -> dict:
        self.drawn.append(torch.rand((), generator=generator).item())
        pull = self.sign * (self.number * batch["image"].mean()).sum()
        return {"loss": pull, "own": pull.detach()}


def engine_of(loss: nn.Module, iteration: int = 1, seed: int = 0) -> SimpleNamespace:
    state = SimpleNamespace(device=torch.device("cpu"), iteration=iteration)
    optimizer = torch.optim.SGD(loss.parameters(), 0.1)
    return SimpleNamespace(network=loss, optimizer=optimizer, amp=False, state=state, seed=seed)


def test_the_critic_takes_its_steps_and_the_other_one():
    critic, own = Pull(1.0), Pull(-1.0)
    step = AdversarialStep(critic, torch.optim.SGD(critic.parameters(), 0.1), critic_steps=3)
    told = step(engine_of(own), {"image": torch.ones(2), "case": ["a", "b"]})
    assert critic.number.item() == pytest.approx(-0.3)
    assert own.number.item() == pytest.approx(0.1)
    assert told.keys() == {"critic", "loss", "own"}


def test_what_is_drawn_depends_on_seed_and_number_alone():
    drawn = []
    for iteration, seed in ((1, 0), (1, 0), (2, 0), (1, 1)):
        critic, own = Pull(1.0), Pull(-1.0)
        step = AdversarialStep(critic, torch.optim.SGD(critic.parameters(), 0.1), critic_steps=2)
        step(engine_of(own, iteration, seed), {"image": torch.ones(2)})
        drawn.append([*critic.drawn, *own.drawn])
    assert drawn[0] == drawn[1]
    assert len(set(drawn[0])) == 3
    assert drawn[2] != drawn[0] != drawn[3]
