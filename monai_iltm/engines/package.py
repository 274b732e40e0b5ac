"""The deployable bundle: kde_inferer with one round's weights and the settings that the run used."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai.config import PathLike

from monai_iltm.data.documents import read_json, write_json
from monai_iltm.data.intensities import summary_of
from monai_iltm.engines.distributed import is_main
from monai_iltm.engines.rules import FLAG_THRESHOLDS
from monai_iltm.store import ResultFolder, RoundFolder, RunFolder


def package_bundle(run: RunFolder, source: PathLike, settings: Mapping[str, Any]) -> None:
    """Copy the bundle ``source`` (kde_inferer) to the run's bundle folder, with the last round's model.pt, the settings
    and the calibrated threshold; rank 0 does it.

    What comes out runs alone: `python -m monai.bundle run --config_file configs/inference.json --dataset_dir DIR`.
    """
    if not is_main() or not run.rounds():
        return
    folder = run.rounds()[-1]
    threshold = read_json(folder.calibration)["threshold"]
    temporary = run.bundle.with_name("bundle.part")
    shutil.rmtree(temporary, ignore_errors=True)
    shutil.copytree(source, temporary, ignore=shutil.ignore_patterns("models", "__pycache__"))
    config = read_json(temporary / "configs" / "inference.json")
    told = {**settings, **_flags(folder, settings), "surprise_threshold": threshold}
    told["training_intensities"] = _intensities(folder)
    own = {key for key, value in config.items() if not isinstance(value, str) or not value.startswith(("$", "@"))}
    fixed = {"imports", "bundle_root", "dataset_dir", "output_dir", "datalist", "split", "check_data", "stage_name"}
    config |= {key: told[key] for key in own - fixed if key in told}
    write_json(temporary / "configs" / "inference.json", config)
    _describe(temporary / "configs" / "metadata.json", settings)
    (temporary / "models").mkdir()
    shutil.copy(folder.model, temporary / "models" / "model.pt")
    _replace(temporary, run.bundle)


def _replace(source: Path, target: Path) -> None:
    """Move the parts of a folder to another, the weights last; what somebody else has put there, as results, stays."""
    target.mkdir(exist_ok=True)
    for path in sorted(source.iterdir(), key=lambda path: path.name == "models"):
        old = target / path.name
        shutil.rmtree(old) if old.is_dir() else old.unlink(missing_ok=True)
        path.rename(old)
    source.rmdir()


def _flags(folder: RoundFolder, settings: Mapping[str, Any]) -> dict[str, float]:
    """The flag threshold as the round used it: it may fall from round to round."""
    record = read_json(folder.record)
    return {name: record[name] for name in FLAG_THRESHOLDS if settings.get(name) is not None}


def _intensities(folder: RoundFolder) -> dict[str, list[float]]:
    """The range of the training images' intensities, which the bundle holds new images against."""
    maps = ResultFolder(folder.maps)
    records = [read_json(maps.record(case)) for case in maps.cases()]
    return summary_of(record for record in records if "mean" in record)


def _describe(path: Path, settings: Mapping[str, Any]) -> None:
    """The metadata's shapes and channels follow the settings."""
    metadata = read_json(path)
    for end in ("inputs", "outputs"):
        for form in metadata["network_data_format"][end].values():
            form["spatial_shape"] = list(settings["image_size"])
    form = metadata["network_data_format"]["inputs"]["image"]
    form["num_channels"] = settings["image_channels"]
    form["channel_def"] = {str(index): f"channel {index}" for index in range(settings["image_channels"])}
    write_json(path, metadata)
