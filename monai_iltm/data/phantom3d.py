"""Whole-body FDG-PET-like volumes in SUV: hot healthy organs, and lesions that keep to a few sites or scatter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from monai_iltm.data.errors import InputError
from monai_iltm.data.phantom3d_anatomy import healthy_body
from monai_iltm.data.phantom3d_frame import Frame, ellipsoid_depth
from monai_iltm.data.phantom_io import write_phantom

# Body coordinates in mm (see phantom3d_frame.FIELD): nodes and nodules in cool, well-structured places
SITES = (
    *((72, 0, -362), (-128, -4, -338), (-88, 24, -742), (24, -4, -222)),  # right lung, left axilla, left iliac, neck
    *((-70, 0, -340), (96, 40, -822), (128, -4, -338)),  # left lung, right groin, right axilla
)
SITE_JITTER = 8.0  # mm
COOL = 1.5  # SUV: scattered lesions keep out of hotter organs, where none could be told from them
FWHM_PER_SIGMA = 2.3548
GRAIN = 0.35  # voxels: averaging over voxels correlates noise beyond the blur, as real scans show
LIVER_SUV = 2.0  # `noise` is the coefficient of variation here


def phantom3d_volume(
    rng: np.random.Generator,
    shape: tuple[int, int, int] = (64, 64, 96),
    lesions: int = 0,
    *,
    site_preference: float = 0.3,
    sites: int = 6,
    radius: tuple[float, float] = (14.0, 26.0),
    contrast: tuple[float, float] = (2.0, 6.0),
    noise: float = 0.13,
    blur: float = 6.0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A volume [*shape] float32 in SUV (>= 0), its lesions [*shape] bool, the affine 4 x 4 (float64, RAS, mm).

    A voxel is a lesion's where the lesion gives over half its peak. The field of view is fixed, so `shape` sets the
    spacing. `lesions` of them, each with probability `site_preference` at one of the first `sites` entries of SITES
    (none twice), else anywhere in cool tissue; `radius` in mm, `contrast` the SUV above the surroundings. `blur` is the
    scanner's FWHM in mm; `noise` the coefficient of variation in a liver of SUV 2: the noise grows with the root of the
    uptake and is a little more correlated than the blur makes it. Body and organs are the same for any number of
    lesions drawn from equal generators. About 0.2 s at 64 x 64 x 96, 3 s and 0.5 GB at 208 x 168 x 216. Raises
    InputError for values out of range.
    """
    _check(shape, site_preference, sites)
    anatomy, places, grain = rng.spawn(3)
    frame = Frame.draw(anatomy, shape)
    sigma = blur / FWHM_PER_SIGMA / frame.spacing
    uptake, _ = healthy_body(anatomy, frame)
    uptake = gaussian_filter(uptake, sigma)
    mask = np.zeros(shape, bool)
    for place in _lesion_places(places, lesions, uptake, frame, site_preference, sites):
        _add_lesion(places, uptake, mask, frame, place, radius, contrast, sigma)
    uptake += _noise(grain, uptake, noise, sigma)
    return np.maximum(uptake, 0, out=uptake), mask, frame.affine


def phantom3d_organs(rng: np.random.Generator, shape: tuple[int, int, int] = (64, 64, 96)) -> np.ndarray:
    """The organs [*shape] uint8, indices to ORGANS, of the body `phantom3d_volume` draws from an equal generator."""
    anatomy = rng.spawn(3)[0]
    return healthy_body(anatomy, Frame.draw(anatomy, shape))[1]


def write_phantom3d(
    folder: str | Path,
    training: int = 24,
    testing: int = 8,
    clean: int = 24,
    contamination: float = 1.0,
    seed: int = 0,
    shape: tuple[int, int, int] = (64, 64, 96),
    lesions: tuple[int, int] = (1, 3),
    site_preference: float = 0.3,
    sites: int = 6,
    radius: tuple[float, float] = (14.0, 26.0),
    contrast: tuple[float, float] = (2.0, 6.0),
    noise: float = 0.13,
    blur: float = 6.0,
) -> Path:
    """Write a set of volumes as NIfTI (float32, SUV) with masks and return the path of its datalist.json.

    `contamination` is the share of training volumes with `lesions` (fewest, most); every other test volume has them;
    clean volumes have none. The rest as in `phantom3d_volume`. A case depends on seed, split and index only. A folder
    that holds the same phantom is left alone. Raises InputError where it holds anything else.
    """
    shape = (int(shape[0]), int(shape[1]), int(shape[2]))
    _check(shape, site_preference, sites)
    look: dict[str, Any] = {"site_preference": site_preference, "sites": sites, "radius": radius, "contrast": contrast}
    look |= {"noise": noise, "blur": blur}
    counts: dict[str, Any] = {"training": training, "testing": testing, "clean": clean}
    counts |= {"contamination": contamination, "lesions": lesions}

    def draw(rng: np.random.Generator, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return phantom3d_volume(rng, shape, number, **look)

    return write_phantom(folder, {"phantom": "3d", "seed": seed, "shape": shape, **counts, **look}, ".nii.gz", draw)


def _check(shape: tuple[int, int, int], site_preference: float, sites: int) -> None:
    if len(shape) != 3 or min(shape) < 16:
        raise InputError(f"a phantom volume needs three sides of at least 16 voxels, found {shape}")
    if not 0 <= site_preference <= 1:
        raise InputError(f"site_preference must lie in [0, 1], found {site_preference}")
    if not 1 <= sites <= len(SITES):
        raise InputError(f"sites must lie between 1 and {len(SITES)}, found {sites}")


def _lesion_places(
    rng: np.random.Generator, lesions: int, uptake: np.ndarray, frame: Frame, site_preference: float, sites: int
) -> list[np.ndarray]:
    """Body coordinates of every lesion."""
    free = list(rng.permutation(sites))
    places: list[np.ndarray] = []
    for _ in range(lesions):
        if free and rng.random() < site_preference:
            places.append(np.array(SITES[free.pop()]) + rng.normal(0, SITE_JITTER, 3))
        else:
            places.append(_scattered_place(rng, uptake, frame, places))
    return places


def _scattered_place(
    rng: np.random.Generator, uptake: np.ndarray, frame: Frame, taken: list[np.ndarray], tries: int = 500
) -> np.ndarray:
    """Anywhere in cool tissue and apart from earlier lesions; the last try stands if all fail."""
    for _ in range(tries):
        place = rng.uniform((-150, -85, -820), (150, 85, -190))
        near = uptake[frame.box(place - 10, place + 10)]
        cool = near.size and near.min() > 0.12 and near.max() < COOL
        if cool and all(np.linalg.norm(place - other) > 45 for other in taken):
            break
    return place


def _add_lesion(
    rng: np.random.Generator,
    uptake: np.ndarray,
    mask: np.ndarray,
    frame: Frame,
    place: np.ndarray,
    radius: tuple[float, float],
    contrast: tuple[float, float],
    sigma: np.ndarray,
) -> None:
    """Add one blurred, slightly oblong lesion to uptake and mask in place."""
    half = rng.uniform(*radius) * np.exp(rng.normal(0, 0.12, 3))
    reach = half * 1.2 + 4 * sigma * frame.spacing
    box = frame.box(place - reach, place + reach)
    depth = ellipsoid_depth(tuple(place), tuple(half), tilt=rng.uniform(0, np.pi))
    glow = gaussian_filter(frame.share(depth(*frame.body_grid(box))), sigma)
    uptake[box] += glow * np.float32(rng.uniform(*contrast))
    mask[box] |= glow > 0.5 * glow.max()


def _noise(rng: np.random.Generator, uptake: np.ndarray, noise: float, sigma: np.ndarray) -> np.ndarray:
    """Counting noise as reconstruction leaves it, [*S] float32: variance in proportion to the uptake, correlated."""
    grain = gaussian_filter(rng.standard_normal(uptake.shape, dtype=np.float32), np.hypot(sigma, GRAIN))
    grain *= np.float32(noise * np.sqrt(LIVER_SUV)) / grain.std()
    return grain * np.sqrt(uptake + np.float32(0.02))
