"""What the files of a round tell, held to what they must be; whatever is damaged is named with the way out."""

from __future__ import annotations

import math
from typing import Any

from monai_iltm.data.errors import InputError
from monai_iltm.data.records import read_record, read_rows
from monai_iltm.store import RoundFolder

NUMBER = (int, float)


def read_round(folder: RoundFolder) -> dict[str, Any]:
    """The record of a finished round. Raises InputError where it is damaged."""
    kinds = {"suspect_tokens": int, "tokens": int, "verdict": str}
    overlaps = {"jaccard": (*NUMBER, type(None)), "jaccard_before": (*NUMBER, type(None))}
    return read_record(folder.record, {**kinds, **overlaps}, "remove it, and the same command makes it anew")


def read_threshold(folder: RoundFolder) -> float:
    """The threshold of deployed masks, nats. Raises InputError where it is damaged or not finite."""
    remedy = f"remove {folder.record} too, and the same command makes both anew"
    threshold = read_record(folder.calibration, {"threshold": NUMBER}, remedy)["threshold"]
    if not math.isfinite(threshold):
        raise InputError(f"{folder.calibration}: the threshold is {threshold}, expected a finite number; {remedy}")
    return float(threshold)


def read_loss(folder: RoundFolder) -> float:
    """The mean loss of the last epoch of a round's prior. Raises InputError where its history is damaged."""
    remedy = f"remove {folder.path}, and the same command trains the round anew"
    rows = read_rows(folder.history, {"epoch": int, "loss": float}, remedy)
    if not rows:
        raise InputError(f"{folder.history}: no epoch in it; {remedy}")
    return float(rows[-1]["loss"])
