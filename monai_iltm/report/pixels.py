"""Planes of numbers to PNG pictures in the page, and the one colour scale that all surprise panels share."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from PIL import Image

from monai_iltm.report.story import Story, evenly, finite
from monai_iltm.report.volumes import CaseArrays, View, read_array

HEAT_STOPS = ["#f8f8f6", "#fdeccb", "#fcc077", "#ee6c45", "#b01217", "#45051c"]  # lightness falls all the way
HEAT = LinearSegmentedColormap.from_list("surprise", HEAT_STOPS)
SUSPECT, NEW, GONE, TRUTH = "#d1481f", "#6d28d9", "#8fa3b8", "#0f8a7e"
MOST_PIXELS, PANEL_PIXELS = 360, 220  # a side: more is not seen; as wide as a panel is shown
MOST_MAPS, MOST_VALUES = 24, 20_000  # what the colour scale looks at


@dataclass(frozen=True)
class Scale:
    """Surprise in nats: `low` is drawn white, `high` and above darkest; `threshold` is marked on the bar."""

    low: float
    high: float
    threshold: float | None = None


def surprise_scale(story: Story) -> Scale:
    """From the training set alone, so that a normal test image stays pale.

    White is the median of the training surprise; the end is the higher of its 99.5th percentile and twice the way to
    the threshold. Training maps of the last round are used, test maps where a run has kept none.
    """
    values = _sample(story)
    limits = [story.calibration.get("threshold")]
    limits += [stage.record.get("mask_threshold") for stage in reversed(story.rounds)]
    threshold = next((number for limit in limits if (number := finite(limit)) is not None), None)
    if not values.size:
        return Scale(0.0, max(1.0, 2 * (threshold or 0.0)), threshold)
    low, high = (float(value) for value in np.percentile(values, [50, 99.5]))
    if threshold is not None and threshold > low:
        high = max(high, low + 2 * (threshold - low))
    return Scale(low, max(high, low + 1e-3), threshold)


def grey_png(plane: np.ndarray, window: tuple[float, float], invert: bool) -> str:
    """[H, W] or [H, W, 3] between the two ends of `window`, black to white (inverted: white to black)."""
    return _png(_grey(plane, window, invert))


def heat_png(plane: np.ndarray, scale: Scale) -> str:
    """[H, W] surprise in nats on the shared colour scale."""
    return _png(HEAT((plane - scale.low) / (scale.high - scale.low))[..., :3])


def overlay_png(
    plane: np.ndarray, window: tuple[float, float], invert: bool, areas: Sequence[tuple[np.ndarray, str]]
) -> str:
    """The image, paler, with each bool area [H, W] filled in its colour."""
    grey = _grey(plane, window, invert)
    grey = _enlarged(grey.mean(axis=-1) if grey.ndim == 3 else grey, Image.Resampling.BICUBIC)
    low, high = (0.45, 1.0) if invert else (0.15, 0.9)
    picture = np.repeat((low + (high - low) * grey)[..., None], 3, axis=-1)
    for area, colour in areas:
        inside = _enlarged(area, Image.Resampling.NEAREST) > 0.5
        tint = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        picture[inside] = 0.2 * picture[inside] + 0.8 * tint
    return _png(picture)


def window_of(arrays: CaseArrays, view: View) -> tuple[float, float]:
    """Ends of the grey scale: pictures as they are (0 to the top of their range), medical images to a percentile.

    A projection shows only maxima, so it has a window of its own, or it would be black.
    """
    image = arrays.image
    low = min(0.0, float(image.min()))
    if arrays.medical:
        high = float(np.percentile(view.take(image) if view.projected else image, 99.7))
        return low, high if high > low else low + 1.0
    top = next((top for top in (1.0, 255.0, 65535.0) if image.max() <= top), float(image.max()))
    if top == 65535.0:  # 12 and 14 bit images in a 16-bit file would be black
        top = float(np.percentile(image, 99.9))
    return low, top if top > low else low + 1.0


def colour_bar(scale: Scale) -> str:
    """The scale as a strip with its ends and the threshold in nats."""
    stops = ", ".join(f"{colour} {100 * i / (len(HEAT_STOPS) - 1):.0f}%" for i, colour in enumerate(HEAT_STOPS))
    ticks = [(0.0, f"{scale.low:.1f}", "start"), (100.0, f"≥ {scale.high:.1f} nats", "end")]
    if scale.threshold is not None and scale.low < scale.threshold < scale.high:
        place = 100 * (scale.threshold - scale.low) / (scale.high - scale.low)
        ticks.append((place, f"threshold {scale.threshold:.1f}", "mid"))
    marks = "".join(f'<span class="tick {kind}" style="left:{at:.1f}%">{text}</span>' for at, text, kind in ticks)
    strip = f'<div class="strip" style="background:linear-gradient(90deg, {stops})">{marks}</div>'
    return f'<div class="bar"><span>Surprise: expected</span>{strip}<span>anomalous</span></div>'


def _grey(plane: np.ndarray, window: tuple[float, float], invert: bool) -> np.ndarray:
    low, high = window
    part = np.clip((plane - low) / (high - low), 0, 1)
    return 1 - part if invert else part


def _enlarged(plane: np.ndarray, how: Image.Resampling) -> np.ndarray:
    """[H, W] as float32 with about as many pixels as a panel: image smooth, edge of a mask sharp."""
    picture = Image.fromarray(np.ascontiguousarray(plane, dtype=np.float32))
    times = max(1, round(PANEL_PIXELS / max(picture.size)))
    return np.asarray(picture.resize((picture.width * times, picture.height * times), how))


def _png(part: np.ndarray) -> str:
    """[H, W] or [H, W, 3] in [0, 1] as a data address, made smaller where it has more pixels than a panel shows."""
    picture = Image.fromarray((255 * np.clip(part, 0, 1) + 0.5).astype(np.uint8))
    if max(picture.size) > MOST_PIXELS:
        share = MOST_PIXELS / max(picture.size)
        picture = picture.resize((max(1, round(picture.width * share)), max(1, round(picture.height * share))))
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _sample(story: Story) -> np.ndarray:
    """Surprise values of some training maps, spread evenly over cases and places."""
    for stage in reversed(story.rounds):
        training: list[Any] = [path for entry in story.training if (path := stage.folder.map(entry["case"]))]
        tests = [path for entry in story.testing if (path := stage.folder.test_file(entry["case"], "surprise"))]
        maps = [array for path in evenly(training or tests, MOST_MAPS) if (array := read_array(path)[0]) is not None]
        if maps:
            return np.concatenate([array.ravel()[:: max(1, array.size // MOST_VALUES)] for array in maps])
    return np.empty(0, dtype=np.float32)
