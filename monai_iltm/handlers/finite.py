"""A training that diverges ends at once, in one line, before it writes anything."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ignite.engine import Engine, Events
from torch import nn

from monai_iltm.data.errors import InputError
from monai_iltm.data.weights import not_finite


class RequireFinite:
    """Ends a training whose numbers of a step, or whose weights or buffers after an epoch, are not finite.

    It stands before whatever saves the weights. Raises InputError that names stage and epoch, and what to lower.

    Args:
        network: what is deployed, unwrapped.
        stage: how it is called, such as "round 1: prior".
        rates: names of the settings that are to be lowered then.
    """

    def __init__(self, network: nn.Module, stage: str, rates: Sequence[str]) -> None:
        self.network, self.stage, self.rates = network, stage, rates

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.check_step)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.check_weights)

    def check_step(self, engine: Engine) -> None:
        output: Any = engine.state.output
        for name, value in output.items():
            if not math.isfinite(value):
                self._end(engine, f"{name} is {value}")

    def check_weights(self, engine: Engine) -> None:
        if name := not_finite(self.network.state_dict()):
            self._end(engine, f"{name} holds values that are not finite")

    def _end(self, engine: Engine, found: str) -> None:
        raise InputError(
            f"{self.stage}, epoch {engine.state.epoch}: {found}: training has diverged; {advice(self.rates)}"
        )


def advice(rates: Sequence[str] = ()) -> str:
    """What helps after a training that has diverged or collapsed; a run keeps its settings, so it takes a new one."""
    lower = " or ".join(f"--{rate}" for rate in rates) or "learning rate"
    return f"train anew with a lower {lower}, and with another output folder: in this one the settings stay as they are"
