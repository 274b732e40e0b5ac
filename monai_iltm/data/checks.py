"""Everything that may be wrong with a data set, reported at the door and all at once, case by case and by name."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from monai.config import PathLike

from monai_iltm.data.errors import InputError
from monai_iltm.data.files import FileReport, Finding, grid_difference, inspect_file

TRUTH_KEYS = ("label", "mask", "lock_normal", "lock_anomalous")
Place = tuple[str, int]  # (list, index in it)


@dataclass(frozen=True)
class Problem:
    """What is wrong with a file of a case, and the value found; case and file are "" where the whole set is meant."""

    case: str
    file: str
    what: str
    found: str


@dataclass(frozen=True)
class Limits:
    """What a sound set is held to.

    min_size: smallest allowed extent of every axis, one number or one an axis, which also fixes the number of axes.
    max_size: largest extent, one an axis, after resampling to `spacing` mm (None: as the file has it).
    value_range: lowest and highest intensity; `tolerance` of its width may be overstepped (0.01 = 1 %).
    channels: of every image; None takes what most have.
    fewest: training cases needed (of a list without "training": cases altogether).
    """

    min_size: int | Sequence[int] | None = None
    max_size: Sequence[int] | None = None
    spacing: Sequence[float] | None = None
    value_range: tuple[float, float] | None = None
    tolerance: float = 0.01
    channels: int | None = None
    fewest: int = 2


def check_cases(datalist: dict, dataset_dir: PathLike, **limits: object) -> list[Problem]:
    """All problems of all cases in all lists of a datalist; none is repaired. `limits`: the fields of `Limits`.

    Found are: missing, empty, truncated or unreadable files; NaN or infinite intensities; non-finite or singular
    affines; spacings that are not positive; 4D volumes; dimensions or channels other than the majority's; constant or
    too small images; intensities out of range; ids that are missing, double or no file names; a label, mask or locked
    region on another grid than its image (a tenth of a voxel is allowed); too few cases. Every file is read once.
    """
    return _problems(_examine(datalist, Path(dataset_dir), Limits(**limits)))  # type: ignore[arg-type]


def require_sound(
    datalist: dict, dataset_dir: PathLike, skip_bad: bool = False, **limits: object
) -> tuple[dict, list[Problem]]:
    """The datalist with sound cases only, and the problems of those left out.

    Without `skip_bad` any problem raises one InputError that lists all of them by case. With it, cases with problems
    are dropped, and what remains is counted again: too few cases raise. `limits`: the fields of `Limits`.
    """
    bounds = Limits(**limits)  # type: ignore[arg-type]
    examined = _examine(datalist, Path(dataset_dir), bounds)
    problems = _problems(examined)
    if not problems:
        return datalist, []
    bad = {place for place, _ in examined if place is not None}
    if not skip_bad:
        told = "the data cannot be used as they are (skip_bad leaves such cases out)"
        raise InputError(f"{told}, {_count(bad)}:\n{format_problems(problems)}")
    sound = {
        name: [entry for index, entry in enumerate(part) if (name, index) not in bad] if _is_list(part) else part
        for name, part in datalist.items()
    }
    if left := list(_too_few(sound, bounds.fewest)):
        raise InputError(f"too little is left, {_count(bad)}:\n{format_problems([*problems, *left])}")
    return sound, problems


def format_problems(problems: Iterable[Problem]) -> str:
    """A plain text table, one line a problem: case, file, what is wrong, what was found."""
    rows = [("case", "file", "problem", "found"), *(astuple(problem) for problem in problems)]
    rows = [tuple(cell or "-" for cell in row) for row in rows]
    widths = [*(max(len(row[column]) for row in rows) for column in range(3)), 0]  # the last needs no filling
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def shown_path(path: str, folder: Path) -> str:
    """A path as messages show it: relative to the data folder where it lies inside."""
    return Path(path).relative_to(folder).as_posix() if Path(path).is_relative_to(folder) else path


def _examine(datalist: dict, folder: Path, limits: Limits) -> list[tuple[Place | None, Problem]]:
    """(place of the case, problem); no place where the whole set is meant."""
    entries = {
        (name, index): entry for name, part in datalist.items() if _is_list(part) for index, entry in enumerate(part)
    }
    reports = _inspect({str(entry[key]) for entry in entries.values() for key in _file_keys(entry)}, folder)
    usual = _majority(reports, entries.values())
    found: list[tuple[Place | None, Problem]] = [(None, problem) for problem in _too_few(datalist, limits.fewest)]
    found += _id_problems(entries, folder)
    for place, entry in entries.items():
        for path, (what, value) in _case_findings(entry, reports, usual, limits):
            found.append((place, Problem(str(entry.get("case", "")), shown_path(path, folder), what, value)))
    return found


def _problems(examined: list[tuple[Place | None, Problem]]) -> list[Problem]:
    """Each once, though its case may stand in two lists."""
    return list(dict.fromkeys(problem for _, problem in examined))


def _case_findings(
    entry: dict, reports: dict[str, FileReport], usual: tuple[int, int], limits: Limits
) -> Iterator[tuple[str, Finding]]:
    """(file, finding) of one case."""
    if "image" not in entry:
        yield "", ("case without an image", ", ".join(sorted(entry)) or "empty entry")
        return
    path, image = str(entry["image"]), reports[str(entry["image"])]
    for finding in [*image.findings, *_image_findings(image, usual, limits)]:
        yield path, finding
    for key in TRUTH_KEYS:
        if entry.get(key):
            report = reports[str(entry[key])]
            for finding in _truth_findings(key, image, report):
                yield str(entry[key]), finding


def _image_findings(image: FileReport, usual: tuple[int, int], limits: Limits) -> Iterator[Finding]:
    """What depends on the other images and on the limits."""
    if image.shape is None or len(image.shape) > 3:
        return
    axes, channels = usual
    if len(image.shape) != axes:
        yield "mixed dimensions", f"{len(image.shape)}D, most images are {axes}D"
    if limits.channels is not None and image.channels != limits.channels:
        yield "wrong number of channels", f"{image.channels}, expected {limits.channels} (setting image_channels)"
    elif image.channels != channels:
        yield "mixed channels", f"{image.channels}, most images have {channels}"
    yield from _size_findings(image.shape, limits.min_size)
    yield from _excess_findings(image, limits)
    if limits.value_range is not None:
        low, high = limits.value_range
        slack = limits.tolerance * (high - low)
        if image.low < low - slack or image.high > high + slack:
            expected = f"expected {low:g} to {high:g} (setting expected_range, +- {limits.tolerance:.0%})"
            yield "intensities out of range", f"{image.low:g} to {image.high:g}, {expected}"


def _size_findings(shape: tuple[int, ...], min_size: int | Sequence[int] | None) -> Iterator[Finding]:
    if min_size is None:
        return
    smallest = (min_size,) * len(shape) if isinstance(min_size, int) else tuple(min_size)
    if len(smallest) != len(shape):
        yield "wrong number of dimensions", f"{len(shape)}D, expected {len(smallest)}D"
    elif any(size < least for size, least in zip(shape, smallest, strict=True)):
        yield "image too small", f"{shape}, smallest grid {smallest}"


def _excess_findings(image: FileReport, limits: Limits) -> Iterator[Finding]:
    if limits.max_size is None or image.shape is None or len(limits.max_size) != len(image.shape):
        return
    size = list(image.shape)
    if limits.spacing is not None and image.affine is not None and np.isfinite(image.affine).all():
        lengths = np.linalg.norm(image.affine[:3, :3], axis=0)[: len(size)]
        # as Spacingd counts: the first voxel stays in its place, the last one falls where it falls
        size = [round((n - 1) * length / mm + 1) for n, length, mm in zip(size, lengths, limits.spacing, strict=True)]
    if any(n > most for n, most in zip(size, limits.max_size, strict=True)):
        yield "image too large", f"{tuple(size)} on the model's grid, which holds {tuple(limits.max_size)}"


def _truth_findings(key: str, image: FileReport, truth: FileReport) -> Iterator[Finding]:
    """A truth or suspect mask may be constant: nothing or all of it anomalous."""
    yield from ((f"{key}: {what}", found) for what, found in truth.findings if what != "constant image")
    if truth.channels != 1:
        yield f"{key}: more than one channel", f"{truth.channels}"
    if image.shape is not None and truth.shape is not None and (difference := grid_difference(image, truth)):
        yield f"{key} on another grid", difference


def _id_problems(entries: dict[Place, dict], folder: Path) -> Iterator[tuple[Place, Problem]]:
    """Ids name files, so they must be file names; one id, one image (which may stand in two lists)."""
    first: dict[str, tuple[str, str]] = {}
    for (name, index), entry in entries.items():
        case, image = str(entry.get("case", "")), str(entry.get("image", ""))
        shown = shown_path(image, folder)
        if not case:
            yield (name, index), Problem("", shown, "case without id", f"{name}[{index}]")
        elif case != Path(case).name:
            yield (name, index), Problem(case, shown, "id is no file name", case)
        elif case in first and (first[case][0] == name or first[case][1] != image):
            yield (name, index), Problem(case, shown, "duplicate id", f"also {shown_path(first[case][1], folder)}")
        first.setdefault(case, (name, image))


def _too_few(datalist: dict, fewest: int) -> Iterator[Problem]:
    counts = {name: len(part) for name, part in datalist.items() if _is_list(part)}
    count = counts.get("training", sum(counts.values()))
    noun = "training images" if "training" in counts else "images"
    if count < fewest:
        what = {0: f"no {noun}", 1: f"a single image among {noun}"}.get(count, f"too few {noun}")
        yield Problem("", "", what, f"{count}, at least {fewest} needed")


def _inspect(paths: set[str], folder: Path) -> dict[str, FileReport]:
    """Threads, because most of the time goes into decompression; quiet, because nibabel prints what it repairs."""
    ordered = sorted(paths)
    with nib.imageglobals.LoggingOutputSuppressor(), ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        return dict(zip(ordered, pool.map(lambda path: inspect_file(folder / path), ordered), strict=True))


def _majority(reports: dict[str, FileReport], entries: Iterable[dict]) -> tuple[int, int]:
    """(axes, channels) of most readable images; the more usual one first seen where they tie."""
    images = [reports[str(entry["image"])] for entry in entries if "image" in entry]
    kinds = Counter((len(image.shape), image.channels) for image in images if image.shape and len(image.shape) <= 3)
    return kinds.most_common(1)[0][0] if kinds else (0, 0)


def _file_keys(entry: dict) -> list[str]:
    return [key for key in ("image", *TRUTH_KEYS) if entry.get(key)]


def _is_list(part: object) -> bool:
    return isinstance(part, list)


def _count(bad: set[Place]) -> str:
    return f"{len(bad)} case{'s' if len(bad) != 1 else ''} with problems"
