"""status: the stage in progress, told from which files exist, and told at once."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from monai_iltm.data.documents import read_json, write_json
from monai_iltm.data.errors import InputError
from monai_iltm.report import status, write_report


@pytest.fixture
def going_on(make_run) -> Path:
    """Two complete rounds; a third can be begun."""
    run = make_run(rounds=2)
    write_json(run / "round_01/round.json", read_json(run / "round_01/round.json") | {"verdict": "continue"})
    return run


def test_a_finished_run(make_run):
    run = make_run()
    write_report(run)
    text = status(run)
    assert text.startswith("tiny: 4 training images, 6 test images\nStage: done\nMasks: Masks settled after 3 rounds")
    assert "Result: Useful, but short of perfect masks: average precision 0.590 in round 2" in text
    assert "\nRound 2" in text
    assert "Next: nothing is left to do" in text


def test_after_the_rounds_the_bundle_is_due(make_run):
    run = make_run()
    (run / "bundle/models/model.pt").unlink()
    assert "Stage: rounds done\n" in status(run)
    assert "Next: measure what they stand beside, and make the bundle." in status(run)


def test_a_stage_of_any_name_is_counted_in_epochs(make_run):
    run = make_run(rounds=0)
    (run / "vqvae").rename(run / "teacher")
    assert "Stage: round 0, not begun" in status(run)
    (run / "teacher/model.pt").unlink()
    assert "Stage: teacher, 40 epochs done" in status(run)
    shutil.rmtree(run / "teacher")
    assert "Stage: not begun" in status(run)


def test_each_stage_of_a_round(going_on):
    assert "Stage: round 2, not begun" in status(going_on)
    folder, before = going_on / "round_02", going_on / "round_01"
    folder.mkdir()
    shutil.copy(before / "history.csv", folder)
    assert "round 2, training, 30 epochs done" in status(going_on)
    shutil.copy(before / "model.pt", folder)
    (folder / "maps").mkdir()
    shutil.copy(before / "maps/training_000_surprise.tif", folder / "maps")
    assert "scoring training images, 1 of 4 done" in status(going_on)
    shutil.copytree(before / "maps", folder / "maps", dirs_exist_ok=True)
    assert "making masks, 0 of 4 done" in status(going_on)
    shutil.copytree(before / "masks", folder / "masks")
    assert "scoring test images, 0 of 6 done" in status(going_on)


def test_a_round_of_several_stages(going_on):
    for name in ("student", "assistant"):
        shutil.copytree(going_on / "vqvae", going_on / "round_02" / name)
    (going_on / "round_02/student/model.pt").unlink()
    assert "go on training student of round 2 (40 epochs done)." in status(going_on)


def test_an_unfinished_bracket_comes_before_the_end(make_run):
    run = make_run()
    (run / "bracket/oracle/round.json").unlink()
    assert "bracket, oracle in progress" in status(run)


def test_no_run_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="is no run folder"):
        status(tmp_path)


def test_it_waits_for_nothing_that_draws_or_learns(make_run):
    asked = "import sys; from monai_iltm.report import status; status(sys.argv[1]); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", asked, str(make_run())], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "monai_iltm" in loaded
    assert loaded.isdisjoint({"matplotlib", "jinja2", "torch", "monai", "ignite", "sklearn", "mlflow"})
