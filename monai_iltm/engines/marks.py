"""What the next round leaves out: places of images, or whole images. Its datalist is the one thing that it is told."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import PathLike
from monai.transforms import Compose
from torch import Tensor

from monai_iltm.data.contamination import sha256
from monai_iltm.data.documents import read_csv, read_json, write_json
from monai_iltm.data.errors import InputError
from monai_iltm.data.problems import shown_path
from monai_iltm.data.truth import read_mask
from monai_iltm.data.weights import read_saved, save_in_one_step
from monai_iltm.distributed import barrier, gathered, is_main, own_share
from monai_iltm.engines.masks import (
    lock_masks,
    make_masks,
    require_one_rule,
    require_own_grid,
    surprise_limit,
    suspect_tokens,
    truth_as_mask,
)
from monai_iltm.engines.method import IMAGES, PLACES
from monai_iltm.store import RoundFolder

Cases = Sequence[dict[str, Any]]


class Marks(ABC):
    """How a round's surprise decides what the next one leaves out.

    ``level``: what is left out, ``method.PLACES`` or ``method.IMAGES``. Cases are those of training, whole paths.
    """

    level: str

    @abstractmethod
    def make(self, folder: RoundFolder, cases: Cases, dataset_dir: PathLike, sample: np.ndarray) -> float:
        """Write the next round's datalist, and what it names; the limit above which something is left out.

        sample: of the cases' surprise, from ``masks.surprise_sample``.
        """

    @abstractmethod
    def made(self, folder: RoundFolder, cases: Cases) -> Tensor:
        """What a round left out for the next one: bool [cases, ...], True = left out; the same on every rank."""

    @abstractmethod
    def true(self, cases: Cases) -> Tensor:
        """What the truth would leave out, as ``made``; False where none is known. For figures alone."""

    @abstractmethod
    def oracle(self, cases: Cases) -> list[dict[str, Any]]:
        """The training list that leaves out what the truth would."""

    @abstractmethod
    def renew(self, folder: RoundFolder, cases: Cases) -> None:
        """Before a round learns from marks that a person may have edited: hold them to what they must be.

        Raises InputError that names the case and the file.
        """


class Mask(Marks):
    """Voxels whose surprise is above a limit: masks, files beside the datalist, in the images' own format.

    Args:
        preprocessing: geometry of the stages, with "mask". grid: cells per axis at which masks are counted.
        density, share: exactly one, see ``masks.surprise_limit``. pool_mode, pool_cut: see ``ops.tokens.pool_mask``.

    Raises InputError unless one rule is given.
    """

    level = PLACES

    def __init__(
        self,
        preprocessing: Compose,
        grid: Sequence[int],
        density: float | None = None,
        share: float | None = None,
        pool_mode: str = "area",
        pool_cut: float = 0.5,
    ) -> None:
        require_one_rule(density, share)
        self.preprocessing, self.grid, self.density, self.share = preprocessing, tuple(grid), density, share
        self.pool_mode, self.pool_cut = pool_mode, pool_cut

    def make(self, folder: RoundFolder, cases: Cases, dataset_dir: PathLike, sample: np.ndarray) -> float:
        """A mask that exists, perhaps edited, stays."""
        limit = surprise_limit(sample, self.density, self.share)
        if is_main():
            make_masks(folder, cases, limit, dataset_dir)
        barrier()
        return limit

    def made(self, folder: RoundFolder, cases: Cases) -> Tensor:
        """bool [cases, *grid]. Pooled once and kept, bound to the masks as they are."""
        own = [folder.mask(case["case"]) for case in own_share(list(cases))]
        masks = gathered([sha256(path) if path else "" for path in own])
        names = [case["case"] for case in cases]
        if (kept := self._kept(folder, dict(zip(names, masks, strict=True)))) is not None:
            return kept
        plain = [{name: case[name] for name in ("case", "image")} for case in cases]
        pooled = self._pool([{**case, "mask": str(folder.mask(case["case"]))} for case in plain])
        barrier()  # nobody still looks for what is written now
        if is_main():
            save_in_one_step(folder.pooled, {"masks": dict(zip(names, masks, strict=True)), "pooled": pooled})
        barrier()
        return pooled

    def true(self, cases: Cases) -> Tensor:
        """bool [cases, *grid], from the labels."""
        return self._pool([truth_as_mask(case) for case in cases])

    def oracle(self, cases: Cases) -> list[dict[str, Any]]:
        """Every case with its label for a mask."""
        return [truth_as_mask(case) for case in cases]

    def renew(self, folder: RoundFolder, cases: Cases) -> None:
        """Every mask is there, black and white, on its image's grid; regions that were locked since are put in."""
        require_own_grid(folder, cases)
        lock_masks(folder, cases)

    def _kept(self, folder: RoundFolder, masks: dict[str, str]) -> Tensor | None:
        if not folder.pooled.is_file():
            return None
        try:
            kept = read_saved(folder.pooled)
            fits = kept["masks"] == masks and kept["pooled"].shape == (len(masks), *self.grid)
        except Exception:  # whatever stands there instead is made anew
            return None
        return kept["pooled"] if fits else None

    def _pool(self, cases: Cases) -> Tensor:
        return suspect_tokens(cases, self.preprocessing, self.grid, self.pool_mode, self.pool_cut)


class Drop(Marks):
    """The images with the highest score: they are not in the next round's datalist.

    Args:
        share: of the training images, in (0, 1). score: the column of scores.csv.
    """

    level = IMAGES

    def __init__(self, share: float, score: str = "image_score_surprise") -> None:
        if not 0 < share < 1:
            raise InputError(f"the share of images that a round leaves out lies in (0, 1), found {share}")
        self.share, self.score = share, score

    def make(self, folder: RoundFolder, cases: Cases, dataset_dir: PathLike, sample: np.ndarray) -> float:
        """The limit is the lowest score that is left out."""
        rows = {row["case"]: row for row in read_csv(folder.maps / "scores.csv")}
        scores = {case["case"]: float(rows[case["case"]][self.score]) for case in cases}
        count, root = max(1, round(self.share * len(cases))), Path(dataset_dir).resolve()
        highest = sorted(scores, key=lambda case: (-scores[case], case))[:count]
        if is_main():
            kept = [
                {"case": case["case"], "image": shown_path(case["image"], root)}
                for case in cases
                if case["case"] not in highest or case.get("lock_normal")
            ]
            write_json(folder.datalist, {"training": kept})
        barrier()
        return scores[highest[-1]]

    def renew(self, folder: RoundFolder, cases: Cases) -> None:
        """Whatever images the datalist names are learned from."""

    def made(self, folder: RoundFolder, cases: Cases) -> Tensor:
        """bool [cases]."""
        kept = {entry["case"] for entry in read_json(folder.datalist)["training"]}
        return torch.tensor([case["case"] not in kept for case in cases])

    def true(self, cases: Cases) -> Tensor:
        """bool [cases], from the labels."""
        return torch.tensor(gathered([_is_anomalous(case) for case in own_share(list(cases))]))

    def oracle(self, cases: Cases) -> list[dict[str, Any]]:
        """The cases whose labels are empty, or not there."""
        return [{name: case[name] for name in ("case", "image")} for case in cases if not _is_anomalous(case)]


def _is_anomalous(case: dict[str, Any]) -> bool:
    """Whether a case has a label that is not empty."""
    if not case.get("label"):
        return False
    return bool(read_mask(case["label"], case.get("label_threshold"), case.get("label_ignore")).array.any())
