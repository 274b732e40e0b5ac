"""Label maps that stand among the images under names of images, as labels of a layout that is not known do."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath

import numpy as np

from monai_iltm.data.errors import InputError
from monai_iltm.data.files import FileReport
from monai_iltm.data.images import read_image, suffix
from monai_iltm.data.problems import Problem

MAX_VALUES = 32  # classes of a label map; a picture of so few grey values is no picture
MAX_LABEL = 255
MOST_READ = 8  # folders side by side that are looked into: patients repeat what the first of them show
MOST_VOXELS = 1_000_000  # of a file, evenly taken
FEWEST = 2  # names in common: one alone may be chance

Folder = dict[str, str]  # {what follows the folder in the path, without suffix: path}


def maps_among_images(reports: Mapping[str, FileReport], root: Path) -> Iterator[Problem]:
    """A problem for each folder of integer maps of few values beside a folder with files of equal names.

    reports: what was found in each image, by its path relative to `root`. A file of a folder is read again only where
    all of them have the range of label maps.
    """
    for place, folders in _families(reports).items():
        suspects = [name for name, files in folders.items() if _may_be_maps(files, reports)]
        for name in suspects[:MOST_READ]:
            twins = [other for other in folders if other != name and _share(folders, name, other)][:MOST_READ]
            if not twins or not _is_map(root, folders[name]):
                continue
            image = next((twin for twin in twins if twin not in suspects or not _is_map(root, folders[twin])), None)
            if image is not None:
                found = f"integers of few values, under the names of {(place / image).as_posix()}"
                mend = "call the folder labels, or name the images in a datalist.json"
                yield Problem("", (place / name).as_posix(), "label maps among the images", f"{found}: {mend}")


def _families(paths: Iterable[str]) -> dict[PurePosixPath, dict[str, Folder]]:
    """{folder: {folder in it: its files}}, at every depth of the paths."""
    families: dict[PurePosixPath, dict[str, Folder]] = defaultdict(lambda: defaultdict(dict))
    for path in paths:
        parts = PurePosixPath(path[: len(path) - len(suffix(path))]).parts
        for depth in range(len(parts) - 1):
            families[PurePosixPath(*parts[:depth])][parts[depth]]["/".join(parts[depth + 1 :])] = path
    return families


def _may_be_maps(files: Folder, reports: Mapping[str, FileReport]) -> bool:
    looks = [reports[path] for path in files.values()]
    return len(looks) >= FEWEST and all(
        look.shape is not None and look.low == 0 and float(look.high).is_integer() and look.high <= MAX_LABEL
        for look in looks
    )


def _is_map(root: Path, files: Folder) -> bool:
    """Whether the first file holds integers of few values."""
    try:
        array = read_image(root / next(iter(files.values()))).array.ravel()
    except InputError:  # a problem of its own
        return False
    values = np.unique(array[:: max(array.size // MOST_VOXELS, 1)])
    return len(values) <= MAX_VALUES and bool((values == np.round(values)).all())


def _share(folders: Mapping[str, Folder], name: str, other: str) -> bool:
    """Whether most files of the one bear names of the other."""
    common = len(folders[name].keys() & folders[other].keys())
    return common >= FEWEST and 2 * common >= len(folders[name])
