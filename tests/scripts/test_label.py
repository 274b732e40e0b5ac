"""MONAI Label with a run's bundle: the real server, where its environment is there (scripts/label.py makes it)."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from monai_iltm import __main__ as cli
from monai_iltm.data.errors import InputError
from monai_iltm.data.images import write_image
from monai_iltm.store import RunFolder

TINY = {"spatial_dims": 3, "image_size": [16, 16, 16], "intensity_range": [0, 6], "expected_range": [0, 300]}
TINY |= {"vqvae_widths": [8, 16], "vqvae_residual_layers": 1, "num_codes": 16, "code_features": 8, "vqvae_epochs": 1}
TINY |= {"prior_width": 16, "prior_depth": 1, "prior_heads": 2, "prior_epochs": 1, "max_rounds": 1, "draws": 2}
TINY |= {"decodes": 1, "augmented_versions": 0, "vqvae_batch_size": 2, "prior_batch_size": 2, "bracket": False}


def volume(seed: int) -> np.ndarray:
    """A bright blob in noise, f32 [12, 13, 14], 0 to about 4."""
    away = sum(((axis - 6) / 4) ** 2 for axis in np.indices((12, 13, 14)))
    return (3.5 * np.exp(-away) + 0.4 * np.random.default_rng(seed).random((12, 13, 14))).astype(np.float32)


def test_a_run_without_a_bundle_and_an_environment_without_monai_label_are_named(script, tmp_path):
    label = script("label")
    with pytest.raises(InputError, match="no bundle with weights"):
        label.app(str(tmp_path / "run"), str(tmp_path / "label"))
    weights = RunFolder(tmp_path / "run").bundle / "models" / "model.pt"
    weights.parent.mkdir(parents=True)
    weights.touch()
    with pytest.raises(InputError, match=r"label/env: no MONAI Label; python scripts/label\.py environment"):
        label.app(str(tmp_path / "run"), str(tmp_path / "label"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning")
def test_answers_as_the_command_line_and_says_what_it_refuses(script, tmp_path, free_ports):
    place = os.environ.get("ILTM_LABEL")
    if not place or not Path(place, "env").is_dir():
        pytest.skip("no environment of MONAI Label (python scripts/label.py environment LABEL, then ILTM_LABEL=LABEL)")
    turned = np.diag([-2.0, -2.0, 3.0, 1.0])  # axes that the bundle turns, and turns back
    for index in range(6):
        part = "train" if index < 4 else "test"
        write_image(tmp_path / "data" / part / f"p{index}.nii.gz", volume(index), turned)
    cli.run(str(write_preset(tmp_path)), str(tmp_path / "data"), str(tmp_path / "run"))
    script("label").check(str(tmp_path / "data"), str(tmp_path / "run"), place, int(free_ports(1)[0]))


def write_preset(folder: Path) -> Path:
    path = folder / "tiny.json"
    path.write_text(json.dumps(TINY))
    return path
