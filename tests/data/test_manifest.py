from __future__ import annotations

from pathlib import Path

import pytest

from monai_iltm.data.errors import InputError
from monai_iltm.data.manifest import manifest_entries

HEAD = "path,label,mask_path,split,kind\n"
ROWS = HEAD + "a.png,normal,,train-pool,fr\u00e9quent\nb.png,anomaly,m/b.png,test,dent\n"
READ = [
    ("training", {"case": "a", "image": "a.png", "normal": True, "kind": "fr\u00e9quent"}),
    ("testing", {"case": "b", "image": "b.png", "label": "m/b.png", "kind": "dent"}),
]


def put(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    (folder / "manifest.csv").write_bytes(text.encode(encoding))
    return folder / "manifest.csv"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_tables_as_programs_write_them(tmp_path, encoding, separator, end):
    text = ROWS.replace(",", separator).replace("\n", end)
    assert manifest_entries(put(tmp_path, text, encoding)) == READ


@pytest.mark.parametrize(
    "text",
    [
        "sep=;\r\n" + ROWS.replace(",", ";"),
        ROWS + "\n,,,,\n",
        ROWS.replace("\n", ",,\n").replace("kind,,", "kind,note,"),
        ROWS.replace("path,", " path ,", 1),
        ROWS.replace("a.png", '"a.png"'),
    ],
)
def test_what_excel_leaves_is_no_fault(tmp_path, text):
    assert manifest_entries(put(tmp_path, text)) == READ


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty, expected the columns path"),
        ("\n\n", "empty, expected the columns path"),
        ("path|label\n", r"without the columns kind, label, .*; found path\|label, separated by ','"),
        (HEAD.replace("kind", "path,kind"), "two columns are called path"),
        (HEAD + "a.png,normal\n", "line 2: 2 fields, expected 5"),
        (HEAD + "a,b.png,normal,,test,k\n", "line 2: 6 fields, expected 5"),
        (HEAD + ",normal,,train-pool,a\n", "line 2: path is empty"),
        ("sep=,\n" + HEAD + "a.png,odd,,test,k\n", "line 3: label 'odd'"),
        (HEAD + '"' + "x" * 200_000 + '",normal,,train-pool,a\n', "line 2: not a table"),
        (HEAD + '"a.png,normal,,train-pool,a\n', "line 2: not a table .unexpected end of data"),
        (HEAD + "a.png,nor\x1bmal,,test,k\n", r"line 2: label 'nor\\+x1bmal'"),
        (HEAD + "a.png,nor\0mal,,test,k\n", "NUL characters"),
    ],
)
def test_another_table_is_one_line(tmp_path, text, words):
    with pytest.raises(InputError, match=words) as caught:
        manifest_entries(put(tmp_path, text))
    assert "manifest.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_another_encoding_is_named(tmp_path):
    with pytest.raises(InputError, match=r"line 2: byte 0xe9 is no UTF-8.*save it as UTF-8 \(in Excel: CSV UTF-8\)"):
        manifest_entries(put(tmp_path, ROWS, "latin-1"))
