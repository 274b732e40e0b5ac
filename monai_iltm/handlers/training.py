"""What every training stage needs, in the order that matters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ignite.engine import Engine
from monai.config import PathLike
from torch import nn

from monai_iltm.handlers.epochs import EpochHistory, StageProgress
from monai_iltm.handlers.finite import RequireFinite
from monai_iltm.handlers.resume import ResumableTraining


class TrainingHandlers:
    """For every training, in this order: history.csv, progress, an end where it diverges, model.pt and its checkpoint.

    Args:
        output_dir: of the stage. name: what it is called.
        network: what is deployed. objects: name -> what changes in training, beside the optimiser
            (``ResumableTraining``). rates: settings to be lowered where it diverges.
        more: handlers of this stage alone, such as a scheduler of learning rates.
        extra: engine -> further numbers of an epoch (``EpochHistory``).
    """

    def __init__(
        self,
        output_dir: PathLike,
        name: str,
        network: nn.Module,
        objects: Mapping[str, Any],
        rates: Sequence[str] = (),
        more: Sequence[Any] = (),
        extra: Callable[[Engine], dict[str, float]] | None = None,
    ) -> None:
        folder = Path(output_dir)
        self.handlers = [
            EpochHistory(folder / "history.csv", extra),
            *more,  # an epoch's row is of the weights before they are changed
            StageProgress(name),
            RequireFinite(network, name, rates),  # nothing is saved that is not finite
            ResumableTraining(folder / "model.pt", network, objects),
        ]

    def attach(self, engine: Engine) -> None:
        for handler in self.handlers:
            handler.attach(engine)
