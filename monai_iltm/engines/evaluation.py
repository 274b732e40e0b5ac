"""Figures of scored cases, from the files that scoring has left: maps in the images' own grid, against the truth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import PathLike

from monai_iltm.data.documents import read_csv, write_json
from monai_iltm.data.images import ImageFile, read_image
from monai_iltm.engines.distributed import barrier, is_main
from monai_iltm.metrics import image_auroc, pixel_figures
from monai_iltm.store import ResultFolder
from monai_iltm.transforms.preprocessing import scale_intensity


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
        figures = _figures(results, main, intensity_range)
        more = _figures(results, apart, intensity_range) if figures else {}
        if figures:
            figures |= {f"apart_{name}": value for name, value in more.items()}
            write_json(results.metrics, figures | _kinds(results, known))
    barrier()


def _figures(
    results: ResultFolder, cases: Sequence[dict[str, Any]], intensity_range: Sequence[float] | None
) -> dict[str, float]:
    truth = [truth_of(case) for case in cases]
    surprise = [read_image(results.require(case["case"], "surprise")).array for case in cases]
    residual = [residual_of(results, case, intensity_range) for case in cases]
    scores = {row["case"]: float(row["image_score_surprise"]) for row in read_csv(results.scores)}
    ranked = np.array([scores[case["case"]] for case in cases])
    means = np.array([one.mean() for one in residual])
    figures = all_figures(surprise, truth, ranked) | all_figures(residual, truth, means, "residual_")
    return figures | {"cases": len(cases)} if figures else {}


def _kinds(results: ResultFolder, cases: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Figures of the surprise over the images of each kind of anomaly: a large, faint kind can hide the others."""
    kinds = sorted({case["kind"] for case in cases if case.get("kind") and case.get("label")})
    figures: dict[str, float] = {}
    for kind in kinds if len(kinds) > 1 else ():
        chosen = [case for case in cases if case.get("kind") == kind and case.get("label")]
        maps = [read_image(results.require(case["case"], "surprise")).array for case in chosen]
        truth = [truth_of(case) for case in chosen]
        if any(mask.any() for mask in truth):
            figures |= _pixels(maps, truth, f"kind_{kind}_")
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
    """Truth of a case with a label or known to be normal: bool [*S]."""
    if case.get("label"):
        return read_image(case["label"]).array > 0
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
    return pixel_figures([one[None] for one in maps], [mask[None] for mask in truth], prefix)
