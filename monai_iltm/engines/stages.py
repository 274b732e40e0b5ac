"""A stage is a bundle: run one with the settings it knows, alone or among other ranks."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser, ConfigWorkflow
from monai.config import PathLike

from monai_iltm.data.errors import InputError


def run_stage(bundle: PathLike, config: str, settings: Mapping[str, Any], **paths: Any) -> None:
    """Run a bundle's config in this process.

    Args:
        bundle: its folder; config: "train", "evaluate" (over "inference") or "inference".
        settings: values by id; those that the config does not hold are not its concern.
        paths: values that it must hold.

    Raises:
        InputError: no such bundle, or a path id that the config does not hold.
    """
    files = config_files(bundle, config)
    known = {key for path in files for key in ConfigParser.load_config_file(path)}
    if unknown := sorted(set(paths) - known):
        raise InputError(f"{bundle}: {config} holds no {', '.join(unknown)}")
    told = {key: value for key, value in settings.items() if key in known}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "parsing config_file", UserWarning)  # our own bundles are trusted
        workflow = ConfigWorkflow(
            config_file=[str(path) for path in files],
            meta_file=str(Path(bundle) / "configs" / "metadata.json"),
            logging_file=str(Path(bundle) / "configs" / "logging.conf"),
            workflow_type="train" if config == "train" else "infer",
            bundle_root=str(bundle),
            **{**told, **paths},
        )
        workflow.initialize()
        workflow.run()
        workflow.finalize()


def config_files(bundle: PathLike, config: str) -> list[Path]:
    """The files of a config, the bundle's own first; evaluate lies over inference. Raises InputError if missing."""
    names = {"evaluate": ["inference.json", "evaluate.json"]}.get(config, [f"{config}.json"])
    files = [Path(bundle) / "configs" / name for name in names]
    for path in files:
        if not path.is_file():
            raise InputError(f"{path}: bundle config not found")
    return files
