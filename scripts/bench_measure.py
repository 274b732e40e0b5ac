"""What a step of the bench is, and how it is timed: ours, reference and floor in turn, and their agreement checked."""

from __future__ import annotations

import ctypes
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from monai_iltm.data.errors import InputError
from monai_iltm.engines.footprint import resident_bytes

Run = Callable[[], Any]


@dataclass(frozen=True)
class Step:
    """What is timed for one row of the table.

    ours: our code, which goes ``weight`` times into the whole, and so does ``floor``, where one is timed.
    reference: name -> (function of our result, how many times it goes into the whole); scaled: which part it does.
    check: (our result, name -> reference's result) -> how far they agree; raises InputError where they do not.
    floor_bytes, floor_flops: bytes that must be read and operations that must be done, in the whole.
    predicted_mib: peak memory as the planner says it. once: it takes minutes; its one run is timed and looked at.
    curve, value: the axis and place of a point of the scaling plots.
    """

    name: str
    size: str
    ours: Run
    weight: float = 1.0
    reference: dict[str, tuple[Callable[[Any], Any], float]] = field(default_factory=dict)
    scaled: str = ""
    check: Callable[[Any, dict[str, Any]], str] | None = None
    floor: Run | None = None
    floor_bytes: float = 0.0
    floor_flops: float = 0.0
    target: str = ""
    predicted_mib: float | None = None
    once: bool = False
    curve: str = ""
    value: float = 0.0


def measure(step: Step, device: torch.device, repeats: int, small: bool) -> dict[str, Any]:
    """A row: agreement in a first, untimed round, then our peak memory, then medians of repeats taken in turn.

    Beside the step's own runs every repeat reads a long tensor and multiplies two matrices: the machine's rates.
    """
    long = torch.ones(2 ** (22 if small else 27), device=device)
    side = 256 if small else 8192 if device.type == "cuda" else 1024
    square, product = torch.rand(side, side, device=device), torch.empty(side, side, device=device)
    runs: dict[str, Run] = {"read": long.sum, "multiply": lambda: torch.mm(square, square, out=product)}
    agreement = ""
    if step.once:
        began = time.perf_counter()
        peak = peak_mib(step.ours, device)
        seconds = {"ours": time.perf_counter() - began, **race(runs, repeats, device)}
    else:
        result = step.ours()
        runs |= {name: (lambda run=run: run(result)) for name, (run, _) in step.reference.items()}
        runs |= {"floor": step.floor} if step.floor else {}
        first = {name: run() for name, run in runs.items()}
        agreement = step.check(result, first) if step.check else ""
        del first
        peak = peak_mib(step.ours, device)
        seconds = race({"ours": step.ours, **runs}, repeats, device)
    ours = seconds["ours"] * step.weight
    reference = sum(seconds[name] * weight for name, (_, weight) in step.reference.items())
    bandwidth, rate = long.nbytes / seconds["read"], 2 * side**3 / seconds["multiply"]
    floors = {"bare convolutions": seconds.get("floor", 0.0) * step.weight}
    floors |= {f"{step.floor_bytes:.3g} bytes": step.floor_bytes / bandwidth}
    floors |= {f"{step.floor_flops:.3g} operations": step.floor_flops / rate}
    kind, floor = max(floors.items(), key=lambda pair: pair[1])
    names = {"step": step.name, "size": step.size, "curve": step.curve, "value": step.value, "target": step.target}
    return names | {
        "ours_s": ours,
        "reference_s": reference or None,
        "reference_scaled": step.scaled,
        "floor_s": floor or None,
        "floor_of": kind if floor else "",
        "speedup": reference / ours if reference else None,
        "over_floor": ours / floor if floor else None,
        "peak_mib": peak,
        "predicted_mib": step.predicted_mib,
        "agreement": agreement,
        "read_gb_per_s": bandwidth / 1e9,
        "matmul_gflop_per_s": rate / 1e9,
    }


def race(runs: dict[str, Run], repeats: int, device: torch.device) -> dict[str, float]:
    """Median seconds of each; one repeat of each in turn, so that a busy moment hits all alike."""
    wait = torch.cuda.synchronize if device.type == "cuda" else int
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            wait()
            began = time.perf_counter()
            run()
            wait()
            seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(times) for name, times in seconds.items()}


def peak_mib(run: Run, device: torch.device) -> float | None:
    """Memory that a run takes beside what was there before: the allocator's on a GPU, else growth of the resident set.

    The resident set is looked at every millisecond; None where the system does not tell it.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        return (torch.cuda.max_memory_allocated(device) - before) / 2**20
    if resident_bytes(device) is None:
        return None
    trim = getattr(ctypes.CDLL(None), "malloc_trim", int)
    trim(0)  # else the run takes again, unseen, what earlier ones gave back
    seen, over = [resident_bytes(device) or 0], threading.Event()

    def look() -> None:
        while not over.wait(0.001):
            seen.append(resident_bytes(device) or 0)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        run()
    finally:
        over.set()
        watcher.join()
    return (max(seen) - seen[0]) / 2**20


def agree(what: str, ours: Tensor, reference: Tensor, allowed: float) -> str:
    """How far two results differ, in words. Raises InputError where it is more than allowed, or not a number."""
    difference = float((ours.double() - reference.double()).abs().max())
    if not difference <= allowed:
        raise InputError(
            f"{what}: ours and the reference's differ by {difference:.3g}, at most {allowed:.3g} is allowed"
        )
    return f"{what} within {difference:.1g}"


def equal(what: str, ours: Tensor, reference: Tensor) -> str:
    """The same for codes and flags, of which every one must be equal."""
    if wrong := int((ours != reference).sum()):
        raise InputError(f"{what}: {wrong} of {reference.numel()} are not the reference's")
    return f"{reference.numel()} {what} equal"
