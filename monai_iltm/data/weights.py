"""State dicts on disk: read without pickle's code, written in one step."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from monai.config import PathLike
from torch import nn

from monai_iltm.data.errors import InputError


def load_weights(network: nn.Module, path: PathLike) -> None:
    """Fill a network from a state dict on disk, read on the CPU with weights_only.

    Raises InputError, in one line, for a missing or damaged file and for weights of another network.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: weight file not found")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever the archive or the restricted unpickler met
        told = (str(error) or type(error).__name__).splitlines()[0][:120]
        raise InputError(f"{path}: no readable state dict ({told})") from error
    if not isinstance(state, Mapping):
        raise InputError(f"{path}: no state dict but {type(state).__name__}")
    expected = network.state_dict()
    missing, unknown = sorted(expected.keys() - state.keys()), sorted(state.keys() - expected.keys())
    if missing or unknown:
        raise InputError(f"{path}: weights of another network (without {missing[:2]}, with {unknown[:2]})")
    other = [name for name in expected if expected[name].shape != state[name].shape]
    if other:
        found, wanted = tuple(state[other[0]].shape), tuple(expected[other[0]].shape)
        raise InputError(f"{path}: {other[0]} is {found}, these settings need {wanted}")
    network.load_state_dict(state)


def save_in_one_step(path: PathLike, content: Any) -> None:
    """torch.save beside ``path``, then into its place; of several processes that do so at once the last one's stays.

    Raises InputError where the folder cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.part")  # no other process writes to it
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:  # given a name, torch would write it into the file
            torch.save(content, file)
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:
        raise InputError(f"{path.parent}: folder cannot be written ({error})") from error
