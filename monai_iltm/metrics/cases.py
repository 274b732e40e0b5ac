"""What every figure accepts: anomaly maps and truth masks, case by case, checked once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

Array = np.ndarray | torch.Tensor
Cases = Array | Sequence[Array]


class MetricError(ValueError):
    """A figure that cannot be computed: the message names the case's place in the input and what was found."""


def as_cases(maps: Cases, masks: Cases) -> list[tuple[np.ndarray, np.ndarray]]:
    """[(map, mask)] with map float [*S] and mask bool [*S] (True = anomalous), one pair a case.

    maps, masks: [B, 1, *S], or sequences of B arrays [1, *S] where the cases differ in size; torch or numpy. Where a
    mask is one of numpy's masked arrays, what is masked in it counts in no figure.
    Raises MetricError for no case, differing shapes, NaN or infinite maps, masks that are not bool.
    """
    if len(maps) != len(masks):
        raise MetricError(f"{len(maps)} maps but {len(masks)} masks")
    if len(maps) == 0:
        raise MetricError("no case to measure")
    return [
        _checked(index, to_numpy(one), mask if isinstance(mask, np.ma.MaskedArray) else to_numpy(mask))
        for index, (one, mask) in enumerate(zip(maps, masks, strict=True))
    ]


def pooled(cases: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """All pixels of all cases, scores float [n] and truth bool [n]. Raises MetricError unless both classes occur."""
    scores, truth = (np.concatenate(part) for part in zip(*(counted(*case) for case in cases), strict=True))
    require_both(truth, "pixel")
    return scores, truth


def counted(one: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The pixels of a case that count, map float [n] and truth bool [n]: all but those masked in a masked array."""
    if np.ma.is_masked(mask):
        kept = ~np.ma.getmaskarray(mask)
        return one[kept], np.ma.getdata(mask)[kept]
    return one.ravel(), np.ma.getdata(mask).ravel()


def require_both(truth: np.ndarray, noun: str) -> None:
    """Raise MetricError unless `truth`, bool [n], holds anomalous and normal entries."""
    if not truth.any():
        raise MetricError(f"no anomalous {noun} among {truth.size}: the figure is not defined")
    if truth.all():
        raise MetricError(f"no normal {noun} among {truth.size}: the figure is not defined")


def to_numpy(array: Array) -> np.ndarray:
    """The values on the CPU; MONAI's MetaTensor loses its meta data."""
    if isinstance(array, torch.Tensor):
        array = torch.Tensor.detach(array).cpu()
        return np.asarray(array.float() if array.dtype == torch.bfloat16 else array)
    return np.asarray(array)


def as_scores(values: np.ndarray, name: str) -> np.ndarray:
    """Floats that keep the order of `values`; raises MetricError where one is not finite."""
    if values.dtype.kind != "f":
        values = values.astype(np.float64)
    if not np.isfinite(values).all():
        raise MetricError(f"{name} holds {np.count_nonzero(~np.isfinite(values))} values that are NaN or infinite")
    return values


def _checked(index: int, one: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if mask.dtype != bool:
        raise MetricError(f"mask {index} must be bool (True = anomalous), found {mask.dtype}")
    if one.shape != mask.shape:
        raise MetricError(f"map {index} has shape {one.shape}, its mask {mask.shape}")
    if one.ndim < 2 or one.shape[0] != 1:
        raise MetricError(f"map {index} has shape {one.shape}, expected one channel first: [1, *S]")
    return as_scores(one[0], f"map {index}"), mask[0]
