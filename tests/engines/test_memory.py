"""What the stages will take is told before they start, and what does not fit is refused."""

from __future__ import annotations

import re
from math import prod
from pathlib import Path

import pytest
import torch

from monai_iltm.data.documents import write_json
from monai_iltm.data.errors import InputError
from monai_iltm.engines import footprint, memory
from monai_iltm.engines.method import read_method
from monai_iltm.engines.names import NAMES, full_id
from monai_iltm.engines.names import SETTINGS as SETTINGS_ID
from monai_iltm.networks import VQVAE, LatentPrior, MaskedTransformer, attention, token_grid
from monai_iltm.store import RunFolder

CPU = torch.device("cpu")
METHOD = read_method(Path(__file__).resolve().parents[2] / "bundles", "iltm")
SETTINGS = {
    "image_size": [32, 32],
    "image_channels": 1,
    "vqvae_batch_size": 4,
    "prior_batch_size": 4,
    "augmented_versions": 0,
    "spectral_weight": 1.0,
    "amp": False,
    "cache_rate": 1.0,
    "keep_gib": 1.0,
    "side_by_side": True,
    "threshold_times_uniform": 4.0,
    "draws": 5,
    "decodes": 2,
    "at_once": 2,
}


def network(size: tuple[int, ...] = (32, 32), order: str = "any") -> LatentPrior:
    vqvae = VQVAE(len(size), 1, (8, 8), 1, 16, 8)
    return LatentPrior(vqvae, MaskedTransformer(16, token_grid(size, vqvae), 16, 2, 2, order))


@pytest.fixture
def run(tmp_path) -> RunFolder:
    folder = RunFolder(tmp_path)
    write_json(folder.datalist, {"training": [{"case": f"{n}"} for n in range(1000)]})
    return folder


@pytest.fixture
def machine(monkeypatch):
    """This process holds 1 GiB, and so many GiB are free."""

    def of(free: float | None) -> None:
        there = None if free is None else int(free * memory.GIB)
        monkeypatch.setattr(memory, "resident_bytes", lambda device: memory.GIB)
        monkeypatch.setattr(memory, "free_bytes", lambda device: there)

    return of


def plan(run: RunFolder, memory_gib: float | None = None, *, net: LatentPrior | None = None, **settings):
    """The planner's choices by short name, of settings by short name."""
    told = as_stages_take({**SETTINGS, **settings})
    chosen = memory.plan(run, METHOD, told, net or network(), CPU, memory_gib)
    short = {one.removeprefix(f"{SETTINGS_ID}::"): name for name, one in NAMES.items()}
    return {short.get(one, one): value for one, value in chosen.items()}


def as_stages_take(settings: dict) -> dict:
    return {full_id(name).removeprefix(f"{SETTINGS_ID}::"): value for name, value in settings.items()}


def test_where_there_is_room_nothing_changes(run, machine, capsys):
    machine(8)
    assert plan(run) == {**SETTINGS, "keep_gib": 0.0}  # the reconstructions are held whole
    told = capsys.readouterr().out
    assert re.search(r"GiB of 9\.0 a process: VQ-VAE 1\.\d, prior 1\.\d, scoring 1\.\d; 100% of the images held", told)


def test_fewer_images_are_held_where_memory_is_short(run, machine, monkeypatch):
    machine(8)
    monkeypatch.setattr(memory, "LIBRARIES", dict.fromkeys(memory.LIBRARIES, 0))
    step = memory.vqvae_step_bytes(network().vqvae, (8, 8), SETTINGS, CPU).at(4 * 32 * 32)
    images = 100_000 * 32 * 32 * 4
    write_json(run.datalist, {"training": [{"case": f"{n}"} for n in range(100_000)]})
    assert plan(run, memory_gib=(memory.GIB + step + images / 2) / memory.GIB)["cache_rate"] == 0.49
    assert plan(run, memory_gib=8, cache_rate=0.25)["cache_rate"] == 0.25  # never more than asked for


@pytest.mark.parametrize(("stage", "batch"), [("VQ-VAE", "vqvae_batch_size"), ("prior", "prior_batch_size")])
def test_a_batch_that_does_not_fit_is_refused_with_one_that_would(run, machine, stage, batch):
    machine(8)
    with pytest.raises(InputError, match=rf"^{stage} needs \d+\.\d GiB, 1\.5 are there: --{batch} (\d+) ") as refused:
        plan(run, memory_gib=1.5, **{batch: 100_000})
    fits = int(re.search(r"size (\d+)", str(refused.value)).group(1))
    plan(run, memory_gib=1.5, **{batch: fits})
    with pytest.raises(InputError):
        plan(run, memory_gib=1.5, **{batch: 2 * fits})


def test_what_fits_in_no_way_is_refused(run, machine):
    machine(0.01)
    with pytest.raises(InputError, match="smaller images"):
        plan(run)
    machine(8)
    with pytest.raises(InputError, match=r"scoring needs .* fewer draws"):
        plan(run, memory_gib=1.2, draws=60, decodes=500)


def test_a_stage_that_is_done_is_not_asked(run, machine):
    machine(8)
    run.vqvae.mkdir()
    (run.vqvae / "model.pt").touch()
    plan(run, memory_gib=1.5, vqvae_batch_size=100_000)


def test_ranks_share_what_is_free(run, machine, monkeypatch, capsys):
    machine(8)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    monkeypatch.setattr(memory, "trainers", lambda: 4)
    plan(run)
    assert "GiB of 3.0 a process:" in capsys.readouterr().out
    monkeypatch.setattr(memory, "trainers", lambda: 1)
    plan(run)
    assert "GiB of 3.0 a process, 9.0 to train:" in capsys.readouterr().out


def test_ranks_share_a_batch(run, machine, monkeypatch):
    machine(8)
    alone = {**SETTINGS, "vqvae_batch_size": 8, "prior_batch_size": 8}
    needs = [memory.prior_step_bytes(network().transformer, SETTINGS, CPU)]
    monkeypatch.setattr(memory, "trainers", lambda: 2)
    needs.append(memory.prior_step_bytes(network().transformer, alone, CPU))
    assert needs[0] == needs[1]
    with pytest.raises(InputError, match=r"--vqvae_batch_size (\d*[02468]) would fit"):
        plan(run, memory_gib=1.5, vqvae_batch_size=100_000)


@pytest.mark.parametrize(("asked", "need", "chosen"), [(True, 4.9, True), (True, 5.1, False), (False, 4.9, False)])
def test_priors_train_side_by_side_where_each_fits_its_share(run, machine, monkeypatch, asked, need, chosen):
    """Of 9 GiB, 1 of them this process's own, each of two has 5; one that trains alone has all."""
    machine(8)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setattr(memory, "prior_step_bytes", lambda *_: memory.Line((need - 1) * memory.GIB, 0.0))
    assert plan(run, side_by_side=asked)["side_by_side"] is chosen


def test_where_the_system_does_not_tell_nothing_is_planned(run, machine, capsys):
    machine(None)
    assert plan(run) == SETTINGS
    assert not capsys.readouterr().out


def test_features_are_kept_as_far_as_there_is_room(run, machine, monkeypatch):
    machine(8)
    monkeypatch.setattr(memory, "MOST_HELD", 0)
    size = (512, 512)
    features = 5 * 8 * 256 * 256 * 4 / memory.GIB
    told = {**SETTINGS, "image_size": list(size), "vqvae_batch_size": 1, "prior_batch_size": 1, "groups": 1}
    chosen = plan(run, net=network(size), **told)
    assert chosen["keep_gib"] == pytest.approx(features, abs=0.006)


def test_features_are_kept_no_further_than_there_is_room(run, machine, monkeypatch):
    machine(8)
    monkeypatch.setattr(memory, "scoring_bytes", lambda *_: (2.0 * memory.GIB, 3.0 * memory.GIB))
    assert plan(run)["keep_gib"] == 3.0
    assert plan(run, memory_gib=4.5)["keep_gib"] == 1.5


@pytest.mark.parametrize("order", ["raster", "any"])
def test_the_line_through_small_tries_meets_a_larger_one(order, monkeypatch):
    """Predicted from at most half the size, the tensors of the whole step are met within a quarter."""
    size = (96, 96)
    net, settings = network(size, order), {**SETTINGS, "image_size": list(size)}
    steps = (
        (lambda: memory.vqvae_step_bytes(net.vqvae, net.transformer.grid, settings, CPU), 4 * prod(size)),
        (lambda: memory.prior_step_bytes(net.transformer, settings, CPU), 4 * net.transformer.length),
        (lambda: memory.healing_bytes(net.transformer, settings, CPU), net.transformer.length),
    )
    monkeypatch.setattr(memory, "LIBRARIES", dict.fromkeys(memory.LIBRARIES, 0))
    monkeypatch.setattr(attention, "MOST_KEPT", 0)  # as in long sequences
    for step, whole in steps:
        monkeypatch.setattr(memory, "VOXELS", (2**11, 2**13))
        monkeypatch.setattr(memory, "TOKENS", (2**6, 2**8))
        predicted = step().at(whole)
        monkeypatch.setattr(memory, "VOXELS", (2**20, 2**20))
        monkeypatch.setattr(memory, "TOKENS", (2**20, 2**20))
        assert predicted == pytest.approx(step().at(whole), rel=0.25)


def test_planning_draws_nothing_and_changes_no_weight(run, machine):
    machine(8)
    net = network()
    before, state = {key: value.clone() for key, value in net.state_dict().items()}, torch.random.get_rng_state()
    plan(run, net=net)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


def test_files_that_were_read_are_no_memory_in_use(tmp_path, monkeypatch):
    if not Path("/proc/meminfo").exists():
        pytest.skip("no /proc")
    monkeypatch.setattr(footprint, "CGROUP", tmp_path)
    for name, content in {"max": "5000", "current": "4000", "stat": "anon 1000\ninactive_file 2500\n"}.items():
        (tmp_path / f"memory.{name}").write_text(content)
    assert memory.free_bytes(CPU) == 3500
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.free_bytes(CPU) > 5000


def test_this_machine_tells_its_memory():
    if not Path("/proc/self/statm").exists():
        pytest.skip("no /proc")
    assert 0 < memory.resident_bytes(CPU) < 2**40
    assert 0 < memory.free_bytes(CPU) < 2**50
