"""What the VQ-VAE keeps of an image: reconstructions case by case, their error, and the codes that they use."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import PathLike
from monai.engines.utils import IterationEvents

from monai_iltm.data.documents import read_json, write_csv, write_json
from monai_iltm.data.images import read_image
from monai_iltm.distributed import barrier, is_main
from monai_iltm.engines.scoring import require_finite
from monai_iltm.store import ResultFolder
from monai_iltm.transforms import scale_intensity

SMALLEST_ERROR = 1e-10  # of intensities in [0, 1]: a perfect copy has 100 dB, not infinitely many


def reconstruction_step(engine: Any, batch: dict[str, Any]) -> dict[str, Any]:
    """Reconstruct ``batch["image"]`` [B, C, *S]; ``engine`` is a SupervisedEvaluator whose network is a ``VQVAE``.

    Output: pred f32 [B, C, *S], and code_counts i64 [B, K], how often an image uses each code.
    """
    image = batch["image"].to(engine.state.device)
    with torch.no_grad():
        codes = engine.network.index_quantize(image).flatten(1)
        engine.state.output = {
            "pred": engine.inferer(image, engine.network),
            "code_counts": torch.stack([row.bincount(minlength=engine.network.num_embeddings) for row in codes]),
        }
    require_finite(batch, engine.state.output["pred"])
    engine.fire_event(IterationEvents.MODEL_COMPLETED)
    return engine.state.output


def write_metrics(
    output_dir: PathLike, cases: Sequence[dict[str, Any]], intensity_range: Sequence[float] | None
) -> None:
    """scores.csv, a row a case, and metrics.json of a folder of reconstructions; rank 0 does it.

    mse, mae, psnr (dB): means over cases, intensities in [0, 1], in the image's own grid. perplexity, codes_in_use: of
    the codes of all cases.
    """
    results = ResultFolder(Path(output_dir))
    if is_main():
        rows = [{"case": case["case"], **_errors(results, case, intensity_range)} for case in cases]
        write_csv(results.scores, rows)
        means = {name: float(np.mean([row[name] for row in rows])) for name in ("mse", "mae", "psnr")}
        counts = sum(np.array(read_json(results.record(case["case"]))["code_counts"]) for case in cases)
        write_json(results.metrics, {**means, **code_use(np.asarray(counts)), "cases": len(rows)})
    barrier()


def code_use(counts: np.ndarray) -> dict[str, float]:
    """Perplexity of code counts [K], and the number of codes that occur."""
    share = counts[counts > 0] / counts.sum()
    return {"perplexity": float(np.exp(-(share * np.log(share)).sum())), "codes_in_use": len(share)}


def _errors(results: ResultFolder, case: dict[str, Any], intensity_range: Sequence[float] | None) -> dict[str, float]:
    image = scale_intensity(read_image(case["image"]).array, intensity_range)
    difference = read_image(results.require(case["case"], "reconstruction")).array - image
    mse = float(np.square(difference, dtype=np.float64).mean())
    return {"mse": mse, "mae": float(np.abs(difference).mean()), "psnr": -10 * math.log10(max(mse, SMALLEST_ERROR))}
