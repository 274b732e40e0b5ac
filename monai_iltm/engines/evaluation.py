"""Figures of scored cases, from the files that scoring has left: maps in the images' own grid, against the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import PathLike

from monai_iltm.data.documents import read_csv, write_json
from monai_iltm.data.images import ImageFile, read_image
from monai_iltm.data.truth import read_mask
from monai_iltm.distributed import barrier, is_main
from monai_iltm.metrics import image_auroc, pixel_figures
from monai_iltm.store import ResultFolder
from monai_iltm.transforms import scale_intensity

Maps = dict[str, np.ndarray]  # by case id


def write_metrics(
    output_dir: PathLike,
    cases: Sequence[dict[str, Any]],
    intensity_range: Sequence[float] | None = None,
    restored: str | None = None,
    scores: Sequence[str] = (),
    means: Sequence[str] = (),
) -> None:
    """metrics.json of a result folder; where no figure can be told, no file.

    For the cases whose truth is known, where an anomalous one is among them, flat keys: auroc, average_precision,
    aupro, best_dice, best_dice_per_case over all these cases' pixels, image_auroc, and image_auroc_NAME for each of
    ``scores``; the same after "residual_" for |image - restored|, after "anomalous_" over the pixels of anomalous
    images alone, after "apart_" for the cases of the split "testing_apart", which count nowhere else, and after
    "kind_NAME_" over the images of each kind of anomaly, where the datalist names several.

    Args:
        intensity_range: as the preprocessing has it.
        restored: the kind of picture that is a healthy version of its image, such as "healed".
        scores: numbers of a case that are scores of it, higher = stranger.
        means: numbers whose means over all cases are told, whether a truth is known or not.
    """
    if is_main():
        results = ResultFolder(Path(output_dir))
        rows = {row["case"]: row for row in read_csv(results.scores)}
        known = [case for case in cases if case.get("label") or case.get("normal")]
        surprise = {case["case"]: read_image(results.require(case["case"], "surprise")).array for case in known}
        truth = {case["case"]: truth_of(case) for case in known}
        scored = _Scored(results, rows, surprise, truth, intensity_range, restored, scores)
        figures = scored.figures([case for case in known if case.get("split") != "testing_apart"])
        if figures:
            apart = scored.figures([case for case in known if case.get("split") == "testing_apart"])
            figures |= {f"apart_{name}": value for name, value in apart.items()}
            figures |= _kinds(known, surprise, truth)
        if means and len(cases):
            figures |= {name: float(scored.column(name, cases).mean()) for name in means}
            figures.setdefault("cases", len(cases))
        if figures:
            write_json(results.metrics, figures)
    barrier()


@dataclass(frozen=True)
class _Scored:
    """What scoring has left of the cases whose truth is known: rows of scores.csv, maps and truth by case id."""

    results: ResultFolder
    rows: dict[str, dict[str, str]]
    surprise: Maps
    truth: Maps
    intensity_range: Sequence[float] | None
    restored: str | None
    scores: Sequence[str]

    def figures(self, cases: Sequence[dict[str, Any]]) -> dict[str, float]:
        """All of some cases; none where no truth holds an anomaly."""
        maps = [self.surprise[case["case"]] for case in cases]
        truth = [self.truth[case["case"]] for case in cases]
        figures = all_figures(maps, truth, self.column("image_score_surprise", cases))
        if not figures:
            return {}
        anomalous = np.array([mask.any() for mask in truth], dtype=bool)
        for name in () if anomalous.all() else self.scores:
            figures[f"image_auroc_{name}"] = image_auroc(self.column(name, cases), anomalous)
        if self.restored is not None:
            residual = [residual_of(self.results, case, self.intensity_range, self.restored) for case in cases]
            figures |= all_figures(residual, truth, np.array([one.mean() for one in residual]), "residual_")
        return figures | {"cases": len(cases)}

    def column(self, name: str, cases: Sequence[dict[str, Any]]) -> np.ndarray:
        """A number of these cases, f64."""
        return np.array([float(self.rows[case["case"]][name]) for case in cases])


def _kinds(cases: Sequence[dict[str, Any]], surprise: Maps, truth: Maps) -> dict[str, float]:
    """Figures of the surprise over the images of each kind of anomaly: a large, faint kind can hide the others."""
    kinds: dict[str, list[str]] = {}
    for case in cases:
        if case.get("kind") and case.get("label"):
            kinds.setdefault(case["kind"], []).append(case["case"])
    figures: dict[str, float] = {}
    for kind, names in sorted(kinds.items()) if len(kinds) > 1 else ():
        real = [truth[name] for name in names]
        if any(mask.any() for mask in real):
            figures |= _pixels([surprise[name] for name in names], real, f"kind_{kind}_")
    return figures


def all_figures(
    maps: Sequence[np.ndarray], truth: Sequence[np.ndarray], image_scores: np.ndarray, prefix: str = ""
) -> dict[str, float]:
    """Pixel figures over all images and over the anomalous ones, and the image figure where both kinds exist.

    None at all where no truth holds an anomalous pixel.
    """
    anomalous = np.array([mask.any() for mask in truth], dtype=bool)
    if not anomalous.any():
        return {}
    chosen = [index for index, mask in enumerate(truth) if mask.any()]
    figures = _pixels(maps, truth, prefix)
    figures |= _pixels([maps[i] for i in chosen], [truth[i] for i in chosen], f"{prefix}anomalous_")
    if anomalous.all():
        return figures
    return figures | {f"{prefix}image_auroc": image_auroc(image_scores, anomalous)}


def truth_of(case: dict[str, Any]) -> np.ndarray:
    """Truth of a case with a label or known to be normal: bool [*S]; what the label tells to ignore is masked."""
    if case.get("label"):
        truth = read_mask(case["label"], case.get("label_threshold"), case.get("label_ignore"))
        return truth.array if truth.ignored is None else np.ma.array(truth.array, mask=truth.ignored)
    file = read_image(case["image"])
    return np.zeros(file.array.shape[: _space(file)], dtype=bool)


def residual_of(
    results: ResultFolder, case: dict[str, Any], intensity_range: Sequence[float] | None, restored: str = "healed"
) -> np.ndarray:
    """|image - restored picture| in [0, 1], mean over channels: f32 [*S]."""
    file = read_image(case["image"])
    image = scale_intensity(file.array, intensity_range)
    difference = np.abs(image - read_image(results.require(case["case"], restored)).array)
    return difference.mean(-1) if difference.ndim > _space(file) else difference


def _space(file: ImageFile) -> int:
    """Axes of an image without its colours."""
    return 2 if file.affine is None else file.array.ndim


def _pixels(maps: Sequence[np.ndarray], truth: Sequence[np.ndarray], prefix: str) -> dict[str, float]:
    if all(mask.all() for mask in truth):  # nothing to tell anomalies from
        return {}
    return pixel_figures([one[None] for one in maps], [mask[None] for mask in truth], prefix)
