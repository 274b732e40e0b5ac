"""Synthetic run folders: real files in the layout of a run, with maps made from the truth instead of a network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import binary_dilation, gaussian_filter, median_filter

from monai_iltm.data.documents import write_csv, write_json
from monai_iltm.data.images import read_image, write_image

AFFINE = np.diag([-4.0, -4.0, 5.0, 1.0])  # LPS axes, as many exports have


def draw_cases(data: Path, shape: tuple[int, ...], split: str, count: int, colour: bool = False) -> list[dict]:
    """Blobs with a bright lesion in every case of training and every other one of testing; a datalist's entries."""
    entries = []
    for index in range(count):
        rng = np.random.default_rng([index, len(split)])
        base = gaussian_filter(rng.normal(size=shape), 3)
        image = 0.4 + 0.2 * base / np.abs(base).max() + 0.02 * rng.normal(size=shape)
        truth = np.zeros(shape, dtype=bool)
        healthy = split == "testing" and index % 2 == 1
        if not healthy:
            center = [int(rng.integers(4, size - 4)) for size in shape]
            truth[tuple(slice(c - 2, c + 3) for c in center)] = True
        image = np.clip(image + 0.4 * truth, 0, 1)
        entries.append(_write_case(data, f"{split}_{index:03d}", image, truth, healthy, colour))
    return entries


def _write_case(data: Path, case: str, image: np.ndarray, truth: np.ndarray, healthy: bool, colour: bool) -> dict:
    solid = image.ndim == 3
    end, affine = (".nii.gz", AFFINE) if solid else (".png", None)
    if colour:
        image = np.stack([image, 0.8 * image, 0.6 * image], axis=-1)
    stored = (8 * image).astype(np.float32) if solid else (255 * image).astype(np.uint8)
    write_image(data / f"images/{case}{end}", stored, affine)
    entry: dict = {"case": case, "image": f"images/{case}{end}"}
    if healthy:
        return entry | {"normal": True, "kind": "healthy"}
    write_image(data / f"labels/{case}{end}", truth, affine)
    return entry | {"label": f"labels/{case}{end}", "kind": "lesion"}


def write_run(folder: Path, data: Path, training: list[dict], testing: list[dict], rounds: int = 3) -> Path:
    """A finished run over the given cases, bracket and trivial detectors included."""
    settings = {
        "vqvae::network_def::channels": [8, 16],
        "scoring::inferer::draws": 12,
        "images::size": [64, 64],
        "tracking": "http://server.local:5000",
    }
    versions = {"monai": "1.6.1", "torch": "2.10"}
    run = {
        "settings": settings,
        "seed": 7,
        "versions": versions,
        "dataset_dir": str(data),
        "cases": {},
        "started": "2025-01-01T10:00:00",
    }
    write_json(folder / "run.json", run)
    write_json(folder / "datalist.json", {"training": training, "testing": testing})
    write_json(
        folder / "trivial.json",
        {name: _metrics(0.10 + 0.02 * i) for i, name in enumerate(("raw_intensity", "robust_z", "vqvae_residual"))},
    )
    write_csv(folder / "vqvae/history.csv", list(_vqvae_rows(40)))
    for part in ("vqvae", "bundle/models"):
        (folder / part).mkdir(parents=True, exist_ok=True)
        (folder / part / "model.pt").write_bytes(b"")
    for index in range(rounds):
        write_round(folder / f"round_{index:02d}", data, training, testing, index, last=index == rounds - 1)
    for name, precision in (("oracle", 0.66), ("clean", 0.69)):
        write_json(folder / f"bracket/{name}/round.json", {"round": 0})
        write_json(folder / f"bracket/{name}/metrics.json", _metrics(precision))
    return folder


def write_round(folder: Path, data: Path, training: list[dict], testing: list[dict], index: int, last: bool) -> None:
    """One complete round, `round.json` last."""
    skill = 1 - 0.5**index
    prior = [{"epoch": e, "loss": 1.2 - 0.1 * skill + 2 * np.exp(-e / 8)} for e in range(30)]
    write_csv(folder / "history.csv", prior)
    (folder / "model.pt").write_bytes(b"")
    for entry in training:
        surprise, _, truth, affine, end = _answer(data, entry, 0.4 + 0.6 * skill)
        write_image(folder / f"maps/{entry['case']}_surprise{end}", surprise, affine)
        mask = (surprise > 5.3) | (binary_dilation(truth, iterations=1) if index else truth & (surprise > 2))
        write_image(folder / f"masks/{entry['case']}{end.replace('.tif', '.png')}", mask, affine)
    stated = [{"case": entry["case"], "image_score_surprise": 9.0 - place} for place, entry in enumerate(training)]
    write_csv(folder / "maps/scores.csv", stated[::-1])
    scores = [_write_test(folder / "test", data, entry, skill) for entry in testing]
    if scores:
        write_csv(folder / "scores.csv", scores)
        write_json(folder / "metrics.json", _metrics(0.5 + 0.12 * skill))
    verdict = ("converged" if index else "max_rounds") if last else "continue"
    record = {"round": index, "suspect_tokens": 400 + int(100 * skill), "tokens": 9000, "mask_threshold": 5.3}
    record |= {"change": 0.3 * 0.2**index if index else None, "jaccard": 1 - 0.5 * 0.3**index if index else None}
    record |= {"verdict": verdict, "training_mask": {"recall": 0.2 + 0.4 * skill, "precision": 0.7}}
    write_json(folder / "calibration.json", {"threshold": 5.3})
    write_json(folder / "round.json", record)


def _write_test(folder: Path, data: Path, entry: dict, skill: float) -> dict:
    surprise, healed, truth, affine, end = _answer(data, entry, 0.5 + 0.5 * skill)
    case = entry["case"]
    write_image(folder / f"{case}_surprise{end}", surprise, affine)
    write_image(folder / f"{case}_healed{end}", healed, affine)
    write_image(folder / f"{case}_mask{end.replace('.tif', '.png')}", surprise > 5.3, affine)
    score = float(np.maximum(surprise - 5.3, 0).sum())
    row = {"case": case, "split": "testing", "image_score_surprise": score, "image_score_tokens": score / 2}
    return row | {"suspect_share": float((surprise > 5.3).mean()), "anomalous": int(truth.any())}


def _answer(data: Path, entry: dict, strength: float) -> tuple:
    """surprise, healed mean, truth, affine and map suffix of a case: what a fair network might have said."""
    file = read_image(data / entry["image"])
    space = file.array.ndim - (1 if file.affine is None and file.array.ndim == 3 else 0)
    top = 255.0 if file.array.dtype == np.uint8 else float(file.array.max())
    image = file.array.astype(np.float32) / top
    truth = np.zeros(image.shape[:space], dtype=bool)
    if entry.get("label"):
        truth = read_image(data / entry["label"]).array > 0
    smooth = median_filter(image, size=(9,) * space + (1,) * (image.ndim - space))
    hole = gaussian_filter(truth.astype(np.float32), 1)
    hole = hole if image.ndim == space else hole[..., None]
    healed = gaussian_filter(image, (0.7,) * space + (0,) * (image.ndim - space)) * (1 - hole) + smooth * hole
    error = np.abs(image - healed) if image.ndim == space else np.abs(image - healed).mean(-1)
    surprise = -1.8 + (error / 0.07) ** 2 / 2 + strength * 7 * gaussian_filter(truth.astype(np.float32), 1)
    end = ".nii.gz" if space == 3 else ".tif"
    return surprise.astype(np.float32), healed.astype(np.float32), truth, file.affine, end


def _metrics(precision: float) -> dict[str, float]:
    values = {"auroc": 0.9 + precision / 8, "average_precision": precision, "aupro": 0.6 + precision / 3}
    values |= {"best_dice": precision + 0.04, "best_dice_per_case": precision + 0.02}
    values |= {"image_auroc": 0.7 + precision / 4}
    return values | {f"residual_{name}": 0.8 * value for name, value in values.items()} | {"cases": 8}


def _vqvae_rows(epochs: int) -> Iterator[dict]:
    for epoch in range(epochs):
        reconstruction, commitment = 0.1 * np.exp(-epoch / 6) + 0.002, 0.01 * np.exp(-epoch / 9) + 0.001
        row = {"epoch": epoch, "loss": reconstruction + commitment, "reconstruction": reconstruction}
        row |= {"commitment": commitment, "perplexity": 50 - 40 * np.exp(-epoch / 5)}
        yield row | {"codes_in_use": min(64, 20 + 3 * epoch)}


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """make_run(shape=(24, 32), colour=False, testing=6, training=4, rounds=3) -> run folder."""

    def build(shape=(24, 32), colour=False, testing=6, training=4, rounds=3) -> Path:
        data = tmp_path / "private" / "data"
        trained = draw_cases(data, shape, "training", training, colour)
        tested = draw_cases(data, shape, "testing", testing, colour)
        return write_run(tmp_path / "tiny", data, trained, tested, rounds)

    return build
