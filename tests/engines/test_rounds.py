"""Rounds of the iltm bundle in this process: tiny networks, real stages, real files."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from ignite.engine import Events

from monai_iltm.data.cases import load_cases
from monai_iltm.data.documents import read_csv, read_json, write_json
from monai_iltm.data.errors import InputError
from monai_iltm.data.images import read_image, write_image
from monai_iltm.data.lock import NAME
from monai_iltm.data.weights import read_saved, save_in_one_step
from monai_iltm.engines import stages
from monai_iltm.engines.package import package_bundle
from monai_iltm.engines.rounds import RoundEvents, Rounds
from monai_iltm.engines.stages import Training
from monai_iltm.engines.telling import plain_line
from monai_iltm.engines.yardsticks import Yardsticks
from monai_iltm.networks import VQVAE
from monai_iltm.store import RunFolder

pytestmark = pytest.mark.slow

BUNDLES = Path(__file__).resolve().parents[2] / "bundles"
UNTIMED = ("seconds",)  # the only number that may differ between two equal runs


@pytest.fixture(scope="module")
def finished(phantom, tmp_path_factory) -> Path:
    """A run of two rounds; not to be written to."""
    return tmp_path_factory.mktemp("finished") / "run"


@pytest.fixture
def reference(iltm, phantom, finished) -> RunFolder:
    if not finished.exists():
        iltm(phantom, finished).run()
    return RunFolder(finished)


@pytest.fixture
def copied(reference, tmp_path) -> RunFolder:
    """A copy of the finished run that may be changed and taken up again."""
    return RunFolder(Path(shutil.copytree(reference.path, tmp_path / "run")))


@pytest.fixture
def data(phantom, tmp_path) -> Path:
    """A copy of the data that may be changed."""
    return Path(shutil.copytree(phantom, tmp_path / "data"))


def contents(run: RunFolder, *left_out: str) -> dict[str, object]:
    """Everything in a run folder that its stages wrote, times and places aside."""
    found: dict[str, object] = {}
    for path in sorted(run.path.rglob("*")):
        name = path.relative_to(run.path).as_posix()
        if path.is_dir() or path.name == NAME or name in ("run.json", *left_out):
            continue
        if path.suffix == ".pt":
            saved = torch.load(path, weights_only=True)
            found[name] = {
                key: value.tolist() if isinstance(value, torch.Tensor) else value for key, value in saved.items()
            }
        elif path.suffix == ".csv":
            found[name] = [{k: v for k, v in row.items() if k not in UNTIMED} for row in read_csv(path)]
        elif path.suffix == ".json":
            content = read_json(path)
            found[name] = {k: v for k, v in content.items() if k not in UNTIMED}
        else:
            found[name] = path.read_bytes()
    return found


def differing(first: RunFolder, second: RunFolder, *left_out: str) -> list[str]:
    a, b = contents(first, *left_out), contents(second, *left_out)
    return [name for name in sorted({*a, *b}) if a.get(name) != b.get(name)]


def watch(workflow: Rounds) -> list[tuple[int, str]]:
    """(round, event) of everything that the workflow tells from now on."""
    seen: list[tuple[int, str]] = []
    for event in (Events.EPOCH_STARTED, *RoundEvents, Events.EPOCH_COMPLETED, Events.COMPLETED):
        workflow.add_event_handler(event, lambda engine, name=event.name: seen.append((engine.state.epoch - 1, name)))
    return seen


ROUND = ["EPOCH_STARTED", "TRAINED", "TRAINING_SCORED", "MARKED", "TEST_SCORED", "EPOCH_COMPLETED"]


# ---- two rounds ----


def test_events_come_in_order_and_every_round_is_completed(iltm, phantom):
    workflow = iltm(phantom)
    seen = watch(workflow)
    state = workflow.run()
    assert seen == [(index, name) for index in (0, 1) for name in ROUND] + [(1, "COMPLETED")]
    assert state.output == read_json(workflow.folder.round(1).record)
    assert state.output["verdict"] == "max_rounds"


def test_every_event_comes_when_its_files_are_there(iltm, phantom):
    workflow = iltm(phantom, max_rounds=1)
    folder, there = workflow.folder.round(0), {}
    marks = {"model": folder.model, "map": folder.maps / "training_0000_surprise.tif", "datalist": folder.datalist}
    marks |= {"calibration": folder.calibration, "metrics": folder.metrics, "record": folder.record}
    for event in (*RoundEvents, Events.EPOCH_COMPLETED):
        workflow.add_event_handler(
            event, lambda _, name=event.name: there.update({name: [k for k, path in marks.items() if path.exists()]})
        )
    workflow.run()
    assert list(there.values()) == [list(marks)[:n] for n in (1, 2, 4, 5, 6)]


def test_what_a_round_leaves_behind(reference, phantom):
    cases = [f"training_000{index}" for index in range(6)]
    first, second = reference.rounds()
    for folder in (first, second):
        assert sorted(path.stem for path in folder.masks.iterdir()) == cases
        assert sorted(path.name for path in folder.maps.glob("*.tif")) == [f"{case}_surprise.tif" for case in cases]
        for kind in ("surprise", "healed", "mask"):
            assert folder.test_file("testing_0001", kind)
        assert {row["case"] for row in read_csv(folder.scores)} == {"testing_0000", "testing_0001"}
        assert 0 <= read_json(folder.metrics)["auroc"] <= 1
        assert len(read_csv(folder.history)) == 3
        record = read_json(folder.record)
        share = np.mean([read_image(path).array > 0 for path in sorted(folder.masks.iterdir())])
        assert share == pytest.approx(0.1, abs=0.002)
        assert record["tokens"] == 6 * 64
        assert 0 < record["suspect_tokens"] < record["tokens"]
    record = read_json(second.record)
    change = abs(record["suspect_tokens"] - read_json(first.record)["suspect_tokens"])
    assert record["change"] == pytest.approx(change / read_json(first.record)["suspect_tokens"])
    assert 0 <= record["jaccard"] <= 1
    assert differing(RunFolder(first.path), RunFolder(second.path)) != []  # the second round is another one


def test_masks_are_kept_out_of_the_next_round(reference, phantom):
    """The datalist of round 0 holds every case with its mask, and that is what round 1 was trained on."""
    cases = load_cases(phantom, "training", reference.round(0).datalist, check=True)
    assert [case["mask"] for case in cases] == [str(reference.round(0).mask(case["case"])) for case in cases]


def test_the_calibrated_threshold_leaves_the_stated_share_of_the_training_voxels(reference):
    threshold = read_json(reference.round(1).calibration)["threshold"]
    maps = [read_image(path).array for path in sorted(reference.round(1).maps.glob("*.tif"))]
    assert np.mean(np.array(maps) > threshold) == pytest.approx(0.02, abs=0.001)
    mask = read_image(reference.round(1).test_file("testing_0000", "mask")).array > 0
    surprise = read_image(reference.round(1).test_file("testing_0000", "surprise")).array
    np.testing.assert_array_equal(mask, surprise > threshold)


def test_a_run_twice_is_the_same_run(iltm, reference, phantom):
    workflow = iltm(phantom)
    workflow.run()
    assert differing(workflow.folder, reference) == []


def test_another_seed_is_another_run(iltm, reference, phantom):
    workflow = iltm(phantom, seed=4, max_rounds=1)
    workflow.run()
    assert not same_weights(workflow.folder.round(0).model, reference.round(0).model)


def same_weights(first: Path, second: Path) -> bool:
    a, b = (torch.load(path, weights_only=True) for path in (first, second))
    return all(torch.equal(a[name], b[name]) for name in a)


# ---- taken up again ----


class Killed(BaseException):
    """As a kill: nothing in the program catches it."""


@pytest.mark.parametrize("point", [1, 5, 9, 12, 16, 22, 25, 31, 34, 41, 55, 62])
def test_a_run_that_dies_at_any_file_goes_on_to_the_same_end(iltm, reference, phantom, monkeypatch, point):
    """Every file comes into its place by os.replace; the program dies just before one of them."""
    replace, count = os.replace, 0

    def dying(source: str, target: str) -> None:
        nonlocal count
        count += 1
        if count == point:
            raise Killed
        replace(source, target)

    workflow = iltm(phantom)
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", dying)
        with pytest.raises(Killed):
            workflow.run()
    assert not workflow.folder.round(1).record.exists()
    again = iltm(phantom)
    again.run()
    leftovers = [name for name in contents(again.folder) if ".part-" in name]
    assert differing(again.folder, reference, *leftovers) == []


def test_a_finished_run_is_left_alone(iltm, copied, phantom):
    before = {path: path.stat().st_mtime_ns for path in copied.path.rglob("round_*/**/*") if path.is_file()}
    workflow = iltm(phantom)
    seen = watch(workflow)
    workflow.run()
    assert seen == []
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_more_rounds_go_on_where_a_run_ended(iltm, copied, phantom, tmp_path):
    workflow = iltm(phantom, max_rounds=3)
    seen = watch(workflow)
    assert workflow.run().output["round"] == 2
    assert {index for index, _ in seen} == {2}
    whole = iltm(phantom, tmp_path / "whole", max_rounds=3)
    whole.run()
    assert differing(copied, whole.folder) == []


def test_fewer_rounds_than_were_begun_end_the_run_in_its_record_too(iltm, copied, phantom):
    assert read_json(copied.round(0).record)["verdict"] == "continue"
    shutil.rmtree(copied.round(1).path)
    iltm(phantom, max_rounds=1).run()
    assert read_json(copied.round(0).record)["verdict"] == "max_rounds"
    assert len(copied.rounds()) == 1


def test_a_tolerance_that_ends_a_run_may_be_lowered(iltm, phantom):
    workflow = iltm(phantom, max_rounds=3, tolerance=100.0)
    assert workflow.run().output["verdict"] == "converged"
    assert len(workflow.folder.rounds()) == 2
    assert iltm(phantom, max_rounds=3, tolerance=100.0).run().output is None
    stricter = iltm(phantom, max_rounds=3, tolerance=0.0)
    assert stricter.run().output["verdict"] == "max_rounds"
    assert len(stricter.folder.rounds()) == 3


def test_data_that_moved_between_rounds_change_nothing(iltm, reference, data, tmp_path):
    iltm(data, max_rounds=1).run()
    moved = Path(shutil.move(data, tmp_path / "moved"))
    workflow = iltm(moved)
    workflow.run()
    assert differing(workflow.folder, reference, "round_00/round.json") == []


def test_another_setting_under_an_old_folder_is_refused_by_name(iltm, copied, phantom):
    with pytest.raises(InputError, match="setting vqvae::num_embeddings was 16, now 32"):
        iltm(phantom, num_codes=32).run()


# ---- the expert's say ----


def edit(folder: RunFolder, case: str, mask: np.ndarray) -> None:
    write_image(folder.round(0).masks / f"{case}.png", mask)


def test_a_round_that_was_removed_comes_again(iltm, copied, reference, phantom):
    shutil.rmtree(copied.round(1).path)
    iltm(phantom).run()
    assert differing(copied, reference) == []


def test_an_edited_mask_is_honoured_in_the_next_round(iltm, copied, reference, phantom):
    shutil.rmtree(copied.round(1).path)
    edit(copied, "training_0002", np.ones((32, 32), bool))
    left_out: dict[str, int] = {}
    workflow = iltm(phantom)

    @workflow.on(RoundEvents.TRAINED)
    def look(_: object) -> None:
        left_out.update(zip([case["case"] for case in workflow.cases("training")], suspects(workflow), strict=True))

    workflow.run()
    assert left_out["training_0002"] == 64
    assert left_out["training_0001"] < 64
    assert not same_weights(copied.round(1).model, reference.round(1).model)
    assert (read_image(copied.round(0).mask("training_0002")).array > 0).all()
    assert differing(RunFolder(copied.round(0).path), RunFolder(reference.round(0).path)) == [
        "masks/training_0002.png",
        "pooled.pt",
    ]


def suspects(workflow: Rounds) -> list[int]:
    return [int(row.sum()) for row in workflow.marks.made(workflow.folder.round(0), workflow.cases("training"))]


def test_locked_regions_of_the_datalist_are_honoured(iltm, data):
    left, right = np.zeros((32, 32), bool), np.zeros((32, 32), bool)
    left[:, :16], right[:, 16:] = True, True
    write_image(data / "locks/left.png", left)
    write_image(data / "locks/right.png", right)
    datalist = read_json(data / "datalist.json")
    datalist["training"][1] |= {"lock_normal": "locks/left.png", "lock_anomalous": "locks/right.png"}
    write_json(data / "datalist.json", datalist)
    workflow = iltm(data)
    workflow.run()
    for folder in workflow.folder.rounds():
        np.testing.assert_array_equal(read_image(folder.mask("training_0001")).array > 0, right)


def test_a_region_that_is_locked_after_a_run_holds_in_the_rounds_to_come(iltm, data):
    iltm(data, max_rounds=1).run()
    datalist, everywhere = read_json(data / "datalist.json"), np.ones((32, 32), bool)
    write_image(data / "locks/all.png", everywhere)
    datalist["training"][1]["lock_anomalous"] = "locks/all.png"
    write_json(data / "datalist.json", datalist)
    workflow = iltm(data)
    workflow.run()
    for folder in workflow.folder.rounds():
        np.testing.assert_array_equal(read_image(folder.mask("training_0001")).array > 0, everywhere)


# ---- what else may be asked ----


def test_skipped_cases_are_in_no_round(iltm, data):
    path = data / "images/training_0003.png"
    path.write_bytes(path.read_bytes()[:60])
    workflow = iltm(data, max_rounds=1, skip_bad=True)
    workflow.run()
    assert [row["case"] for row in read_csv(workflow.folder.path / "skipped.csv")] == ["training_0003"]
    assert workflow.folder.round(0).mask("training_0003") is None
    assert workflow.folder.round(0).mask("training_0004")
    assert read_json(workflow.folder.round(0).record)["tokens"] == 5 * 64


def test_without_test_cases_there_are_rounds_all_the_same(iltm, data):
    datalist = read_json(data / "datalist.json")
    write_json(data / "datalist.json", {"training": datalist["training"]})
    workflow = iltm(data)
    workflow.run()
    assert len(workflow.folder.rounds()) == 2
    assert not workflow.folder.round(1).test.exists()
    assert not workflow.folder.round(1).metrics.exists()


def test_without_labels_there_are_maps_but_no_figures(iltm, data):
    datalist = read_json(data / "datalist.json")
    bare = {name: [{k: e[k] for k in ("case", "image")} for e in part] for name, part in datalist.items()}
    write_json(data / "datalist.json", bare)
    workflow = iltm(data, max_rounds=1)
    record = workflow.run().output
    folder = workflow.folder.round(0)
    assert record["training_mask"] == {}
    assert folder.test_file("testing_0000", "surprise")
    assert folder.scores.is_file()
    assert not folder.metrics.exists()


def test_labels_that_come_after_a_run_give_its_rounds_figures(iltm, data, reference):
    datalist = read_json(data / "datalist.json")
    bare = {name: [{k: e[k] for k in ("case", "image")} for e in part] for name, part in datalist.items()}
    write_json(data / "datalist.json", bare)
    iltm(data).run()
    write_json(data / "datalist.json", datalist)
    workflow = iltm(data)
    workflow.run()
    for folder, other in zip(workflow.folder.rounds(), reference.rounds(), strict=True):
        assert read_json(folder.metrics) == read_json(other.metrics)


@pytest.mark.parametrize("density", [1e-300, 1e30])
def test_masks_that_collapse_end_the_rounds(iltm, phantom, density):
    """No voxel is as unlikely as the one, every one is less dense than the other."""
    workflow = iltm(phantom, max_rounds=3, mask_share=None, mask_density=density, alpha=0.2)
    record = workflow.run().output
    assert record["verdict"] == "collapsed"
    assert record["suspect_tokens"] == (0 if density < 1 else record["tokens"])
    assert len(workflow.folder.rounds()) == 1


def test_the_papers_order_with_a_falling_threshold_and_a_warm_start(iltm, phantom, tmp_path):
    flags = {"alpha": None, "threshold_times_uniform": 1.2, "flag_decay": 0.125, "looks": 1}
    workflow = iltm(phantom, order="raster", warm_start=True, **flags)
    workflow.run()
    records = [read_json(folder.record) for folder in workflow.folder.rounds()]
    assert [record["threshold_times_uniform"] for record in records] == pytest.approx([1.2, 1.05])
    cold = iltm(phantom, tmp_path / "cold", order="raster", **flags)
    cold.run()
    assert same_weights(workflow.folder.round(0).model, cold.folder.round(0).model)
    assert not same_weights(workflow.folder.round(1).model, cold.folder.round(1).model)


def test_both_ends_of_the_bracket_and_what_learns_nothing(iltm, copied, phantom):
    workflow = iltm(phantom)
    network = VQVAE(2, 1, (8, 8), 1, num_embeddings=16, embedding_dim=8)
    Yardsticks(workflow.marks.preprocessing, network).measure(workflow)
    assert read_json(copied.trivial).keys() == {"raw_intensity", "robust_z", "vqvae_residual"}
    for name in ("oracle", "clean"):
        folder = copied.bracket(name)
        assert folder.record.is_file()
        assert 0 <= read_json(folder.metrics)["auroc"] <= 1
        assert not same_weights(folder.model, copied.round(0).model)
    oracle = load_cases(phantom, "training", copied.bracket("oracle").datalist)
    assert [case["mask"] for case in oracle] == [str(phantom / f"labels/{case['case']}.png") for case in oracle]
    before = contents(copied)
    Yardsticks(workflow.marks.preprocessing, network).measure(iltm(phantom))
    assert contents(copied) == before


def test_the_brackets_priors_wait_from_the_first_round_on(iltm, phantom):
    """In one process for their measuring, where both are trained."""
    workflow = iltm(phantom, max_rounds=1)
    network = VQVAE(2, 1, (8, 8), 1, num_embeddings=16, embedding_dim=8)
    for bracket in (True, False):
        Yardsticks(workflow.marks.preprocessing, network, bracket).attach(workflow)
    workflow.run()
    assert [one.folder.title for one in workflow.stages.waiting] == ["bracket clean", "bracket oracle"]
    assert not any(one.folder.model.is_file() for one in workflow.stages.waiting)


def test_the_bracket_is_scored_with_the_flags_of_the_last_round(iltm, phantom, monkeypatch):
    workflow, told = iltm(phantom, alpha=0.2, flag_decay=0.25), []
    run = workflow.folder
    for index in (0, 1):
        write_json(run.round(index).record, {})
    monkeypatch.setattr(stages, "run_stage", lambda *words: told.append(words[2]["inferer::alpha"]))
    for folder in (run.round(0), run.round(1), run.bracket("oracle")):
        workflow.score(folder, folder.test, "testing")
    assert told == pytest.approx([0.2, 0.15, 0.15])


def test_the_bracket_is_scored_anew_where_rounds_were_added(iltm, phantom, tmp_path):
    """Its prior stays; flags and threshold are those of the new last round, whatever was there."""
    folders = []
    for name, ends in (("grown", (1, 2)), ("whole", (2,))):
        for rounds in ends:
            workflow = iltm(phantom, tmp_path / name, alpha=0.2, flag_decay=0.5, max_rounds=rounds)
            workflow.run()
            folder = workflow.folder.bracket("oracle")
            workflow.stages.train_all(Training(folder, workflow.folder.datalist))
            workflow.score_test(folder)
        folders.append(folder)
    assert differing(*map(RunFolder, (folder.path for folder in folders))) == []
    assert read_json(folders[0].test / "source.json")["inferer::alpha"] == 0.1


def test_the_bundle_holds_the_last_rounds_weights_and_the_runs_settings(iltm, copied, phantom):
    workflow = iltm(phantom)
    for _ in range(2):  # an old bundle is replaced
        package_bundle(copied, workflow.method, workflow.settings)
        (copied.bundle / "output").mkdir(exist_ok=True)
        (copied.bundle / "output" / "a_map.tif").write_bytes(b"somebody's")
    assert (copied.bundle / "models" / "model.pt").read_bytes() == copied.round(1).model.read_bytes()
    config = read_json(copied.bundle / "configs" / "inference.json")
    assert config["surprise_threshold"] == read_json(copied.round(1).calibration)["threshold"]
    assert config["vqvae"]["num_embeddings"] == 16
    assert config["inferer"]["alpha"] == 0.2
    assert config["images"]["size"] == [32, 32]
    assert config["images"]["expected_range"] == [0, 255]
    assert config["bundle_root"] == "."
    assert str(phantom) not in (copied.bundle / "configs" / "inference.json").read_text()
    shape = read_json(copied.bundle / "configs" / "metadata.json")["network_data_format"]["inputs"]["image"]
    assert shape["spatial_shape"] == [32, 32]
    assert not list(copied.path.glob(".part-*"))
    assert (copied.bundle / "output" / "a_map.tif").read_bytes() == b"somebody's"


@pytest.mark.parametrize("damage", ["model", "nan", "threshold"])
def test_what_is_damaged_does_not_take_the_place_of_a_sound_bundle(iltm, copied, phantom, damage):
    workflow, last = iltm(phantom), copied.round(1)
    told = workflow.method, workflow.settings
    package_bundle(copied, *told)
    before = {path: path.read_bytes() for path in copied.bundle.rglob("*") if path.is_file()}
    if damage == "model":
        last.model.write_bytes(last.model.read_bytes()[:-2000])
    elif damage == "nan":
        state = read_saved(last.model)
        next(iter(state.values())).fill_(float("nan"))
        save_in_one_step(last.model, state)
    else:
        write_json(last.calibration, {"threshold": float("nan")})
    with pytest.raises(InputError, match=r"round_01/(model\.pt|calibration\.json): .*remove .*same command"):
        package_bundle(copied, *told)
    assert {path: path.read_bytes() for path in copied.bundle.rglob("*") if path.is_file()} == before
    assert not list(copied.path.glob(".part-*"))


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"mask_density": 0.3}, r"exactly one of mask_density and mask_share is given, found 0.3 and 0.1; .*\$None"),
        ({"threshold": 0.005}, r"exactly one of alpha, threshold, .* found \{'alpha': 0.2, 'threshold': 0.005\}"),
        ({"draws": 0}, "draws is a whole number of at least 1, found 0"),
    ],
)
def test_what_scoring_would_refuse_is_refused_before_the_first_stage(iltm, phantom, tmp_path, settings, line):
    with pytest.raises((InputError, RuntimeError)) as caught:  # MONAI wraps what a component raises
        iltm(phantom, **settings)
    assert re.search(line, str(plain_line(caught.value)))
    assert not (tmp_path / "run" / "vqvae").exists()
