"""What `results.py write` makes of the runs that are there, and of those that are not."""

from __future__ import annotations

from types import ModuleType

import pytest

from monai_iltm.data.documents import write_csv, write_json
from monai_iltm.store import ResultFolder, RunFolder

BEFORE = """# An older head

## The same, in paper mode

Presets: kept.

| round | AP |
| --- | --- |
| 0 | 0.25 |

An older note.

## Phantom 3D, 64 x 64 x 96

| round | AP |
| --- | --- |
| 0 | 0.125 |
"""


@pytest.fixture
def results(script, monkeypatch, tmp_path) -> ModuleType:
    """The script, at home in an empty folder."""
    module = script("results")
    monkeypatch.setattr(module, "HOME", tmp_path)
    monkeypatch.setattr(module, "RUNS", tmp_path / "runs")
    (tmp_path / "docs" / "notes").mkdir(parents=True)
    return module


def test_tables_of_runs_that_are_gone_stay_and_notes_are_renewed(results, tmp_path):
    document = tmp_path / "docs" / "results.md"
    document.write_text(BEFORE)
    (tmp_path / "docs" / "notes" / "phantom2d_paper.md").write_text("A newer note.\n")
    results.write()
    written = document.read_text()
    assert "Presets: kept." in written
    assert "| 0 | 0.25 |" in written
    assert "A newer note." in written
    assert "An older" not in written
    assert written.endswith("| 0 | 0.125 |\n")
    results.write()
    assert document.read_text() == written


def test_every_row_of_a_run_stands_in_its_tables(results, tmp_path):
    masks = {"suspect_tokens": 1, "tokens": 8, "training_mask": {"recall": 0.5, "precision": 0.25}, "verdict": None}
    figures = {"average_precision": 0.22, "apart_average_precision": 0.33}
    figures |= {"kind_hole_auroc": 0.44, "kind_hole_average_precision": 0.55}
    run, again = (RunFolder(tmp_path / "runs" / name) for name in ("phantom2d", "phantom2d-again"))
    for folder in (run, again):
        write_json(folder.record, {"seed": 5})
        write_json(folder.round(0).record, masks)
    write_json(run.trivial, {"raw_intensity": {"average_precision": 0.11}})
    write_json(run.round(0).metrics, figures)
    write_json(run.bracket("oracle").record, {"round": 0})
    write_json(run.bracket("oracle").metrics, {"average_precision": 0.66})
    write_json(again.path / "effort.json", {"minutes": 3.5, "threads": 1, "command": "once more"})
    write_json(again.round(0).metrics, {"average_precision": 0.77})
    write_json(RunFolder(tmp_path / "runs" / "phantom2d-going_on").record, {"seed": 6})
    results.write()
    written = (tmp_path / "docs" / "results.md").read_text()
    lines = ["| raw intensity |  |  |  | 0.110 |", "| round 0 | 12.5 % | 0.50 | 0.25 | 0.220 |", "Again, 3.5 minutes:"]
    lines += ["| oracle masks |  |  |  | 0.660 |", "| round 0 | 0.330 |", "| round 0, hole | 0.440 | 0.550 |"]
    lines += ["| round 0 | 12.5 % | 0.50 | 0.25 | 0.770 |"]
    assert [line for line in lines if line not in written] == []


@pytest.mark.parametrize(
    ("processes", "told"),
    [
        (1, "1 process(es) of 1 thread(s). Of these the VQ-VAE 1.0, priors 3.0, scoring 3.0."),
        (2, "2 process(es) of 1 thread(s). Of these the VQ-VAE 1.0, priors 2.0, scoring 1.5."),
    ],
)
def test_what_the_minutes_went_to_stands_beside_them(results, tmp_path, processes, told):
    """By hand: two epochs of 30 s; a round and both ends of 60 s each, one of which several processes train beside the
    round; 180 s of scoring, shared."""
    run = RunFolder(tmp_path / "runs" / "phantom2d")
    write_json(run.record, {"seed": 5})
    write_json(run.path / "effort.json", {"minutes": 4.5, "processes": processes, "threads": 1, "command": "once"})
    write_json(run.round(0).record, {"suspect_tokens": 1, "tokens": 8, "training_mask": {}, "verdict": None})
    write_csv(run.vqvae / "history.csv", [{"epoch": 1, "seconds": 30.0}, {"epoch": 2, "seconds": 30.0}])
    for prior in (run.round(0), run.bracket("oracle"), run.bracket("clean")):
        write_csv(prior.history, [{"epoch": 1, "seconds": 60.0}])
    for folder, case in ((run.round(0).maps, "a"), (run.round(0).test, "b"), (run.bracket("oracle").test, "b")):
        write_json(ResultFolder(folder).record(case), {"seconds": 60.0})
    results.write()
    written = (tmp_path / "docs" / "results.md").read_text()
    assert told in written


def test_a_run_that_is_there_replaces_the_table(results, tmp_path):
    document = tmp_path / "docs" / "results.md"
    document.write_text(BEFORE)
    run = RunFolder(tmp_path / "runs" / "phantom2d_paper")
    write_json(run.record, {"seed": 5})
    write_json(run.round(0).record, {"suspect_tokens": 1, "tokens": 8, "training_mask": {}, "verdict": None})
    write_json(run.round(0).metrics, {"average_precision": 0.75})
    results.write()
    written = document.read_text()
    assert "seed 5" in written
    assert "| round 0 | 12.5 % | 0.750 |" in written
    assert "Presets: kept." not in written
    assert "| 0 | 0.25 |" not in written
