"""One step of training against an adversary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.optim import Optimizer

from monai_iltm.engines.step import drawn_for, optimiser_step


class AdversarialStep:
    """Some optimiser steps of a critic, then one of what ``engine.network``, a loss, trains; on the same batch.

    Both are losses as ``TrainStep`` has them: ``forward(batch, generator)`` -> {"loss", parts}. What is drawn depends
    on the seed and the step's number alone. The critic's optimizer belongs to what a checkpoint keeps.

    Args:
        critic: the critic's loss, on its device, as ``distributed.parallel`` gives it. optimizer: of the critic.
        critic_steps: of the critic for one of the other.
    """

    def __init__(self, critic: nn.Module, optimizer: Optimizer, critic_steps: int = 5) -> None:
        self.critic, self.optimizer, self.critic_steps = critic, optimizer, critic_steps

    def __call__(self, engine: Any, batch: Mapping[str, Any]) -> dict[str, float]:
        """The parts of both losses, the critic's as of its last step, its loss as "critic"."""
        tensors, generator = drawn_for(engine, batch)
        self.critic.train()
        engine.network.train()
        for _ in range(self.critic_steps):
            told = optimiser_step(self.critic, self.optimizer, tensors, generator, engine.amp)
        own = optimiser_step(engine.network, engine.optimizer, tensors, generator, engine.amp)
        return {**{"critic" if name == "loss" else name: value for name, value in told.items()}, **own}
