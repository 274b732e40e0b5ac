from __future__ import annotations

import json
from pathlib import Path

import ignite.distributed as idist
import pytest
import torch
from torch import nn

from monai_iltm.data.errors import InputError
from monai_iltm.distributed import barrier, inner, is_main, own_share, parallel, rank_device
from monai_iltm.engines import stages
from monai_iltm.engines.method import config_files, read_method, run_stage
from monai_iltm.engines.stages import Stages, Training
from monai_iltm.store import RunFolder

METHOD = read_method(Path(__file__).resolve().parents[2] / "bundles", "iltm")


@pytest.fixture
def bundle(tmp_path) -> Path:
    """A bundle of two configs that write down their values."""
    told = "$pathlib.Path(@output_dir).write_text(str([@width, @name, @doubled]))"
    config = {"imports": ["$import pathlib"], "width": 4, "name": "a", "doubled": "$2 * @width", "output_dir": "x"}
    folder = tmp_path / "bundle" / "configs"
    folder.mkdir(parents=True)
    config |= {"initialize": [], "run": [told]}
    for name, content in (("train", config), ("inference", config), ("evaluate", {"name": "over"})):
        (folder / f"{name}.json").write_text(json.dumps(content))
    (folder / "metadata.json").write_text('{"version": "0"}')
    logging = "[loggers]\nkeys=root\n[handlers]\nkeys=\n[formatters]\nkeys=\n[logger_root]\nlevel=INFO\nhandlers=\n"
    (folder / "logging.conf").write_text(logging)
    return folder.parent


def told(bundle: Path, config: str, settings: dict) -> str:
    out = bundle.parent / "told"
    run_stage(bundle, config, {**settings, "output_dir": str(out)})
    return out.read_text()


def test_a_stage_takes_settings_and_must_know_them(bundle):
    assert told(bundle, "train", {}) == "[4, 'a', 8]"
    assert told(bundle, "train", {"width": 5}) == "[5, 'a', 10]"
    with pytest.raises(InputError, match="bundle: train holds no other, unknown"):
        told(bundle, "train", {"unknown": 1, "other": 2})


def test_evaluation_lies_over_inference(bundle):
    assert told(bundle, "inference", {}) == "[4, 'a', 8]"
    assert told(bundle, "evaluate", {"width": 1}) == "[1, 'over', 2]"
    assert [path.name for path in config_files(bundle, "evaluate")] == ["inference.json", "evaluate.json"]


def test_a_bundle_that_is_not_there_is_told(bundle):
    with pytest.raises(InputError, match=r"nowhere/configs/train\.json: bundle config not found"):
        run_stage(bundle.parent / "nowhere", "train", {})
    with pytest.raises(InputError, match=r"configs/other\.json: bundle config not found"):
        config_files(bundle, "other")


# ---- one process or many ----


@pytest.fixture
def trained(tmp_path, monkeypatch) -> list[tuple[str, str, str]]:
    """Folder, name of the bar and split of every stage that is run, without running it."""
    trained: list[tuple[str, str, str]] = []

    def pretend(bundle, config, settings) -> None:
        trained.append((Path(settings["output_dir"]).name, settings["stage_name"], settings["cases::split"]))
        (tmp_path / settings["output_dir"]).mkdir(parents=True)
        (tmp_path / settings["output_dir"] / "model.pt").touch()

    monkeypatch.setattr(stages, "train", lambda jobs: [job() for job in jobs])
    monkeypatch.setattr(stages, "run_stage", pretend)
    return trained


@pytest.fixture
def run(tmp_path) -> RunFolder:
    """Whose stage 1 is done."""
    folder = RunFolder(tmp_path)
    folder.vqvae.mkdir()
    (folder.vqvae / "model.pt").touch()
    return folder


@pytest.mark.parametrize(
    ("world", "trainers", "fits", "beside"),
    [(2, 1, True, True), (4, 1, True, True), (1, 1, True, False), (2, 2, True, False), (2, 1, False, False)],
)
def test_a_prior_that_waits_trains_beside_a_rounds_where_a_process_is_free(
    run, trained, monkeypatch, world, trainers, fits, beside
):
    """One a round, in order; which are trained at once stands in the name of the bar."""
    monkeypatch.setattr(idist, "get_world_size", lambda: world)
    monkeypatch.setattr(stages, "trainers", lambda: trainers)
    part = Stages(run, METHOD, {"side_by_side": fits})
    ends = [Training(run.bracket("clean"), run.datalist, "clean"), Training(run.bracket("oracle"), run.datalist)]
    part.waiting.extend(ends)
    for index in range(3):
        part.train_round(Training(run.round(index), run.datalist))
    part.train_all(*ends)  # what is left of them
    apart = [(f"round_0{index}", f"round {index}: prior", "training") for index in range(3)]
    left = [("clean", "clean"), ("oracle", "training")]
    if beside:
        for index, (name, split) in enumerate(left):
            both = f"round {index} and bracket {name}: prior"
            apart[2 * index : 2 * index + 1] = [(f"round_0{index}", both, "training"), (name, both, split)]
    else:
        apart += [(name, "bracket clean and bracket oracle: prior", split) for name, split in left]
    assert trained == apart


def test_images_that_round_0_encodes_are_not_read_beside_it(run, trained, monkeypatch):
    monkeypatch.setattr(idist, "get_world_size", lambda: 2)
    monkeypatch.setattr(stages, "trainers", lambda: 1)
    part = Stages(run, METHOD, {"side_by_side": True})
    part.waiting.append(Training(run.bracket("oracle"), run.datalist))
    for index in range(2):
        part.train_round(Training(run.round(index), run.datalist))
    assert [folder for folder, *_ in trained] == ["round_00", "round_01", "oracle"]


@pytest.mark.parametrize("world", [1, 2, 3, 5])
def test_every_case_has_one_rank(monkeypatch, world):
    monkeypatch.setattr(idist, "get_world_size", lambda: world)
    shares = []
    for rank in range(world):
        monkeypatch.setattr(idist, "get_rank", lambda rank=rank: rank)
        shares.append(own_share(list("abcd")))
        assert is_main() == (rank == 0)
    assert sorted(case for share in shares for case in share) == list("abcd")
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_alone_nothing_is_wrapped_and_nobody_waited_for():
    network = nn.Linear(2, 2)
    assert parallel(network, torch.device("cpu")) is network
    assert inner(network) is network
    assert rank_device().type == ("cuda" if torch.cuda.is_available() else "cpu")
    barrier()
