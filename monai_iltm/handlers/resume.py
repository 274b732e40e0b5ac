"""A training stage that can be killed at any point and goes on from its last epoch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ignite.distributed as idist
from ignite.engine import Engine, Events
from monai.config import PathLike
from torch import nn

from monai_iltm.data.errors import InputError
from monai_iltm.data.weights import read_saved, save_in_one_step


class ResumableTraining:
    """Keeps a checkpoint of the last epoch beside the model, and puts the model in its place when training is over.

    On start an existing checkpoint is loaded (weights_only) and training goes on after its epoch. Files are written by
    rank 0, each in one step. Raises InputError for a checkpoint that cannot be loaded, as of networks of other shapes;
    that data and settings are the same is for the caller to see to.

    Args:
        model_path: where the state dict of ``network`` is put at the end; the checkpoint lies beside it until then.
        network: what is deployed, unwrapped.
        objects: name -> whatever has a state dict and changes in training, beside the engine's optimizer (the network
            trained, scheduler).
    """

    def __init__(self, model_path: PathLike, network: nn.Module, objects: Mapping[str, Any]) -> None:
        self.model_path, self.network, self.objects = Path(model_path), network, objects
        self.checkpoint = self.model_path.with_name("checkpoint.pt")

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self.load)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.save)
        engine.add_event_handler(Events.COMPLETED, self.finish)

    def load(self, engine: Engine) -> None:
        if not self.checkpoint.is_file():
            return
        try:
            state = read_saved(self.checkpoint)
            for name, item in self._changing(engine).items():
                item.load_state_dict(state[name])
            engine.state.epoch, engine.state.iteration = int(state["epoch"]), int(state["iteration"])
        except Exception as error:  # whatever the archive, a network or an optimiser met
            raise InputError(
                f"{self.checkpoint}: not of this training (or damaged); remove it to begin from the first epoch"
            ) from error

    def save(self, engine: Engine) -> None:
        if idist.get_rank() == 0:
            state = {name: item.state_dict() for name, item in self._changing(engine).items()}
            position = {"epoch": engine.state.epoch, "iteration": engine.state.iteration}
            save_in_one_step(self.checkpoint, {**state, **position})

    def _changing(self, engine: Engine) -> dict[str, Any]:
        """By name; a trainer has its optimizer only after its handlers are attached."""
        optimizer = getattr(engine, "optimizer", None)
        return dict(self.objects) | ({} if optimizer is None else {"optimizer": optimizer})

    def finish(self, engine: Engine) -> None:
        if idist.get_rank() == 0:
            save_in_one_step(self.model_path, self.network.state_dict())
            self.checkpoint.unlink(missing_ok=True)
        if idist.get_world_size() > 1:
            idist.barrier()
