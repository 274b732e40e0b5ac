"""The deployable bundle: the one that scores, with one round's weights and the settings that the run used."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai_iltm.data.documents import read_json, write_json
from monai_iltm.data.errors import InputError
from monai_iltm.data.intensities import summary_of
from monai_iltm.data.one_step import folder_beside
from monai_iltm.data.weights import load_weights
from monai_iltm.distributed import is_main
from monai_iltm.engines.ids import parts, put
from monai_iltm.engines.method import SCORING, Method
from monai_iltm.engines.records import read_round, read_threshold
from monai_iltm.store import ResultFolder, RoundFolder, RunFolder


def package_bundle(run: RunFolder, method: Method, settings: Mapping[str, Any]) -> None:
    """Copy the bundle that scores to the run's bundle folder, with the last round's model.pt, the settings and the
    calibrated threshold; rank 0 does it.

    What comes out runs alone: `python -m monai.bundle run --config_file configs/inference.json --dataset_dir DIR`.

    The weights are loaded once before they take the place of others.

    Raises InputError, and leaves a bundle that is there as it is, where weights or threshold are damaged.
    """
    if not is_main() or not run.rounds():
        return
    folder = run.rounds()[-1]
    temporary = folder_beside(run.bundle)
    try:
        _fill(temporary, folder, method, settings)
        _replace(temporary, run.bundle)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _fill(temporary: Path, folder: RoundFolder, method: Method, settings: Mapping[str, Any]) -> None:
    threshold = read_threshold(folder)
    copied = shutil.ignore_patterns("models", "__pycache__")
    shutil.copytree(method.bundles / method.scorer, temporary, ignore=copied, dirs_exist_ok=True)
    config = read_json(temporary / "configs" / "inference.json")
    told = {**method.of_part(SCORING, settings), **_fallen(folder, method), "surprise_threshold": threshold}
    told["images::training_intensities"] = _intensities(folder)
    for one in told.keys() - {"dataset_dir", "amp"}:  # what is of a machine, and not of a run, stays as it is
        put(config, one, told[one])
    write_json(temporary / "configs" / "inference.json", config)
    _describe(temporary / "configs" / "metadata.json", settings)
    (temporary / "models").mkdir()
    shutil.copy(folder.model, temporary / "models" / "model.pt")
    try:
        load_weights(method.network(settings), temporary / "models" / "model.pt")
    except InputError as error:
        raise InputError(
            f"{folder.model}: damaged, or of another network: the bundle stays as it was; remove {folder.path}, and "
            "the same command trains the round anew"
        ) from error


def _replace(source: Path, target: Path) -> None:
    """Move the parts of a folder to another, the weights last; what somebody else has put there, as results, stays."""
    target.mkdir(exist_ok=True)
    for path in sorted(source.iterdir(), key=lambda path: path.name == "models"):
        old = target / path.name
        shutil.rmtree(old) if old.is_dir() else old.unlink(missing_ok=True)
        path.rename(old)


def _fallen(folder: RoundFolder, method: Method) -> dict[str, float]:
    """The number that falls from round to round, as the round used it."""
    record = read_round(folder)
    return {one: record[parts(one)[-1]] for one in method.falls if parts(one)[-1] in record}


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
            form["spatial_shape"] = list(settings["images::size"])
    form = metadata["network_data_format"]["inputs"]["image"]
    form["num_channels"] = settings["images::channels"]
    form["channel_def"] = {str(index): f"channel {index}" for index in range(settings["images::channels"])}
    write_json(path, metadata)
