"""The one exception that a person at the door sees: plain words, with the case, the file and the value found."""

from __future__ import annotations


class InputError(ValueError):
    """An input that cannot be used. The message names the case or file, what is wrong and the value found."""
