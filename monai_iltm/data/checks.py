"""Everything that may be wrong with a data set, reported at the door and all at once, case by case and by name."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from monai.config import PathLike

from monai_iltm.data.errors import InputError
from monai_iltm.data.files import FileReport, Finding, grid_difference
from monai_iltm.data.id_checks import Place, id_problems
from monai_iltm.data.limits import Limits, image_findings
from monai_iltm.data.lookalikes import maps_among_images
from monai_iltm.data.problems import Problem, format_problems, shown_path
from monai_iltm.data.readings import Reading, grouped_notes, inspect_all, readings

Reports = Mapping[Reading, FileReport]


@dataclass(frozen=True)
class Examined:
    """What was found in the files of a datalist.

    problems: with the place of the case, None where the whole set is meant. notes: what is worth knowing, in lines.
    """

    problems: list[tuple[Place | None, Problem]]
    notes: list[str]

    def table(self) -> list[Problem]:
        """Each problem once, though its case may stand in two lists."""
        return list(dict.fromkeys(problem for _, problem in self.problems))


def check_cases(datalist: dict, dataset_dir: PathLike, **limits: object) -> list[Problem]:
    """All problems of all cases in all lists of a datalist; none is repaired. `limits`: the fields of `Limits`.

    Found are: missing, empty, truncated or unreadable files; NaN or infinite intensities; non-finite or singular
    affines; spacings that are not positive; 4D volumes; dimensions or channels other than the majority's; constant or
    too small images; intensities out of range; label maps among the images; files outside the data folder, unless
    `outside`; ids that are missing, double or no file names; a label, mask or locked region that is not binary or on
    another grid than its image (a tenth of a voxel is allowed); too few cases. Every file is read once.
    """
    return examine(datalist, dataset_dir, **limits).table()


class Sound(NamedTuple):
    """A datalist of sound cases, the problems of those left out, and what else is worth knowing, a line each."""

    datalist: dict
    problems: list[Problem]
    notes: list[str]


def require_sound(datalist: dict, dataset_dir: PathLike, skip_bad: bool = False, **limits: object) -> Sound:
    """The datalist with sound cases only, the problems of those left out, and notes of its files.

    Without `skip_bad` any problem raises one InputError that lists all of them by case. With it, cases with problems
    are dropped, and what remains is counted again: too few cases raise. `limits`: the fields of `Limits`.
    """
    examined = examine(datalist, dataset_dir, **limits)
    problems = examined.table()
    if not problems:
        return Sound(datalist, [], examined.notes)
    bad = {place for place, _ in examined.problems if place is not None}
    if not skip_bad:
        told = "the data cannot be used as they are (skip_bad leaves such cases out)"
        raise InputError(f"{told}, {_count(bad)}:\n{format_problems(problems)}")
    sound = {
        name: [entry for index, entry in enumerate(part) if (name, index) not in bad] if _is_list(part) else part
        for name, part in datalist.items()
    }
    fewest = Limits(**limits).fewest  # type: ignore[arg-type]
    if left := list(_too_few(sound, fewest)):
        raise InputError(f"too little is left, {_count(bad)}:\n{format_problems([*problems, *left])}")
    return Sound(sound, problems, examined.notes)


def examine(datalist: dict, dataset_dir: PathLike, **limits: object) -> Examined:
    """Read every file of a datalist once: all problems, and what is worth knowing. `limits`: the fields of `Limits`."""
    folder, bounds = Path(dataset_dir), Limits(**limits)  # type: ignore[arg-type]
    entries = {
        (name, index): entry for name, part in datalist.items() if _is_list(part) for index, entry in enumerate(part)
    }
    wanted = {reading for entry in entries.values() for reading in readings(entry).values()}
    reports = inspect_all(wanted, folder, bounds.most_bytes)
    usual = _majority(reports, entries.values())
    found: list[tuple[Place | None, Problem]] = [(None, problem) for problem in _too_few(datalist, bounds.fewest)]
    found += id_problems(entries, folder)
    for place, entry in entries.items():
        for path, (what, value) in _case_findings(entry, reports, usual, bounds, folder):
            found.append((place, Problem(str(entry.get("case", "")), shown_path(path, folder), what, value)))
    found += _maps_taken_for_images(entries, reports, folder)
    return Examined(found, [*grouped_notes(reports, folder), *_orientations(reports, bounds.orientation)])


def _orientations(reports: Reports, orientation: str | None) -> Iterator[str]:
    """A line where volumes lie in several orientations."""
    images = [report for reading, report in reports.items() if not reading.is_truth]
    counts = Counter(image.axcodes for image in images if image.axcodes)
    if len(counts) > 1:
        told = ", ".join(f"{count} {axes}" for axes, count in counts.most_common())
        turned = f"a run turns them to {orientation}" if orientation else "the setting orientation turns them to one"
        yield f"volumes lie in several orientations, {told}: {turned}"


def _case_findings(
    entry: dict, reports: Reports, usual: tuple[int, int], limits: Limits, folder: Path
) -> Iterator[tuple[str, Finding]]:
    """(file, finding) of one case."""
    files = readings(entry)
    if "image" not in files:
        yield "", ("case without an image", ", ".join(sorted(entry)) or "empty entry")
        return
    image = reports[files["image"]]
    for key, reading in files.items():
        if key != "mask" and not limits.outside and _is_outside(reading.path, folder):  # masks are a run's own
            yield reading.path, ("file outside the data folder", f"{key}; the setting allow_outside takes such files")
        if reading.is_truth:
            findings = _truth_findings(key, image, reports[reading])
        else:
            findings = iter([*image.findings, *image_findings(image, usual, limits)])
        yield from ((reading.path, finding) for finding in findings)


def _is_outside(path: str, folder: Path) -> bool:
    """Whether a path leaves the data folder, by its text or, where that does, by where links lead."""
    if not os.path.isabs(path) and ".." not in path:
        return False
    whole = os.path.abspath(folder / path)
    if Path(whole).is_relative_to(os.path.abspath(folder)):
        return False
    return not Path(os.path.realpath(whole)).is_relative_to(os.path.realpath(folder))


def _truth_findings(key: str, image: FileReport, truth: FileReport) -> Iterator[Finding]:
    yield from ((f"{key}: {what}", found) for what, found in truth.findings)
    if image.shape is not None and truth.shape is not None and (difference := grid_difference(image, truth)):
        yield f"{key} on another grid", difference


def _maps_taken_for_images(
    entries: Mapping[Place, dict], reports: Reports, folder: Path
) -> Iterator[tuple[Place, Problem]]:
    """One problem a folder of label maps, at the place of every case in it."""
    files = {place: readings(entry)["image"] for place, entry in entries.items() if "image" in readings(entry)}
    relative = {reading: shown_path(reading.path, folder) for reading in files.values()}
    looks = {path: reports[reading] for reading, path in relative.items()}
    for problem in maps_among_images(looks, folder):
        inside = (place for place, reading in files.items() if relative[reading].startswith(f"{problem.file}/"))
        yield from ((place, problem) for place in inside)


def _too_few(datalist: dict, fewest: int) -> Iterator[Problem]:
    counts = {name: len(part) for name, part in datalist.items() if _is_list(part)}
    count = counts.get("training", sum(counts.values()))
    noun = "training images" if "training" in counts else "images"
    if count < fewest:
        what = {0: f"no {noun}", 1: f"a single image among {noun}"}.get(count, f"too few {noun}")
        yield Problem("", "", what, f"{count}, at least {fewest} needed")


def _majority(reports: Reports, entries: Iterable[dict]) -> tuple[int, int]:
    """(axes, channels) of most readable images; the more usual one first seen where they tie."""
    images = [reports[files["image"]] for entry in entries if "image" in (files := readings(entry))]
    kinds = Counter((len(image.shape), image.channels) for image in images if image.shape and len(image.shape) <= 3)
    return kinds.most_common(1)[0][0] if kinds else (0, 0)


def _is_list(part: object) -> bool:
    return isinstance(part, list)


def _count(bad: set[Place]) -> str:
    return f"{len(bad)} case{'s' if len(bad) != 1 else ''} with problems"
