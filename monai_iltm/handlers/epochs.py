"""What goes with every epoch of a training stage: its random numbers, its line in the history, its progress."""

from __future__ import annotations

import os
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from monai.config import PathLike
from tqdm import tqdm

from monai_iltm.data.documents import write_csv
from monai_iltm.data.records import read_rows

SLOW_REDRAW = 15.0  # seconds between lines where the output is no terminal


class EpochSeed:
    """An epoch's randomness depends on the seed and its number alone, so that a resumed run repeats an undisturbed one.

    The engine's loader has a batch sampler with ``set_epoch``, such as ``GlobalBatches``, and a dataset whose
    transform, where it has one, is one of MONAI's with ``set_random_state``.

    Args:
        seed: of the stage.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Any) -> None:
        loader = engine.data_loader
        loader.batch_sampler.set_epoch(engine.state.epoch)
        seed = self.seed + 7919 * engine.state.epoch + 104_729 * idist.get_rank()
        torch.manual_seed(seed)  # dropout takes no generator: the global one is set, differently on every rank
        if getattr(loader.dataset, "transform", None) is not None:
            loader.dataset.transform.set_random_state(seed=seed)


class EpochHistory:
    """Writes a row an epoch: the means of what the steps return, seconds, and what ``extra`` adds.

    Args:
        path: CSV file; rows of a killed run are kept up to the epoch that is repeated.
        extra: engine -> further numbers, taken at the end of the epoch.
    """

    def __init__(self, path: PathLike, extra: Callable[[Engine], dict[str, float]] | None = None) -> None:
        self.path, self.extra = Path(path), extra
        self.sums: dict[str, float] = defaultdict(float)
        self.began = 0.0

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_STARTED, self.start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.add)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.write)

    def start(self, engine: Engine) -> None:
        self.sums.clear()
        self.began = time.monotonic()

    def add(self, engine: Engine) -> None:
        for name, value in engine.state.output.items():  # type: ignore[union-attr]
            self.sums[name] += value

    def write(self, engine: Engine) -> None:
        epoch, steps = engine.state.epoch, engine.state.epoch_length or 1
        steps *= idist.get_world_size()  # every rank took as many; gloo has no mean of its own
        means = {name: float(idist.all_reduce(total)) / steps for name, total in self.sums.items()}
        row = {"epoch": epoch, **means, **(self.extra(engine) if self.extra else {})}
        row["seconds"] = round(time.monotonic() - self.began, 3)
        if idist.get_rank() == 0:
            before = self._before() if epoch > 1 and self.path.is_file() else []
            write_csv(self.path, [*(line for line in before if int(line["epoch"]) < epoch), row])

    def _before(self) -> list[dict[str, str]]:
        remedy = "remove it, and the same command goes on; the curve then begins where it does"
        return read_rows(self.path, {"epoch": int}, remedy)


class StageProgress:
    """A bar over the epochs of a stage with the time left and the last loss, in one process.

    Args:
        name: what the bar is called, such as "round 1: prior".
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.bar: tqdm | None = None

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_STARTED, self.open)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.move)
        engine.add_event_handler(Events.COMPLETED, self.close)

    def open(self, engine: Engine) -> None:
        if self.bar is None and draws_bars():
            done = engine.state.epoch - 1
            total = engine.state.max_epochs
            self.bar = tqdm(desc=self.name, total=total, initial=done, unit="epoch", mininterval=redraw_seconds())

    def move(self, engine: Engine) -> None:
        if self.bar is not None:
            self.bar.set_postfix(loss=f"{engine.state.output['loss']:.4f}", refresh=False)  # type: ignore[index]
            self.bar.update()

    def close(self, engine: Engine) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None


def draws_bars() -> bool:
    """Whether this process shows how far it is: the first of torchrun's, be they joined at the moment or not."""
    return os.environ.get("RANK", "0") == "0"


def redraw_seconds() -> float:
    """How often a bar is drawn anew: a log file gets few lines."""
    return 0.2 if sys.stderr.isatty() else SLOW_REDRAW
