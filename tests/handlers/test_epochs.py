from __future__ import annotations

from itertools import count
from types import SimpleNamespace

import pytest
import torch
from ignite.engine import Engine, Events
from monai.transforms import RandScaleIntensity

from monai_iltm.data.documents import read_csv
from monai_iltm.engines.batches import GlobalBatches
from monai_iltm.handlers import EpochHistory, EpochSeed, StageProgress


class KilledError(Exception):
    """What ends a run in the middle."""


def run(path, losses, epochs: int = 3, start: int = 0, stop: int | None = None, extra=None) -> None:
    """Two steps an epoch; killed at the start of epoch ``stop``."""
    source = iter(losses)
    engine = Engine(lambda *_: {"loss": next(source), "part": 1.0})
    EpochHistory(path, extra).attach(engine)

    @engine.on(Events.EPOCH_STARTED)
    def kill(engine: Engine) -> None:
        if engine.state.epoch == stop:
            raise KilledError

    engine.load_state_dict({"epoch": start, "epoch_length": 2, "max_epochs": epochs})
    engine.run([0, 1])


def test_a_row_an_epoch_holds_the_means_of_its_steps(tmp_path):
    losses = [1.0, 2.0, 3.0, 5.0, 7.0, 9.0]
    run(tmp_path / "history.csv", losses, extra=lambda engine: {"twice": 2 * engine.state.epoch})
    rows = read_csv(tmp_path / "history.csv")
    assert [(row["epoch"], float(row["loss"]), float(row["part"]), row["twice"]) for row in rows] == [
        ("1", 1.5, 1.0, "2"),
        ("2", 4.0, 1.0, "4"),
        ("3", 8.0, 1.0, "6"),
    ]
    assert all(float(row["seconds"]) >= 0 for row in rows)


def test_after_a_resume_repeated_epochs_stand_once(tmp_path):
    """Killed in epoch 3, after the rows of 1 and 2; the checkpoint is that of epoch 1, so 2 is repeated."""
    path = tmp_path / "history.csv"
    with pytest.raises(KilledError):
        run(path, [1.0, 1.0, 2.0, 2.0], stop=3)
    run(path, [20.0, 20.0, 30.0, 30.0], start=1)
    assert [(row["epoch"], float(row["loss"])) for row in read_csv(path)] == [("1", 1), ("2", 20), ("3", 30)]


def test_a_new_beginning_forgets_the_old_rows(tmp_path):
    path = tmp_path / "history.csv"
    run(path, count())
    run(path, [5.0, 5.0], epochs=1)
    assert [float(row["loss"]) for row in read_csv(path)] == [5.0]


# ---- randomness ----


def draws(seed: int, epochs: range, transform=None) -> list[tuple]:
    """What sampler, global generator and transform give in each of these epochs."""
    sampler, seen = GlobalBatches(7, 3), []
    engine = Engine(lambda *_: None)
    engine.data_loader = SimpleNamespace(batch_sampler=sampler, dataset=SimpleNamespace(transform=transform))
    EpochSeed(seed).attach(engine)

    @engine.on(Events.EPOCH_COMPLETED)
    def note(_: Engine) -> None:
        scaled = transform(torch.ones(1, 2)).flatten().tolist() if transform else None
        seen.append((list(sampler), torch.rand(2).tolist(), scaled))

    engine.load_state_dict({"epoch": epochs.start - 1, "epoch_length": 1, "max_epochs": epochs.stop - 1})
    engine.run([0])
    return seen


def test_a_resumed_run_draws_as_an_undisturbed_one():
    transform = RandScaleIntensity(0.5, prob=1.0)
    whole = draws(3, range(1, 5), transform)
    assert draws(3, range(3, 5), transform) == whole[2:]
    for part in range(3):
        assert len({str(epoch[part]) for epoch in whole}) == 4  # every epoch draws anew
    other = draws(4, range(1, 5), transform)
    assert all(other[epoch][1:] != whole[epoch][1:] for epoch in range(4))


# ---- progress ----


def test_the_bar_counts_epochs_and_shows_the_loss(capsys):
    engine = Engine(lambda *_: {"loss": 0.1234})
    bar = StageProgress("round 1: prior")
    bar.attach(engine)
    engine.run([0], max_epochs=3)
    assert bar.bar is None
    told = capsys.readouterr().err
    assert "round 1: prior" in told
    assert "3/3" in told
    assert "loss=0.1234" in told
