"""At the command line's door: a mistake is told in one line, before any long work."""

from __future__ import annotations

import errno
import os
import signal
import sys
import tempfile
import warnings
from types import TracebackType

from monai.config import PathLike

from monai_iltm.data.errors import InputError
from monai_iltm.data.lock import hold_folder
from monai_iltm.data.tree import require_folder
from monai_iltm.distributed import barrier, have_met, is_main
from monai_iltm.ending import end_stopped, stop_plainly
from monai_iltm.engines.method import known_settings
from monai_iltm.engines.overrides import check_overrides

# How the errors begin by which our networks and inferers refuse a setting.
REFUSALS = ("MaskedTransformer: ", "LatentPrior: ", "token_grid: ", "KDEInferer: ", "flag: ")

# How gloo's and nccl's errors tell of a process that is gone.
PEER_LOST = ("Connection closed by peer", "Connection reset by peer", "remote process exited")

# What the system answers where there is no room for more: on the disk, in a quota, in a file.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


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
        check_overrides(sys.argv[2:], known_settings)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not have_met():
        raise InputError("torchrun's processes do not know of each other: add the bundle's configs/multi_gpu_*.json")
    if output_dir is not None:
        require_writable(output_dir)
        if is_main():
            hold_folder(output_dir)
        barrier()


def tell_plainly() -> None:
    """From now on a user's mistake, a full disk and a stop are told in one line; all else keeps its traceback."""
    sys.excepthook = _tell
    stop_plainly()


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
    """One line for the mistake that an error is, or stems from, for a full disk and a lost process; else None."""
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    while error is not None:
        if isinstance(error, InputError) or (isinstance(error, ValueError) and str(error).startswith(REFUSALS)):
            return f"error: {error}"
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            where = f"{error.filename}: " if error.filename else ""
            return f"error: {where}no room to write ({error.strerror}); with more of it the same command goes on"
        if several and any(words in str(error) for words in PEER_LOST):
            ends = f"process {os.environ.get('RANK')} ends: another process of this run did, and tells why"
            return f"{ends}, unless the system has killed it, as where memory runs out"
        error = error.__cause__ or error.__context__
    return None


def _tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if kind is KeyboardInterrupt:
        end_stopped(signal.SIGINT)
    line = plain_line(error)
    if line is None:
        sys.__excepthook__(kind, error, trace)
    else:
        print(line, file=sys.stderr)
