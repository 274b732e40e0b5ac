"""What MLflow is told of a run folder: figures by names that it takes, curves, and settings that tell of no place."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monai_iltm.data.documents import read_csv, read_json
from monai_iltm.report.story import BRACKETS, finite
from monai_iltm.report.words import METRICS, TRIVIAL
from monai_iltm.store import RoundFolder, RunFolder

if TYPE_CHECKING:
    from mlflow.entities import Metric, Param

LONGEST_NAME, LONGEST_PARAMETER = 200, 500  # characters that every MLflow store takes
PLACES = ("dataset_dir", "output_dir", "tracking")  # settings that say where, and not what
PLACE = re.compile(r"://|(?:^|[^\w.)\]])(?:/|~|\\\\|[A-Za-z]:[\\/])")  # an address, or the beginning of a whole path


def parameters(settings: Mapping[str, Any]) -> list[Param]:
    """The settings, without those that tell of folders or servers, and so of people."""
    from mlflow.entities import Param

    texts = {allowed(name): str(value) for name, value in settings.items() if name not in PLACES}
    return [Param(name, text[:LONGEST_PARAMETER]) for name, text in texts.items() if not PLACE.search(text)]


def round_figures(folder: RoundFolder, step: int = 0) -> list[Metric]:
    """Of a round's record and, where truth exists, of the test split.

    The figures that matter bear their bare names, the others those of a group: MLflow shows groups afterwards.
    """
    found = []
    for path, group in ((folder.record, "round"), (folder.metrics, "test")):
        content = _content(path)
        content.pop("round", None)  # it is the step
        named: dict[str, Any] = {}
        for name, value in content.items():
            own = name if name in METRICS else f"{group}/{allowed(name)}"
            while own in named:  # two kinds of anomalies may differ in nothing but what is not allowed
                own += "_"
            named[own] = value
        found += _metrics(path, named, step)
    return found


def yardstick_figures(run: RunFolder) -> list[Metric]:
    """The figures that matter, of the detectors that learn nothing and of both ends of the bracket."""
    trivial, found = _content(run.trivial), []
    beside = [(run.trivial, f"trivial/{name}", trivial.get(name) or {}) for name in TRIVIAL]
    ends = [(run.bracket(name).metrics, f"bracket/{name}") for name in BRACKETS]
    for path, group, figures in [*beside, *((path, group, _content(path)) for path, group in ends)]:
        found += _metrics(path, {f"{group}/{name}": figures[name] for name in METRICS if name in figures})
    return found


def curve(history: Path, stage: str) -> list[Metric]:
    """A stage's loss by epoch, and the seconds that all of its epochs took."""
    rows = read_csv(history) if history.is_file() else []
    found = [one for row in rows for one in _metrics(history, {f"{stage}/loss": row["loss"]}, int(row["epoch"]))]
    seconds = [number for row in rows if (number := finite(row.get("seconds"))) is not None]
    return found + (_metrics(history, {f"{stage}/seconds": sum(seconds)}) if seconds else [])


def allowed(name: str) -> str:
    """A name with a `_` for every character that MLflow refuses in one, on some system, and with an end."""
    own = re.sub(r"[^\w.\- ]", "_", name)[:LONGEST_NAME]
    return own if own.strip(".") else f"_{own}"  # none, and those of dots alone, are folders to MLflow


def changed(path: Path) -> int:
    """When a file was written, in milliseconds since 1970."""
    return path.stat().st_mtime_ns // 1_000_000


def _metrics(path: Path, figures: Mapping[str, Any], step: int = 0) -> list[Metric]:
    """Those that are finite numbers, at the time of their file: told twice, they are one to MLflow."""
    from mlflow.entities import Metric

    numbers = {name: finite(value) for name, value in figures.items()}
    return [Metric(name, value, changed(path), step) for name, value in numbers.items() if value is not None]


def _content(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}
