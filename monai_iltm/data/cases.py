"""Cases as the stages read them: entries of a datalist with whole paths."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.config import PathLike
from monai.data import CacheDataset, Dataset
from monai.transforms import Compose, EnsureTyped, MapTransform, SelectItemsd

from monai_iltm.data.checks import require_sound
from monai_iltm.data.errors import InputError, shown
from monai_iltm.data.layouts import folder_cases, manifest_cases
from monai_iltm.data.lists import SPLITS, read_lists
from monai_iltm.data.tree import require_folder
from monai_iltm.data.truth import TRUTH_RULE


class NoCases(Sequence[dict[str, Any]]):
    """The cases of a folder that is not there: none, so that a bundle can be looked at before its data is there.

    Raises InputError, with the folder's name, once a case is wanted.
    """

    def __init__(self, folder: PathLike) -> None:
        self.folder = folder

    def __len__(self) -> int:
        return 0

    def __getitem__(self, index: Any) -> Any:
        raise InputError(f"{self.folder}: folder not found")


def read_datalist(dataset_dir: PathLike, datalist: PathLike | None = None) -> dict[str, Any]:
    """The datalist in a file, or, without one, that of the folder's own layout (manifest.csv, datalist.json, tree).

    Raises InputError, with the entry or line, for a missing folder or file and for what is no datalist.
    """
    root = require_folder(dataset_dir)
    if datalist is None:
        return manifest_cases(root) if (root / "manifest.csv").is_file() else folder_cases(root)
    if not Path(datalist).is_file():
        raise InputError(f"{shown(datalist)}: datalist not found")
    return read_lists(datalist)


def load_cases(
    dataset_dir: PathLike,
    split: str | Sequence[str] = "training",
    datalist: PathLike | None = None,
    check: bool = True,
    skip_bad: bool = False,
    fewest: int = 1,
    limits: Mapping[str, Any] | None = None,
    allow_outside: bool = False,
    label_threshold: float | None = None,
    label_ignore: float | None = None,
) -> Sequence[dict[str, Any]]:
    """The cases of one or several splits, each with its "split" and whole paths; ``NoCases`` without the folder.

    Images, labels and locked regions lie in dataset_dir, masks beside the datalist.

    Args:
        split: name, or names whose lists are put one after another, a case that stands in several of them once; a
            missing list is empty.
        datalist: JSON file; None takes the folder's own layout.
        check: read every file once and refuse what cannot be used (`require_sound`), all problems in one table.
        skip_bad: leave out cases with problems instead, and print them.
        fewest: cases needed.
        limits: what every image is held to, see `image_limits`. allow_outside: files may lie outside the folder.
        label_threshold, label_ignore: how labels are read, see `with_truth_rule`.

    Raises:
        InputError: bad cases, or too few of them.
    """
    names = [split] if isinstance(split, str) else list(split)
    if not Path(dataset_dir).exists():
        return NoCases(dataset_dir)
    truth = {"label_threshold": label_threshold, "label_ignore": label_ignore}
    content = with_truth_rule(read_datalist(dataset_dir, datalist), truth)
    cases = list(_once(content, names))
    root = Path(dataset_dir).resolve()
    beside = Path(datalist).resolve().parent if datalist else root
    bases = {"image": root, "label": root, "mask": beside, "lock_normal": root, "lock_anomalous": root}
    whole = [{k: str(bases[k] / v) if k in bases and v else v for k, v in entry.items()} for entry in cases]
    if check:
        held_to = {**(limits or {}), "outside": allow_outside}
        sound = require_sound({"cases": whole}, root, skip_bad=skip_bad, fewest=fewest, **held_to)
        for note in sound.notes:
            print(note)
        for problem in sound.problems:
            print(f"skipped {shown(problem.case)}: {shown(problem.file)} {problem.what}, {shown(problem.found)}")
        return sound.datalist["cases"]
    if len(whole) < fewest:
        raise InputError(f"{dataset_dir}: {len(whole)} cases in {', '.join(names)}, at least {fewest} needed")
    return whole


def with_truth_rule(content: dict[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """The datalist, with "label_threshold" and "label_ignore" of the settings, where they are given, in every entry
    with a label that has none of its own; ``truth.read_mask`` goes by them."""
    rule = {name: settings[name] for name in TRUTH_RULE if settings.get(name) is not None}
    if not rule:
        return content
    return {
        name: [{**rule, **entry} if entry.get("label") else entry for entry in part] if name in SPLITS else part
        for name, part in content.items()
    }


def _once(content: dict[str, Any], names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The entries of these lists; one that an earlier list holds too (the same case and image) is left out."""
    first: dict[tuple[Any, Any], str] = {}
    for name in names:
        for entry in content.get(name) or []:
            if first.setdefault((entry.get("case"), entry.get("image")), name) == name:
                yield {**entry, "split": name}


def image_dataset(
    data: Sequence[dict[str, Any]],
    transform: Compose,
    augmentation: Compose | None = None,
    cache_rate: float = 1.0,
    masks: bool = False,
    augment: bool = True,
) -> Dataset:
    """Preprocessed images as plain tensors, items {"image": f32}; each is augmented anew whenever it is asked for.

    ``augment``: False leaves the augmentation out.
    ``masks``: items have "mask" f32 [1, *S] too, non-zero = leave out; of a case without one it is 0.

    The share ``cache_rate`` of the preprocessed images is held in memory. Draws come from the state of the dataset's
    ``transform``.
    """
    keys = ["image", "mask"] if masks else ["image"]
    plain = EnsureTyped(keys, track_meta=False)
    steps: list[Any] = [transform, *([_EmptyMaskd()] if masks else []), SelectItemsd(keys), plain]
    augmented = [augmentation, plain] if augmentation is not None and augment else []
    whole = Compose([*steps, *augmented]).flatten()
    if cache_rate == 0 or not len(data):
        return Dataset(data, whole)
    return CacheDataset(data, whole, cache_rate=cache_rate, num_workers=None, progress=False)


class _EmptyMaskd(MapTransform):
    """Gives an image f32 [C, *S] without "mask" one of zeros [1, *S]."""

    def __init__(self) -> None:
        super().__init__(["image"])

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        return {"mask": torch.zeros_like(data["image"][:1]), **data}
