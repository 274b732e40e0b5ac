"""Figures of scored cases, from the files that scoring has left: maps in the images' own grid, against the truth."""

from __future__ import annotations

from collections.abc import Sequence
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
    output_dir: PathLike, cases: Sequence[dict[str, Any]], intensity_range: Sequence[float] | None
) -> None:
    """metrics.json of a result folder, for the cases whose truth is known; without an anomalous one, no file.

    Flat keys: auroc, average_precision, aupro, best_dice, best_dice_per_case over all these cases' pixels, image_auroc;
    the same after "residual_" for |image - healed mean|, after "anomalous_" over the pixels of anomalous images alone,
    after "apart_" for the cases of the split "testing_apart", which count nowhere else, and after "kind_NAME_" over the
    images of each kind of anomaly, where the datalist names several.
    """
    known = [case for case in cases if case.get("label") or case.get("normal")]
    apart = [case for case in known if case.get("split") == "testing_apart"]
    main = [case for case in known if case.get("split") != "testing_apart"]
    if is_main():
        results = ResultFolder(Path(output_dir))
        surprise = {case["case"]: read_image(results.require(case["case"], "surprise")).array for case in known}
        truth = {case["case"]: truth_of(case) for case in known}
        figures = _figures(results, main, surprise, truth, intensity_range)
        if figures:
            more = _figures(results, apart, surprise, truth, intensity_range)
            figures |= {f"apart_{name}": value for name, value in more.items()}
            write_json(results.metrics, figures | _kinds(known, surprise, truth))
    barrier()


def _figures(
    results: ResultFolder, cases: Sequence[dict[str, Any]], surprise: Maps, truth: Maps, intensity_range: Any
) -> dict[str, float]:
    names = [case["case"] for case in cases]
    residual = [residual_of(results, case, intensity_range) for case in cases]
    scores = {row["case"]: float(row["image_score_surprise"]) for row in read_csv(results.scores)}
    ranked = np.array([scores[name] for name in names])
    means = np.array([one.mean() for one in residual])
    real = [truth[name] for name in names]
    figures = all_figures([surprise[name] for name in names], real, ranked)
    figures |= all_figures(residual, real, means, "residual_")
    return figures | {"cases": len(cases)} if figures else {}


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


def residual_of(results: ResultFolder, case: dict[str, Any], intensity_range: Sequence[float] | None) -> np.ndarray:
    """|image - healed mean| in [0, 1], mean over channels: f32 [*S]."""
    file = read_image(case["image"])
    image = scale_intensity(file.array, intensity_range)
    difference = np.abs(image - read_image(results.require(case["case"], "healed")).array)
    return difference.mean(-1) if difference.ndim > _space(file) else difference


def _space(file: ImageFile) -> int:
    """Axes of an image without its colours."""
    return 2 if file.affine is None else file.array.ndim


def _pixels(maps: Sequence[np.ndarray], truth: Sequence[np.ndarray], prefix: str) -> dict[str, float]:
    if all(mask.all() for mask in truth):  # nothing to tell anomalies from
        return {}
    return pixel_figures([one[None] for one in maps], [mask[None] for mask in truth], prefix)
