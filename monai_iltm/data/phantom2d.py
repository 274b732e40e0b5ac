"""PET-like slices of a trunk in random pose: organs as hot as the lesions, lesions that keep to a few sites."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from monai_iltm.data.errors import InputError
from monai_iltm.data.phantom2d_canvas import Canvas, Pose, over
from monai_iltm.data.phantom_io import write_phantom

# Body frame: x towards the picture's right (the patient's left), y towards the feet, the trunk ends at 1 either way.
# Places of low or moderate, well-structured uptake, clear of every hot organ.
SITES = ((-0.46, -0.46), (-0.58, 0.58), (0.50, -0.66), (0.60, 0.58), (-0.48, -0.78), (0.0, -0.72))
SITE_JITTER = 0.05
TRUNK_POWER = 2.5
BLUR = 0.75
NOISE_CORRELATION = 0.45
NOISE_FLOOR = 0.006  # scatter and electronics: air is not quite silent


def phantom2d_slice(
    rng: np.random.Generator,
    lesions: int,
    *,
    site_preference: float = 0.3,
    sites: int = 6,
    radius: tuple[float, float] = (2.0, 3.5),
    contrast: tuple[float, float] = (0.35, 0.5),
    noise: float = 0.08,
    size: int = 64,
) -> tuple[np.ndarray, np.ndarray]:
    """One slice [size, size] float32 in [0, 1] and its lesions [size, size] bool: where one gives over half its peak.

    `lesions` of them, each with probability `site_preference` at one of the first `sites` entries of SITES (none twice
    in an image), else anywhere in cool tissue. `radius` in pixels of a 64-pixel picture, `contrast` the uptake above
    the surroundings, `noise` the standard deviation at uptake 1 (it grows with the root of the uptake) before the
    grain is smoothed. Body and organs are the same for any number of lesions drawn from equal generators. Raises
    InputError for values out of range.
    """
    _check(site_preference, sites, size)
    anatomy, places, grain = rng.spawn(3)
    pose = Pose.draw(anatomy, size)
    scale = float(np.sqrt(pose.half_height * pose.half_width))
    canvas = Canvas(*pose.to_body(*np.mgrid[:size, :size].astype(float)), scale)
    uptake = gaussian_filter(_healthy_uptake(anatomy, canvas), BLUR)
    mask = np.zeros((size, size), bool)
    for row, col in _lesion_places(places, lesions, uptake, pose, site_preference, sites):
        glow = _lesion(places, row, col, places.uniform(*radius) * size / 64, size)
        uptake += glow * places.uniform(*contrast)
        mask |= glow > 0.5 * glow.max()
    image = uptake + _noise(grain, uptake, noise)
    return np.clip(image, 0, 1).astype(np.float32), mask


def write_phantom2d(
    folder: str | Path,
    training: int = 192,
    testing: int = 64,
    clean: int = 192,
    contamination: float = 1.0,
    seed: int = 0,
    size: int = 64,
    lesions: tuple[int, int] = (1, 3),
    site_preference: float = 0.3,
    sites: int = 6,
    radius: tuple[float, float] = (2.0, 3.5),
    contrast: tuple[float, float] = (0.35, 0.5),
    noise: float = 0.08,
) -> Path:
    """Write a set of slices as 8-bit PNG (uptake 1 is 255) with masks and return the path of its datalist.json.

    `contamination` is the share of training images with `lesions` (fewest, most); every other test image has them;
    clean images have none. Lesions and their places as in `phantom2d_slice`. A case depends on seed, split and index
    only. A folder that holds the same phantom is left alone. Raises InputError where it holds anything else.
    """
    _check(site_preference, sites, size)
    places: dict[str, Any] = {"site_preference": site_preference, "sites": sites}
    look = {**places, "radius": radius, "contrast": contrast, "noise": noise, "size": size}
    counts: dict[str, Any] = {"training": training, "testing": testing, "clean": clean}
    counts |= {"contamination": contamination, "lesions": lesions}

    def draw(rng: np.random.Generator, number: int) -> tuple[np.ndarray, np.ndarray, None]:
        image, mask = phantom2d_slice(rng, number, **look)
        return np.round(image * 255).astype(np.uint8), mask, None

    return write_phantom(folder, {"phantom": "2d", "seed": seed, **counts, **look}, ".png", draw)


def _check(site_preference: float, sites: int, size: int) -> None:
    if not 0 <= site_preference <= 1:
        raise InputError(f"site_preference must lie in [0, 1], found {site_preference}")
    if not 1 <= sites <= len(SITES):
        raise InputError(f"sites must lie between 1 and {len(SITES)}, found {sites}")
    if size < 32:
        raise InputError(f"a phantom slice needs at least 32 pixels a side, found {size}")


def _healthy_uptake(rng: np.random.Generator, canvas: Canvas) -> np.ndarray:
    body = canvas.ellipse(0, 0, 1, 1, power=TRUNK_POWER)
    uptake = body * rng.uniform(0.13, 0.19)
    for paint in (_chest, _liver_and_spleen, _heart, _kidneys_and_bladder, _bowel):
        uptake = paint(rng, canvas, uptake)
    return uptake * body


def _near(rng: np.random.Generator, *values: float, spread: float = 0.03) -> np.ndarray:
    return np.array(values) + rng.normal(0, spread, len(values))


def _chest(rng: np.random.Generator, canvas: Canvas, uptake: np.ndarray) -> np.ndarray:
    spine = canvas.ellipse(0, 0.05, 0.10, 0.95, power=4) * (0.85 + 0.15 * np.cos(canvas.y * 34))
    uptake = over(uptake, spine, rng.uniform(0.20, 0.27))
    air, width, height = rng.uniform(0.05, 0.08), rng.uniform(0.27, 0.32), rng.uniform(0.37, 0.43)
    for side in (-1, 1):
        x, y = _near(rng, side * 0.45, -0.46, spread=0.015)
        uptake = over(uptake, canvas.ellipse(x, y, width, height, side * 0.12, 2.3), air)
    return uptake


def _liver_and_spleen(rng: np.random.Generator, canvas: Canvas, uptake: np.ndarray) -> np.ndarray:
    x, y = _near(rng, -0.38, 0.06)
    liver = canvas.ellipse(x, y, rng.uniform(0.40, 0.50), rng.uniform(0.18, 0.23), -0.2)
    uptake = over(uptake, liver, rng.uniform(0.30, 0.42))
    x, y = _near(rng, 0.60, 0.02)
    return over(uptake, canvas.ellipse(x, y, 0.16, 0.14, 0.5), rng.uniform(0.26, 0.38))


def _heart(rng: np.random.Generator, canvas: Canvas, uptake: np.ndarray) -> np.ndarray:
    x, y = _near(rng, 0.20, -0.20)
    size, tilt, pool = rng.uniform(0.19, 0.25), rng.uniform(0.3, 0.9), rng.uniform(0.20, 0.28)
    present, wall = rng.random() < 0.75, rng.uniform(0.28, 1.0)  # fed or fasting: missing, faint or blazing
    if present:
        uptake = over(uptake, canvas.ellipse(x, y, size * 1.1, size * 0.85, tilt), wall)
    return over(uptake, canvas.ellipse(x, y, size * 0.58, size * 0.38, tilt), pool)


def _kidneys_and_bladder(rng: np.random.Generator, canvas: Canvas, uptake: np.ndarray) -> np.ndarray:
    x, y, heat = rng.normal(0.36, 0.02), rng.normal(0.30, 0.025), rng.uniform(0.45, 0.95)
    for side in (-1, 1):  # a pair: same height, same tilt, nearly the same heat
        kidney = canvas.ellipse(side * x, y + 0.02 * side + rng.normal(0, 0.008), 0.125, 0.155, side * 0.3)
        uptake = over(uptake, kidney, heat * rng.uniform(0.93, 1.0))
    x, y = _near(rng, 0, 0.80, spread=0.02)
    bladder = canvas.ellipse(x, y, rng.uniform(0.18, 0.27), rng.uniform(0.10, 0.16))
    return over(uptake, bladder, rng.uniform(0.5, 1.0))


def _bowel(rng: np.random.Generator, canvas: Canvas, uptake: np.ndarray) -> np.ndarray:
    for _ in range(rng.integers(1, 4)):
        steps = np.cumsum(rng.normal(0, 0.45, 24))
        heading = rng.uniform(0, 2 * np.pi) + steps
        path = np.cumsum(0.045 * np.stack([np.cos(heading), np.sin(heading)], 1), 0)
        path += np.array([0, 0.53]) + rng.normal(0, [0.12, 0.03]) - path.mean(0)
        path = np.clip(path, (-0.30, 0.40), (0.30, 0.66))
        uptake = over(uptake, canvas.tube(path, rng.uniform(0.035, 0.06)), rng.uniform(0.3, 0.8))
    return uptake


def _lesion_places(
    rng: np.random.Generator, lesions: int, uptake: np.ndarray, pose: Pose, site_preference: float, sites: int
) -> list[tuple[float, float]]:
    """(row, col) of every lesion."""
    free = list(rng.permutation(sites))
    places: list[tuple[float, float]] = []
    for _ in range(lesions):
        if free and rng.random() < site_preference:
            x, y = np.array(SITES[free.pop()]) + rng.normal(0, SITE_JITTER, 2)
            places.append(pose.to_pixel(x, y))
        else:
            places.append(_scattered_place(rng, uptake, pose, places))
    return places


def _scattered_place(
    rng: np.random.Generator, uptake: np.ndarray, pose: Pose, taken: list[tuple[float, float]], tries: int = 200
) -> tuple[float, float]:
    """Anywhere in cool tissue and apart from earlier lesions; the last try stands if all fail."""
    apart = len(uptake) / 6
    for _ in range(tries):
        x, y = rng.uniform(-0.85, 0.85, 2)
        row, col = pose.to_pixel(x, y)
        inside = abs(x) ** TRUNK_POWER + abs(y) ** TRUNK_POWER < 0.7
        near = uptake[max(round(row) - 2, 0) : round(row) + 3, max(round(col) - 2, 0) : round(col) + 3]
        if inside and near.size and near.max() < 0.45 and all(np.hypot(row - r, col - c) > apart for r, c in taken):
            break
    return row, col


def _lesion(rng: np.random.Generator, row: float, col: float, radius: float, size: int) -> np.ndarray:
    """Blurred disc, a little out of round, peak near 1."""
    stretch, tilt = rng.uniform(0.85, 1.18), rng.uniform(0, np.pi)
    rows, cols = np.mgrid[:size, :size]
    frame = Canvas(cols - col, rows - row, 1.0)
    return gaussian_filter(frame.ellipse(0, 0, radius * stretch, radius / stretch, tilt), BLUR)


def _noise(rng: np.random.Generator, uptake: np.ndarray, noise: float) -> np.ndarray:
    """Counting noise, [S, S]: unit variance before the root of the uptake, neighbours correlated by reconstruction."""
    white = gaussian_filter(rng.standard_normal(uptake.shape), NOISE_CORRELATION)
    return white * (noise * np.sqrt(uptake) + NOISE_FLOOR)
