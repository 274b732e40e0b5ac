"""What a run rests on may be replaced or damaged: it is noticed, named, and never mixed with what is sound."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from monai_iltm.data.contamination import sha256
from monai_iltm.data.documents import read_json, write_json
from monai_iltm.data.errors import InputError
from monai_iltm.data.weights import read_saved, save_in_one_step
from monai_iltm.engines.inputs import Inputs
from monai_iltm.engines.rounds import RoundEvents
from monai_iltm.store import RunFolder


@pytest.fixture(scope="module")
def finished(phantom, tmp_path_factory) -> Path:
    """Where a run of two rounds lies, once it is made; not to be written to."""
    return tmp_path_factory.mktemp("finished") / "run"


@pytest.fixture
def copied(iltm, phantom, finished, tmp_path) -> RunFolder:
    """A copy of the finished run that may be changed and taken up again."""
    if not finished.exists():
        iltm(phantom, finished).run()
    return RunFolder(Path(shutil.copytree(finished, tmp_path / "run")))


@pytest.fixture
def data(phantom, tmp_path) -> Path:
    """A copy of the data that may be changed."""
    return Path(shutil.copytree(phantom, tmp_path / "data"))


def turn_over(path: Path) -> None:
    """Another picture of the same size."""
    Image.fromarray(np.asarray(Image.open(path))[::-1].copy()).save(path)


# ---- while a command is at work ----


def inputs_of(*paths: Path) -> Inputs:
    cases = [{"case": path.stem, "image": str(path)} for path in paths]
    return Inputs(cases, {path.stem: sha256(path) for path in paths}, {})


def test_a_file_that_was_only_touched_is_the_same(tmp_path):
    (tmp_path / "a.png").write_bytes(b"1")
    inputs = inputs_of(tmp_path / "a.png")
    os.utime(tmp_path / "a.png", ns=(1, 1))
    inputs.require_same()


@pytest.mark.parametrize("change", [lambda path: path.write_bytes(b"two"), Path.unlink])
def test_a_file_that_was_replaced_or_is_gone_is_named(tmp_path, change):
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"one")
    inputs = inputs_of(tmp_path / "a.png", tmp_path / "b.png")
    change(tmp_path / "b.png")
    with pytest.raises(InputError, match=r"b\.png"):
        inputs.require_same()


@pytest.mark.slow
@pytest.mark.parametrize("key", ["image", "label"])
def test_what_is_replaced_during_a_run_ends_it_before_the_round_is_told(iltm, data, key):
    workflow = iltm(data)
    workflow.begin()
    case = next(case for case in workflow.cases("testing") if case.get("label"))
    workflow.add_event_handler(RoundEvents.TRAINED, lambda _: turn_over(Path(case[key])))
    with pytest.raises(InputError, match=rf"^{case['case']}: .* was replaced while the run was at work"):
        workflow.run()
    assert not workflow.folder.round(0).record.exists()


# ---- between commands ----


@pytest.mark.slow
def test_figures_of_a_label_that_was_replaced_are_made_anew_with_a_word(iltm, copied, data, capsys):
    workflow = iltm(data, copied.path)
    case = next(case for case in workflow.cases("testing") if case.get("label"))
    before = read_json(copied.round(0).metrics)
    workflow.run()
    assert read_json(copied.round(0).metrics) == before
    turn_over(Path(case["label"]))
    capsys.readouterr()
    iltm(data, copied.path).run()
    assert f"test labels are others than before, of {case['case']}: the figures" in capsys.readouterr().out
    assert read_json(copied.round(0).metrics)["average_precision"] != before["average_precision"]
    iltm(data, copied.path).run()
    assert "labels are others" not in capsys.readouterr().out


@pytest.mark.slow
def test_what_a_round_tells_of_its_masks_follows_a_training_label_that_was_replaced(iltm, copied, data, capsys):
    workflow = iltm(data, copied.path)
    labels = [Path(case["label"]) for case in workflow.cases("training") if case.get("label")]
    for label in labels:
        Image.fromarray(np.full(np.asarray(Image.open(label)).shape, 255, np.uint8)).save(label)
    before = read_json(copied.round(1).record)
    iltm(data, copied.path).run()
    after = read_json(copied.round(1).record)
    assert after["training_mask"] != before["training_mask"]
    assert {**after, "training_mask": None} == {**before, "training_mask": None}


@pytest.mark.slow
def test_a_mask_that_was_changed_after_it_was_learned_from_is_named(iltm, copied, phantom, capsys):
    case = read_json(copied.datalist)["training"][0]["case"]
    turn_over(copied.round(0).mask(case))
    iltm(phantom, copied.path).run()
    told = capsys.readouterr().out
    assert f"round 1 has learned from other masks than those in {copied.round(0).masks}: {case} changed since" in told


# ---- damage ----


@pytest.mark.slow
@pytest.mark.parametrize("damage", [b"", b"junk", torch.zeros(3), {"tokens": torch.full((1, 64), 9999)}, {}])
def test_damaged_tokens_are_made_anew_with_a_word(iltm, copied, phantom, capsys, damage):
    model = read_saved(copied.round(1).model)
    path = sorted(copied.kept(copied.vqvae / "model.pt").glob("*.pt"))[0]
    before = path.read_bytes()
    path.write_bytes(damage) if isinstance(damage, bytes) else save_in_one_step(path, damage)
    shutil.rmtree(copied.round(1).path)
    iltm(phantom, copied.path).run()
    assert f"{path}: damaged" in capsys.readouterr().out
    assert path.read_bytes() == before
    assert all(torch.equal(value, model[name]) for name, value in read_saved(copied.round(1).model).items())


@pytest.mark.slow
@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff\x00", b'{"settings": 1}'])
@pytest.mark.parametrize(
    "name",
    ["run.json", "truth.json", "round_00/round.json", "round_01/round.json", "round_01/calibration.json"],
)
def test_a_damaged_record_is_named_with_the_way_out(iltm, copied, phantom, name, content):
    (copied.path / name).write_bytes(content)
    for folder in copied.rounds():
        folder.metrics.unlink(missing_ok=True)
    with pytest.raises(InputError, match=rf"{name}: .*(remove|another output folder)"):
        iltm(phantom, copied.path).run()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["calibration.json", "history.csv"])
def test_following_the_advice_mends_the_run(iltm, copied, finished, phantom, name):
    folder = copied.round(1)
    (folder.path / name).write_bytes(b"\xff\x00 junk")
    folder.record.unlink()
    if name == "history.csv":
        with pytest.raises(InputError, match=r"history\.csv: .* remove .*round_01"):
            iltm(phantom, copied.path).run()
        shutil.rmtree(folder.path)
    iltm(phantom, copied.path).run()
    assert read_json(folder.record) == read_json(RunFolder(finished).round(1).record)


@pytest.mark.slow
def test_a_damaged_case_is_scored_anew(iltm, copied, finished, phantom, capsys):
    folder = copied.round(1)
    record = sorted((folder.maps / "cases").glob("*.json"))[0]
    record.write_text("{")
    folder.record.unlink()
    iltm(phantom, copied.path).run()
    assert f"{record}: damaged" in capsys.readouterr().out
    assert read_json(record)["image"]
    assert read_json(folder.record) == read_json(RunFolder(finished).round(1).record)


@pytest.mark.slow
def test_settings_of_another_run_are_still_refused(iltm, copied, phantom):
    write_json(copied.record, {**read_json(copied.record), "settings": {"seed": 4}})
    with pytest.raises(InputError, match="other settings"):
        iltm(phantom, copied.path).run()
