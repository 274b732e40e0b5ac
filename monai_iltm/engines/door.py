"""At the command line's door: a mistake is told in one line, before any long work."""

from __future__ import annotations

import difflib
import json
import os
import sys
import tempfile
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType

from monai.bundle import ConfigParser
from monai.config import PathLike

from monai_iltm.data.errors import InputError
from monai_iltm.engines.distributed import have_met

# What `python -m monai.bundle run` takes itself, beside the ids of a config.
BUNDLE_OPTIONS = {"run_id", "init_id", "final_id", "meta_file", "config_file", "logging_file", "tracking", "args_file"}

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


def require_writable(folder: PathLike) -> None:
    """Make a folder and write into it once. Raises InputError where that fails."""
    try:
        os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryFile(dir=str(folder)):
            pass
    except OSError as error:
        raise InputError(f"{folder}: output folder cannot be written ({error.strerror})") from error


def check_overrides(arguments: Sequence[str]) -> None:
    """Every ``--id value`` of a ``monai.bundle run`` command names something that its config files hold.

    Raises InputError that names the id and the nearest known one.
    """
    given = [part[2:].split("=", 1) for part in arguments if part.startswith("--")]
    options = {pair[0] for pair in given} - BUNDLE_OPTIONS
    files = _config_files(arguments)
    if not options or not files:
        return
    known = {key for path in files for key in ConfigParser.load_config_file(path)}
    check_names({name.replace("#", "::").split("::")[0] for name in options}, {key.lstrip("+") for key in known})


def check_names(names: Iterable[str], known: Iterable[str]) -> None:
    """Raise InputError for the first name that is not known, with the nearest one that is."""
    known = sorted(known)
    for name in sorted(names):
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            raise InputError(f"no setting is called {name!r}" + (f": did you mean {near[0]!r}?" if near else ""))


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


def _config_files(arguments: Sequence[str]) -> list[str]:
    """The value of --config_file: a path, several with commas between, or a list as Python or JSON writes it."""
    for index, part in enumerate(arguments):
        name, _, value = part.partition("=")
        if name == "--config_file":
            value = value or next(iter(arguments[index + 1 : index + 2]), "")
            if value.startswith("["):
                return [str(path) for path in json.loads(value.replace("'", '"'))]
            return [value] if Path(value).is_file() else value.split(",")
    return []


def _tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    line = plain_line(error)
    if line is None:
        sys.__excepthook__(kind, error, trace)
    else:
        print(line, file=sys.stderr)
