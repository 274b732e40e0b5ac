from __future__ import annotations

import os

import numpy as np
import pytest

from monai_iltm.data.checks import check_cases
from monai_iltm.data.images import write_image
from monai_iltm.data.layouts import folder_cases
from monai_iltm.data.names import MAX_BYTES, case_id, id_finding, is_shortened
from monai_iltm.data.prepare import prepare
from monai_iltm.data.problems import format_problems

UID = "1.2.840.113619.2.55.3.604688119.971.1268402021.843"


def picture(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 200, (8, 9), dtype=np.uint8)


@pytest.mark.parametrize(
    ("case", "what"),
    [
        (7, "id is no text"),
        (True, "id is no text"),
        (None, "id is no text"),
        (["a"], "id is no text"),
        ("", "case without id"),
        (" ", "case without id"),
        (".", "id is no file name"),
        ("..", "id is no file name"),
        ("a/b", "id is no file name"),
        ("a\\b", "id is no file name"),
        ("a\0b", "control characters in the id"),
        ("a\nb", "control characters in the id"),
        ("a\x1b[2J", "control characters in the id"),
        ("a\u2028b", "control characters in the id"),
        ("pr\udcfcfung", "name is not UTF-8"),
        ("\ud800", "name is not UTF-8"),
        ("x" * 201, "id too long for a file name"),
        ("ü" * 101, "id too long for a file name"),
    ],
)
def test_what_cannot_name_a_file_is_found_at_the_door(tmp_path, case, what):
    assert id_finding(case)[0] == what
    write_image(tmp_path / "a.png", picture(0))
    write_image(tmp_path / "b.png", picture(1))
    entries = [{"case": case, "image": "a.png"}, {"case": "b", "image": "b.png"}]
    problems = check_cases({"training": entries}, tmp_path)
    assert [problem.what for problem in problems] == [what]
    format_problems(problems).encode("utf-8")  # whatever the id holds, the table can be printed
    assert "\x1b" not in format_problems(problems)


@pytest.mark.parametrize("case", ["p01", "7", "..a", "Größe 3", "ü" * 100, "x" * 200, "患者 1"])
def test_what_can(case):
    assert id_finding(case) is None


def test_ids_that_one_file_would_hold_on_another_system(tmp_path):
    for name in ("Scan.png", "scan.png", "ok.png"):
        write_image(tmp_path / name, picture(len(name) + ord(name[0])))
    (problem,) = prepare(tmp_path).problems
    assert (problem.case, problem.what, problem.found) == ("scan", "ids that differ in capitals alone", "also Scan")
    entries = [{"case": case, "image": image} for case, image in [("u\u0308", "Scan.png"), ("\u00fc", "ok.png")]]
    assert [p.what for p in check_cases({"training": entries}, tmp_path)] == ["ids that differ in capitals alone"]


def test_long_nested_uids_are_shortened_and_stay_apart(tmp_path):
    paths = [f"{patient}/{UID}/{UID}.{series}/{UID}/{UID}/1.png" for patient in "ab" for series in (1, 2)]
    for index, path in enumerate(paths):
        write_image(tmp_path / path, picture(index))
    prepared = prepare(tmp_path)
    cases = [entry["case"] for entry in prepared.datalist["training"]]
    assert prepared.problems == []
    assert len(set(cases)) == 4
    assert all(len(case.encode()) <= MAX_BYTES and UID in case for case in cases)
    assert [note for note in prepared.notes if note.startswith("4 ids shortened")]
    assert cases == sorted(case_id(path) for path in paths)


def test_a_shortened_id_is_whole_letters():
    for length in range(MAX_BYTES, MAX_BYTES + 4):
        case = case_id("x" * (length - MAX_BYTES) + "ü" * 150 + ".nii.gz")
        assert len(case.encode("utf-8")) <= MAX_BYTES
        assert is_shortened(case, "x" * (length - MAX_BYTES) + "ü" * 150 + ".nii.gz")
    assert not is_shortened("a", "a.png")


def test_a_name_that_is_no_utf8_is_told_and_can_be_printed(tmp_path):
    for index in range(3):
        write_image(tmp_path / f"ok{index}.png", picture(index))
    os.rename(os.fsencode(tmp_path / "ok0.png"), os.fsencode(tmp_path) + b"/pr\xfcfung.png")
    (problem,) = prepare(tmp_path).problems
    assert problem.what == "name is not UTF-8"
    table = format_problems([problem])
    assert r"pr\xfcfung.png" in table
    assert "rename the file" in table
    table.encode("ascii")


def test_a_path_that_no_system_can_hold_is_a_missing_file(tmp_path):
    write_image(tmp_path / "a.png", picture())
    entries = [{"case": "a", "image": "a.png"}, {"case": "b", "image": "x" * 3000 + ".png"}]
    assert [p.what for p in check_cases({"training": entries}, tmp_path)] == ["missing file"]
    assert [entry["case"] for entry in folder_cases(tmp_path)["training"]] == ["a"]
