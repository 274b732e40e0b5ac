from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from monai_iltm.data.errors import InputError
from monai_iltm.engines.door import check_names, check_overrides, open_door, plain_line, require_writable, tell_plainly


@pytest.fixture
def configs(tmp_path) -> list[str]:
    content = [{"num_codes": 64, "prior_epochs": 9, "train": {"trainer": {"max_epochs": 3}}}, {"+levels": [1.0]}]
    paths = [tmp_path / f"{index}.json" for index in range(2)]
    for path, part in zip(paths, content, strict=True):
        path.write_text(json.dumps(part))
    return [str(path) for path in paths]


def forms(configs: list[str]) -> list[list[str]]:
    """Every way to name two config files."""
    return [
        ["--config_file", str(configs)],
        ["--config_file", json.dumps(configs)],
        ["--config_file", ",".join(configs)],
        [f"--config_file={configs}"],
    ]


@pytest.mark.parametrize("form", range(4))
def test_known_ids_pass_in_every_form(configs, form):
    start = forms(configs)[form]
    known = ["--num_codes", "32", "--prior_epochs=4", "--train::trainer::max_epochs", "1", "--train#trainer", "1"]
    monais = ["--logging_file", "False", "--meta_file", "x", "--run_id", "run"]
    check_overrides([*start, *known, "--levels", "[1.0]", *monais])


@pytest.mark.parametrize("form", range(4))
@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--num_code", "32"], "'num_code': did you mean 'num_codes'?"),
        (["--prior_epoch=4"], "'prior_epoch': did you mean 'prior_epochs'?"),
        (["--trian::trainer::max_epochs", "1"], "'trian': did you mean 'train'?"),
        (["--num_codes", "32", "--zzz", "1"], "'zzz'$"),
    ],
)
def test_a_typo_is_named_with_the_nearest_id(configs, form, given, words):
    with pytest.raises(InputError, match=f"no setting is called {words}".replace("?", r"\?")):
        check_overrides([*forms(configs)[form], *given])


def test_one_file_in_two_forms(configs):
    for start in (["--config_file", configs[0]], [f"--config_file={configs[0]}"]):
        check_overrides([*start, "--num_codes", "3"])
        with pytest.raises(InputError, match="levels"):
            check_overrides([*start, "--levels", "3"])


def test_without_a_config_file_nothing_is_known_and_nothing_refused():
    check_overrides(["--anything", "1"])
    check_overrides([])


def test_names_are_checked_in_order():
    check_names([], ["a"])
    with pytest.raises(InputError, match="'alpa': did you mean 'alpha'"):
        check_names(["zeta", "alpa"], ["alpha", "threshold"])


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
    assert plain_line(ValueError("KDEInferer: blur")) == "error: KDEInferer: blur"
    assert plain_line(None) is None


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


def test_the_door_looks_at_the_command_line_and_the_folder(monkeypatch, configs, tmp_path):
    monkeypatch.setattr(sys, "argv", ["monai.bundle", "run", "--config_file", configs[0], "--num_codez", "3"])
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
