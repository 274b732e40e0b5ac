"""How far a figure is chance: the same run on phantoms of several seeds, and two settings compared seed by seed.

python scripts/repeat.py run NAME --seeds 4,5,6 [--max_rounds 3 ...]
python scripts/repeat.py compare NAME OTHER
"""

from __future__ import annotations

import math
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fire

from monai_iltm.data.documents import read_json
from monai_iltm.data.errors import InputError
from monai_iltm.data.phantom2d import write_phantom2d
from monai_iltm.engines.telling import tell_plainly
from monai_iltm.store import RunFolder

RUNS = Path(__file__).resolve().parents[1] / "runs" / "repeat"


def run(name: str, seeds: int | Sequence[int], workers: int = 2, preset: str = "phantom2d", **settings: Any) -> None:
    """The preset on the 2D phantom of every seed into runs/repeat/NAME, each from where it stopped; then its figures.

    Args:
        name: of these settings.
        seeds: of the phantoms; all else has the preset's own seed. workers: runs side by side, each of one thread.
        settings: values by id, as in `python -m monai_iltm run`.
    """
    told = [part for key, value in {"bracket": False, **settings}.items() for part in (f"--{key}", str(value))]

    def one(seed: int) -> None:
        data, out = RUNS / "phantoms" / str(seed), RUNS / name / str(seed)
        if not (data / "datalist.json").is_file():
            write_phantom2d(data, seed=seed)
        command = [sys.executable, "-m", "monai_iltm", "run", preset, str(data), str(out), *told]
        with (RUNS / f"{name}_{seed}.log").open("w") as log:
            code = subprocess.call(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=log, stderr=log)
        if code:
            raise InputError(f"{log.name}: the run ended with {code}; its last lines say why")
        shown = " ".join(f"{value:.3f}" for value in _precisions(RunFolder(out)))
        print(f"{seed}: AP {shown}", flush=True)

    RUNS.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(one, [seeds] if isinstance(seeds, int) else seeds))
    print(_summary(name, list(_last(name).values())))


def compare(name: str, other: str) -> None:
    """A table of the last rounds' AP on the phantoms that both have, and the mean of their differences."""
    ours, theirs = _last(name), _last(other)
    both = sorted(ours.keys() & theirs.keys(), key=int)
    if len(both) < 2:
        raise InputError(f"{RUNS}: {name} and {other} have {len(both)} finished phantoms in common, 2 are needed")
    print(f"| phantom of seed | {name} | {other} |\n| --- | --- | --- |")
    for seed in both:
        print(f"| {seed} | {ours[seed]:.3f} | {theirs[seed]:.3f} |")
    for told, values in ((name, ours), (other, theirs)):
        print(_summary(told, [values[seed] for seed in both]))
    print(_summary(f"{name} less {other}", [ours[seed] - theirs[seed] for seed in both]))


def _last(name: str) -> dict[str, float]:
    """AP of the last round of every finished phantom, by its seed."""
    folders = [RunFolder(path) for path in (RUNS / name).glob("[0-9]*")]
    return {folder.path.name: _precisions(folder)[-1] for folder in folders if _finished(folder)}


def _finished(folder: RunFolder) -> bool:
    return (folder.bundle / "models" / "model.pt").is_file()  # the last piece of a run


def _precisions(folder: RunFolder) -> list[float]:
    return [read_json(one.metrics)["average_precision"] for one in folder.rounds()]


def _summary(name: str, values: Sequence[float]) -> str:
    """Mean, its standard error, and the spread of single values."""
    spread = statistics.stdev(values) if len(values) > 1 else math.nan
    error = spread / math.sqrt(len(values))
    return f"{name}: mean {statistics.mean(values):.3f} +- {error:.3f}, one alone +- {spread:.3f}"


if __name__ == "__main__":
    tell_plainly()
    fire.Fire({"run": run, "compare": compare})
