"""How fast every step is: our code, a plain reference and the machine's floor, timed in turn in one run.

python scripts/bench.py all
python scripts/bench.py density --device cpu --threads 2 --repeats 5
python scripts/bench.py write
"""

from __future__ import annotations

import inspect
import platform
import statistics
from importlib import metadata, util
from pathlib import Path
from typing import Any

import bench_machines as sharing
import bench_memory as needs
import bench_profile as profiling
import bench_steps as steps
import bench_train as training
import bench_whole as whole
import fire
import matplotlib
import torch
from bench_inputs import HOME, SEED
from bench_measure import measure

from monai_iltm.data.documents import read_json, write_json
from monai_iltm.data.errors import InputError
from monai_iltm.engines.telling import tell_plainly

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.ticker import LogLocator

VERBS = {
    verb.__name__: verb
    for verb in (
        steps.density,
        steps.healing,
        steps.decode,
        steps.likelihood,
        training.train,
        whole.image,
        whole.scaling,
        profiling.profile,
        needs.memory,
        needs.bodies,
        sharing.machines,  # last: it reads what bodies wrote
    )
}
COLUMNS = {
    "step": "step",
    "size": "size",
    "ours_s": "ours, s",
    "reference_s": "reference, s",
    "speedup": "speed-up",
    "reference_scaled": "scaled from",
    "floor_s": "floor, s",
    "over_floor": "over floor",
    "floor_of": "floor of",
    "peak_mib": "peak, MiB",
    "predicted_mib": "predicted, MiB",
    "target": "target",
    "agreement": "agreement",
}
OWN_COLUMNS = {"machines": sharing.COLUMNS, "profile": profiling.COLUMNS}
HEAD = """# Performance

Written by `python scripts/bench.py write` from what `python scripts/bench.py all` measured. Our code, a plain reference
that does what the published research code does, in our own words, and the floor of the machine run in turn, repeat by
repeat, in one process; times are medians. Where the reference would take minutes it does a part and is scaled
linearly: "scaled from" says which part. The floor is what no code can go below on this machine: bytes over the
bandwidth of one long sum, operations over the rate of one large float32 matrix product, both measured in the same
repeats, or bare convolutions. Peak memory is ours, beside inputs and weights. A bench whose results disagree fails."""


def bench(
    verb: str,
    device: str = "cpu",
    threads: int = 2,
    repeats: int = 5,
    small: bool = False,
    out: str = str(HOME / "runs" / "bench"),
    docs: str = str(HOME / "docs"),
) -> None:
    """Measure one of density, healing, decode, likelihood, train, image, scaling, profile, memory, bodies, machines,
    or all of them into OUT/VERB.json; or write DOCS/performance.md from these files. --small takes tiny sizes, whose
    times say nothing."""
    if verb == "write":
        return write(Path(out), Path(docs))
    if verb not in (*VERBS, "all"):
        raise InputError(f"no verb {verb!r}: {', '.join(VERBS)}, all, write")
    where = torch.device(device)
    if where.type == "cuda" and not torch.cuda.is_available():
        raise InputError(f"--device {device}: there is no such device")
    torch.set_num_threads(threads)
    torch.backends.cudnn.allow_tf32 = False  # convolutions in float32, as matrix products are
    # memory first: as a run finds the heap, which the other benches leave in pieces
    for name in sorted(VERBS, key=lambda name: name != "memory") if verb == "all" else (verb,):
        torch.manual_seed(SEED)
        times = 1 if name in OWN_COLUMNS else repeats
        record = environment(where, threads) | {"repeats": times, "small": small, "rows": []}
        print(conditions(record), *table(name, []), sep="\n", flush=True)
        more = {"out": Path(out)} if name == "machines" else {}
        for step in VERBS[name](where, small, **more):
            record["rows"].append(step if isinstance(step, dict) else measure(step, where, repeats, small))
            print(table(name, record["rows"])[-1], flush=True)
        write_json(Path(out) / f"{name}.json", record)


def environment(device: torch.device, threads: int) -> dict[str, Any]:
    """Machine and versions; None for a package that is not installed."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    versions = {name: metadata.version(name) if util.find_spec(name) else None for name in ("torch", "monai", "numba")}
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "cpu_model": models[0] if models else platform.processor(),
        "threads": threads,
        "versions": {"python": platform.python_version(), **versions},
    }


def conditions(record: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version or 'absent'}" for name, version in record["versions"].items())
    told = f"Device {record['device']}, CPU {record['cpu_model']}, threads: {record['threads']}; {versions}; "
    told += f"medians of {record['repeats']} repeats." if record["repeats"] > 1 else "one run."
    return told + (" Tiny sizes: these times say nothing." if record["small"] else "")


def table(verb: str, rows: list[dict[str, Any]]) -> list[str]:
    """Markdown: two lines of head and a line a row."""
    columns = OWN_COLUMNS.get(verb, COLUMNS)
    lines = [[columns[key] for key in columns], ["---"] * len(columns)]
    for row in rows:
        lines.append([short(row[key]) if isinstance(row[key], float) else str(row[key] or "") for key in columns])
    return ["| " + " | ".join(cells) + " |" for cells in lines]


def short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def write(out: Path, docs: Path) -> None:
    """performance.md, and performance_scaling.png beside it, from the records in a folder."""
    records = {name: read_json(out / f"{name}.json") for name in VERBS if (out / f"{name}.json").is_file()}
    if not records:
        raise InputError(f"{out}: nothing measured yet; python scripts/bench.py all measures")
    parts = [HEAD, (HOME / "docs" / "notes" / "performance.md").read_text(encoding="utf-8").rstrip()]
    for name, record in records.items():
        rows = record["rows"]
        line = conditions(record)
        if name not in OWN_COLUMNS:
            rates = (statistics.median(row[key] for row in rows) for key in ("read_gb_per_s", "matmul_gflop_per_s"))
            line += " Measured: {:.3g} GB/s, {:,.0f} GFLOP/s.".format(*rates)
        parts += [f"## {name.capitalize()}", inspect.getdoc(VERBS[name]) or "", line]
        parts.append(
            "![Time against size](performance_scaling.png)" if name == "scaling" else "\n".join(table(name, rows))
        )
    docs.mkdir(parents=True, exist_ok=True)
    (docs / "performance.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    if "scaling" in records:
        draw(records["scaling"]["rows"], docs / "performance_scaling.png")
    print(docs / "performance.md")


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Time against tokens, suspects, draws and voxels on logarithmic axes; slope 1 in grey."""
    figure, axes = plt.subplots(1, 4, figsize=(13, 3.2))
    for axis, curve in zip(axes, ("tokens", "suspects", "draws", "voxels"), strict=True):
        here = [row for row in rows if row["curve"] == curve]
        for name in dict.fromkeys(row["step"] for row in here):
            points = sorted((row["value"], row["ours_s"]) for row in here if row["step"] == name)
            axis.loglog(*zip(*points, strict=True), marker="o", markersize=4, label=name)
        ticks, top = sorted({row["value"] for row in here}), max(row["ours_s"] for row in here)
        axis.loglog(ticks, [top * tick / ticks[-1] for tick in ticks], color="0.75", linestyle=":", zorder=0)
        axis.set_xticks(ticks, [f"{tick:,}" for tick in ticks], fontsize=8)
        axis.minorticks_off()
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 3), numticks=12))
        axis.yaxis.set_major_formatter("{x:g}")
        axis.set(xlabel=curve, ylabel="seconds" if curve == "tokens" else "")
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(frameon=False, fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    tell_plainly()
    fire.Fire(bench)
