"""From the training set's surprise to the masks of the next round, in image space, by case id."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import PathLike
from monai.transforms import Compose
from monai.utils import convert_to_tensor
from torch import Tensor

from monai_iltm.data.documents import write_json
from monai_iltm.data.errors import InputError
from monai_iltm.data.grids import require_grid
from monai_iltm.data.images import image_grid, mask_suffix, read_image, write_image
from monai_iltm.data.problems import shown_path
from monai_iltm.data.truth import TRUTH_RULE, read_mask
from monai_iltm.distributed import gathered, own_share
from monai_iltm.ops.tokens import pool_mask
from monai_iltm.store import ResultFolder, RoundFolder

LOCKS = {"lock_normal": False, "lock_anomalous": True}  # what the mask is there
SAMPLE = 4_000_000  # values, about, that a quantile is taken of


def surprise_limit(sample: np.ndarray, density: float | None = None, share: float | None = None) -> float:
    """The surprise, in nats, above which a training voxel is masked.

    Args:
        sample: of the training voxels' surprise, from ``surprise_sample``.
        density: mask what is less dense (0.005 in the paper, for intensities in [0, 1]).
        share: mask this share of all voxels, the most surprising: follows the scores' own distribution.

    Raises:
        InputError: not exactly one of density and share, or one out of range.
    """
    require_one_rule(density, share)
    return float(np.quantile(sample, 1 - share)) if share is not None else -math.log(density)  # type: ignore[arg-type]


def require_one_rule(density: float | None, share: float | None) -> None:
    """Raise InputError unless exactly one of the two is given, and in its range."""
    if (density is None) == (share is None):
        raise InputError(
            f"exactly one of mask_density and mask_share is given, found {density} and {share}; "
            "on the command line '$None' takes one back"
        )
    if density is not None and density <= 0:
        raise InputError(f"mask_density is positive, found {density}")
    if share is not None and not 0 < share < 1:
        raise InputError(f"mask_share lies in (0, 1), found {share}")


def surprise_sample(maps: Sequence[Path]) -> np.ndarray:
    """The voxels of all maps, f32 [N], or a random sample of them where they are more than four million.

    Raises InputError, with the map, where one holds values that are not finite.
    """
    rng, share, parts = np.random.default_rng(0), 0.0, []
    for path in maps:
        values = read_image(path).array.ravel()
        if not np.isfinite(values).all():
            raise InputError(
                f"{path}: the map holds values that are not finite: it is damaged, or its training diverged"
            )
        share = share or SAMPLE / (len(maps) * len(values))  # the same for all: every voxel counts alike
        parts.append(values if share >= 1 else values[rng.random(len(values)) < share])
    return np.concatenate(parts)


def surprise_maps(folder: RoundFolder, cases: Sequence[dict[str, Any]]) -> list[Path]:
    """The surprise maps of a round's training cases. Raises InputError where one is missing."""
    return [ResultFolder(folder.maps).require(case["case"], "surprise") for case in cases]


def make_masks(folder: RoundFolder, cases: Sequence[dict[str, Any]], limit: float, dataset_dir: PathLike) -> None:
    """Masks of all training cases and the datalist of the next round; a mask that exists, perhaps edited, stays.

    cases: whole paths, optional regions "lock_normal" (never masked) and "lock_anomalous" (always masked) on the
    image's grid. dataset_dir: the datalist names images relative to it, so that the data may move between rounds.
    """
    entries, root = [], Path(dataset_dir).resolve()
    for case in cases:
        name = f"{case['case']}{mask_suffix(case['image'])}"
        if not (folder.masks / name).is_file():
            file = read_image(ResultFolder(folder.maps).require(case["case"], "surprise"))
            write_image(folder.masks / name, _locked(case, file.array > limit), like=file)
        image = shown_path(case["image"], root)
        entries.append({"case": case["case"], "image": image, "mask": f"{folder.masks.name}/{name}"})
    write_json(folder.datalist, {"training": entries})


def require_own_grid(folder: RoundFolder, cases: Sequence[dict[str, Any]]) -> None:
    """Hold a round's masks, which somebody may have edited, to their images' grids, and read each of them once.

    Raises InputError, with the case and the file, for a mask that is not there, not to be read, neither black nor white
    throughout, or not on its image's grid.
    """
    for case in cases:
        path = folder.mask(case["case"])
        if path is None:
            raise InputError(f"{folder.path}: the mask of case {case['case']} is gone")
        mask = read_mask(path)
        require_grid(f"{case['case']}: its mask {path}", image_grid(case["image"]), mask.grid)


def lock_masks(folder: RoundFolder, cases: Sequence[dict[str, Any]]) -> None:
    """Put locked regions that have come since into a round's masks; all other voxels stay as they are."""
    for case in cases:
        path = folder.mask(case["case"])
        if path and any(case.get(key) for key in LOCKS):
            mask = read_mask(path).array
            locked = _locked(case, mask)
            if (locked != mask).any():
                write_image(path, locked, like=case["image"])


def suspect_tokens(
    cases: Sequence[dict[str, Any]], preprocessing: Compose, grid: Sequence[int], mode: str, cut: float
) -> Tensor:
    """What the next prior leaves out: bool [N, *grid], from each case's "mask" on disk through its image's geometry.

    Several ranks share the work.
    """

    def pooled(case: dict[str, Any]) -> Tensor:
        item = preprocessing({key: case[key] for key in ("case", "image", "mask", *TRUTH_RULE) if key in case})
        if "mask" not in item:
            return torch.zeros(tuple(grid), dtype=torch.bool)
        return pool_mask(convert_to_tensor(item["mask"], track_meta=False)[None] > 0, grid, mode, cut)[0]

    return torch.stack(gathered([pooled(case) for case in own_share(list(cases))]))


def truth_as_mask(case: dict[str, Any]) -> dict[str, Any]:
    """A case whose mask is its label, to be read by the label's own rule; without a label, a case without mask."""
    names = ("case", "image", *TRUTH_RULE)
    known = {name: case[name] for name in names if name in case}
    return {**known, "mask": case["label"]} if case.get("label") else known


def agreement(suspect: Tensor, other: Tensor) -> float:
    """Jaccard index of two bool tensors of one shape; 1 where both are empty."""
    union = (suspect | other).sum().item()
    return (suspect & other).sum().item() / union if union else 1.0


def against_truth(suspect: Tensor, truth: Tensor) -> dict[str, float]:
    """Recall and precision of suspect tokens against pooled truth, where there is any; only told, never used."""
    hits, found, real = (suspect & truth).sum().item(), suspect.sum().item(), truth.sum().item()
    if not real:
        return {}
    return {"recall": hits / real, "precision": hits / found if found else 0.0}


def _locked(case: dict[str, Any], mask: np.ndarray) -> np.ndarray:
    for key, value in LOCKS.items():
        if case.get(key):
            region = read_mask(case[key]).array
            if region.shape != mask.shape:
                raise InputError(f"{case['case']}: {key} {region.shape} is not on the image's grid {mask.shape}")
            mask = np.where(region, value, mask)
    return mask
