"""`repeat.py`: the same run over several phantoms, and two settings compared seed by seed."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from monai_iltm.data.documents import write_json
from monai_iltm.data.errors import InputError
from monai_iltm.store import RunFolder


@pytest.fixture
def repeat(script, monkeypatch, tmp_path) -> ModuleType:
    """The script, with an empty folder of runs."""
    module = script("repeat")
    monkeypatch.setattr(module, "RUNS", tmp_path)
    return module


def write_run(folder: Path, *precisions: float, finished: bool = True) -> None:
    """A run with a figure a round."""
    run = RunFolder(folder)
    for index, precision in enumerate(precisions):
        write_json(run.round(index).metrics, {"average_precision": precision})
        write_json(run.round(index).record, {"round": index})
    if finished:
        (run.bundle / "models").mkdir(parents=True)
        (run.bundle / "models" / "model.pt").touch()


def test_two_settings_are_compared_where_both_have_finished(repeat, tmp_path, capsys):
    for seed, ours, theirs in ((4, 0.5, 0.25), (5, 0.75, 0.25), (10, 0.5, 0.5)):
        write_run(tmp_path / "now" / str(seed), 0.125, ours)
        write_run(tmp_path / "before" / str(seed), theirs)
    write_run(tmp_path / "now" / "6", 1.0)
    write_run(tmp_path / "before" / "6", 0.0, finished=False)
    repeat.compare("now", "before")
    told = capsys.readouterr().out.splitlines()
    assert told[2:5] == ["| 4 | 0.500 | 0.250 |", "| 5 | 0.750 | 0.250 |", "| 10 | 0.500 | 0.500 |"]
    assert told[5].startswith("now: mean 0.583 ")
    assert told[7] == "now less before: mean 0.250 +- 0.144, one alone +- 0.250"


def test_a_comparison_of_less_than_two_phantoms_is_refused(repeat, tmp_path):
    for name in ("now", "before"):
        write_run(tmp_path / name / "4", 0.5)
    with pytest.raises(InputError, match="now and before have 1 finished phantoms in common, 2 are needed"):
        repeat.compare("now", "before")


def test_every_phantom_is_made_and_run_with_the_settings_given(repeat, tmp_path, monkeypatch, capsys):
    commands = []

    def call(command, **_):
        commands.append(command)
        write_run(Path(command[6]), 0.25, 0.5)
        return 0

    monkeypatch.setattr(repeat.subprocess, "call", call)
    monkeypatch.setattr(repeat, "write_phantom2d", lambda folder, seed: write_json(folder / "datalist.json", {}))
    repeat.run("now", (4, 5), workers=1, max_rounds=3, at_once=4)
    assert [Path(command[5]).name for command in commands] == ["4", "5"]
    assert commands[0][3:5] == ["run", "phantom2d"]
    assert commands[0][7:] == ["--bracket", "False", "--max_rounds", "3", "--at_once", "4"]
    assert capsys.readouterr().out.splitlines()[:2] == ["4: AP 0.250 0.500", "5: AP 0.250 0.500"]


def test_a_run_that_fails_is_told_with_its_log(repeat, tmp_path, monkeypatch):
    monkeypatch.setattr(repeat.subprocess, "call", lambda command, **_: 1)
    monkeypatch.setattr(repeat, "write_phantom2d", lambda folder, seed: None)
    with pytest.raises(InputError, match=r"now_4\.log: the run ended with 1; its last lines say why"):
        repeat.run("now", 4)
