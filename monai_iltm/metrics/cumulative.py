"""The figures as MONAI metrics: fed batch by batch, gathered over all ranks, computed once at the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ignite.distributed as idist
import torch
from monai.metrics import CumulativeIterationMetric
from monai.utils import evenly_divisible_all_gather

from monai_iltm.metrics.cases import MetricError
from monai_iltm.metrics.overlap import aupro
from monai_iltm.metrics.pixel import auroc, average_precision, best_dice, best_dice_per_case


class PixelMetric(CumulativeIterationMetric):
    """A figure over whole maps that keeps every case until `aggregate`, cases of differing sizes included.

    Memory: all maps and masks of the epoch, on every rank. For monai.handlers.IgniteMetricHandler set
    save_details=False, else the engine's state holds them once more.
    """

    def __init__(self, figure: Callable[..., float], **options: Any) -> None:
        super().__init__()
        self.figure = figure
        self.options = options

    def __call__(self, y_pred: Any, y: Any = None, **kwargs: Any) -> Any:
        """Keep a batch: y_pred real and y 0/1 or bool, [B, 1, *S] or lists of [1, *S]; True or 1 = anomalous.

        Raises MetricError for shapes that differ and for labels other than 0 and 1.
        """
        if y is None or len(y_pred) != len(y):
            raise MetricError(f"{len(y_pred)} maps but {'no' if y is None else len(y)} labels")
        pairs = [
            self._compute_tensor(torch.as_tensor(one), torch.as_tensor(label))
            for one, label in zip(y_pred, y, strict=True)
        ]
        for one, label in pairs:
            self.append(one, label)
        return pairs

    def aggregate(self) -> float:
        """The figure over all cases of all ranks. Raises MetricError as the figure's function does."""
        maps, labels = self.get_buffer()
        if not maps:
            raise MetricError("no case to measure")
        return self.figure(maps, [label.bool() for label in labels], **self.options)

    def _compute_tensor(self, y_pred: torch.Tensor, y: torch.Tensor | None = None, **kwargs: Any) -> Any:
        """One case: map f32 [1, *S] and label u8 [1, *S], without meta data (which cannot be gathered)."""
        assert y is not None
        one, label = (t.detach().as_subclass(torch.Tensor) for t in (y_pred, y))
        if one.shape != label.shape:
            raise MetricError(f"a map has shape {tuple(one.shape)}, its label {tuple(label.shape)}")
        if not ((label == 0) | (label == 1)).all():
            raise MetricError(f"labels must be 0 or 1, found values from {label.min()} to {label.max()}")
        return one.float(), label.to(device=one.device, dtype=torch.uint8)

    def _sync(self) -> None:
        """Gather all ranks' cases; MONAI's own way needs one size for all of them, and a case on every rank."""
        if not self._synced:
            own: Any = self._buffers or ([], [])
            types = (torch.float32, torch.uint8)
            self._synced_tensors = [gather_cases(*pair) for pair in zip(own, types, strict=True)]  # type: ignore[misc]
            self._synced = True


class PixelAUROC(PixelMetric):
    """`monai_iltm.metrics.auroc` over an epoch."""

    def __init__(self) -> None:
        super().__init__(auroc)


class PixelAveragePrecision(PixelMetric):
    """`monai_iltm.metrics.average_precision` over an epoch."""

    def __init__(self) -> None:
        super().__init__(average_precision)


class PixelAUPRO(PixelMetric):
    """`monai_iltm.metrics.aupro` over an epoch; fpr_limit in (0, 1]."""

    def __init__(self, fpr_limit: float = 0.3) -> None:
        super().__init__(aupro, fpr_limit=fpr_limit)


class BestDice(PixelMetric):
    """`monai_iltm.metrics.best_dice` over an epoch."""

    def __init__(self) -> None:
        super().__init__(best_dice)


class BestDicePerCase(PixelMetric):
    """`monai_iltm.metrics.best_dice_per_case` over an epoch."""

    def __init__(self) -> None:
        super().__init__(best_dice_per_case)


def gather_cases(cases: list[torch.Tensor], dtype: torch.dtype) -> list[torch.Tensor]:
    """The cases of all ranks, in rank order; tensors of one dtype and number of axes, of any sizes.

    A rank without any takes part too: all of them must call this.
    """
    if idist.get_world_size() == 1:
        return cases
    axes = int(idist.all_reduce(cases[0].ndim if cases else 0, op="MAX"))
    if axes == 0:
        return []
    device = cases[0].device if cases else idist.device()
    shapes = torch.tensor([case.shape for case in cases], dtype=torch.int64, device=device).view(len(cases), axes)
    values = torch.cat([torch.empty(0, dtype=dtype, device=device), *(case.flatten() for case in cases)])
    shapes = evenly_divisible_all_gather(shapes, concat=True)
    values = evenly_divisible_all_gather(values, concat=True)
    sizes = shapes.prod(dim=1).tolist()
    return [part.reshape(shape) for part, shape in zip(values.split(sizes), shapes.tolist(), strict=True)]
