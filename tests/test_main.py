"""`python -m monai_iltm VERB`: what a person types, and what they read when they mistype."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from monai_iltm import __main__ as cli
from monai_iltm.command import config_path, overlaid, shown_command
from monai_iltm.data.errors import InputError
from monai_iltm.data.images import write_image
from monai_iltm.engines.names import full_ids

PATIENCE = 300

TINY = {"vqvae_epochs": 1, "prior_epochs": 1, "max_rounds": 1, "draws": 2, "decodes": 1}
TINY |= {"augmented_versions": 0, "prior_width": 16, "prior_heads": 2, "prior_depth": 1, "bracket": False}


def shell(*words: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False, timeout=PATIENCE)


def pictures(folder: Path, count: int = 3) -> Path:
    for index in range(count):
        write_image(folder / f"p{index}.png", np.random.default_rng(index).integers(0, 255, (64, 64), dtype=np.uint8))
    return folder


def test_prepare_lists_the_cases_and_ends_well(tmp_path, capsys):
    cli.prepare(str(pictures(tmp_path)), preset="phantom2d")
    told = capsys.readouterr().out
    assert "3 training" in told
    assert "no problems found" in told
    assert len(json.loads((tmp_path / "datalist.json").read_text())["training"]) == 3
    assert "datalist.json written" in told
    cli.prepare(str(tmp_path))
    assert "datalist.json is there, and stays" in capsys.readouterr().out


def test_prepare_names_every_problem_and_fails(tmp_path, capsys):
    pictures(tmp_path)
    write_image(tmp_path / "large.png", np.arange(70 * 64, dtype=np.uint16).reshape(70, 64).astype(np.uint8))
    (tmp_path / "empty.png").write_bytes(b"")
    for name in ("1.dcm", "2.DCM", "notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(SystemExit) as ended:
        cli.prepare(str(tmp_path), preset="phantom2d", out=str(tmp_path / "list.json"))
    told = capsys.readouterr().out
    assert ended.value.code == 1
    assert "image too large" in told
    assert "2 files not read, 2 DICOM: convert them to NIfTI first" in told
    assert not (tmp_path / "list.json").exists()
    assert "empty file" in told


def test_prepare_takes_the_settings_of_a_run(tmp_path, capsys):
    """Of size, and of how labels are read: what would be refused without them passes, and stays so in the list."""
    for index in range(3):
        write_image(
            tmp_path / "test" / f"p{index}.png", np.random.default_rng(index).integers(0, 255, (40, 48), np.uint8)
        )
        soft = np.linspace(0, 255, 40 * 48).reshape(40, 48).astype(np.uint8)
        write_image(tmp_path / "test" / "masks" / f"p{index}.png", soft)
        write_image(
            tmp_path / "train" / f"p{index}.png", np.random.default_rng(index).integers(0, 255, (40, 48), np.uint8)
        )
    with pytest.raises(SystemExit):
        cli.prepare(str(tmp_path), preset="phantom2d", image_size="[32,32]")
    told = capsys.readouterr().out
    assert "image too large" in told
    assert "label_threshold" in told
    assert not (tmp_path / "datalist.json").exists()
    cli.prepare(str(tmp_path), preset="phantom2d", image_size="[64,64]", label_threshold="127")
    assert "no problems found" in capsys.readouterr().out
    listed = json.loads((tmp_path / "datalist.json").read_text())
    assert [entry["label_threshold"] for entry in listed["testing"]] == [127, 127, 127]
    write_image(tmp_path / "train" / "late.png", np.random.default_rng(9).integers(0, 255, (40, 48), np.uint8))
    cli.prepare(str(tmp_path), preset="phantom2d", image_size="[64,64]")
    assert "1 file of the folder not in datalist.json, train/late.png: delete it, or --renew" in capsys.readouterr().out
    cli.prepare(str(tmp_path), preset="phantom2d", image_size="[64,64]", label_threshold="127", renew="yes")
    assert len(json.loads((tmp_path / "datalist.json").read_text())["training"]) == 4


def test_a_preset_that_is_not_there_names_those_that_are():
    with pytest.raises(InputError, match=r"no preset 'phantom4d'.*phantom2d, phantom3d"):
        config_path("phantom4d")


def test_run_refuses_a_misspelt_setting_and_a_misspelt_overlay(tmp_path):
    with pytest.raises(InputError, match="'prior_epoch': did you mean 'prior_epochs'"):
        cli.run("phantom2d", str(tmp_path), str(tmp_path / "run"), prior_epoch=3)
    for one, near in {
        "imagesize": "image_size",
        "images::siz": "images::size",
        "settings::inferer::drows": "settings::inferer::draws",
        "settings::stages::prior::optimizer::Lr": "settings::stages::prior::optimizer::lr",
    }.items():
        (tmp_path / "mine.json").write_text(f'{{"{one}": 3}}')
        with pytest.raises(InputError, match=f"'{one}': did you mean '{near}'"):
            cli.run("phantom2d", str(tmp_path), str(tmp_path / "run"), str(tmp_path / "mine.json"))


def test_the_command_that_is_shown_means_the_same(tmp_path):
    words = shlex.split(shown_command([tmp_path / "a b.json"], {"image_size": [8, 8], "spacing": None, "x": "y z"}))
    assert words[:5] == ["python", "-m", "monai.bundle", "run", "--config_file"]
    assert words[5:] == [f"['{tmp_path}/a b.json']", "--image_size", "[8, 8]", "--spacing", "$None", "--x", "y z"]


def test_one_rule_takes_back_those_that_it_rules_out(tmp_path):
    values = full_ids({"mask_share": 0.02, "alpha": 0.1, "draws": 8})
    words = shlex.split(shown_command([tmp_path / "a.json"], values))
    told = dict(zip(words[6::2], words[7::2], strict=True))
    rivals = full_ids({"mask_density": "$None", "threshold": "$None", "threshold_times_uniform": "$None"})
    assert told == {f"--{one}": str(value) for one, value in {**values, **rivals}.items()}


def test_an_overlay_of_short_names_stands_for_ids_and_later_ones_go_over_it(tmp_path):
    (tmp_path / "mine.json").write_text('{"draws": 7, "image_size": [32, 32], "spatial_dims": 2}')
    (tmp_path / "later.json").write_text('{"settings::inferer::draws": 9}')
    mine, later = str(tmp_path / "mine.json"), str(tmp_path / "later.json")
    files, values = overlaid(["phantom2d", mine])
    assert [path.name for path in files] == ["train.json", "phantom2d.json"]
    assert values == full_ids({"draws": 7, "image_size": [32, 32], "spatial_dims": 2})
    files, values = overlaid([mine, later])
    assert [path.name for path in files] == ["train.json", "later.json"]
    assert values == full_ids({"image_size": [32, 32], "spatial_dims": 2})


def test_phantoms(tmp_path, capsys):
    cli.phantom("2d", str(tmp_path / "two"), training=2, testing=1, clean=0, size=32)
    assert (tmp_path / "two" / "datalist.json").is_file()
    with pytest.raises(InputError, match="a phantom is 2d or 3d, found 4d"):
        cli.phantom("4d", str(tmp_path / "four"))


@pytest.mark.parametrize(
    ("kind", "name", "word", "told"),
    [
        ("2d", "training", "many", r"training is a whole number, found 'many': write it as in --training 192"),
        ("3d", "shape", "24", r"shape is a list of 3 numbers, found '24': .* --shape \[64,64,96\]"),
        ("3d", "shape", "[24,24,24,24]", "shape is a list of 3 numbers"),
        ("3d", "size", "24", "'size'"),
        ("3d", "noise", "nan", "noise is a number"),
    ],
)
def test_a_parameter_that_a_phantom_has_not_is_one_line(tmp_path, kind, name, word, told):
    with pytest.raises(InputError, match=told):
        cli.phantom(kind, str(tmp_path / "out"), **{name: word})


@pytest.mark.slow
def test_a_mistake_is_one_line_on_the_shell(tmp_path):
    done = shell("-m", "monai_iltm", "status", str(tmp_path))
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert lines == [f"error: {tmp_path} is no run folder: it holds no run.json"]
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_run_and_the_command_that_it_shows_are_one_run(tmp_path):
    """The second finds the first one's run with equal settings, else it would refuse it by name."""
    cli.phantom("2d", str(tmp_path / "data"), training=4, testing=2, clean=0)
    told = [part for key, value in TINY.items() for part in (f"--{key}", str(value))]
    done = shell("-m", "monai_iltm", "run", "phantom2d", str(tmp_path / "data"), str(tmp_path / "run"), *told)
    assert done.returncode == 0, done.stderr[-2000:]
    record = tmp_path / "run" / "round_00" / "round.json"
    before, line = record.stat().st_mtime_ns, next(s for s in done.stdout.splitlines() if "monai.bundle run" in s)
    done = shell(*shlex.split(line)[1:])
    assert done.returncode == 0, done.stderr[-2000:]
    assert record.stat().st_mtime_ns == before


@pytest.mark.slow
def test_several_processes_are_one_run_and_one_line_of_error(tmp_path):
    """Two processes share a tiny run; a mistake that both find is told plainly, without torchrun's own page."""
    words = ["-m", "monai_iltm", "run", "--preset", "phantom2d", "--processes", "2"]
    done = shell(*words, "--data", str(tmp_path / "none"), "--out", str(tmp_path / "run"))
    assert done.returncode == 1
    assert "torchrun --standalone --nproc_per_node 2 -m monai.bundle run" in done.stdout
    assert "none" in next(line for line in done.stderr.splitlines() if line.startswith("error: "))
    assert "Traceback" not in done.stderr
    cli.phantom("2d", str(tmp_path / "data"), training=4, testing=2, clean=0)
    told = [part for key, value in TINY.items() for part in (f"--{key}", str(value))]
    done = shell(*words, "--data", str(tmp_path / "data"), "--out", str(tmp_path / "run"), *told)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "run" / "round_00" / "round.json").is_file()
