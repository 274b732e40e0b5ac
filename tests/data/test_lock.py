"""Two processes and one output folder."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from monai_iltm.data.errors import InputError
from monai_iltm.data.lock import NAME, hold_folder, release_all

HOLD = """
import sys
from monai_iltm.data.lock import hold_folder
hold_folder(sys.argv[1])
print("held", flush=True)
sys.stdin.readline()
"""


@contextmanager
def another(folder: Path) -> Iterator[subprocess.Popen]:
    """A process that holds a folder until it reads a line."""
    command = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def test_a_folder_where_another_is_at_work_is_refused_by_its_name(tmp_path, capsys):
    (tmp_path / "run").mkdir()
    with another(tmp_path / "run") as process:
        told = (
            rf"another command is at work in {tmp_path / 'run'} \(process {process.pid} on .*\): let it end, or stop it"
        )
        with pytest.raises(InputError, match=told):
            hold_folder(tmp_path / "run", patience=0.3)
        assert capsys.readouterr().err.count("waiting for its end") == 1
        hold_folder(tmp_path, patience=0)  # around it there is room


def test_a_killed_command_leaves_no_lock_and_its_rest_is_swept(tmp_path, capsys):
    with another(tmp_path) as process:
        (tmp_path / ".part-abc").write_text("half")
        process.kill()
        process.wait()
    hold_folder(tmp_path, patience=0)
    assert [path.name for path in tmp_path.iterdir()] == [NAME]
    assert "1 unfinished files" in capsys.readouterr().err


def test_the_end_of_the_other_is_waited_for(tmp_path):
    with another(tmp_path) as process:
        began = time.monotonic()
        process.stdin.write("\n")
        process.stdin.flush()
        hold_folder(tmp_path, patience=30)
        assert time.monotonic() - began < 30
    assert (tmp_path / NAME).is_file()


def test_what_another_writes_below_is_left_alone(tmp_path):
    (tmp_path / "out").mkdir()
    with another(tmp_path / "out"):
        (tmp_path / "out" / ".part-abc").write_text("half")
        hold_folder(tmp_path)
        assert (tmp_path / "out" / ".part-abc").exists()


def test_a_process_does_not_lock_itself_out_and_leaves_nothing(tmp_path):
    (tmp_path / "stage").mkdir()
    for folder in (tmp_path, tmp_path, tmp_path / "stage"):
        hold_folder(folder, patience=0)
    assert not (tmp_path / "stage" / NAME).exists()
    release_all()
    assert [path.name for path in tmp_path.iterdir()] == ["stage"]


def test_a_folder_that_was_made_anew_is_locked_anew(tmp_path):
    folder = tmp_path / "run"
    for _ in range(2):
        folder.mkdir()
        hold_folder(folder, patience=0)
        (folder / NAME).unlink()
        folder.rmdir()


def test_where_there_are_no_locks_a_line_says_so(tmp_path, capsys):
    (tmp_path / NAME).mkdir()  # stands for a file system that refuses
    hold_folder(tmp_path, patience=0)
    assert "cannot be locked" in capsys.readouterr().err
