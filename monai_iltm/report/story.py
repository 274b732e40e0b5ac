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
class Stage:
    """One round, or one end of the bracket: its folder and the small files in it."""

    name: str
    folder: RoundFolder
    record: dict[str, Any]
    metrics: dict[str, float]
    history: list[dict[str, float]]

    @property
    def suspect_share(self) -> float | None:
        """Share in [0, 1] of the training tokens held suspect after this stage; None where no mask was made."""
        tokens = self.record.get("tokens")
        return self.record.get("suspect_tokens", 0) / tokens if tokens else None

    @property
    def change(self) -> float | None:
        """Relative change of the number of suspect tokens against the round before; None in the first."""
        return self.record.get("change")


@dataclass(frozen=True)
class Story:
    """All that the report needs, apart from the images."""

    run: RunFolder
    settings: dict[str, Any]
    about: dict[str, Any]
    rounds: list[Stage]
    unfinished: Stage | None
    brackets: list[Stage]
    trivial: dict[str, dict[str, float]]
    vqvae: list[dict[str, float]]
    calibration: dict[str, Any]
    training: list[dict[str, Any]]
    testing: list[dict[str, Any]]

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.run.path.resolve().name

    def setting(self, *names: str) -> Any:
        """The first of these settings that is given, else None."""
        return next((self.settings[name] for name in names if self.settings.get(name) is not None), None)

    def locate(self, relative: str) -> Path:
        """The file that a datalist names, under the data folder unless the name is absolute."""
        return Path(self.about.get("dataset_dir") or ".").expanduser() / relative


def read_story(run_folder: str | Path) -> Story:
    """Read a run folder, finished or not. Raises InputError where it is no run folder."""
    folder = Path(run_folder)
    if not (folder / "run.json").is_file():
        raise InputError(f"{folder} is no run folder: it holds no run.json")
    run = RunFolder(folder)
    about = _json(folder / "run.json")
    datalist = _json(folder / "datalist.json")
    rounds = [_stage(f"Round {round_folder.index}", round_folder) for round_folder in run.rounds()]
    current = run.round(len(rounds))
    return Story(
        run=run,
        settings=about.get("settings") or {},
        about=about,
        rounds=rounds,
        unfinished=_stage(f"Round {len(rounds)}", current) if Path(current.path).is_dir() else None,
        brackets=[_stage(BRACKETS[name], run.bracket(name)) for name in BRACKETS if _done(folder / "bracket" / name)],
        trivial=_json(folder / "trivial.json"),
        vqvae=_numbers(folder / "vqvae" / "history.csv"),
        calibration=_json(rounds[-1].folder.calibration) if rounds else {},
        training=datalist.get("training") or [],
        testing=datalist.get("testing") or [],
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


def _stage(name: str, folder: RoundFolder) -> Stage:
    return Stage(name, folder, _json(folder.record), _json(folder.metrics), _numbers(folder.history))


def _done(folder: Path) -> bool:
    return (folder / "round.json").is_file() or (folder / "metrics.json").is_file()


def _json(path: str | Path) -> dict[str, Any]:
    """The object in a JSON file; empty where the file is missing or half-written by a run in progress."""
    try:
        content = read_json(path)
    except (OSError, InputError):
        return {}
    return content if isinstance(content, dict) else {}


def _numbers(path: str | Path) -> list[dict[str, float]]:
    """The rows of a CSV file with their finite numbers alone."""
    if not Path(path).is_file():
        return []
    rows = [{key: finite(value) for key, value in row.items()} for row in read_csv(path)]
    return [{key: value for key, value in row.items() if value is not None} for row in rows]
