from __future__ import annotations

import pytest

from monai_iltm.data.errors import InputError
from monai_iltm.data.records import read_cases, read_record, read_rows

KINDS = {"tokens": int, "loss": (int, float)}


def test_a_sound_record_is_as_it_is(tmp_path):
    (tmp_path / "a.json").write_text('{"tokens": 3, "loss": 1.5, "more": null}')
    assert read_record(tmp_path / "a.json", KINDS, "x") == {"tokens": 3, "loss": 1.5, "more": None}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "file not found"),
        (b"", "not a JSON file"),
        (b'{"tokens": 3,', "not a JSON file"),
        (b"\xff\x00\x9c", "not a JSON file"),
        (b"[" * 100_000, "not a JSON file"),
        (b"[1, 2]", "no object but list"),
        (b"null", "no object but NoneType"),
        (b'{"tokens": 3}', "loss is 'missing'"),
        (b'{"tokens": "3", "loss": 1}', "tokens is '3'"),
        (b'{"tokens": true, "loss": 1}', "tokens is True"),
    ],
)
def test_a_damaged_record_is_one_line_with_the_way_out(tmp_path, content, words):
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=words) as caught:
        read_record(path, KINDS, "remove it")
    assert str(caught.value).startswith(f"{path}: ")
    assert str(caught.value).endswith("; remove it")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"epoch,loss\n", b"epoch,loss\n1,0.5\n2,nan\n"])
def test_sound_rows_are_as_they_are(tmp_path, content):
    (tmp_path / "a.csv").write_bytes(content)
    assert len(read_rows(tmp_path / "a.csv", {"epoch": int, "loss": float}, "x")) == max(content.count(b"\n") - 1, 0)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "file not found"),
        (b"epoch,loss\n1,0.5\n2", "line 3 has no loss"),
        (b"epoch,loss\none,0.5\n", "line 2 has no epoch"),
        (b"\xff\xfe\x00\x01\n\x80", "not a CSV file"),
        (b"other\n1\n", "line 2 has no epoch"),
    ],
)
def test_damaged_rows_are_one_line_with_the_way_out(tmp_path, content, words):
    path = tmp_path / "a.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=f"{words}.*; remove it$"):
        read_rows(path, {"epoch": int, "loss": float}, "remove it")


@pytest.mark.parametrize(
    "content", ['{"training": {}}', '{"training": "x"}', '{"training": [1]}', '{"training": [{}]}']
)
def test_a_datalist_that_lists_no_cases_is_named(tmp_path, content):
    (tmp_path / "a.json").write_text(content)
    expected = "no list of cases; remove it" if content != '{"training": {}}' else None
    if expected is None:
        assert read_cases(tmp_path / "a.json", ["training"], "remove it") == {"training": {}}
    else:
        with pytest.raises(InputError, match=expected):
            read_cases(tmp_path / "a.json", ["training"], "remove it")
