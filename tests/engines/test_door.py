from __future__ import annotations

import sys
from pathlib import Path

import pytest

from monai_iltm.data.errors import InputError
from monai_iltm.engines.door import open_door, require_inputs, require_writable
from monai_iltm.engines.telling import plain_line, tell_plainly
from monai_iltm.inferers import KDEInferer

# ---- the output folder ----


def test_a_folder_is_made_and_left_empty(tmp_path):
    require_writable(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []


@pytest.mark.parametrize("where", [("file",), ("file", "below")])
def test_a_folder_that_cannot_be_is_named(tmp_path, where):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file.*: output folder cannot be written"):
        require_writable(tmp_path.joinpath(*where))


# ---- plain errors ----


def chain(depth: int) -> BaseException:
    try:
        try:
            raise InputError("case_7: too large")
        except InputError as error:
            raise RuntimeError("applying transform") from error
    except RuntimeError as error:
        outer: BaseException = error
    for _ in range(depth):
        try:
            raise KeyError("x") from outer
        except KeyError as error:
            outer = error
    return outer


@pytest.mark.parametrize(("world", "told"), [("2", "process 1 ends: another process"), ("1", None)])
def test_a_connection_that_was_lost_means_a_process_only_where_there_are_several(monkeypatch, world, told):
    monkeypatch.setenv("WORLD_SIZE", world)
    monkeypatch.setenv("RANK", "1")
    line = plain_line(ConnectionError("Connection reset by peer"))
    assert line is None if told is None else line.startswith(told)


@pytest.mark.parametrize("depth", [0, 1, 4])
def test_an_input_error_is_found_under_all_that_it_caused(depth):
    assert plain_line(chain(depth)) == "error: case_7: too large"
    assert plain_line(InputError("x")) == "error: x"
    assert plain_line(ValueError("x")) is None
    assert plain_line(None) is None


def test_a_setting_that_an_inferer_refuses_is_known_by_where_it_was_raised():
    with pytest.raises(ValueError, match="blur") as caught:
        KDEInferer(alpha=0.1, blur=-1.0)
    assert plain_line(caught.value) == f"error: {caught.value}"
    with pytest.raises(ValueError, match="invalid literal") as other:
        int("KDEInferer: x")
    assert plain_line(other.value) is None


def test_a_full_disk_is_told_in_one_line_whoever_met_it():
    with pytest.raises(OSError, match="No space") as caught, open("/dev/full", "w") as stream:
        stream.write("x")
    told = "error: no room to write (No space left on device); with more of it the same command goes on"
    assert plain_line(caught.value) == told
    assert plain_line(FileNotFoundError(2, "x")) is None


def test_it_is_told_in_one_line_and_all_else_with_its_traceback(capsys):
    tell_plainly()
    error = chain(1)
    sys.excepthook(type(error), error, error.__traceback__)
    assert capsys.readouterr().err == "error: case_7: too large\n"
    try:
        raise ValueError("a bug")
    except ValueError as bug:
        sys.excepthook(ValueError, bug, bug.__traceback__)
    told = capsys.readouterr().err
    assert "Traceback" in told
    assert "ValueError: a bug" in told


def test_inputs_that_are_not_there_are_named(tmp_path):
    (tmp_path / "model.pt").touch()
    require_inputs(tmp_path, tmp_path / "model.pt")
    with pytest.raises(InputError, match="none: folder not found"):
        require_inputs(tmp_path / "none", tmp_path / "model.pt")
    with pytest.raises(InputError, match=r"none\.pt: weight file not found"):
        require_inputs(tmp_path, tmp_path / "model.pt", tmp_path / "none.pt")


def test_the_door_looks_at_the_command_line_and_the_folder(monkeypatch, tmp_path):
    (tmp_path / "0.json").write_text('{"num_codes": 64}')
    words = ["--config_file", str(tmp_path / "0.json"), "--num_codez", "3"]
    monkeypatch.setattr(sys, "argv", ["monai.bundle", "run", *words])
    with pytest.raises(InputError, match="num_codes"):
        open_door(tmp_path / "out")
    monkeypatch.setattr(sys, "argv", ["pytest", "--num_codez"])  # not a bundle's command
    open_door(tmp_path / "out")
    assert Path(tmp_path / "out").is_dir()
    open_door()


def test_processes_that_were_not_joined_are_refused(monkeypatch):
    """Two ranks that each take themselves for the only one would write the same files."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="multi_gpu"):
        open_door()
