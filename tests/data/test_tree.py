from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from monai_iltm.data.cases import load_cases
from monai_iltm.data.documents import write_csv, write_json
from monai_iltm.data.errors import InputError
from monai_iltm.data.images import write_image
from monai_iltm.data.layouts import folder_cases
from monai_iltm.data.prepare import prepare
from monai_iltm.data.tree import survey
from monai_iltm.engines.begin import begin_run
from monai_iltm.store import ResultFolder, RunFolder

DICOM = b"\0" * 128 + b"DICM" + b"\0" * 20


def picture(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 200, (8, 9), dtype=np.uint8)


@pytest.fixture
def data(tmp_path) -> Path:
    for index in range(3):
        write_image(tmp_path / f"p{index}.png", picture(index))
    return tmp_path


def images(folder: Path) -> list[str]:
    return [entry["image"] for entry in folder_cases(folder)["training"]]


OURS = ["p0.png", "p1.png", "p2.png"]


@pytest.mark.parametrize(
    "name",
    [
        "@eaDir",
        "#recycle",
        "#snapshot",
        "$RECYCLE.BIN",
        "__MACOSX",
        "System Volume Information",
        "Thumbs",
        ".AppleDouble",
    ],
)
def test_what_systems_leave_is_no_data(data, name):
    write_image(data / name / "p0.png" / "SYNOPHOTO_THUMB_M.png", picture(7))
    (data / "sub").mkdir()
    write_image(data / "sub" / name / "x.png", picture(8))
    (data / "Thumbs.db").write_bytes(b"x")
    prepared = prepare(data)
    assert images(data) == OURS
    assert prepared.problems == []
    hidden = name.startswith(".")
    assert prepared.notes == ([] if hidden else [f"left out, folders of a system: {name}, sub/{name}"])


def test_a_folder_that_systems_keep_to_themselves_is_not_entered(data):
    """lost+found belongs to root alone: it must be known by its name."""
    (data / "lost+found").mkdir(mode=0)
    assert images(data) == OURS


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list every folder")
def test_a_folder_that_cannot_be_listed_is_told(data):
    (data / "closed").mkdir(mode=0)
    with pytest.raises(InputError, match="closed: cannot be listed"):
        folder_cases(data)


def test_an_error_of_listing_is_told(data, monkeypatch):
    """As the one above, for whom no folder is closed: a folder that goes while it is looked through."""
    scan = os.scandir

    def gone(path: str) -> object:
        if str(path).endswith("gone"):
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    (data / "gone").mkdir()
    monkeypatch.setattr(os, "scandir", gone)
    with pytest.raises(InputError, match="gone: cannot be listed"):
        survey(data)


def a_run(folder: Path) -> None:
    run = RunFolder(folder)
    write_json(run.record, {})
    write_json(run.datalist, {"training": []})
    write_image(run.round(0).maps / "p0_surprise.tif", picture().astype(np.float32))
    write_image(run.round(0).masks / "p0.png", picture() > 100)
    a_bundle(run.bundle)


def results(folder: Path) -> None:
    made = ResultFolder(folder)
    write_json(made.source, {})
    write_json(made.record("p0"), {})
    write_csv(made.scores, [{"case": "p0"}])
    for kind in ("surprise", "healed", "reconstruction"):
        write_image(folder / f"p0_{kind}.tif", picture().astype(np.float32))
    write_image(folder / "p0_mask.png", picture() > 100)


def a_bundle(folder: Path) -> None:
    write_json(folder / "configs" / "metadata.json", {})
    write_image(folder / "docs" / "picture.png", picture())


def tracking(folder: Path) -> None:
    write_image(folder / "mlruns" / "0" / "artifacts" / "x.png", picture())


def environment(folder: Path) -> None:
    folder.mkdir()
    (folder / "pyvenv.cfg").write_text("")
    write_image(folder / "lib" / "sample.png", picture())


@pytest.mark.parametrize(
    ("make", "where", "told"),
    [
        (a_run, "out", "a run: out"),
        (results, "out", "results: out"),
        (a_bundle, "out", "a bundle: out"),
        (tracking, ".", "records of MLflow: mlruns"),
        (environment, "env", "a Python environment: env"),
    ],
)
def test_what_was_made_of_the_data_is_no_data(data, make, where, told):
    make(data / where)
    prepared = prepare(data)
    assert images(data) == OURS
    assert prepared.problems == []
    assert prepared.notes == [f"left out, {told}"]
    assert [case["case"] for case in load_cases(data)] == ["p0", "p1", "p2"]


@pytest.mark.parametrize("make", [a_run, results])
def test_nor_where_it_lies_among_the_data_themselves(data, make):
    make(data)
    (data / "datalist.json").unlink(missing_ok=True)
    assert images(data) == OURS
    write_image(data / "p1_mask.png", picture(1) > 100)  # of a case that was not scored: a person's truth
    assert folder_cases(data)["training"][1].get("label") == "p1_mask.png"


def test_a_run_inside_its_data_begins_and_goes_on(data):
    for _ in range(2):
        run = begin_run(data / "run", data, {})
        write_image(run.round(0).maps / "p0_surprise.tif", picture().astype(np.float32))
        assert images(data) == OURS


def test_a_folder_is_data_whatever_it_is_called_or_made_of(tmp_path):
    """The folder itself was given by a person; a lone run.json or source.json makes no run of a folder within."""
    root = tmp_path / "mlruns"
    for name in ("a", "b"):
        write_image(root / name / "x.png", picture(ord(name)))
    write_json(root / "a" / "run.json", {})
    write_json(root / "b" / "source.json", {})
    (root / "pyvenv.cfg").write_text("")
    assert images(root) == ["a/x.png", "b/x.png"]


# ---- what nothing reads ----


@pytest.mark.parametrize("name", ["{}.dcm", "{}.DCM", "IM{:04d}", "1.2.840.113619.2.{}", "{}.bin"])
def test_dicom_is_named_with_a_converter(tmp_path, name):
    for index in range(3):
        path = tmp_path / "series" / name.format(index)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(DICOM)
    for attempt in (prepare, load_cases, lambda folder: begin_run(tmp_path.parent / "run", folder, {})):
        with pytest.raises(InputError, match=r"no image that can be read, but 3 DICOM: .* with dcm2niix"):
            attempt(tmp_path)


def test_dicom_beside_images_is_a_note(data):
    (data / "x.dcm").write_bytes(b"cut")
    (data / "noise").write_bytes(b"no DICOM")
    assert prepare(data).notes == [
        "2 files not read, 1 DICOM, 1 no suffix: convert them to NIfTI first, for instance with dcm2niix"
    ]


def test_other_kinds_are_named(tmp_path):
    for name in ("a.mha", "b.mha", "c.bmp", "notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(InputError, match=r"but 1 \.bmp, 2 \.mha: convert them to NIfTI, PNG or TIFF"):
        folder_cases(tmp_path)


def test_a_pipe_is_not_waited_for(data):
    os.mkfifo(data / "pipe")
    assert len(prepare(data).notes) == 1
