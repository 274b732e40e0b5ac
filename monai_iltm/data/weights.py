"""State dicts on disk: read whole and without pickle's code, written in one step."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from monai.config import PathLike
from torch import Tensor, nn

from monai_iltm.data.errors import InputError
from monai_iltm.data.one_step import in_one_step


def load_weights(network: nn.Module, path: PathLike) -> None:
    """Fill a network from a state dict on disk, read on the CPU with weights_only.

    Raises InputError, in one line, for a missing or damaged file, for weights of another network, and for values that
    are not finite.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: weight file not found")
    state = read_saved(path)
    if not isinstance(state, Mapping):
        raise InputError(f"{path}: no state dict but {type(state).__name__}")
    expected = network.state_dict()
    missing, unknown = sorted(expected.keys() - state.keys()), sorted(state.keys() - expected.keys(), key=str)
    if missing or unknown:
        raise InputError(f"{path}: weights of another network (without {missing[:2]}, with {unknown[:2]})")
    for name, wanted in expected.items():
        shape = tuple(getattr(state[name], "shape", ()))
        if shape != tuple(wanted.shape):
            raise InputError(f"{path}: {name} is {shape}, these settings need {tuple(wanted.shape)}")
    if broken := not_finite(state):
        raise InputError(f"{path}: {broken} holds values that are not finite, as after a training that diverged")
    network.load_state_dict(state)


def read_saved(path: PathLike) -> Any:
    """What torch.save has written, read on the CPU with weights_only, every byte of it held to the file's checksums.

    Raises InputError for a file that is damaged, or holds more than tensors and plain values.
    """
    try:
        if zipfile.is_zipfile(path):  # torch itself does not look at the checksums
            with zipfile.ZipFile(path) as archive:
                if archive.testzip() is not None:
                    raise zipfile.BadZipFile
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever the archive or the restricted unpickler met; torch's advice is not ours
        raise InputError(f"{path}: no readable state dict: damaged, or more than tensors and numbers") from error


def not_finite(state: Mapping[str, Any]) -> str | None:
    """The name of the first tensor of a state dict that holds NaN or infinity, None where all values are finite."""
    for name, value in state.items():
        if isinstance(value, Tensor) and value.is_floating_point() and not value.isfinite().all():
            return name
    return None


def save_in_one_step(path: PathLike, content: Any) -> None:
    """torch.save beside ``path``, then into its place; of several processes that do so at once the last one's stays.

    Raises InputError where it cannot be written.
    """
    with in_one_step(path) as temporary:
        try:
            with open(temporary, "wb") as file:  # given a name, torch would write it into the file
                torch.save(content, file)
        except RuntimeError as error:
            if isinstance(error.__context__, OSError):  # torch's writer stumbles over what was not written
                raise error.__context__ from None
            raise
