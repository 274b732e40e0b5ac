"""The cluster's script, with a cluster of two nodes that are both this machine: two agents, one rank each."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from monai_iltm.data.documents import read_csv, read_json
from monai_iltm.data.phantom2d import write_phantom2d
from monai_iltm.engines.names import full_ids
from monai_iltm.store import RunFolder

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).resolve().parents[2]
PATIENCE = 240
SETTINGS = {
    "image_size": [32, 32],
    "num_codes": 8,
    "code_features": 4,
    "vqvae_epochs": 1,
    "groups": 2,
    "prior_epochs": 60,
    "augmented_versions": 0,
    "draws": 2,
    "decodes": 2,
    "max_rounds": 1,
    "bracket": False,
}
CLUSTER = {
    "scontrol": "echo 127.0.0.1",
    "srun": '"$@" & "$@" & wait -n && wait -n',
    "python": f'exec {sys.executable} "$@"',
}


@pytest.fixture
def job(tmp_path, free_ports, smallest_networks) -> Iterator[subprocess.Popen]:
    """The script at work on a phantom, as sbatch would start it; what it leaves lies in ``tmp_path / "run"``."""
    commands = tmp_path / "bin"
    commands.mkdir()
    for name, line in CLUSTER.items():
        (commands / name).write_text(f"#!/bin/bash\n{line}\n")
        (commands / name).chmod(0o755)
    data = write_phantom2d(tmp_path / "data", training=6, testing=2, clean=2, size=32).parent
    told = {"PATH": f"{commands}:{os.environ['PATH']}", "ILTM_PORT": free_ports(1)[0], "OMP_NUM_THREADS": "1"}
    told |= {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "node[1-2]", "SLURM_JOB_NUM_NODES": "2"}
    settings = full_ids({**smallest_networks, **SETTINGS})
    options = [part for key, value in settings.items() for part in (f"--{key}", str(value))]
    command = ["bash", "scripts/slurm.sh", "phantom2d", str(data), str(tmp_path / "run"), *options]
    with open(tmp_path / "log", "wb") as log:
        process = subprocess.Popen(
            command, cwd=PROJECT, env={**os.environ, **told}, stdout=log, stderr=log, start_new_session=True
        )
    yield process
    if process.poll() is None:
        left = ranks_of(tmp_path / "run")  # each in a session of its own
        os.killpg(process.pid, signal.SIGKILL)
        for rank in left:
            os.kill(rank, signal.SIGKILL)
        process.wait()


def test_after_a_rank_was_killed_the_run_goes_on_from_its_last_piece(job, tmp_path):
    run, ends = RunFolder(tmp_path / "run"), time.monotonic() + PATIENCE
    checkpoint = run.round(0).path / "checkpoint.pt"
    before: list[dict[str, str]] = []
    while not checkpoint.is_file() or len(before) < 3:
        before = read_csv(run.round(0).history) if run.round(0).history.is_file() else []
        assert job.poll() is None, (tmp_path / "log").read_text()[-3000:]
        assert time.monotonic() < ends
        time.sleep(0.01)
    trained = (run.vqvae / "model.pt").stat().st_mtime_ns
    os.kill(ranks_of(run.path)[-1], signal.SIGKILL)
    assert job.wait(PATIENCE) == 0, (tmp_path / "log").read_text()[-3000:]
    assert (run.vqvae / "model.pt").stat().st_mtime_ns == trained
    after = read_csv(run.round(0).history)
    assert [int(row["epoch"]) for row in after] == list(range(1, 61))
    assert after[: len(before) - 1] == before[:-1]  # their seconds too: these epochs were not trained again
    assert read_json(run.round(0).record)["verdict"] == "max_rounds"
    assert (run.path / "report.html").is_file()


def ranks_of(run: Path) -> list[int]:
    """Processes that work on a run and whose parent is an agent of torchrun."""
    told = subprocess.check_output(["ps", "-e", "-ww", "-o", "pid=,ppid=,args="], text=True)
    rows = [line.split(None, 2) for line in told.splitlines() if str(run) in line]
    agents = {pid for pid, _, line in rows if "torch.distributed.run" in line}
    return [int(pid) for pid, parent, line in rows if parent in agents and "torch.distributed.run" not in line]
