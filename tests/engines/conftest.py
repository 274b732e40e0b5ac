"""What the stages need: no trace of a stage in the process that tests it, and a small phantom on disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from monai.bundle import ConfigParser

from monai_iltm.data.phantom2d import write_phantom2d
from monai_iltm.engines.names import full_ids
from monai_iltm.engines.rounds import Rounds

BUNDLES = Path(__file__).resolve().parents[2] / "bundles"


@pytest.fixture(scope="session")
def phantom(tmp_path_factory) -> Path:
    """Six training and two test slices of 32 x 32; not to be written to."""
    folder = tmp_path_factory.mktemp("phantom") / "data"
    write_phantom2d(folder, training=6, testing=2, clean=2, size=32)
    return folder


TINY = {
    "image_size": [32, 32],
    "num_codes": 16,
    "code_features": 8,
    "vqvae_epochs": 3,
    "vqvae_batch_size": 3,
    "prior_epochs": 3,
    "prior_batch_size": 3,
    "groups": 2,
    "draws": 3,
    "decodes": 2,
    "levels": [1.0],
    "alpha": 0.2,
    "threshold_times_uniform": None,
    "mask_share": 0.1,
    "mask_density": None,
    "pool_cut": 0.3,
    "max_rounds": 2,
    "tolerance": 0.0,
    "bracket": False,
    "seed": 3,
}


@pytest.fixture(scope="session")
def tiny_settings(smallest_networks) -> dict[str, Any]:
    """Values for the iltm bundle's ids that make two rounds a matter of seconds; no round settles by itself."""
    return {**smallest_networks, **TINY}


@pytest.fixture
def iltm(tmp_path, tiny_settings) -> Callable[..., Rounds]:
    """Builder of the workflow that the iltm bundle's config describes, without report and MLflow, in this process."""

    def build(data: Path, run: Path | None = None, **settings: Any) -> Rounds:
        parser = ConfigParser(ConfigParser.load_config_file(BUNDLES / "iltm" / "configs" / "train.json"))
        paths = {"dataset_dir": str(data), "output_dir": str(run or tmp_path / "run")}
        told = {**tiny_settings, **paths, **settings, "bundle_root": str(BUNDLES / "iltm"), "train::handlers": []}
        parser.update(full_ids(told))
        return parser.get_parsed_content("train::trainer")

    return build
