"""What scoring leaves on disk: maps, healed means and masks in the image's own grid, a record a case."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Engine, Events
from monai.config import PathLike
from monai.utils import convert_to_numpy
from tqdm import tqdm

from monai_iltm.data.contamination import sha256
from monai_iltm.data.documents import write_json
from monai_iltm.data.images import write_image
from monai_iltm.handlers.epochs import draws_bars, redraw_seconds
from monai_iltm.store import ResultFolder, result_name

INTENSITIES = ("lowest", "mean", "highest")  # of the image, as the preprocessing found them


class SaveResults:
    """Writes every case's results after its iteration, its record last: a case is done if its record exists.

    Args:
        output_dir: folder of the results.
        kinds: images among the results, by key, such as "surprise" and "healed"; "mask" is made from "pred" where that
            is a label map. What is not there is left out.
    """

    def __init__(self, output_dir: PathLike, kinds: Sequence[str] = ("surprise", "healed", "mask")) -> None:
        self.results, self.kinds = ResultFolder(Path(output_dir)), kinds
        self.began = 0.0

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.ITERATION_STARTED, self.start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def start(self, engine: Engine) -> None:
        self.began = time.monotonic()

    def __call__(self, engine: Engine) -> None:
        state: Any = engine.state  # MONAI has decollated both into lists of cases
        seconds = (time.monotonic() - self.began) / len(state.output)
        for item, result in zip(state.batch, state.output, strict=True):
            self._save(item, result, seconds)

    def _save(self, item: dict[str, Any], result: dict[str, Any], seconds: float) -> None:
        case, path = item["case"], item["image"].meta["filename_or_obj"]
        arrays = {kind: result[kind] for kind in self.kinds if kind in result}
        if "mask" in self.kinds and result["pred"] is not result["surprise"]:
            arrays["mask"] = result["pred"] > 0
        for kind, array in arrays.items():
            write_image(
                self.results.path / result_name(case, kind, path), _channel_last(convert_to_numpy(array)), like=path
            )
        numbers = {name: convert_to_numpy(value).tolist() for name, value in result["numbers"].items()}
        record = {"numbers": numbers} | {name: float(item[name]) for name in INTENSITIES if name in item}
        record |= {"warning": item["warning"]} if item.get("warning") else {}
        write_json(self.results.record(case), {**record, "seconds": round(seconds, 3), "image": sha256(path)})


class CaseProgress:
    """A bar over the cases of a scoring stage with the time left, in one process; it counts what all ranks have taken.

    Args:
        name: what the bar is called, such as "round 1: training maps".
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.bar: tqdm | None = None

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self.open)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.move)
        engine.add_event_handler(Events.COMPLETED, self.close)

    def open(self, engine: Engine) -> None:
        if draws_bars():
            total = engine.state.epoch_length
            self.bar = tqdm(desc=self.name, total=total, unit="case", mininterval=redraw_seconds())

    def move(self, engine: Engine) -> None:
        if self.bar is not None:
            loader: Any = engine.state.dataloader  # its sampler is engines.scoring.UnclaimedCases
            self.bar.update(loader.sampler.taken - self.bar.n)

    def close(self, engine: Engine) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None


def _channel_last(array: np.ndarray) -> np.ndarray:
    """[1, *S] -> [*S], [C, *S] -> [*S, C]."""
    return array[0] if len(array) == 1 else np.moveaxis(array, 0, -1)
