"""The contamination protocol: a mixed training list of a stated share, size and seed, that anyone can draw again."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import numpy as np

from monai_iltm.data.errors import InputError
from monai_iltm.data.one_step import PathLike


def contaminate(
    anomalous: list[dict],
    normal: list[dict],
    share: float,
    size: int | None = None,
    seed: int = 0,
    dataset_dir: PathLike = ".",
) -> tuple[list[dict], dict]:
    """Draw a training list in which `share` of the cases is anomalous.

    anomalous, normal: datalist entries with "case" and "image" (relative to `dataset_dir`, or absolute). share: in
    [0, 1]. size: number of cases; None takes the largest that needs no case twice. A pool larger than its part is
    sampled without, a smaller one is used whole as often as needed and then sampled; repeats of a case get ids of their
    own. Returns the cases, sorted by id, and the protocol (what was asked, what was reached, every case with its source
    and the sha256 of its image), to be written beside the results. Every image drawn is read once for its hash.
    Raises InputError for an impossible share or size and for a pool that is needed and empty.
    """
    if not 0 <= share <= 1:
        raise InputError(f"contamination must lie in [0, 1], found {share}")
    total = _largest_size(len(anomalous), len(normal), share) if size is None else size
    if total < 1:
        raise InputError(
            f"no training list with contamination {share} and size {size}: "
            f"the pool has {len(anomalous)} anomalous and {len(normal)} normal cases"
        )
    suspects = _anomalous_of(total, share)
    # streams of their own: another share or size leaves the order in which a pool is used as it was
    drawn = [(case, True) for case in _draw(anomalous, suspects, [seed, 0], "anomalous")]
    drawn += [(case, False) for case in _draw(normal, total - suspects, [seed, 1], "normal")]
    drawn.sort(key=lambda pair: pair[0]["case"])
    cases = [{key: value for key, value in case.items() if key != "source"} for case, _ in drawn]
    protocol = {
        "contamination": share,
        "reached": suspects / total,
        "size": total,
        "seed": seed,
        "anomalous": suspects,
        "normal": total - suspects,
        "pool": {"anomalous": len(anomalous), "normal": len(normal)},
        "cases": [_record(case, is_anomalous, Path(dataset_dir)) for case, is_anomalous in drawn],
    }
    return cases, protocol


def sha256(path: PathLike) -> str:
    """The hash of a file's bytes, in hex. Raises InputError where it cannot be read."""
    try:
        with open(path, "rb") as stream:
            digest = hashlib.sha256()
            while block := stream.read(1 << 20):
                digest.update(block)
            return digest.hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def _anomalous_of(total: int, share: float) -> int:
    """The number of anomalous cases among `total`: the nearest whole number, halves upwards."""
    return math.floor(total * share + 0.5)


def _largest_size(anomalous: int, normal: int, share: float) -> int:
    """The largest list without repeats; 0 where there is none."""
    for total in range(anomalous + normal, 0, -1):
        suspects = _anomalous_of(total, share)
        if suspects <= anomalous and total - suspects <= normal:
            return total
    return 0


def _draw(pool: list[dict], count: int, seed: list[int], name: str) -> list[dict]:
    """`count` cases in the pool's random order, over and over; each keeps the id it was drawn from as "source"."""
    if count and not pool:
        raise InputError(f"{count} {name} cases are needed for this contamination, the pool has none")
    ordered = sorted(pool, key=lambda case: case["case"])
    order = np.random.default_rng(seed).permutation(len(ordered))
    drawn = []
    for index in range(count):
        repeat, place = divmod(index, len(ordered))
        case = ordered[order[place]]
        name_again = f"__repeat_{repeat + 1}" if repeat else ""
        drawn.append(case | {"case": case["case"] + name_again, "source": case["case"]})
    return drawn


def _record(case: dict, is_anomalous: bool, folder: Path) -> dict:
    record = {"case": case["case"], "source": case["source"], "anomalous": is_anomalous}
    return record | {"sha256": sha256(folder / case["image"])}
