"""The bench's profiles: what the time of the steps that miss a target goes to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from bench_measure import Step, race
from bench_steps import density_inputs, healing
from bench_train import train
from torch.profiler import ProfilerActivity
from torch.profiler import profile as recording

from monai_iltm.ops.density import kde_log_density
from monai_iltm.ops.density_kernel import TILE

COLUMNS = {"step": "step", "size": "size", "ours_s": "s", "parts": "of which"}
# Kinds of torch's operations, by a part of their names; the first that fits.
KINDS = {
    "attention": ("scaled_dot_product",),
    "convolutions": ("convolution",),
    "optimiser's own": ("#",),
    "matrix products": ("mm", "linear"),
    "random numbers": ("bernoulli", "rand", "uniform"),
    "softmax": ("softmax",),
    "copies": ("copy", "cat", "index", "gather", "scatter", "clone", "fill", "repeat"),
}
LEAST = 0.03  # of the time; kinds that take less are told together


def profile(device: torch.device, small: bool) -> Iterator[dict[str, Any]]:
    """What the time of healing and of training goes to: shares of torch's operations in one run, under torch's
    profiler, which makes small ones look slower than they are. Sizes are those of the benches above, several training
    steps where these do several. And how much of the density's time reading takes: the reconstructions summed in the
    rows in which its kernel reads them (medians of five)."""
    for bench in (healing, train):
        for step in bench(device, small):
            yield shares(step, device)
    image, recons = density_inputs(device, small)
    tiles = recons.split(TILE, -1)

    def read() -> float:
        return sum(float(tile.sum()) for tile in tiles)

    whole, reading = race({"all": lambda: kde_log_density(image, recons), "reading": read}, 5, device).values()
    size = f"{len(recons)} reconstructions x {recons.shape[-1]} voxels"
    yield {"step": "density", "size": size, "ours_s": whole, "parts": f"reading {reading / whole:.0%}"}


def shares(step: Step, device: torch.device) -> dict[str, Any]:
    """A row: seconds of one run, and its time by kind of operation."""
    seconds = race({"ours": step.ours}, 2, device)["ours"]
    cuda = device.type == "cuda"
    with recording(activities=[ProfilerActivity.CUDA if cuda else ProfilerActivity.CPU]) as seen:
        step.ours()
    spent: Counter[str] = Counter()
    for event in seen.key_averages():
        spent[kind_of(event.key)] += event.self_device_time_total if cuda else event.self_cpu_time_total
    total = spent.total()
    told = [(name, time / total) for name, time in spent.most_common() if name != "other" and time >= LEAST * total]
    told.append(("other", 1 - sum(share for _, share in told)))
    return {
        "step": step.name,
        "size": step.size,
        "ours_s": seconds,
        "parts": ", ".join(f"{name} {share:.0%}" for name, share in told),
    }


def kind_of(operation: str) -> str:
    return next((kind for kind, parts in KINDS.items() if any(part in operation for part in parts)), "other")
