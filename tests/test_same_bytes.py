"""A tiny run gives the same maps, masks, weights and figures, bit for bit, as the code that the hashes are of.

`python tests/test_same_bytes.py` writes the hashes anew, for a change that is meant to change results, and names it.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from monai_iltm.data.documents import read_csv, read_json
from monai_iltm.data.images import read_image
from monai_iltm.data.weights import read_saved
from monai_iltm.store import RoundFolder, RunFolder

HASHES = Path(__file__).with_suffix(".json")
# One instruction set on every machine that has it, and one order of sums.
SAME_ARITHMETIC = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_CBWR": "AVX2",
    "NUMBA_CPU_NAME": "haswell",
    "NUMBA_CPU_FEATURES": "",
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
}
TINY: dict[str, Any] = {
    "amp": False,
    "image_size": [32, 32],
    "vqvae_widths": [8, 8],
    "vqvae_residual_layers": 1,
    "num_codes": 16,
    "code_features": 8,
    "vqvae_epochs": 3,
    "vqvae_batch_size": 3,
    "prior_width": 16,
    "prior_depth": 1,
    "prior_heads": 2,
    "prior_epochs": 3,
    "prior_batch_size": 3,
    "augmented_versions": 1,
    "draws": 3,
    "decodes": 2,
    "mask_share": 0.1,
    "max_rounds": 2,
    "tolerance": 0.0,
    "seed": 3,
}
PHANTOM2D = ["2d", "--training", "6", "--testing", "3", "--clean", "3", "--size", "32"]
PHANTOM3D = ["3d", "--training", "4", "--testing", "2", "--clean", "2", "--shape", "[24,24,24]"]
# Lesions of this phantom fill little of a token's cell.
FAINT = {"vqvae_epochs": 60, "mask_share": 0.02, "pool_cut": 0.01}
# name -> (phantom, preset and overlays, what differs from TINY)
RUNS: dict[str, tuple[list[str], list[str], dict[str, Any]]] = {
    "2d_falling_flag": (PHANTOM2D, ["phantom2d"], {"flag_decay": 0.3, "alpha": 0.2, "first_prior_epochs": 2}),
    "3d": (PHANTOM3D, ["phantom3d"], {"image_size": [24, 24, 24], "groups": 2, "alpha": 0.2, **FAINT}),
    "raster_paper": (PHANTOM2D, ["phantom2d", "paper_mode"], {"threshold": 0.2, "warm_start": True}),
}
UNSTEADY = ("seconds", "started", "versions")  # names of what differs from one run to the next


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_a_run_gives_the_same_bytes(name, tmp_path):
    if platform.machine() != "x86_64" or not torch.cpu.get_capabilities().get("avx2"):
        pytest.skip("the hashes are of a CPU with AVX2")
    kept = json.loads(HASHES.read_text())
    if kept["torch"] != torch.__version__.split("+")[0]:
        pytest.skip(f"the hashes are of torch {kept['torch']}")
    assert digest(run(name, tmp_path)) == kept[name]


def run(name: str, folder: Path) -> RunFolder:
    """The run of a name, in a process of its own."""
    phantom, presets, settings = RUNS[name]
    environment = {**os.environ, **SAME_ARITHMETIC}
    main = [sys.executable, "-m", "monai_iltm"]
    subprocess.run([*main, "phantom", phantom[0], folder / "data", *phantom[1:]], check=True, env=environment)
    given = [part for key, value in {**TINY, **settings}.items() for part in (f"--{key}", str(value))]
    preset, *overlays = presets
    words = [preset, folder / "data", folder / "run", *overlays, *given]
    subprocess.run([*main, "run", *words], check=True, env=environment)
    return RunFolder(folder / "run")


def digest(run: RunFolder) -> dict[str, str]:
    """A hash of each kind of result."""
    parts = {"vqvae": _weights(run.vqvae / "model.pt"), "yardsticks": _figures(run.trivial)}
    folders = {"clean": run.bracket("clean"), "oracle": run.bracket("oracle")}
    folders |= {f"round {folder.index}": folder for folder in run.rounds()}
    for name, folder in folders.items():
        parts |= {f"{name}: {kind}": part for kind, part in _round(folder)}
    return {name: hashlib.sha256(part).hexdigest()[:16] for name, part in parts.items()}


def _round(folder: RoundFolder) -> Iterator[tuple[str, bytes]]:
    yield "weights", _weights(folder.model)
    yield "test maps", _images(folder.test)
    yield "test figures", _figures(folder.metrics) + _rows(folder.scores)
    yield "losses", _rows(folder.history)
    if folder.is_round:
        yield "training maps", _images(folder.maps)
        yield "masks", _images(folder.masks)
        yield "training figures", _figures(folder.calibration) + _figures(folder.record)


def _weights(path: Path) -> bytes:
    return b"".join(name.encode() + tensor.numpy().tobytes() for name, tensor in sorted(read_saved(path).items()))


def _images(folder: Path) -> bytes:
    files = [path for path in sorted(folder.glob("*")) if path.name.endswith((".tif", ".png", ".nii.gz"))]
    assert files
    return b"".join(path.name.encode() + read_image(path).array.tobytes() for path in files)


def _figures(path: Path) -> bytes:
    figures = {name: value for name, value in read_json(path).items() if name not in UNSTEADY}
    assert figures
    return json.dumps(figures, sort_keys=True).encode()


def _rows(path: Path) -> bytes:
    return json.dumps(
        [[value for name, value in row.items() if name not in UNSTEADY] for row in read_csv(path)]
    ).encode()


def write_hashes() -> None:
    """Run all, and keep their hashes."""
    kept: dict[str, Any] = {"torch": torch.__version__.split("+")[0]}
    for name in RUNS:
        with tempfile.TemporaryDirectory() as folder:
            kept[name] = digest(run(name, Path(folder)))
    HASHES.write_text(json.dumps(kept, indent=2) + "\n")


if __name__ == "__main__":
    write_hashes()
