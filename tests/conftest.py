"""What all tests share: one thread a worker, the measuring data where it is there, a tiny prior."""

from __future__ import annotations

import logging
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings

from monai_iltm.data.lock import release_all
from monai_iltm.networks import MaskedTransformer

torch.set_num_threads(1)
settings.register_profile("patient", deadline=None)  # a busy machine is no error
settings.load_profile("patient")

DATA = Path(os.environ.get("ILTM_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")


@pytest.fixture(autouse=True)
def own_process() -> Iterator[None]:
    """What a workflow sets for its whole process ends with the test: path, hook for errors, loggers, SIGTERM, locks."""
    path, hook, root = list(sys.path), sys.excepthook, logging.getLogger()
    handlers, level, stop = list(root.handlers), root.level, signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, stop)
    release_all()
    sys.path[:], sys.excepthook = path, hook
    root.handlers[:], root.level = handlers, level


@pytest.fixture(scope="session")
def smallest_networks() -> dict[str, Any]:
    """Settings of the smallest VQ-VAE and transformer that a run is tested with."""
    vqvae = {"vqvae_widths": [8, 8], "vqvae_residual_layers": 1}
    return {**vqvae, "prior_width": 16, "prior_depth": 1, "prior_heads": 2}


@pytest.fixture
def free_ports() -> Callable[[int], list[str]]:
    """So many different ports of this machine that nobody listens on, below those that the system gives away itself."""

    def is_free(port: int) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) != 0

    def ports(count: int) -> list[str]:
        drawn = random.SystemRandom().sample(range(20_000, 32_000), 10 * count)
        return [str(port) for port in drawn if is_free(port)][:count]

    return ports


@pytest.fixture(scope="session")
def two_ranks() -> Callable[..., None]:
    """Runs a command in two processes, the words and the environment of each by its rank, until both end well."""

    def run(command: Callable[[int], list[str]], environment: Callable[[int], dict[str, str] | None]) -> None:
        ranks = [subprocess.Popen(command(rank), env=environment(rank)) for rank in (0, 1)]
        try:
            assert [rank.wait(timeout=120) for rank in ranks] == [0, 0]
        finally:
            for rank in ranks:
                rank.kill()
                rank.wait()

    return run


@pytest.fixture(scope="session")
def measuring_set() -> Callable[[str], Path]:
    """Folder of a measuring set by its name; where it is not there the test is skipped with the reason."""

    def folder(name: str) -> Path:
        if not (DATA / name).is_dir():
            pytest.skip(f"measuring set {name} is not in {DATA} (set ILTM_DATA)")
        return DATA / name

    return folder


@pytest.fixture(scope="session")
def tiny() -> Callable[..., MaskedTransformer]:
    """Builder of a small float64 transformer in eval mode, with weights that matter; equal arguments, equal weights."""

    def build(order: str, grid: tuple[int, ...] = (3, 4), codes: int = 5, **options) -> MaskedTransformer:
        net = MaskedTransformer(codes, grid, width=8, depth=2, heads=2, order=order, **options).double().eval()
        generator = torch.Generator().manual_seed(7)
        for parameter in net.parameters():
            parameter.data.normal_(0, 0.5, generator=generator)
        return net

    return build
