"""The files of a data folder: which can be read as images, which cannot, and what is left out of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from monai.config import PathLike

from monai_iltm.data.errors import InputError, shown
from monai_iltm.data.foreign import is_system_file, is_system_folder, own_parts, own_work
from monai_iltm.data.images import IMAGE_SUFFIXES, suffix

TEXTS = (".csv", ".json", ".md", ".txt")  # what may lie beside images


@dataclass(frozen=True)
class Survey:
    """What lies below a folder, as relative POSIX paths, sorted; hidden files and folders are not looked at.

    images: files that are read, by their suffix. others: all else, but for texts. left_out: {folder: what it is}.
    """

    images: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)


def require_folder(root: PathLike) -> Path:
    """The folder as a Path. Raises InputError where there is none."""
    folder = Path(root)
    if not folder.is_dir():
        raise InputError(f"{shown(folder)}: {'not a folder' if folder.exists() else 'folder not found'}")
    return folder


def survey(root: PathLike) -> Survey:
    """Look through a folder, links to folders followed.

    Left out are folders that a system makes for itself (thumbnails, bins) and this package's own: runs, results,
    bundles. Raises InputError where `root` is no folder and where one within it cannot be listed.
    """
    folder = require_folder(root)
    found = Survey()
    for path in _files(folder, found.left_out):
        end = suffix(path)
        if end in IMAGE_SUFFIXES:
            found.images.append(path)
        elif end not in TEXTS:
            found.others.append(path)
    found.images.sort()
    found.others.sort()
    return found


def image_files(root: PathLike) -> list[str]:
    """The files below `root` that are read as images or masks, as `survey` finds them."""
    return survey(root).images


def _files(folder: Path, left_out: dict[str, str]) -> Iterator[str]:
    """Relative paths of all files; what is not looked at is noted in `left_out`."""
    seen = set()
    for place, inner, names in os.walk(folder, followlinks=True, onerror=_refuse):
        start = "" if place == str(folder) else f"{os.path.relpath(place, folder)}/".replace(os.sep, "/")
        what = own_work(Path(place), inner, names) if start else None
        if what:
            left_out[start.rstrip("/")] = what
        real = os.path.realpath(place)
        if what or real in seen:  # a link back up would never end
            inner.clear()
            continue
        seen.add(real)
        if not start:
            left_out |= own_parts(inner, names)
        left_out |= {start + name: "folders of a system" for name in inner if is_system_folder(name)}
        inner[:] = sorted(name for name in inner if not name.startswith(".") and start + name not in left_out)
        hidden = (name.startswith(".") or is_system_file(name) or start + name in left_out for name in names)
        yield from (start + name for name, is_hidden in zip(names, hidden, strict=True) if not is_hidden)


def _refuse(error: OSError) -> None:
    raise InputError(f"{shown(str(error.filename))}: cannot be listed ({error.strerror})") from error
