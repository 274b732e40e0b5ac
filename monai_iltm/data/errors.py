"""The one exception that a person at the door sees: plain words, with the case, the file and the value found."""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike, fspath

FIRST_STRAY_BYTE = 0xDC00  # Python keeps byte b of a name that is no UTF-8 as the character 0xDC00 + b


class InputError(ValueError):
    """An input that cannot be used. The message names the case or file, what is wrong and the value found."""


def shown(text: str | bytes | PathLike[str]) -> str:
    r"""A path or another text from outside as messages show it: on one line, safe for any terminal.

    Printable characters stay as they are; control characters, marks that turn the direction of writing and bytes that
    are no UTF-8 are written as Python escapes.

    >>> shown("images/Größe 3.png"), shown("a\n\x1b[2Jb"), shown(b"caf\xe9.png")
    ('images/Größe 3.png', 'a\\n\\x1b[2Jb', 'caf\\xe9.png')
    """
    path = fspath(text)
    name = path if isinstance(path, str) else path.decode("utf-8", "surrogateescape")
    return name if name.isprintable() else "".join(map(_escaped, name))


def some_names(names: Iterable[str], most: int = 3) -> str:
    """The first names, as messages show them, and how many more there are.

    >>> some_names("abcde"), some_names("ab")
    ('a, b, c and 2 more', 'a, b')
    """
    listed = list(names)
    rest = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(shown(name) for name in listed[:most]) + rest


def _escaped(character: str) -> str:
    if character.isprintable():
        return character
    code = ord(character)
    if FIRST_STRAY_BYTE + 0x80 <= code <= FIRST_STRAY_BYTE + 0xFF:
        return f"\\x{code - FIRST_STRAY_BYTE:02x}"
    return character.encode("unicode_escape").decode("ascii")
