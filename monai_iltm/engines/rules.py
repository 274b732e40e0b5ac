"""What the rounds go by: when they end, and which settings rule each other out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from monai_iltm.distributed import trainers
from monai_iltm.engines.batches import require_shares
from monai_iltm.engines.ids import joined
from monai_iltm.engines.method import Method
from monai_iltm.engines.names import SETTINGS, STAGES, short_name
from monai_iltm.engines.settings import require_all
from monai_iltm.handlers.convergence import SETTLED_OVERLAP

BATCH_SIZE = "train::trainer::batch_size"


@dataclass(frozen=True)
class Rules:
    """How the rounds follow each other and when they end.

    flag_decay: share by which the scorer's falling number falls every round (0.125 in the paper). tolerance: change of
    the number of marks that counts as settled, where they overlap with the last ones by settled_overlap (Jaccard; 0 in
    the paper: a number can stay while the marks move). warm_start: each round starts from the last one's weights.
    false_alarm: share of the training voxels above the threshold of the deployed mask.
    """

    flag_decay: float = 0.0
    tolerance: float = 0.01
    settled_overlap: float = SETTLED_OVERLAP
    warm_start: bool = False
    false_alarm: float = 0.02


def require_possible(method: Method, settings: Mapping[str, Any]) -> None:
    """Raise InputError for settings that a later stage, after hours, would refuse."""
    require_all(settings)
    for stage in method.stages:
        name = joined(SETTINGS, STAGES, stage.name, BATCH_SIZE)
        require_shares(method.value(stage.name, BATCH_SIZE, settings), trainers(), short_name(name))
    method.inferer(settings)
