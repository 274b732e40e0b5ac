from __future__ import annotations

from pathlib import Path

import pytest
import torch

from monai_iltm.data.documents import read_json, write_json
from monai_iltm.data.errors import InputError
from monai_iltm.engines.begin import open_run
from monai_iltm.store import ResultFolder, RoundFolder, RunFolder, result_name

SETTINGS = {"num_codes": 64, "image_size": (32, 32), "order": "any", "layout": None}
INPUTS = {"a": "1f", "b": "2e"}


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


# ---- layout ----


def test_every_file_of_a_run_has_its_place(tmp_path):
    run = RunFolder(tmp_path)
    places = {
        "run.json": run.record,
        "datalist.json": run.datalist,
        "vqvae": run.vqvae,
        "trivial.json": run.trivial,
        "report.html": run.report,
        "bundle": run.bundle,
        "round_07/model.pt": run.round(7).model,
        "round_07/history.csv": run.round(7).history,
        "round_07/maps": run.round(7).maps,
        "round_07/masks": run.round(7).masks,
        "round_07/calibration.json": run.round(7).calibration,
        "round_07/test": run.round(7).test,
        "round_07/datalist.json": run.round(7).datalist,
        "round_07/scores.csv": run.round(7).scores,
        "round_07/metrics.json": run.round(7).metrics,
        "round_07/round.json": run.round(7).record,
        "bracket/oracle/model.pt": run.bracket("oracle").model,
    }
    assert {str(path.relative_to(tmp_path)): path for path in places.values()} == places


def test_a_round_exists_if_its_record_does_and_rounds_end_at_the_first_gap(tmp_path):
    run = RunFolder(tmp_path)
    assert run.rounds() == []
    touch(run.round(0).record, run.round(1).record, run.round(2).model, run.round(3).record)
    assert run.rounds() == [RoundFolder(tmp_path / "round_00", 0), RoundFolder(tmp_path / "round_01", 1)]


def test_stages_of_any_name_are_found_by_their_history_and_rounds_are_none(tmp_path):
    run = RunFolder(tmp_path)
    touch(tmp_path / "vqvae/history.csv", tmp_path / "a/history.csv", tmp_path / "bundle/model.pt")
    touch(run.bracket("oracle").history, run.round(0).history, run.round(0).path / "student/history.csv")
    assert run.stages() == [tmp_path / "a", tmp_path / "vqvae"]
    assert run.stages(run.round(0).path) == [run.round(0).path / "student"]


@pytest.mark.parametrize("end", [".nii.gz", ".tif"])
def test_maps_are_found_by_case_in_either_format(tmp_path, end):
    folder = RunFolder(tmp_path).round(0)
    assert folder.map("a.b") is None
    touch(folder.maps / f"a.b_surprise{end}", folder.test / f"a.b_healed{end}")
    assert folder.map("a.b") == folder.maps / f"a.b_surprise{end}"
    assert folder.map("a") is None
    assert folder.test_file("a.b", "healed") == folder.test / f"a.b_healed{end}"
    assert folder.test_file("a.b", "surprise") is None


@pytest.mark.parametrize("end", [".nii.gz", ".png"])
def test_masks_are_found_by_case_in_either_format(tmp_path, end):
    folder = RunFolder(tmp_path).round(0)
    assert folder.mask("a") is None
    touch(folder.masks / f"a{end}", folder.test / f"b_mask{end}")
    assert folder.mask("a") == folder.masks / f"a{end}"
    assert folder.test_file("b", "mask") == folder.test / f"b_mask{end}"


@pytest.mark.parametrize(
    ("image", "kind", "name"),
    [
        ("x/a.nii.gz", "surprise", "c_surprise.nii.gz"),
        ("x/a.nii", "mask", "c_mask.nii.gz"),
        ("x/a.png", "mask", "c_mask.png"),
        ("x/a.jpg", "healed", "c_healed.tif"),
    ],
)
def test_results_take_the_images_kind_of_format(tmp_path, image, kind, name):
    assert result_name("c", kind, image) == name
    touch(tmp_path / name)
    assert ResultFolder(tmp_path).require("c", kind) == tmp_path / name


def test_cases_are_done_if_their_record_is_there(tmp_path):
    results = ResultFolder(tmp_path)
    assert results.cases() == []
    touch(results.record("b"), results.record("a.v2"), tmp_path / "c_surprise.tif", tmp_path / "cases" / "d.json.part")
    assert results.cases() == ["a.v2", "b"]
    with pytest.raises(InputError, match="no healed of case b"):
        results.require("b", "healed")


# ---- begin or go on ----


def test_a_new_run_notes_settings_data_and_what_is_told_about_it(tmp_path):
    run = open_run(tmp_path / "run", SETTINGS, INPUTS, "/data", seed=3, started="now")
    assert read_json(run.record) == {
        "settings": {**SETTINGS, "image_size": [32, 32]},
        "cases": INPUTS,
        "dataset_dir": "/data",
        "seed": 3,
        "started": "now",
    }


def test_the_same_run_goes_on_and_keeps_what_was_told_first(tmp_path):
    run = open_run(tmp_path / "run", SETTINGS, INPUTS, "/data", started="then")
    again = open_run(tmp_path / "run", {**SETTINGS, "image_size": [32, 32]}, dict(INPUTS), "/data", started="later")
    assert again == run
    assert read_json(run.record)["started"] == "then"


def test_the_data_may_move(tmp_path):
    open_run(tmp_path / "run", SETTINGS, INPUTS, "/data", started="then")
    run = open_run(tmp_path / "run", SETTINGS, INPUTS, "/elsewhere")
    assert read_json(run.record)["dataset_dir"] == "/elsewhere"
    assert read_json(run.record)["started"] == "then"


def test_every_difference_is_named(tmp_path):
    run = open_run(tmp_path / "run", SETTINGS, INPUTS, "/data")
    before = run.record.read_bytes()
    other = {"num_codes": 128, "image_size": (32, 32), "order": "raster", "levels": [1.0]}
    with pytest.raises(InputError) as caught:
        open_run(tmp_path / "run", other, {"b": "other", "c": "3d"}, "/data")
    told = str(caught.value)
    for part in (
        "setting num_codes was 64, now 128",
        "setting order was 'any', now 'raster'",
        "setting levels was None, now [1.0]",
        "case a is gone",
        "case b has changed",
        "case c is new",
        "Choose another output folder",
    ):
        assert part in told
    assert "image_size" not in told
    assert "layout" not in told  # absent and None mean the same
    assert "\n" not in told
    assert run.record.read_bytes() == before


def test_many_differences_are_cut_and_counted(tmp_path):
    many = {f"case_{index:02d}": "0" for index in range(20)}
    open_run(tmp_path / "run", {}, many, "/data")
    with pytest.raises(InputError, match=r"case case_07 is gone; and 12 more\."):
        open_run(tmp_path / "run", {}, {}, "/data")


def test_a_module_among_the_settings_is_told_by_its_description(tmp_path):
    run = open_run(tmp_path / "run", {"perceptual_loss": torch.nn.L1Loss()}, INPUTS, "/data")
    assert read_json(run.record)["settings"] == {"perceptual_loss": "L1Loss()"}
    open_run(tmp_path / "run", {"perceptual_loss": torch.nn.L1Loss()}, INPUTS, "/data")
    with pytest.raises(InputError, match=r"perceptual_loss was 'L1Loss\(\)', now None"):
        open_run(tmp_path / "run", {"perceptual_loss": None}, INPUTS, "/data")


def test_a_damaged_record_is_no_silent_new_beginning(tmp_path):
    write_json(tmp_path / "run" / "run.json", {})
    (tmp_path / "run" / "run.json").write_text('{"settings": ')
    with pytest.raises(InputError, match=r"run\.json"):
        open_run(tmp_path / "run", SETTINGS, INPUTS, "/data")
