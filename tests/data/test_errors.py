from __future__ import annotations

import os
from pathlib import Path

import pytest

from monai_iltm.data.errors import shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("images/Größe 3 (ü).png", "images/Größe 3 (ü).png"),
        ("a\\b'c\"d", "a\\b'c\"d"),
        ("a\r\n\tb\x00", "a\\r\\n\\tb\\x00"),
        ("\x1b]0;title\x07\x9b2J", "\\x1b]0;title\\x07\\x9b2J"),
        ("gpj.\u202egnp", "gpj.\\u202egnp"),
        ("lone \ud800 half", "lone \\ud800 half"),
        ("line\u2028two", "line\\u2028two"),
        (os.fsdecode(b"caf\xe9.png"), "caf\\xe9.png"),
        (b"caf\xe9.png", "caf\\xe9.png"),
        (Path("a/b\x7f.nii"), "a/b\\x7f.nii"),
    ],
)
def test_what_is_shown_is_one_printable_line(text, expected):
    assert shown(text) == expected
    assert expected.isprintable()
    expected.encode("utf-8")
