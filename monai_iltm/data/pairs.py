"""Which files are truth, by their names and folders, and which truth belongs to which image."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath

from monai_iltm.data.errors import InputError, shown
from monai_iltm.data.images import stem
from monai_iltm.data.names import case_id

CACHED = 2**14  # folders; a set has many more files than folders
BESIDE_ITS_IMAGE = ""  # in the place of folders inside a folder of truth, where there is none
Key = tuple[str, str, str]  # (folder beside the images, folders inside the folder of truth, stem of the image)

WORDS = r"(?:masks?|label(?:s|maps?|ids)?|seg(?:mentation)?s?|gts?|ground[_\- ]?truths?|annotations?)"
SEVERAL = r"(?:masks|labels|segmentations|gt|ground[_\- ]?truth|annotations)"  # "with_mask" may well name images
TRUTH_FOLDER = re.compile(rf"{WORDS}|labels.*|segmentation.*|.*[_\- ]{SEVERAL}", re.IGNORECASE)
ENDING = re.compile(rf"(?P<image>.+?)[_\-. ]{WORDS}", re.IGNORECASE)  # 003_mask, p01-seg
BEGINNING = re.compile(rf"{WORDS}[_\-. ](?P<image>.+)", re.IGNORECASE)  # mask_003
BARE = re.compile(WORDS, re.IGNORECASE)  # seg, beside one image


@dataclass(frozen=True)
class Unpaired:
    """Truth that no image claims.

    masks: of an image that is missing. organs: in a folder of truth beside one image alone, under names of their own,
    as TotalSegmentator's: none of them is the truth.
    """

    masks: list[str]
    organs: list[str]


def truth_folder(path: str) -> str | None:
    """The folder of truth that a relative path lies in, or None.

    >>> truth_folder("bottle/ground_truth/broken/003_mask.png")
    'bottle/ground_truth'
    """
    return _truth_above(_folder(path))


def is_truth(path: str) -> bool:
    """True for what lies in a folder of truth or bears a name of truth: never an image.

    >>> is_truth("labelsTr/pet_001.nii.gz"), is_truth("p01/SEG.nii.gz"), is_truth("test/003.png")
    (True, True, False)
    """
    return truth_folder(path) is not None or _marked(path) is not None


def pair_with_truth(images: Iterable[str], truths: Iterable[str]) -> dict[str, str]:
    """{image: its truth}, both relative paths, by name.

    A mask beside its image bears the image's name and an ending (x_mask.png, x-seg.nii.gz), or is the only one beside
    the only image (seg.nii.gz). In a folder of truth it bears the image's name, with or without an ending, or is the
    only file in a folder of this name. The folder of truth stands beside one of the image's folders (the nearest one
    counts) and may repeat the folders below it, all or only the inner ones: test/broken/003.png has
    ground_truth/test/broken/003_mask.png, ground_truth/broken/003.png or ground_truth/003.png.

    Raises InputError where images of differing ids claim one truth, as train/003.png and test/003.png would in the last
    form, and where an image has several.
    """
    images = list(images)
    known, parts = _by_key(truths, images)
    pairs: dict[str, str] = {}
    claimed: dict[str, str] = {}
    for image in images:
        found = next((known.get(key) or parts[key] for key in _keys(image) if key in known or key in parts), None)
        if found is None:
            continue
        truth = _only(found, image)
        if case_id(claimed.setdefault(truth, image)) != case_id(image):
            raise InputError(
                f"{shown(truth)} could be the truth of {shown(claimed[truth])} and of {shown(image)}: "
                "repeat the images' folders inside the folder of truth"
            )
        pairs[image] = truth
    return pairs


def unpaired(paths: Iterable[str]) -> Unpaired:
    """The truth among `paths` that no image among them claims. Raises InputError as `pair_with_truth`."""
    paths = list(paths)
    images = [path for path in paths if not is_truth(path)]
    truths = [path for path in paths if is_truth(path)]
    claimed = set(pair_with_truth(images, truths).values())
    left = [truth for truth in truths if truth not in claimed]
    crowd = Counter(_folder(image) for image in images)
    organs = {truth for truth in left if _is_beside_one_image(truth, crowd)}
    return Unpaired([truth for truth in left if truth not in organs], sorted(organs))


def _by_key(truths: Iterable[str], images: Iterable[str]) -> tuple[dict[Key, list[str]], dict[Key, list[str]]]:
    """Truths by the key of their image, and those that lie in a folder of their image's name."""
    known: dict[Key, list[str]] = defaultdict(list)
    parts: dict[Key, list[str]] = defaultdict(list)
    alone = _only_images(images)
    for path in truths:
        folder = truth_folder(path)
        if folder is None:
            known[_folder(path), BESIDE_ITS_IMAGE, _marked(path) or alone.get(_folder(path), "")].append(path)
            continue
        inner = PurePosixPath(_folder(path)).relative_to(folder)
        beside = PurePosixPath(folder).parent.as_posix()
        known[beside, inner.as_posix(), _marked(path) or stem(path)].append(path)
        if inner.name:
            parts[beside, inner.parent.as_posix(), inner.name].append(path)
    return known, parts


def _keys(image: str) -> Iterator[Key]:
    """The keys under which this image's truth may be known, the most specific first."""
    name = stem(image)
    return ((beside, inner, name) for beside, inner in _places(_folder(image)))


@lru_cache(CACHED)
def _places(folder: str) -> list[tuple[str, str]]:
    """(folder beside the images, folders inside the folder of truth) for images of a folder, the nearest first."""
    parts = PurePosixPath(folder).parts
    places = [(folder, BESIDE_ITS_IMAGE)]
    for depth in range(len(parts), -1, -1):
        beside = PurePosixPath(*parts[:depth]).as_posix()
        inner = (PurePosixPath(*parts[start:]).as_posix() for start in range(depth, len(parts) + 1))
        places += [(beside, path) for path in inner]
    return places


@lru_cache(CACHED)
def _truth_above(folder: str) -> str | None:
    """The first folder of truth on the way down to this one, itself among them."""
    parts = PurePosixPath(folder).parts
    for index, part in enumerate(parts):
        if TRUTH_FOLDER.fullmatch(part):
            return "/".join(parts[: index + 1])
    return None


def _marked(path: str) -> str | None:
    """The name of the image that a name of truth speaks of, "" where it names none; None for another name."""
    name = stem(path)
    if BARE.fullmatch(name):
        return ""
    match = ENDING.fullmatch(name) or BEGINNING.fullmatch(name)
    return match["image"] if match else None


def _only(truths: list[str], image: str) -> str:
    if len(truths) == 1:
        return truths[0]
    listed = ", ".join(shown(path) for path in truths[:3])
    raise InputError(
        f"{shown(image)} has {len(truths)} masks ({listed}{', ...' if len(truths) > 3 else ''}): merge them into one "
        "file, or name the one that counts in datalist.json"
    )


def _only_images(images: Iterable[str]) -> dict[str, str]:
    """{folder: stem of the only image in it}."""
    stems: dict[str, list[str]] = defaultdict(list)
    for image in images:
        stems[_folder(image)].append(stem(image))
    return {folder: names[0] for folder, names in stems.items() if len(names) == 1}


def _is_beside_one_image(truth: str, crowd: Counter[str]) -> bool:
    folder = truth_folder(truth)
    beside = PurePosixPath(folder).parent.as_posix() if folder else "."
    return beside != "." and crowd[beside] == 1


def _folder(path: str) -> str:
    return path.rpartition("/")[0] or "."
