"""The folders of the Medical Segmentation Decathlon and of nnU-Net: imagesTr, labelsTr, imagesTs, labelsTs."""

from __future__ import annotations

import re
from collections.abc import Iterable

from monai_iltm.data.errors import InputError, shown
from monai_iltm.data.names import case_id

TRAINING, TESTING = "imagesTr", "imagesTs"
CHANNEL = re.compile(r"_\d{4}$")  # nnU-Net's, at the end of an image's name and not of its label's


def is_decathlon(paths: Iterable[str]) -> bool:
    """True where files lie in imagesTr or imagesTs of the folder that these paths are relative to."""
    return any(path.startswith((f"{TRAINING}/", f"{TESTING}/")) for path in paths)


def decathlon_cases(paths: Iterable[str]) -> dict:
    """imagesTr are training and imagesTs testing; labelsTr and labelsTs hold their truth under the same names.

    paths: of the files, relative to the folder. nnU-Net's names of images end in the channel (pet_001_0000.nii.gz
    beside labelsTr/pet_001.nii.gz): ids are without it. Raises InputError for cases of several channels, a file each.
    """
    paths = list(paths)
    images = {part: [path for path in paths if path.startswith(f"{part}/")] for part in (TRAINING, TESTING)}
    labels = {part: _by_id(paths, part.replace("images", "labels")) for part in images}
    has_channels = _have_channels(images, labels)
    training, testing = (_entries(part, images[part], labels[part], has_channels) for part in images)
    return {"training": training, "testing": testing}


def _by_id(paths: list[str], part: str) -> dict[str, str]:
    """{id: path} of what lies in a folder of labels."""
    return {_id(path): path for path in paths if path.startswith(f"{part}/")}


def _id(path: str) -> str:
    """The id of a file in one of the four folders, whose name is left out."""
    return case_id(path.split("/", 1)[1])


def _have_channels(images: dict[str, list[str]], labels: dict[str, dict[str, str]]) -> bool:
    """Whether names end in a channel; where a label bears an image's whole name the digits are its number."""
    names = [_id(path) for part in images.values() for path in part]
    named = {name for part in labels.values() for name in part}
    numbered = all(CHANNEL.search(name) for name in names)
    return numbered and any(name.endswith("_0000") for name in names) and named.isdisjoint(names)


def _entries(part: str, paths: list[str], labels: dict[str, str], has_channels: bool) -> list[dict]:
    entries: list[dict] = []
    for path in paths:
        case = CHANNEL.sub("", _id(path)) if has_channels else _id(path)
        label = {"label": labels[case]} if case in labels else {}
        entries.append({"case": case, "image": path, **label})
    if has_channels:
        _require_one_channel(entries)
    return sorted(entries, key=lambda entry: entry["case"])


def _require_one_channel(entries: list[dict]) -> None:
    first: dict[str, str] = {}
    for entry in entries:
        other = first.setdefault(entry["case"], entry["image"])
        if other != entry["image"]:
            raise InputError(
                f"{shown(entry['case'])} has several channels, a file each ({shown(other)}, {shown(entry['image'])}), "
                "and an image is one file here: name the files of one channel in a datalist.json"
            )
