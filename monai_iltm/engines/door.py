"""At a command's door: what it is told is looked at, its folders are there and its own, before any long work."""

from __future__ import annotations

import os
import sys
import tempfile
import warnings

from monai.config import PathLike

from monai_iltm.data.errors import InputError
from monai_iltm.data.lock import hold_folder
from monai_iltm.data.tree import require_folder
from monai_iltm.distributed import barrier, have_met, is_main
from monai_iltm.engines.method import require_known
from monai_iltm.engines.overrides import check_overrides
from monai_iltm.engines.telling import tell_plainly


def open_door(output_dir: PathLike | None = None) -> None:
    """First thing in a config's ``initialize``: plain errors, a look at the command line, and the output folder, which
    is this command's own from now on (``hold_folder``).

    Raises:
        InputError: an override that the config does not know, several processes without the config that joins them, an
            output folder that cannot be written, or one where another command is at work.
    """
    tell_plainly()
    # MONAI's trainer makes a scaler where `amp` is on, in a way that torch has deprecated; bfloat16 does not need one
    warnings.filterwarnings("ignore", r"`?torch\.cuda\.amp\.GradScaler")
    if sys.argv[1:2] == ["run"]:
        check_overrides(sys.argv[2:], require_known)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not have_met():
        raise InputError("torchrun's processes do not know of each other: add the bundle's configs/multi_gpu_*.json")
    if output_dir is not None:
        require_writable(output_dir)
        if is_main():
            hold_folder(output_dir)
        barrier()


def require_inputs(dataset_dir: PathLike, *weights: PathLike) -> None:
    """Raise InputError where the folder of images or a weight file is not there: first thing in a config's ``run``."""
    require_folder(dataset_dir)
    for path in weights:
        if not os.path.isfile(path):
            raise InputError(f"{path}: weight file not found")


def require_writable(folder: PathLike) -> None:
    """Make a folder and write into it once. Raises InputError where that fails."""
    try:
        os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryFile(dir=str(folder)):
            pass
    except OSError as error:
        raise InputError(f"{folder}: output folder cannot be written ({error.strerror})") from error
