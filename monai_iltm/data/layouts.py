"""Folder -> datalist: one pure function a layout, chosen by class path in JSON; nothing is written.

A datalist is {"training": [...], "testing": [...], ...} with entries {"case", "image", "label"?, "kind"?, "normal"?},
paths relative to the folder, sorted by case id. "normal": true says that the truth is empty. Where a contamination was
asked for, "protocol" holds what `contaminate` wrote down.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

import numpy as np
from monai.config import PathLike

from monai_iltm.data.contamination import contaminate
from monai_iltm.data.decathlon import TESTING, TRAINING, decathlon_cases, is_decathlon
from monai_iltm.data.errors import InputError, shown
from monai_iltm.data.images import read_image, stem
from monai_iltm.data.lists import read_lists
from monai_iltm.data.manifest import manifest_entries
from monai_iltm.data.names import case_id
from monai_iltm.data.pairs import is_truth, pair_with_truth
from monai_iltm.data.tree import Survey, image_files, require_folder, survey
from monai_iltm.data.unread import unread_kinds, unread_words

NORMAL_FOLDERS = ("good", "normal", "healthy")


def folder_cases(root: PathLike) -> dict:
    """Any folder of images: its datalist.json as it is, else the Decathlon's folders, else any tree.

    Raises InputError for a missing folder, a broken datalist.json, ambiguous truth, and files that nothing can read.
    """
    root = require_folder(root)
    if (root / "datalist.json").is_file():
        return read_lists(root / "datalist.json")
    return named_cases(root, survey(root))


def renewed_cases(root: PathLike) -> dict:
    """As `folder_cases`, but without the folder's datalist.json: what its files make today."""
    folder = require_folder(root)
    return named_cases(folder, survey(folder))


def named_cases(root: Path, files: Survey) -> dict:
    """The datalist that the names of a folder's files alone make.

    Folders imagesTr and imagesTs: `decathlon_cases`. Else any tree.

    The top folders named train* and test* become training and testing, and what lies in neither is left out; without
    such folders all images are training. Truth: `pair_with_truth`. Images in a folder named good, normal or healthy
    are normal. Raises InputError for ambiguous truth and for a folder in which nothing can be an image.
    """
    if is_decathlon(files.images):
        return decathlon_cases(files.images)
    truths = [path for path in files.images if is_truth(path)]
    images = sorted(set(files.images).difference(truths))
    _require_images(root, files, images)
    pairs = pair_with_truth(images, truths)
    splits = {path: _split_by_name(path) for path in images}
    if not any(splits.values()):
        return _datalist(training=[_entry(path, pairs.get(path)) for path in images])
    return _datalist(
        training=[_entry(path, pairs.get(path)) for path in images if splits[path] == "training"],
        testing=[_entry(path, pairs.get(path)) for path in images if splits[path] == "testing"],
    )


def manifest_cases(
    root: PathLike,
    contamination: float | None = None,
    size: int | None = None,
    seed: int = 0,
    exclude_kinds: Sequence[str] = (),
) -> dict:
    """A folder with manifest.csv (path,label,mask_path,split,kind; label anomaly or normal, mask_path may be empty).

    Splits train-pool, test and train-clean become training, testing and clean. With `contamination` the training list
    is drawn from the pool by `contaminate`. Cases of `exclude_kinds` are left out of training; those of the test split
    stand apart under "testing_apart". Raises InputError for a missing or broken manifest, with its line.
    """
    root = require_folder(root)
    splits: dict[str, list[dict]] = {"training": [], "testing": [], "clean": [], "testing_apart": []}
    for split, entry in manifest_entries(root / "manifest.csv"):
        apart = entry.get("kind") in exclude_kinds
        if split == "testing" and apart:
            splits["testing_apart"].append(entry)
        elif not apart:
            splits[split].append(entry)
    kept = {name: entries for name, entries in splits.items() if entries or name in ("training", "testing")}
    return _contaminated(root, _datalist(**kept), contamination, size, seed)


def mvtec_cases(
    root: PathLike,
    category: str,
    contamination: float | None = None,
    size: int | None = None,
    seed: int = 0,
    overlap: bool = False,
    pool_share: float = 0.5,
) -> dict:
    """MVTec AD: <category>/train/good, <category>/test/<kind>, <category>/ground_truth/<kind>/<stem>_mask.png.

    MVTec LOCO's <stem>/000.png is found as well, where it is the only file there.

    With `contamination` the training list is drawn by `contaminate` from train/good and from `pool_share` of the
    anomalous test images of every kind (so that testing keeps some of each; all of them where `overlap`). Images drawn
    leave testing, unless `overlap`. Raises InputError for a missing folder and an impossible contamination.
    """
    root = require_folder(root)
    good = [f"{category}/train/good/{path}" for path in image_files(root / category / "train" / "good")]
    datalist = _datalist(
        training=[_entry(path, None, "good", normal=True) for path in good],
        testing=_mvtec_tests(root, category),
    )
    if contamination is None:
        return datalist
    pool = _share_of_every_kind(datalist["testing"], 1.0 if overlap else pool_share, seed)
    cases, protocol = contaminate(pool, datalist["training"], contamination, size, seed, root)
    if not overlap:
        drawn = {case["image"] for case in cases}
        datalist["testing"] = [entry for entry in datalist["testing"] if entry["image"] not in drawn]
    return datalist | {"training": cases, "protocol": protocol}


def autopet_cases(
    root: PathLike,
    test_share: float = 0.2,
    seed: int = 0,
    contamination: float | None = None,
    size: int | None = None,
) -> dict:
    """AutoPET's NIfTI: <patient>/<study>/ with SUV.nii.gz and SEG.nii.gz is the case <patient>__<study>.

    A study with an empty SEG is normal (each SEG is read once for this). `test_share` of the patients (rounded, one at
    least unless 0), drawn by seed, are testing with all their studies. With `contamination` the training list is drawn
    from the others by `contaminate`. Raises InputError for a missing folder and a share outside [0, 1).
    """
    root = require_folder(root)
    if not 0 <= test_share < 1:
        raise InputError(f"test_share must lie in [0, 1), found {test_share}")
    studies = sorted(path.parent.relative_to(root).as_posix() for path in root.glob("*/*/SUV.nii.gz"))
    studies = [study for study in studies if (root / study / "SEG.nii.gz").is_file()]
    patients = sorted({study.split("/")[0] for study in studies})
    order = np.random.default_rng(seed).permutation(len(patients))
    count = max(round(test_share * len(patients)), min(1, len(patients) - 1)) if test_share else 0
    held_out = {patients[index] for index in order[:count]}
    entries = [(study.split("/")[0] in held_out, _study_entry(root, study)) for study in studies]
    datalist = _datalist(
        training=[entry for is_test, entry in entries if not is_test],
        testing=[entry for is_test, entry in entries if is_test],
    )
    return _contaminated(root, datalist, contamination, size, seed)


def _datalist(**splits: list[dict]) -> dict:
    return {name: sorted(entries, key=lambda entry: entry["case"]) for name, entries in splits.items()}


def _entry(path: str, label: str | None, kind: str | None = None, normal: bool | None = None) -> dict:
    """One case; normal where stated, else by the name of its folder."""
    entry: dict = {"case": case_id(path), "image": path}
    is_normal = PurePosixPath(path).parent.name.lower() in NORMAL_FOLDERS if normal is None else normal
    if label:
        entry["label"] = label
    elif is_normal:
        entry["normal"] = True
    return entry | ({"kind": kind} if kind else {})


def _contaminated(root: Path, datalist: dict, contamination: float | None, size: int | None, seed: int) -> dict:
    """The same datalist with a training list drawn from its own cases of known truth."""
    if contamination is None:
        return datalist
    normal = [entry for entry in datalist["training"] if entry.get("normal")]
    anomalous = [entry for entry in datalist["training"] if not entry.get("normal")]
    cases, protocol = contaminate(anomalous, normal, contamination, size, seed, root)
    return datalist | {"training": cases, "protocol": protocol}


def _require_images(root: Path, files: Survey, images: list[str]) -> None:
    """Refuse, with the reason, a folder that holds files of which none is an image."""
    nested = next((path for path in images if {TRAINING, TESTING} & set(PurePosixPath(path).parts)), None)
    if nested:
        raise InputError(f"{shown(root)}: holds {shown(nested)}: give the folder in which {TRAINING} lies")
    if images:
        return
    if files.images:
        raise InputError(
            f"{shown(root)}: all {len(files.images)} image files are named like masks, {shown(files.images[0])} among "
            "them: name the images in a datalist.json"
        )
    if files.others:
        told = unread_words(unread_kinds(root, files.others))
        raise InputError(f"{shown(root)}: no image that can be read, but {told}")


def _split_by_name(path: str) -> str | None:
    top = PurePosixPath(path).parts[0].lower() if "/" in path else ""
    names = {"train*": "training", "test*": "testing"}
    return next((split for pattern, split in names.items() if fnmatch(top, pattern)), None)


def _mvtec_tests(root: Path, category: str) -> list[dict]:
    """Test images with their truth; where none is found the usual name stands, for the checks to miss."""
    top = root / category
    images = [f"test/{path}" for path in image_files(top / "test")]
    truth = image_files(top / "ground_truth") if (top / "ground_truth").is_dir() else []
    pairs = pair_with_truth(images, [f"ground_truth/{path}" for path in truth])
    return [_mvtec_test_entry(category, path, pairs.get(path)) for path in images]


def _mvtec_test_entry(category: str, path: str, truth: str | None) -> dict:
    kind = path.split("/")[1]
    if kind == "good":
        return _entry(f"{category}/{path}", None, kind, normal=True)
    usual = PurePosixPath("ground_truth", *PurePosixPath(path).parts[1:-1], f"{stem(path)}_mask.png").as_posix()
    return _entry(f"{category}/{path}", f"{category}/{truth or usual}", kind, normal=False)


def _share_of_every_kind(entries: list[dict], share: float, seed: int) -> list[dict]:
    """This share, rounded down, of the anomalous entries of each kind."""
    pool = []
    for kind in sorted({entry["kind"] for entry in entries if not entry.get("normal")}):
        members = [entry for entry in entries if entry["kind"] == kind]
        order = np.random.default_rng([seed, 2]).permutation(len(members))
        pool += [members[index] for index in order[: int(share * len(members))]]
    return pool


def _study_entry(root: Path, study: str) -> dict:
    entry = {"case": study.replace("/", "__"), "image": f"{study}/SUV.nii.gz"}
    if _may_hold_anomaly(root / study / "SEG.nii.gz"):
        return entry | {"label": f"{study}/SEG.nii.gz", "kind": "lesion"}
    return entry | {"normal": True, "kind": "healthy"}


def _may_hold_anomaly(truth: Path) -> bool:
    """False for a truth that is zero throughout; an unreadable one stays in the list, where the checks will name it."""
    try:
        return bool(read_image(truth).array.any())
    except InputError:
        return True
