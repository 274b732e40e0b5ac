"""The eight ways in which a camera may store a picture, as the orientation tag of EXIF and TIFF counts them."""

from __future__ import annotations

import numpy as np

TAG = 274
UPRIGHT = 1
UNDONE_BY = {6: 8, 8: 6}  # a quarter turn each; all others undo themselves


def orientation_of(tag: object) -> int:
    """The tag's value, 1 (upright) for those that the standard does not know, as all viewers take them."""
    return tag if isinstance(tag, int) and UPRIGHT <= tag <= 8 else UPRIGHT


def upright(array: np.ndarray, orientation: int) -> np.ndarray:
    """A stored picture [row, col, ...] as a viewer shows it."""
    if orientation == UPRIGHT:
        return array
    if orientation in (5, 6, 7, 8):
        array = array.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    return np.ascontiguousarray(array)  # torch takes no negative strides


def stored(array: np.ndarray, orientation: int) -> np.ndarray:
    """An upright picture [row, col, ...] as its file stores it: undoes ``upright``."""
    return upright(array, UNDONE_BY.get(orientation, orientation))


def upright_shape(rows: int, columns: int, orientation: int) -> tuple[int, int]:
    """The shape of the upright picture, from the stored one's."""
    return (columns, rows) if orientation in (5, 6, 7, 8) else (rows, columns)
