"""What a mask marks: truths, suspect regions and locked ones, by their values, palettes and colours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from nibabel.nifti1 import Nifti1Header

from monai_iltm.data.claims import MOST_BYTES
from monai_iltm.data.errors import InputError, shown
from monai_iltm.data.grids import Grid
from monai_iltm.data.images import decode_picture, is_volume, read_image
from monai_iltm.data.one_step import PathLike
from monai_iltm.data.orientations import UPRIGHT
from monai_iltm.data.pictures import Picture

TRUTH_RULE = ("label_threshold", "label_ignore")  # how a label is read, as its entry in a list tells
SHOWN_VALUES = 5
SAMPLE = 1_000_000  # values that a message's are found among
SETTINGS = "state label_threshold (values above it are marked) or label_ignore (a value left out of the figures)"


@dataclass(frozen=True)
class MaskFile:
    """A mask on its image's grid.

    array: bool [*S], True where it marks. ignored: bool [*S], True where nothing is known, or None; nowhere both.
    affine, header, orientation: as ``ImageFile``.
    """

    array: np.ndarray
    ignored: np.ndarray | None
    affine: np.ndarray | None
    header: Nifti1Header | None = None
    orientation: int = UPRIGHT

    @property
    def grid(self) -> Grid:
        """(shape [*S], affine)."""
        return self.array.shape, self.affine


def read_mask(
    path: PathLike, threshold: float | None = None, ignore: float | None = None, most_bytes: int = MOST_BYTES
) -> MaskFile:
    """Read which voxels a file marks.

    Palettes count by their index, colours by the largest of their channels, so that any colour but black marks. Alpha
    counts only where the colours are all one: then what is not transparent is marked.

    Args:
        path: a volume or picture.
        threshold: values above it are marked. Without one a mask holds 0 and at most one other value, which is marked.
        ignore: this value is left out: neither marked nor not.
        most_bytes: memory that reading may take.

    Raises:
        InputError: as ``read_image``; more than two values, negative ones without a threshold, values that are not
            finite, colours without black, palettes that show 0 as the brighter of two, TIFFs in which white is zero,
            marks that are transparent.
    """
    if is_volume(path):
        file = read_image(path, most_bytes)
        affine, header, orientation, values = file.affine, file.header, file.orientation, file.array
    else:
        picture = decode_picture(path, most_bytes)
        affine, header, orientation, values = None, None, picture.orientation, _picture_values(path, picture)
    ignored = None if ignore is None else values == ignore
    marked = _marked(path, values, ignored, threshold)
    return MaskFile(marked, ignored, affine, header, orientation)


def _marked(path: PathLike, values: np.ndarray, ignored: np.ndarray | None, threshold: float | None) -> np.ndarray:
    known = values if ignored is None else values[~ignored]
    if values.dtype.kind == "f" and not np.isfinite(known).all():
        raise InputError(f"{shown(path)}: a mask with values that are not finite")
    if threshold is None:
        _require_two_values(path, known)
    marked = values > (0 if threshold is None else threshold)
    return marked if ignored is None else marked & ~ignored


def _require_two_values(path: PathLike, known: np.ndarray) -> None:
    if known.dtype == bool or known.size == 0:
        return
    high = known.max()
    if high > 0 and ((known == 0) | (known == high)).all():
        return
    if high == 0 and not known.any():
        return
    raise InputError(
        f"{shown(path)}: a mask holds 0 and one other value, found {_some_values(known)}; if that is meant, {SETTINGS}"
    )


def _some_values(known: np.ndarray) -> str:
    flat = known.ravel()
    values = np.unique(flat[:: max(1, flat.size // SAMPLE)])
    some = ", ".join(f"{value:g}" for value in values[:SHOWN_VALUES])
    return some if len(values) <= SHOWN_VALUES else f"{some}, ... {values[-1]:g} ({len(values)} values)"


def _picture_values(path: PathLike, picture: Picture) -> np.ndarray:
    """[row, col]: what of a picture says where it marks."""
    values = picture.array
    if picture.was_white_is_zero:  # written so by some programs for masks of two levels, marks and all
        raise InputError(f"{shown(path)}: a mask in which white is zero, so that it cannot be told what is marked")
    if picture.palette is not None:
        _require_dark_zero(path, values, picture.palette)
        return values
    if picture.alpha is not None and not (picture.alpha == picture.alpha.flat[0]).all():
        if (values == values[:1, :1]).all():
            return picture.alpha
        _require_opaque_marks(path, values, picture.alpha)
    if values.ndim == 2:
        return values
    highest = values.max(axis=-1)
    if highest.size and highest.min() > 0 and not (values == values[:1, :1]).all():
        raise InputError(f"{shown(path)}: a mask in colours without black, so that all of it would be marked")
    return highest


def _require_dark_zero(path: PathLike, indices: np.ndarray, palette: np.ndarray) -> None:
    """An index of 0 is "not marked"; a palette that shows it brighter than what is marked says the contrary."""
    brightness = palette.sum(axis=-1, dtype=int)
    used = np.flatnonzero(np.bincount(indices.ravel(), minlength=2))
    if len(used) == 2 and used[0] == 0 and brightness[0] > 0 and brightness[used[1]] == 0:
        raise InputError(
            f"{shown(path)}: a mask whose palette shows 0 in a colour and {used[1]} in black, so that it cannot be "
            "told which is marked: save it as grey"
        )


def _require_opaque_marks(path: PathLike, values: np.ndarray, alpha: np.ndarray) -> None:
    coloured = values if values.ndim == 2 else values.max(axis=-1)
    hidden = np.count_nonzero((coloured > 0) & (alpha == 0))
    if hidden:
        raise InputError(
            f"{shown(path)}: {hidden} pixels of the mask are marked and transparent: save it without alpha"
        )
