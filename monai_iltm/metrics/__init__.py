"""Figures of merit: exact, on [B, 1, *S] maps and bool masks, and the same over MONAI's cumulative interface."""

from monai_iltm.metrics.cases import MetricError
from monai_iltm.metrics.cumulative import (
    BestDice,
    BestDicePerCase,
    PixelAUPRO,
    PixelAUROC,
    PixelAveragePrecision,
    PixelMetric,
)
from monai_iltm.metrics.overlap import aupro, pro_curve
from monai_iltm.metrics.pixel import (
    auroc,
    average_precision,
    best_dice,
    best_dice_per_case,
    image_auroc,
    pixel_figures,
)

__all__ = [
    "BestDice",
    "BestDicePerCase",
    "MetricError",
    "PixelAUPRO",
    "PixelAUROC",
    "PixelAveragePrecision",
    "PixelMetric",
    "aupro",
    "auroc",
    "average_precision",
    "best_dice",
    "best_dice_per_case",
    "image_auroc",
    "pixel_figures",
    "pro_curve",
]
