"""Rounds round every method that an overlay names, by two processes: killed and gone on with, to the same end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from monai_iltm.engines.method import read_method
from monai_iltm.store import RunFolder

pytestmark = pytest.mark.slow

HOME = Path(__file__).resolve().parents[2]
METHODS = [path.stem for path in sorted((HOME / "configs").glob("*.json")) if "method" in json.loads(path.read_text())]
PATIENCE = 240  # seconds, on a busy machine


def command(name: str, data: Path, run: Path) -> list[str]:
    """Two rounds of two epochs a stage."""
    stages = read_method(HOME / "bundles", name).stages
    own = "settings" if len(stages) == 1 else "settings::stages::{}"
    epochs = {f"{own.format(stage.name)}::train::trainer::max_epochs": 2 for stage in stages}
    told = {"image_size": "[32,32]", "max_rounds": 2, "tolerance": 0.0, "bracket": False, **epochs}
    words = [word for one, value in told.items() for word in (f"--{one}", str(value))]
    start = [sys.executable, "-m", "monai_iltm", "run", name, str(data), str(run), "--processes", "2"]
    return [*start, *words]


def results(run: RunFolder) -> dict[str, bytes]:
    """Maps, masks and weights."""
    paths = [path for path in sorted(run.path.rglob("*")) if path.suffix in (".tif", ".png", ".pt")]
    return {str(path.relative_to(run.path)): path.read_bytes() for path in paths if "mlflow" not in path.parts}


@pytest.mark.parametrize("name", METHODS)
def test_a_killed_run_ends_as_an_undisturbed_one(name, phantom, tmp_path):
    whole, killed = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "killed")
    quiet = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command(name, phantom, whole.path), env=quiet, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    with open(tmp_path / "log", "wb") as log:
        words = {"env": quiet, "stdout": log, "stderr": log}
        process, ends = subprocess.Popen(command(name, phantom, killed.path), **words), time.monotonic() + PATIENCE
        while not killed.round(0).calibration.is_file():
            assert process.poll() is None, (tmp_path / "log").read_text()[-2000:]
            assert time.monotonic() < ends
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not killed.bundle.exists()
        time.sleep(3)  # its ranks end with it
        assert subprocess.call(command(name, phantom, killed.path), timeout=PATIENCE, **words) == 0
    assert killed.rounds()
    expected, found = results(whole), results(killed)
    assert found.keys() == expected.keys()
    assert [path for path in expected if found[path] != expected[path]] == []
