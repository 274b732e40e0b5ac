from __future__ import annotations

import os
import resource
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from monai_iltm.data.documents import write_json
from monai_iltm.data.errors import InputError
from monai_iltm.data.one_step import folder_beside, in_one_step, sweep

WRITE_TOO_MUCH = """
import sys, torch
from monai_iltm.data.documents import write_json
from monai_iltm.data.errors import InputError
from monai_iltm.data.weights import save_in_one_step
for write, path in ((write_json, sys.argv[1]), (save_in_one_step, sys.argv[2])):
    try:
        write(path, {"a": torch.rand(9000).tolist()} if write is write_json else {"a": torch.rand(9000)})
    except InputError as error:
        print(error)
"""


def test_a_file_comes_whole_with_the_rights_of_any_other(tmp_path):
    with in_one_step(tmp_path / "a" / "b.txt", ".txt") as temporary:
        assert Path(temporary).parent == tmp_path / "a"
        assert temporary.endswith(".txt")
        Path(temporary).write_text("whole")
        assert not (tmp_path / "a" / "b.txt").exists()
    (tmp_path / "plain").write_text("")
    assert (tmp_path / "a" / "b.txt").read_text() == "whole"
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "plain", tmp_path / "a" / "b.txt")]
    assert modes[0] == modes[1]


@pytest.mark.parametrize("error", [KeyError, KeyboardInterrupt])
def test_what_ends_in_an_error_leaves_what_was_there(tmp_path, error):
    (tmp_path / "a").write_text("before")
    with pytest.raises(error), in_one_step(tmp_path / "a"):
        raise error
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a", "before")]


def test_a_link_is_replaced_and_its_target_stays(tmp_path):
    (tmp_path / "target").write_text("somebody's")
    (tmp_path / "a.json").symlink_to(tmp_path / "target")
    (tmp_path / "a.json.part").symlink_to(tmp_path / "target")
    write_json(tmp_path / "a.json", {})
    assert (tmp_path / "target").read_text() == "somebody's"
    assert not (tmp_path / "a.json").is_symlink()


def test_a_disk_without_room_is_told_in_a_line_and_leaves_no_rest(tmp_path):
    """The system's limit on the size of a file stands for the disk's."""
    done = subprocess.run(
        [sys.executable, "-c", WRITE_TOO_MUCH, str(tmp_path / "a.json"), str(tmp_path / "b.pt")],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192)),
    )
    assert done.stdout.splitlines() == [
        f"{tmp_path / name}: cannot be written (File too large)" for name in ("a.json", "b.pt")
    ]
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file: folder cannot be written"), in_one_step(tmp_path / "file" / "a"):
        pass


def test_what_killed_commands_left_is_swept_and_nothing_else(tmp_path):
    (tmp_path / "deep" / "other").mkdir(parents=True)
    for path in ("a.json", ".part-1", "deep/.part-2.nii.gz", "deep/other/.part-3", "notes.part"):
        (tmp_path / path).write_text("")
    (folder_beside(tmp_path / "bundle") / "model.pt").write_text("")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").write_text("")
    os.symlink(elsewhere, tmp_path / "deep" / ".part-link")
    assert sweep(tmp_path, leave_out=lambda folder: folder.name == "other") == 4
    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert left == ["a.json", "deep/other/.part-3", "elsewhere/kept", "notes.part"]
