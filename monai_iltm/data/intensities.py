"""What an image's intensities tell: whether they lie where the settings, and the training images, expect them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

TOLERANCE = 0.01  # of the expected range's width, which may be overstepped at either end
LEAST_FILLED = 0.02  # of intensity_range: an image that fills less is black, or white, to the model
SPREADS = 2.0  # of the training images' means: an image whose mean lies farther off is unlike them
LEAST_SPREAD = 0.05  # of the training images' whole range, where their means are more alike than that


def out_of_range(low: float, high: float, expected: Sequence[float] | None, tolerance: float = TOLERANCE) -> str | None:
    """What is wrong with intensities from low to high where `expected` (lowest, highest) is set, or None."""
    if expected is None:
        return None
    least, most = expected
    slack = tolerance * (most - least)
    if low >= least - slack and high <= most + slack:
        return None
    return f"{low:g} to {high:g}, expected {least:g} to {most:g} (setting expected_range, +- {tolerance:.0%})"


def not_filled(low: float, high: float, intensity_range: Any) -> str | None:
    """What is wrong where an image, scaled by intensity_range, would be all black or all white, or None.

    Images that are scaled by their own percentiles or median fill their range by themselves.
    """
    if intensity_range is None or isinstance(intensity_range, str):
        return None
    least, most = intensity_range
    filled = (min(high, most) - max(low, least)) / (most - least)
    if filled >= LEAST_FILLED:
        return None
    share = f"less than {LEAST_FILLED:.0%} of {least:g} to {most:g}"
    return f"{low:g} to {high:g}, {share} (setting intensity_range)"


def summary_of(images: Iterable[Mapping[str, float]]) -> dict[str, list[float]]:
    """The range, over all training images, of their lowest, mean and highest intensities; empty without any."""
    images = list(images)
    names = ("lowest", "mean", "highest") if images else ()
    return {name: [min(one[name] for one in images), max(one[name] for one in images)] for name in names}


def unlike_training(mean: float, training: Mapping[str, Sequence[float]] | None) -> str | None:
    """How an image's mean intensity departs from those of the training images (`summary_of`), or None."""
    if not training:
        return None
    (low, _), (least, most), (_, high) = (training[name] for name in ("lowest", "mean", "highest"))
    room = SPREADS * max(most - least, LEAST_SPREAD * (high - low))
    if least - room <= mean <= most + room:
        return None
    return f"mean intensity {mean:.4g}, those of the training images lie from {least:.4g} to {most:.4g}"
