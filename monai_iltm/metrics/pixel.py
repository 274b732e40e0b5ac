"""Figures over pixels and over images. Pooled: all pixels of all cases are one set; per case where the name says so."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from monai_iltm.metrics.cases import (
    Array,
    Cases,
    MetricError,
    as_cases,
    as_scores,
    counted,
    pooled,
    require_both,
    to_numpy,
)
from monai_iltm.metrics.overlap import aupro
from monai_iltm.metrics.ranking import descending


def auroc(maps: Cases, masks: Cases) -> float:
    """Area under the ROC curve over all pixels of all cases, in [0, 1]; 0.5 is chance.

    maps: any real [B, 1, *S], higher = more anomalous; masks: bool, same shape, True = anomalous; or sequences of
    [1, *S]. Raises MetricError for bad input and where no anomalous or no normal pixel exists.
    """
    scores, truth = pooled(as_cases(maps, masks))
    return float(roc_auc_score(truth, scores))


def average_precision(maps: Cases, masks: Cases) -> float:
    """Mean precision over all pixels of all cases, weighted by gained recall, in [0, 1]; chance is the anomalous share.

    Arguments and errors as for `auroc`.
    """
    scores, truth = pooled(as_cases(maps, masks))
    return float(average_precision_score(truth, scores))


def best_dice(maps: Cases, masks: Cases) -> float:
    """The highest Dice of any one threshold over all pixels of all cases (maximal F1), in (0, 1]; exact.

    Arguments and errors as for `auroc`. It chooses its threshold with the truth: an upper bound, not a result in use.
    """
    return _highest_dice(*pooled(as_cases(maps, masks)))


def best_dice_per_case(maps: Cases, masks: Cases) -> float:
    """Mean over the cases with an anomaly of each one's highest Dice, at a threshold of its own; in (0, 1].

    Arguments as for `auroc`; cases without an anomalous pixel are left out. Raises MetricError for bad input and where
    no case has an anomaly.
    """
    dice = [_highest_dice(*counted(one, mask)) for one, mask in as_cases(maps, masks) if mask.any()]
    if not dice:
        raise MetricError(f"no anomalous pixel in any of {len(maps)} cases: the figure is not defined")
    return float(np.mean(dice))


def image_auroc(scores: Array, labels: Array) -> float:
    """Area under the ROC curve over images, in [0, 1].

    scores: real [N], one a case, higher = more anomalous; labels: bool [N], True = anomalous.
    Raises MetricError for bad input and where no anomalous or no normal image exists.
    """
    scores, labels = to_numpy(scores), to_numpy(labels)
    if labels.dtype != bool:
        raise MetricError(f"labels must be bool (True = anomalous), found {labels.dtype}")
    if scores.ndim != 1 or scores.shape != labels.shape:
        raise MetricError(f"scores have shape {scores.shape}, labels {labels.shape}, expected [N] both")
    require_both(labels, "image")
    return float(roc_auc_score(labels, as_scores(scores, "scores")))


def pixel_figures(maps: Cases, masks: Cases, prefix: str = "") -> dict[str, float]:
    """All five pixel figures under flat keys, each with `prefix` before it. Arguments and errors as for `auroc`."""
    figures = (auroc, average_precision, aupro, best_dice, best_dice_per_case)
    return {prefix + figure.__name__: figure(maps, masks) for figure in figures}


def _highest_dice(scores: np.ndarray, truth: np.ndarray) -> float:
    """scores float [n], truth bool [n] with an anomalous entry."""
    order, ends = descending(scores)
    hits = np.cumsum(truth[order])[ends]
    return float(np.max(2 * hits / (ends + 1 + np.count_nonzero(truth))))
