"""One sort over all scores: what is flagged at every distinct threshold, from the strictest down."""

from __future__ import annotations

import numpy as np


def descending(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(order, ends): indices [n] from the highest score to the lowest, and the last place of every run of ties.

    scores: float [n], finite. At the k-th distinct threshold exactly order[: ends[k] + 1] is flagged (score >= it).
    O(n log n); memory of about three times the scores.
    """
    order = np.argsort(-scores)
    ranked = scores[order]
    return order, np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
