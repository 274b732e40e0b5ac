"""Planes of numbers as pictures, in the page and as files, and the one colour scale that all surprise panels share."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from PIL import Image

from monai_iltm.report.story import Story, evenly, read_story
from monai_iltm.report.volumes import CaseArrays, View, load_case, read_array, views
from monai_iltm.store import RoundFolder

HEAT_STOPS = ["#f8f8f6", "#fdeccb", "#fcc077", "#ee6c45", "#b01217", "#45051c"]  # lightness falls all the way
HEAT = LinearSegmentedColormap.from_list("surprise", HEAT_STOPS)
SUSPECT, NEW, GONE, TRUTH = "#d55e00", "#7a3fb0", "#8fa3b8", "#009e73"
PANELS = ("Image", "Healed mean", "Surprise", "Mask", "Truth")
MOST_PIXELS, PANEL_PIXELS = 360, 220  # a side: more is not seen; as wide as a panel is shown
MOST_MAPS, MOST_VALUES = 24, 20_000  # what the colour scale looks at
MOST_CASES, GAP = 6, 4  # picture files a round; pixels between two panels
TALLEST = 3  # of a panel in a file: its height as a multiple of its width


@dataclass(frozen=True)
class Scale:
    """Surprise in nats: `low` is drawn white, `high` and above darkest; `threshold` is marked on the bar."""

    low: float
    high: float
    threshold: float | None = None

    @property
    def place(self) -> float | None:
        """Where the threshold lies on the bar, in [0, 1]; None where it is not on it."""
        inside = self.threshold is not None and self.low < self.threshold < self.high
        return (self.threshold - self.low) / (self.high - self.low) if inside else None  # type: ignore[operator]


def surprise_scale(story: Story) -> Scale:
    """From the training set alone, so that a normal test image stays pale.

    White is the median of the training surprise; the end is the higher of its 99.5th percentile and twice the way to
    the threshold. Training maps of the last round are used, test maps where a run has kept none.
    """
    values, threshold = _sample(story), story.threshold
    if not values.size:
        return Scale(0.0, max(1.0, 2 * (threshold or 0.0)), threshold)
    low, high = (float(value) for value in np.percentile(values, [50, 99.5]))
    if threshold is not None and threshold > low:
        high = max(high, low + 2 * (threshold - low))
    return Scale(low, max(high, low + 1e-3), threshold)


def panels(arrays: CaseArrays, view: View, scale: Scale) -> list[Image.Image | None]:
    """One plane as pictures, in the order of PANELS; None for what is not known."""
    window, invert = window_of(arrays, view), arrays.medical
    image = view.take(arrays.image)
    shown: list[Image.Image | None] = [grey(image, window, invert)]
    shown.append(None if arrays.healed is None else grey(view.take(arrays.healed), window, invert))
    shown.append(None if arrays.surprise is None else heat(view.take(arrays.surprise), scale))
    for area, colour in ((arrays.mask, SUSPECT), (arrays.truth, TRUTH)):
        shown.append(None if area is None else overlay(image, window, invert, [(view.take(area), colour)]))
    return shown


def grey(plane: np.ndarray, window: tuple[float, float], invert: bool) -> Image.Image:
    """[H, W] or [H, W, 3] between the two ends of `window`, black to white (inverted: white to black)."""
    return _picture(_shares(plane, window, invert))


def heat(plane: np.ndarray, scale: Scale) -> Image.Image:
    """[H, W] surprise in nats on the shared colour scale."""
    return _picture(HEAT((plane - scale.low) / (scale.high - scale.low))[..., :3])


def overlay(
    plane: np.ndarray, window: tuple[float, float], invert: bool, areas: Sequence[tuple[np.ndarray, str]]
) -> Image.Image:
    """The image, paler, with each bool area [H, W] filled in its colour."""
    share = _shares(plane, window, invert)
    share = _enlarged(share.mean(axis=-1) if share.ndim == 3 else share, Image.Resampling.BICUBIC)
    low, high = (0.45, 1.0) if invert else (0.15, 0.9)
    picture = np.repeat((low + (high - low) * share)[..., None], 3, axis=-1)
    for area, colour in areas:
        inside = _enlarged(area, Image.Resampling.NEAREST) > 0.5
        picture[inside] = 0.2 * picture[inside] + 0.8 * np.array(to_rgb(colour))
    return _picture(picture)


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


def address(picture: Image.Image) -> str:
    """A picture as a data address, made smaller where it has more pixels than a panel shows."""
    if max(picture.size) > MOST_PIXELS:
        share = MOST_PIXELS / max(picture.size)
        picture = picture.resize((max(1, round(picture.width * share)), max(1, round(picture.height * share))))
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def write_pictures(run_folder: Path, folder: RoundFolder, target: Path) -> list[Path]:
    """A PNG for each of some test cases of a finished round: image, healed mean, surprise, mask, truth, side by side.

    Cases are spread evenly over the list, so that the same ones are shown of every round; of a volume, the axial plane
    through the highest surprise. What is not known stays white.
    """
    story = read_story(run_folder)
    present = [entry for entry in story.testing if folder.test_file(entry["case"], "surprise")]
    scale, written = surprise_scale(story), []
    for number, entry in enumerate(evenly(present, MOST_CASES)):
        arrays = load_case(story, entry, folder)
        if arrays is not None:
            name = re.sub(r"[^\w.-]", "_", entry["case"], flags=re.ASCII)[:100]
            written.append(target / f"{number}_{name}.png")
            _strip(arrays, scale).save(written[-1])
    return written


def _strip(arrays: CaseArrays, scale: Scale) -> Image.Image:
    """The panels of a case's first view, in a row."""
    view = views(arrays)[0]
    width, height = PANEL_PIXELS, max(1, round(PANEL_PIXELS * min(view.aspect, TALLEST)))
    shown = panels(arrays, view, scale)
    strip = Image.new("RGB", (len(shown) * (width + GAP) - GAP, height), "white")
    for place, panel in enumerate(shown):
        if panel is not None:
            strip.paste(panel.convert("RGB").resize((width, height)), (place * (width + GAP), 0))
    return strip


def _shares(plane: np.ndarray, window: tuple[float, float], invert: bool) -> np.ndarray:
    low, high = window
    share = np.clip((plane - low) / (high - low), 0, 1)
    return 1 - share if invert else share


def _enlarged(plane: np.ndarray, how: Image.Resampling) -> np.ndarray:
    """[H, W] as float32 with about as many pixels as a panel: image smooth, edge of a mask sharp."""
    picture = Image.fromarray(np.ascontiguousarray(plane, dtype=np.float32))
    times = max(1, round(PANEL_PIXELS / max(picture.size)))
    return np.asarray(picture.resize((picture.width * times, picture.height * times), how))


def _picture(shares: np.ndarray) -> Image.Image:
    """[H, W] or [H, W, 3] in [0, 1]."""
    return Image.fromarray((255 * np.clip(shares, 0, 1) + 0.5).astype(np.uint8))


def _sample(story: Story) -> np.ndarray:
    """Surprise values of some training maps, spread evenly over cases and places."""
    for one in reversed(story.rounds):
        training = [path for entry in story.training if (path := one.folder.map(entry["case"]))]
        tests = [path for entry in story.testing if (path := one.folder.test_file(entry["case"], "surprise"))]
        maps = [array for path in evenly(training or tests, MOST_MAPS) if (array := read_array(path)[0]) is not None]
        if maps:
            return np.concatenate([array.ravel()[:: max(1, array.size // MOST_VALUES)] for array in maps])
    return np.empty(0, dtype=np.float32)
