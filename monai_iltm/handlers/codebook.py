"""What the codebook needs from outside: a decay that slows down, and a new start where its encoder has collapsed."""

from __future__ import annotations

from collections.abc import Sequence

import ignite.distributed as idist
from ignite.engine import Engine, Events
from torch.optim import Optimizer
from tqdm import tqdm

from monai_iltm.networks import VQVAE

# Patel et al.'s published code: 0.5 / 0.7 / 0.8 / 0.95 / 0.99 from epochs 0 / 40 / 80 / 160 / 200 of 240 or more.
SCHEDULE = ((0.0, 0.5), (1 / 6, 0.7), (1 / 3, 0.8), (2 / 3, 0.95), (5 / 6, 0.99))


class CodebookUse:
    """Perplexity of the running code counts, codes with a count of at least a hundredth of the mean, their spread."""

    def __init__(self, network: VQVAE) -> None:
        self.network = network

    def __call__(self, _: Engine) -> dict[str, float]:
        codebook = self.network.codebook
        share = codebook.ema_cluster_size / codebook.ema_cluster_size.sum()
        entropy = -(share * share.clamp(min=1e-12).log()).sum()
        in_use = int((share * len(share) > 0.01).sum())
        return {"perplexity": entropy.exp().item(), "codes_in_use": in_use, "code_spread": codebook.spread}


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


class StartOverCollapsed:
    """Gives a VQ-VAE whose encoder has collapsed new weights, at the end of an epoch; says so.

    Where these collapse too, the learning rate was too high: from the second time on it is halved.

    Args:
        network: the ``VQVAE`` itself, not its wrapper.
        optimizer: forgets what it knows of the old weights.
        seed: of the stage; every new start has weights of its own.
        least_spread: collapsed is what has codes closer together, relative to their distance from 0. Collapsed encoders
            were seen to stay below, others to rise above 0.4 within a few epochs.
        grace: share of the run, and three epochs at least, after which a start is looked at.
    """

    def __init__(
        self,
        network: VQVAE,
        optimizer: Optimizer,
        seed: int = 0,
        least_spread: float = 0.3,
        grace: float = 0.1,
    ) -> None:
        self.network, self.optimizer, self.seed = network, optimizer, seed
        self.least_spread, self.grace = least_spread, grace
        self.last = 0  # epoch after which it started anew

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        epoch, epochs, spread = engine.state.epoch, engine.state.max_epochs or 1, self.network.codebook.spread
        due = epoch < epochs and epoch - self.last >= max(self.grace * epochs, 3)
        if due and spread < self.least_spread:
            self.network.start_over(self.seed + epoch)
            self.optimizer.state.clear()
            for group in self.optimizer.param_groups if self.last else ():
                group["lr"] *= 0.5
            if idist.get_rank() == 0:
                same = f"all images had nearly the same codes (spread {spread:.2g})"
                half = ", with half the learning rate" if self.last else ""
                tqdm.write(f"epoch {epoch}: {same}: the VQ-VAE starts over{half}")
            self.last = epoch

    def state_dict(self) -> dict[str, int]:
        return {"last": self.last}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        self.last = state_dict["last"]
