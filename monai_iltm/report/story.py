"""A run folder as the report tells it: every piece that exists, read once; what is missing is empty, never an error."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai_iltm.data.documents import read_csv, read_json
from monai_iltm.data.errors import InputError
from monai_iltm.store import RoundFolder, RunFolder

BRACKETS = {"oracle": "Oracle masks", "clean": "Clean training"}


@dataclass(frozen=True)
class Training:
    """One stage's training: the name of its folder, a row of numbers an epoch, and whether it has its weights."""

    name: str
    rows: list[dict[str, float]]
    done: bool


@dataclass(frozen=True)
class Round:
    """One round, or one end of the bracket: its folder and the small files in it."""

    name: str
    folder: RoundFolder
    record: dict[str, Any]
    metrics: dict[str, Any]
    trainings: list[Training]

    @property
    def suspect_share(self) -> float | None:
        """Share in [0, 1] of the training tokens held suspect after this round; None where no mask was made."""
        suspect, tokens = finite(self.record.get("suspect_tokens")), finite(self.record.get("tokens"))
        return None if suspect is None or not tokens else suspect / tokens

    @property
    def change(self) -> float | None:
        """Relative change of the number of suspect tokens against the round before; None in the first."""
        return finite(self.record.get("change"))

    @property
    def precision(self) -> float | None:
        """Average precision over the pixels of the test images, the figure that results are compared by."""
        return finite(self.metrics.get("average_precision"))


@dataclass(frozen=True)
class Story:
    """All that the report needs, apart from the images."""

    run: RunFolder
    about: dict[str, Any]
    rounds: list[Round]
    unfinished: Round | None
    brackets: list[Round]
    trivial: dict[str, dict[str, Any]]
    trainings: list[Training]
    training: list[dict[str, Any]]
    testing: list[dict[str, Any]]

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.run.path.resolve().name

    @property
    def threshold(self) -> float | None:
        """Surprise above which the last round's masks mark, in nats."""
        last = self.rounds[-1] if self.rounds else None
        limits = [_json(last.folder.calibration).get("threshold")] if last else []
        limits += [one.record.get("mask_threshold") for one in reversed(self.rounds)]
        return next((number for limit in limits if (number := finite(limit)) is not None), None)

    def locate(self, relative: str) -> Path:
        """The file that a datalist names, under the data folder unless the name is absolute."""
        return Path(self.about.get("dataset_dir") or ".").expanduser() / relative


def read_story(run_folder: str | Path) -> Story:
    """Read a run folder, finished or not. Raises InputError where it is no run folder."""
    run = RunFolder(Path(run_folder))
    if not run.record.is_file():
        raise InputError(f"{run.path} is no run folder: it holds no {run.record.name}")
    datalist = _json(run.datalist)
    rounds = [_round(run, folder) for folder in run.rounds()]
    current = run.round(len(rounds))
    ends = [run.bracket(name) for name in BRACKETS]
    trivial = _json(run.trivial)
    return Story(
        run=run,
        about=_json(run.record),
        rounds=rounds,
        unfinished=_round(run, current) if current.path.is_dir() else None,
        brackets=[_round(run, end) for end in ends if end.record.is_file() or end.metrics.is_file()],
        trivial={name: figures for name, figures in trivial.items() if isinstance(figures, dict)},
        trainings=[_training(folder) for folder in run.stages()],
        training=_cases(datalist.get("training")),
        testing=_cases(datalist.get("testing")),
    )


def finite(value: Any) -> float | None:
    """`value` as a finite float, else None: histories and metrics may hold blanks and NaN."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def evenly(items: Sequence[Any], most: int) -> list[Any]:
    """At most `most` of `items`, evenly spread, with the first and the last."""
    if len(items) <= most:
        return list(items)
    return [items[round(index * (len(items) - 1) / (most - 1))] for index in range(most)]


def read_lines(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file; none where it is missing, or half-written by a run in progress."""
    try:
        return read_csv(path)
    except (OSError, InputError):
        return []


def _round(run: RunFolder, folder: RoundFolder) -> Round:
    name = f"Round {folder.index}" if folder.is_round else BRACKETS[folder.path.name]
    own = [folder.path] if folder.history.is_file() or folder.model.is_file() else []
    trainings = [_training(path) for path in [*own, *run.stages(folder.path)]]
    return Round(name, folder, _json(folder.record), _json(folder.metrics), trainings)


def _training(folder: Path) -> Training:
    rows = [{key: finite(value) for key, value in row.items()} for row in read_lines(folder / "history.csv")]
    numbers = [{key: value for key, value in row.items() if value is not None} for row in rows]
    return Training(folder.name, numbers, (folder / "model.pt").is_file())


def _cases(entries: Any) -> list[dict[str, Any]]:
    """The entries of a part of the datalist that name a case and its image."""
    found = [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    return [entry for entry in found if isinstance(entry.get("case"), str) and isinstance(entry.get("image"), str)]


def _json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty where the file is missing or half-written by a run in progress."""
    try:
        content = read_json(path)
    except (OSError, InputError):
        return {}
    return content if isinstance(content, dict) else {}
