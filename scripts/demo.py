"""The main job on a phantom of which every training image holds lesions: makes the data, runs the rounds, tells all.

python scripts/demo.py [--out runs/demo]
"""

from __future__ import annotations

from pathlib import Path

import fire

from monai_iltm.__main__ import run, status
from monai_iltm.data.phantom2d import write_phantom2d
from monai_iltm.engines.telling import tell_plainly
from monai_iltm.store import RunFolder

HOME = Path(__file__).resolve().parents[1]
UNSEEN = 1  # the phantom of seed 0 was looked at while its preset was made


def demo(out: str = str(HOME / "runs" / "demo"), processes: int = 2) -> None:
    """Write the phantom beside the run, run all rounds with their yardsticks, print the table and the report's path."""
    data = Path(out).with_name(Path(out).name + "_data")
    write_phantom2d(data, seed=UNSEEN)
    run("phantom2d", str(data), out, processes=processes)
    print()
    status(out)
    print()
    print(RunFolder(Path(out)).report)


if __name__ == "__main__":
    tell_plainly()
    fire.Fire(demo)
