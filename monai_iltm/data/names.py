"""Ids of cases: how they are made from paths, and which of them can name the files of results."""

from __future__ import annotations

import hashlib
import unicodedata

from monai_iltm.data.errors import shown
from monai_iltm.data.images import suffix

# File systems hold names of 255 bytes; results add endings of up to some forty, such as `_reconstruction.nii.gz`.
MAX_BYTES = 200
HASH_DIGITS = 12
UNPRINTABLE = ("Cc", "Zl", "Zp")  # Unicode's control characters and separators of lines


def case_id(path: str) -> str:
    """A relative path without suffix, "/" as "__"; where that is too long for a file name, its end and a hash.

    >>> case_id("test/broken/003.nii.gz")
    'test__broken__003'
    """
    whole = _whole_id(path)
    return _shortened(whole) if _size(whole) > MAX_BYTES else whole


def is_shortened(case: str, path: str) -> bool:
    """True where `case` is what `case_id` made of a path that was too long."""
    return _size(_whole_id(path)) > MAX_BYTES and case == case_id(path)


def id_finding(case: object) -> tuple[str, str] | None:
    """(what is wrong, what was found) of an id that cannot name files, else None."""
    if not isinstance(case, str):
        return "id is no text", f"{shown(repr(case))}, expected a name in quotes"
    if not case.strip():
        return "case without id", shown(repr(case))
    if any("\ud800" <= character <= "\udfff" for character in case):
        return "name is not UTF-8", f"{shown(case)}: rename the file, for instance with convmv"
    if any(unicodedata.category(character) in UNPRINTABLE for character in case):
        return "control characters in the id", shown(case)
    if case in (".", "..") or "/" in case or "\\" in case:
        return "id is no file name", shown(case)
    if _size(case) > MAX_BYTES:
        return "id too long for a file name", f"{_size(case)} bytes in UTF-8, at most {MAX_BYTES}"
    return None


def same_file(case: str) -> str:
    """What two ids have in common that name one file where capitals, or composed letters, make no difference."""
    return unicodedata.normalize("NFC", case).casefold()


def _whole_id(path: str) -> str:
    return path[: len(path) - len(suffix(path))].replace("/", "__")


def _shortened(name: str) -> str:
    """Paths differ at their end, where the nested ids of studies and series stand; the hash is of the whole."""
    digest = hashlib.sha256(_bytes(name)).hexdigest()[:HASH_DIGITS]
    end = _bytes(name)[-(MAX_BYTES - HASH_DIGITS - 2) :]
    while end and end[0] & 0xC0 == 0x80:  # not within a letter
        end = end[1:]
    return f"{end.decode('utf-8', 'surrogatepass')}__{digest}"


def _size(name: str) -> int:
    return len(_bytes(name))


def _bytes(name: str) -> bytes:
    """In UTF-8; what stands for a byte that is none passes, and is found by `id_finding`."""
    return name.encode("utf-8", "surrogatepass")
