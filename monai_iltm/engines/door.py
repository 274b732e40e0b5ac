"""At the command line's door: a mistake is told in one line, before any long work."""

from __future__ import annotations

import os
import sys
import tempfile
import warnings
from types import TracebackType

from monai.config import PathLike

from monai_iltm.data.errors import InputError
from monai_iltm.data.tree import require_folder
from monai_iltm.engines.distributed import have_met
from monai_iltm.engines.overrides import check_overrides

# How the errors begin by which our networks and inferers refuse a setting.
REFUSALS = ("MaskedTransformer: ", "LatentPrior: ", "token_grid: ", "KDEInferer: ", "flag: ")

# How gloo's and nccl's errors tell of a process that is gone.
PEER_LOST = ("Connection closed by peer", "Connection reset by peer", "remote process exited")


def open_door(output_dir: PathLike | None = None) -> None:
    """First thing in a config's ``initialize``: plain errors, a look at the command line and the output folder.

    Raises:
        InputError: an override that the config does not know, several processes without the config that joins them, or
            an output folder that cannot be written.
    """
    tell_plainly()
    # MONAI's trainer makes a scaler where `amp` is on, in a way that torch has deprecated; bfloat16 does not need one
    warnings.filterwarnings("ignore", r"`?torch\.cuda\.amp\.GradScaler")
    if sys.argv[1:2] == ["run"]:
        check_overrides(sys.argv[2:])
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not have_met():
        raise InputError("torchrun's processes do not know of each other: add the bundle's configs/multi_gpu_*.json")
    if output_dir is not None:
        require_writable(output_dir)


def tell_plainly() -> None:
    """From now on a user's mistake that ends the program is printed as one line; all else keeps its traceback."""
    sys.excepthook = _tell


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


def plain_line(error: BaseException | None) -> str | None:
    """The message of the mistake that an error is, or stems from, or that another process ended; else None."""
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    while error is not None:
        if isinstance(error, InputError) or (isinstance(error, ValueError) and str(error).startswith(REFUSALS)):
            return f"error: {error}"
        if several and any(words in str(error) for words in PEER_LOST):
            return f"process {os.environ.get('RANK')} ends: another process of this run did, and tells why"
        error = error.__cause__ or error.__context__
    return None


def _tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    line = plain_line(error)
    if line is None:
        sys.__excepthook__(kind, error, trace)
    else:
        print(line, file=sys.stderr)
