"""The promise to whoever starts a long run: killed at any moment, the same command ends with the same result."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from monai_iltm.data.documents import read_csv, read_json
from monai_iltm.engines.names import full_ids
from monai_iltm.store import RunFolder

pytestmark = pytest.mark.slow

BUNDLE = Path(__file__).resolve().parents[2] / "bundles" / "iltm"
LONGER = {"vqvae_epochs": 30, "prior_epochs": 40, "draws": 10, "prior_dropout": 0.2, "augment_shift": 2.0}
PATIENCE = 240  # seconds for one start on a busy machine

Reached = Callable[[RunFolder], bool]


def some_training_maps(run: RunFolder, index: int) -> bool:
    return len(list((run.round(index).maps / "cases").glob("*.json"))) >= 2


# In order, (what has come to be, what has not): each is a state that a kill must find, or nothing is tested.
POINTS: dict[str, tuple[Reached, Reached]] = {
    "inside the VQ-VAE": (
        lambda run: (run.vqvae / "checkpoint.pt").exists(),
        lambda run: (run.vqvae / "model.pt").exists(),
    ),
    "inside the first prior": (
        lambda run: (run.round(0).path / "checkpoint.pt").exists(),
        lambda run: run.round(0).model.exists(),
    ),
    "inside the scoring of the training set": (
        lambda run: some_training_maps(run, 0),
        lambda run: run.round(0).masks.exists(),
    ),
    "between masks and test": (
        lambda run: run.round(0).datalist.exists(),
        lambda run: run.round(0).metrics.exists(),
    ),
    "inside the second prior": (
        lambda run: (run.round(1).path / "checkpoint.pt").exists(),
        lambda run: run.round(1).model.exists(),
    ),
    "inside the second scoring": (
        lambda run: some_training_maps(run, 1),
        lambda run: run.round(1).record.exists(),
    ),
}


def command(data: Path, run: Path, settings: dict[str, Any]) -> list[str]:
    told = {"bundle_root": BUNDLE, "dataset_dir": data, "output_dir": run, **full_ids(settings)}
    options = [part for name, value in told.items() for part in (f"--{name}", "$None" if value is None else str(value))]
    return [sys.executable, "-m", "monai.bundle", "run", "--config_file", f"{BUNDLE}/configs/train.json", *options]


def start(data: Path, run: Path, settings: dict[str, Any]) -> subprocess.Popen:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with open(run.parent / f"{run.name}.log", "ab") as log:
        return subprocess.Popen(command(data, run, settings), stdout=log, stderr=log, env=environment)


def finish(data: Path, run: Path, settings: dict[str, Any]) -> RunFolder:
    status = start(data, run, settings).wait(PATIENCE)
    assert status == 0, (run.parent / f"{run.name}.log").read_text()[-3000:]
    return RunFolder(run)


def kill_at(point: str, data: Path, run: Path, settings: dict[str, Any]) -> None:
    reached, passed = POINTS[point]
    process, ends = start(data, run, settings), time.monotonic() + PATIENCE
    try:
        while not reached(RunFolder(run)):
            assert process.poll() is None, (run.parent / f"{run.name}.log").read_text()[-3000:]
            assert time.monotonic() < ends, f"{point} was never reached"
            time.sleep(0.001)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not passed(RunFolder(run)), f"the kill came too late to be {point}"


def results(run: RunFolder) -> dict[str, Any]:
    """Every file that two equal runs share: weights, maps, masks and figures, without times."""
    found: dict[str, Any] = {}
    for path in sorted(run.path.rglob("*")):
        name = path.relative_to(run.path).as_posix()
        if name.startswith("mlflow/"):  # a copy of the pictures, under ids that MLflow draws
            continue
        if path.suffix == ".pt":
            saved = torch.load(path, weights_only=True)
            found[name] = {key: v.tolist() if isinstance(v, torch.Tensor) else v for key, v in saved.items()}
        elif path.suffix in (".png", ".tif"):
            found[name] = path.read_bytes()
        elif path.suffix == ".csv":
            found[name] = [{k: v for k, v in row.items() if k != "seconds"} for row in read_csv(path)]
        elif path.name in ("round.json", "metrics.json", "calibration.json", "trivial.json"):
            found[name] = read_json(path)
    return found


def test_killed_at_every_stage_the_run_ends_as_an_undisturbed_one(phantom, tiny_settings, tmp_path):
    settings = {**tiny_settings, **LONGER}
    for point in POINTS:
        kill_at(point, phantom, tmp_path / "killed", settings)
    killed, whole = (results(finish(phantom, tmp_path / name, settings)) for name in ("killed", "whole"))
    assert sorted(killed) == sorted(whole)
    assert sum(name.endswith("model.pt") for name in whole) == 4  # VQ-VAE, two rounds, the bundle
    assert sum("/masks/" in name for name in whole) == 12
    assert [name for name in whole if killed[name] != whole[name]] == []
    assert (tmp_path / "killed" / "report.html").is_file()
    assert not list((tmp_path / "killed").rglob("checkpoint.pt"))
