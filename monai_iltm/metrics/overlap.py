"""Area under the per-region-overlap curve (Bergmann et al., IJCV 2021), exact, in 2D and 3D."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from monai_iltm.metrics.cases import Cases, MetricError, as_cases, counted, pooled
from monai_iltm.metrics.ranking import descending


def aupro(maps: Cases, masks: Cases, fpr_limit: float = 0.3) -> float:
    """Mean overlap of the anomalous regions against the share of false positives, up to `fpr_limit`; in [0, 1].

    maps: any real [B, 1, *S], higher = more anomalous; masks: bool, same shape, True = anomalous; or sequences of
    [1, *S]. A region is a component of one case's mask under full connectivity (8 neighbours in 2D, 26 in 3D), and
    every region counts alike, whatever its size. Every distinct value is a threshold; between two of them, and up to
    the limit, the curve is linear; the area is divided by the limit. fpr_limit: in (0, 1].
    Raises MetricError for bad input and where no anomalous or no normal pixel exists. O(n log n) in all pixels.
    """
    if not 0 < fpr_limit <= 1:
        raise MetricError(f"fpr_limit must lie in (0, 1], found {fpr_limit}")
    return area_up_to(*pro_curve(maps, masks), fpr_limit)


def pro_curve(maps: Cases, masks: Cases) -> tuple[np.ndarray, np.ndarray]:
    """(fpr, overlap), f64 [distinct values + 1] each, rising from (0, 0) to (1, 1). Arguments and errors as `aupro`."""
    cases = as_cases(maps, masks)
    scores, truth = pooled(cases)
    order, ends = descending(scores)
    normal = np.cumsum(~truth[order])[ends]  # whole numbers: no rounding adds up
    overlap = np.cumsum(_region_weights([mask for _, mask in cases])[order])[ends]
    return np.append(0.0, normal / normal[-1]), np.append(0.0, overlap / overlap[-1])


def area_up_to(fpr: np.ndarray, overlap: np.ndarray, limit: float) -> float:
    """Area under the linear pieces of a rising curve from 0 to `limit`, divided by `limit`.

    fpr, overlap: f64 [m], from (0, 0) to (1, 1); limit in (0, 1].
    """
    inside = int(np.searchsorted(fpr, limit, side="right"))  # the points with fpr <= limit
    x, y = fpr[:inside], overlap[:inside]
    if x[-1] < limit:
        share = (limit - x[-1]) / (fpr[inside] - x[-1])
        x, y = np.append(x, limit), np.append(y, y[-1] + share * (overlap[inside] - y[-1]))
    return min(float(np.trapezoid(y, x) / limit), 1.0)  # rounding alone can pass 1


def _region_weights(masks: list[np.ndarray]) -> np.ndarray:
    """f64 [n] over all pixels that count: 1 / size of the region the pixel lies in, 0 where normal."""
    weights = []
    for mask in masks:
        regions, _ = ndimage.label(np.ma.filled(mask, False), structure=np.ones((3,) * mask.ndim))
        size = np.bincount(regions.ravel()).astype(np.float64)
        share = np.divide(1.0, size, out=np.zeros_like(size), where=size > 0)
        share[0] = 0.0  # 0 is no region
        weights.append(counted(share[regions], mask)[0])
    return np.concatenate(weights)
