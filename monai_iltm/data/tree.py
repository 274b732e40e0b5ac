"""Folders of images: which files are images, which are truth, and which truth belongs to which image."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from monai.config import PathLike

from monai_iltm.data.errors import InputError
from monai_iltm.data.images import IMAGE_SUFFIXES, stem, suffix

TRUTH_FOLDERS = ("ground_truth", "labels", "masks")
NOTES = (".csv", ".json", ".md", ".txt")  # what may lie beside images
NORMAL_FOLDERS = ("good", "normal", "healthy")


def require_folder(root: PathLike) -> Path:
    """The folder as a Path. Raises InputError where there is none."""
    folder = Path(root)
    if not folder.is_dir():
        raise InputError(f"{folder}: {'not a folder' if folder.exists() else 'folder not found'}")
    return folder


def image_files(root: PathLike) -> list[str]:
    """All image files below `root` as sorted relative POSIX paths, hidden ones left out, links to folders followed.

    Raises InputError where `root` is no folder.
    """
    folder = require_folder(root)
    return sorted(path.relative_to(folder).as_posix() for path in _files(folder) if suffix(path) in IMAGE_SUFFIXES)


def other_files(root: PathLike) -> dict[str, int]:
    """How many files below `root` are of a kind that nothing reads, by suffix ("no suffix"), such as DICOM's.

    Raises InputError where `root` is no folder.
    """
    found = Counter(suffix(path) for path in _files(require_folder(root)))
    return {end or "no suffix": found[end] for end in sorted(found) if end not in IMAGE_SUFFIXES + NOTES}


def _files(folder: Path) -> Iterator[Path]:
    seen = set()
    for place, inner, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:  # a link back up would never end
            inner.clear()
            continue
        seen.add(real)
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        yield from (Path(place, name) for name in names if not name.startswith("."))


def case_id(path: str) -> str:
    """A relative path without suffix, "/" as "__".

    >>> case_id("test/broken/003.nii.gz")
    'test__broken__003'
    """
    return path[: len(path) - len(suffix(path))].replace("/", "__")


def truth_folder(path: str) -> str | None:
    """The folder of truth that a relative path lies in, or None.

    >>> truth_folder("bottle/ground_truth/broken/003_mask.png")
    'bottle/ground_truth'
    """
    parts = PurePosixPath(path).parts[:-1]
    for index, part in enumerate(parts):
        if part.lower() in TRUTH_FOLDERS:
            return "/".join(parts[: index + 1])
    return None


def pair_with_truth(images: Iterable[str], truths: Iterable[str]) -> dict[str, str]:
    """{image: its truth}, both relative paths, by file name: <stem>_mask.* or <stem>.* in a folder of truth.

    The folder of truth stands beside one of the image's folders (the nearest one counts) and may repeat the folders
    below it, all or only the inner ones: test/broken/003.png has ground_truth/test/broken/003_mask.png,
    ground_truth/broken/003.png or ground_truth/003.png. Raises InputError where images of differing ids claim one
    truth, as train/003.png and test/003.png would in the last form.
    """
    known = {_truth_key(path): path for path in truths}
    pairs: dict[str, str] = {}
    claimed: dict[str, str] = {}
    for image in images:
        truth = next((known[key] for key in _keys(image) if key in known), None)
        if truth is None:
            continue
        if case_id(claimed.setdefault(truth, image)) != case_id(image):
            raise InputError(
                f"{truth} could be the truth of {claimed[truth]} and of {image}: "
                "repeat the images' folders inside the folder of truth"
            )
        pairs[image] = truth
    return pairs


def masks_without_image(paths: Iterable[str]) -> list[str]:
    """The files in folders of truth that no image among `paths` claims. Raises InputError as `pair_with_truth`."""
    truths = [path for path in paths if truth_folder(path)]
    images = [path for path in paths if not truth_folder(path)]
    claimed = {_truth_key(truth) for truth in pair_with_truth(images, truths).values()}
    return [truth for truth in truths if _truth_key(truth) not in claimed]


def _truth_key(path: str) -> tuple[str, str, str]:
    """(folder beside the images, folders inside the folder of truth, stem of the image)."""
    folder = PurePosixPath(str(truth_folder(path)))
    inner = PurePosixPath(path).relative_to(folder).parent
    return folder.parent.as_posix(), inner.as_posix(), stem(path).removesuffix("_mask")


def _keys(image: str) -> Iterable[tuple[str, str, str]]:
    """The keys under which this image's truth may be known, the most specific first."""
    parts = PurePosixPath(image).parent.parts
    for depth in range(len(parts), -1, -1):
        beside = PurePosixPath(*parts[:depth]).as_posix()
        for start in range(depth, len(parts) + 1):
            yield beside, PurePosixPath(*parts[start:]).as_posix(), stem(image)
