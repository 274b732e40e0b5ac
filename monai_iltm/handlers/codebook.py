"""The codebook's decay follows a schedule: fast while the encoder moves, slow once it has settled."""

from __future__ import annotations

from collections.abc import Sequence

from ignite.engine import Engine, Events

from monai_iltm.networks import VQVAE

# Patel et al.'s published code: 0.5 / 0.7 / 0.8 / 0.95 / 0.99 from epochs 0 / 40 / 80 / 160 / 200 of 240 or more.
SCHEDULE = ((0.0, 0.5), (1 / 6, 0.7), (1 / 3, 0.8), (2 / 3, 0.95), (5 / 6, 0.99))


class CodebookDecay:
    """Sets the EMA decay of a VQ-VAE's codebook at the start of every epoch.

    Args:
        network: the ``VQVAE`` itself, not its wrapper.
        schedule: (share of the run in [0, 1), decay) pairs, rising; the last one reached holds.
    """

    def __init__(self, network: VQVAE, schedule: Sequence[tuple[float, float]] = SCHEDULE) -> None:
        self.network, self.schedule = network, schedule

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        done = (engine.state.epoch - 1) / (engine.state.max_epochs or 1)
        reached = [decay for start, decay in self.schedule if done >= start - 1e-9]
        self.network.codebook.decay = reached[-1]
