"""Where the bundles and the presets lie: inside the installed package, or beside it in a checkout."""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path

from monai_iltm.data.errors import InputError


def home() -> Path:
    """The folder that holds bundles/ and configs/: ``ILTM_HOME`` where it is set, else the package, else its checkout.

    Raises InputError where it holds no bundles, which the package always does: a wrong ``ILTM_HOME``.
    """
    package = Path(str(files("monai_iltm")))
    inside = package if (package / "bundles").is_dir() else package.parent
    folder = Path(os.environ.get("ILTM_HOME") or inside).resolve()
    if not (folder / "bundles" / "iltm").is_dir():
        raise InputError(f"{folder}: holds no bundles/iltm; ILTM_HOME must name the folder of bundles/ and configs/")
    return folder


def bundles() -> Path:
    """The folder of the four bundles. Raises InputError as ``home``."""
    return home() / "bundles"


def configs() -> Path:
    """The folder of the presets and overlays. Raises InputError as ``home``."""
    return home() / "configs"
