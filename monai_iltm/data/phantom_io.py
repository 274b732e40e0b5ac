"""Phantom folders: which cases hold lesions, each case's own random stream, and the files on disk."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from monai_iltm.data.documents import write_json
from monai_iltm.data.errors import InputError
from monai_iltm.data.images import write_image

SPLITS = ("training", "testing", "clean")
Draw = Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray, "np.ndarray | None"]]


def case_generator(seed: int, split: str, index: int, stream: int = 0) -> np.random.Generator:
    """A random stream of one case: it depends on these four alone, so a longer set starts like a shorter one."""
    return np.random.default_rng([seed, SPLITS.index(split), index, stream])


def holds_lesions(split: str, index: int, contamination: float) -> bool:
    """Whether a case is anomalous: a share `contamination` of training, every other test case, no clean one.

    Evenly spread: the first n training cases hold floor(n * contamination) anomalous ones for every n.
    """
    if split == "training":
        # 1e-9: 10 * 0.3 and its like must not fall below the whole number they mean
        return math.floor((index + 1) * contamination + 1e-9) > math.floor(index * contamination + 1e-9)
    return split == "testing" and index % 2 == 0


def write_phantom(folder: str | Path, parameters: dict, suffix: str, draw: Draw) -> Path:
    """Write images/, labels/, phantom.json and, last, datalist.json; return the path of the last.

    `parameters` holds all that the files depend on: `training`, `testing`, `clean` (numbers of cases), `contamination`
    in [0, 1], `lesions` (fewest, most in an anomalous image), `seed` and whatever `draw` uses. `draw(rng, lesions)`
    returns image, mask and affine (None for pictures) of one case. A folder that already holds this phantom is left as
    it is, a half-written one is finished. Raises InputError for impossible parameters and where the folder holds
    another phantom or other files.
    """
    folder = Path(folder)
    _check_parameters(parameters)
    if _already_written(folder, parameters):
        return folder / "datalist.json"
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    write_json(folder / "phantom.json", parameters)
    datalist: dict[str, list[dict]] = {split: [] for split in SPLITS if parameters[split]}
    for split, index, case, lesions in planned_cases(parameters):
        image, mask, affine = draw(case_generator(parameters["seed"], split, index), lesions)
        entry: dict = {"case": case, "image": f"images/{case}{suffix}"}
        write_image(folder / entry["image"], image, affine)
        if lesions:
            entry |= {"label": f"labels/{case}{suffix}", "kind": "lesion"}
            write_image(folder / entry["label"], mask, affine)
        else:
            entry |= {"normal": True, "kind": "healthy"}
        datalist[split].append(entry)
    write_json(folder / "datalist.json", datalist)
    return folder / "datalist.json"


def planned_cases(parameters: dict) -> Iterator[tuple[str, int, str, int]]:
    """(split, index, case id, number of lesions) of every case; the number comes from a stream of its own."""
    fewest, most = parameters["lesions"]
    for split in SPLITS:
        for index in range(parameters[split]):
            count = case_generator(parameters["seed"], split, index, stream=1).integers(fewest, most + 1)
            lesions = int(count) if holds_lesions(split, index, parameters["contamination"]) else 0
            yield split, index, f"{split}_{index:04d}", lesions


def _check_parameters(parameters: dict) -> None:
    if not 0 <= parameters["contamination"] <= 1:
        raise InputError(f"contamination must lie in [0, 1], found {parameters['contamination']}")
    fewest, most = parameters["lesions"]
    if not 1 <= fewest <= most:
        raise InputError(f"lesions must be (fewest, most) with 1 <= fewest <= most, found {parameters['lesions']}")
    for split in SPLITS:
        if parameters[split] < 0:
            raise InputError(f"the number of {split} cases must not be negative, found {parameters[split]}")


def _already_written(folder: Path, parameters: dict) -> bool:
    record = folder / "phantom.json"
    if not record.is_file():
        if folder.is_dir() and any(folder.iterdir()):
            raise InputError(f"{folder} holds other files and no phantom.json: choose an empty folder for the phantom")
        return False
    there = json.loads(record.read_text())
    wanted = json.loads(json.dumps(parameters))  # tuples become lists, as they did in the record
    differing = [key for key in sorted(there | wanted) if there.get(key) != wanted.get(key)]
    if differing:
        told = ", ".join(f"{key} {there.get(key)} (asked for {wanted.get(key)})" for key in differing)
        raise InputError(f"{folder} already holds another phantom: {told}")
    return (folder / "datalist.json").is_file()
