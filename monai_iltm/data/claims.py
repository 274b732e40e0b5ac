"""What reading a file would take, by what its header claims, held to a limit before anything is decoded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from monai_iltm.data.errors import InputError, shown

GIB = 1024**3
MOST_BYTES = 2 * GIB  # a whole body of 512 x 512 x 800 voxels in float64 takes 1.6 GiB


def require_room(path: Path, shape: Sequence[int], needed: int, most_bytes: int) -> None:
    """Raise InputError where an image of the shape that its header claims needs more memory than reading may take."""
    if needed > most_bytes:
        raise InputError(
            f"{shown(path)}: claims {' x '.join(map(str, shape))} values, {needed / GIB:.3g} GiB to read, more than "
            f"the {most_bytes / GIB:.3g} GiB allowed: check the file, or raise the setting max_read_gib"
        )
