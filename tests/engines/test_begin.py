from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from monai_iltm.data.cases import read_datalist
from monai_iltm.data.documents import read_csv, read_json, write_json
from monai_iltm.data.errors import InputError
from monai_iltm.data.images import read_image, write_image
from monai_iltm.engines.begin import FREE, begin_run

SETTINGS = {"seed": 5, "num_codes": 16, "rules::tolerance": 0.01, "dataset_dir": "x", "false_alarm": 0.02}


@pytest.fixture
def data(phantom, tmp_path) -> Path:
    return Path(shutil.copytree(phantom, tmp_path / "data"))


def begin(data: Path, **options):
    return begin_run(data.parent / "run", data, **{"settings": SETTINGS, **options})


def spoil(data: Path, case: str = "training_0001") -> None:
    path = data / f"images/{case}.png"
    path.write_bytes(path.read_bytes()[:50])


def rewrite(data: Path, change) -> None:
    datalist = read_json(data / "datalist.json")
    change(datalist)
    write_json(data / "datalist.json", datalist)


def test_a_run_begins_with_its_record_and_datalist(data):
    run = begin(data)
    record = read_json(run.record)
    held = {"false_alarm": 0.02, "num_codes": 16, "seed": 5}  # and nothing that may change later
    assert record["settings"] == held
    assert len(record["cases"]) == 8
    assert all(len(digest) == 64 for digest in record["cases"].values())
    assert record["dataset_dir"] == str(data.resolve())
    assert record["seed"] == 5
    assert {"torch", "monai", "python"} <= record["versions"].keys()
    assert read_json(run.datalist) == read_json(data / "datalist.json")
    assert not (run.path / "skipped.csv").exists()


def test_the_same_run_goes_on(data):
    first = read_json(begin(data).record)
    free = {"rules::tolerance": 0.5, "dataset_dir": "y", "cases::skip_bad": True, "rules::settled_overlap": 0.5}
    free |= {"images::expected_range": [0, 9], "images::max_read_gib": 9.0, "cases::allow_outside": True}
    free |= {"stages::vqvae::train::dataset::cache_rate": 0.1, "inferer::keep_gib": 3.0, "side_by_side": False}
    assert {one.rpartition("::")[2] for one in free} == set(FREE)
    assert read_json(begin(data, settings={**SETTINGS, **free}).record) == first


def test_another_setting_is_refused_by_name(data):
    begin(data)
    with pytest.raises(InputError, match="setting num_codes was 16, now 32; setting seed was 5, now 6"):
        begin(data, settings={**SETTINGS, "num_codes": 32, "seed": 6})


@pytest.mark.parametrize("case", ["training_0002", "testing_0001"])
def test_a_changed_image_is_refused_by_case(data, case):
    begin(data)
    array = read_image(data / f"images/{case}.png").array
    write_image(data / f"images/{case}.png", np.flipud(array))
    with pytest.raises(InputError, match=f"case {case} has changed"):
        begin(data)


def test_cases_that_are_gone_or_new_are_refused_by_name(data):
    begin(data)
    rewrite(data, lambda datalist: datalist["training"].append({**datalist["training"].pop(0), "case": "other"}))
    with pytest.raises(InputError, match="case other is new; case training_0000 is gone"):
        begin(data)


def test_a_case_must_not_change_sides(data):
    run = begin(data)
    before = run.datalist.read_bytes()
    rewrite(data, lambda datalist: datalist["training"].append(datalist["testing"].pop()))
    with pytest.raises(InputError, match="another training list, testing_0001 among others"):
        begin(data)
    assert run.datalist.read_bytes() == before


def test_test_cases_that_stand_apart_are_held_to_as_well(data):
    rewrite(data, lambda datalist: datalist.update(testing_apart=[datalist["testing"].pop()]))
    begin(data)
    write_image(data / "images/testing_0001.png", np.eye(32, dtype=np.uint8))
    with pytest.raises(InputError, match="case testing_0001 has changed"):
        begin(data)


def test_labels_and_locked_regions_may_come_later(data):
    rewrite(data, lambda datalist: [entry.pop("label", None) for entry in datalist["testing"]])
    begin(data)
    lock = {"lock_normal": "labels/training_0000.png"}
    rewrite(data, lambda datalist: datalist["training"][0].update(lock))
    rewrite(data, lambda datalist: datalist["testing"][0].update(label="labels/testing_0000.png"))
    datalist = read_json(begin(data).datalist)
    assert datalist["training"][0]["lock_normal"] == "labels/training_0000.png"
    assert datalist["testing"][0]["label"] == "labels/testing_0000.png"


def test_the_data_may_move(data):
    begin(data)
    moved = Path(shutil.move(data, data.parent / "moved"))
    assert read_json(begin(moved).record)["dataset_dir"] == str(moved.resolve())


# ---- bad data ----


def test_bad_data_end_the_run_before_it_begins(data):
    spoil(data)
    with pytest.raises(InputError, match="training_0001 "):
        begin(data)
    assert not (data.parent / "run" / "run.json").exists()


def test_a_locked_region_is_looked_at_before_hours_of_work(data):
    rewrite(data, lambda datalist: datalist["training"][0].update(lock_anomalous="labels/nowhere.png"))
    with pytest.raises(InputError, match="lock_anomalous: missing file"):
        begin(data)


def test_a_mask_of_the_users_own_has_another_name(data):
    """The rounds' masks begin with none; what is known is locked."""
    datalist = read_json(data / "datalist.json")
    datalist["training"][0]["mask"] = datalist["training"][0]["image"]
    write_json(data / "datalist.json", datalist)
    with pytest.raises(InputError, match=r"has a mask in the datalist, .*lock_anomalous"):
        begin(data)


def test_what_is_skipped_is_listed(data, capsys):
    spoil(data)
    spoil(data, "testing_0000")
    run = begin(data, skip_bad=True)
    rows = read_csv(run.path / "skipped.csv")
    assert [(row["case"], row["file"]) for row in rows] == [
        ("training_0001", "images/training_0001.png"),
        ("testing_0000", "images/testing_0000.png"),
    ]
    assert all(row["problem"] == "truncated or unreadable file" and row["found"] for row in rows)
    assert "2 cases are skipped, see skipped.csv" in capsys.readouterr().out
    datalist = read_json(run.datalist)
    assert len(datalist["training"]) == 5
    assert len(datalist["testing"]) == 1
    assert len(read_json(run.record)["cases"]) == 6


def test_limits_hold_every_image_to_the_model(data):
    with pytest.raises(InputError, match="intensities out of range"):
        begin(data, limits={"value_range": (0, 1)})


def test_a_layout_of_ones_own(data):
    """As MVTec's, or one with a contamination drawn."""

    def few(folder: Path) -> dict:
        datalist = read_datalist(folder)
        return {"training": datalist["training"][:3], "testing": datalist["testing"]}

    assert len(read_json(begin(data, layout=few).datalist)["training"]) == 3
    with pytest.raises(InputError, match="case training_0003 is new"):
        begin(data)


def test_a_folder_that_cannot_be_written_is_told_first(data):
    (data.parent / "run").write_text("")
    with pytest.raises(InputError, match="output folder cannot be written"):
        begin(data)
