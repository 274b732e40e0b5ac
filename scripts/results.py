"""The measured results: run the main job on a data set, and write docs/results.md from what the runs have left.

python scripts/results.py run phantom_hard_2d
python scripts/results.py run sts_pet --again seed1 --seed 1 --processes 1
python scripts/results.py write
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import fire
from demo import UNSEEN

from monai_iltm.command import overlaid, shown_command
from monai_iltm.data.documents import read_csv, read_json, write_json
from monai_iltm.data.errors import InputError
from monai_iltm.data.phantom2d import write_phantom2d
from monai_iltm.data.phantom3d import write_phantom3d
from monai_iltm.engines.names import full_ids
from monai_iltm.engines.telling import tell_plainly
from monai_iltm.store import ResultFolder, RunFolder

HOME = Path(__file__).resolve().parents[1]
RUNS = HOME / "runs" / "results"
MEASURED = Path(os.environ.get("ILTM_DATA", HOME.parent / "shared" / "data"))
# name -> (title, presets in order, folder under the measuring data; None: a phantom that is made)
SETS: dict[str, tuple[str, tuple[str, ...], str | None]] = {
    "phantom2d": ("Phantom 2D, every training image contaminated", ("phantom2d",), None),
    "phantom2d_paper": ("The same, in paper mode", ("phantom2d", "paper_mode"), None),
    "phantom_hard_2d": ("The fixed hard 2D phantom", ("phantom_hard_2d",), "phantom_hard_2d"),
    "magnetic_tile": ("Magnetic tile defects at 80 % contamination", ("magnetic_tile",), "magnetic_tile"),
    "sts_pet": ("Soft-tissue sarcoma FDG-PET, a tumour in every volume", ("sts_pet",), "sts_fdgpet_3d"),
    "phantom3d": ("Phantom 3D, 64 x 64 x 96", ("phantom3d",), None),
}
COLUMNS = {
    "AUROC": "auroc",
    "AP": "average_precision",
    "AUPRO": "aupro",
    "Dice": "best_dice",
    "image AUROC": "image_auroc",
    "AUROC*": "anomalous_auroc",
    "AP*": "anomalous_average_precision",
    "Dice*": "anomalous_best_dice",
    "resid. AUROC": "residual_auroc",
    "resid. AP": "residual_average_precision",
    "resid. Dice": "residual_best_dice",
}
TRIVIAL = {"raw_intensity": "raw intensity", "robust_z": "robust z-score", "vqvae_residual": "VQ-VAE residual"}


def run(name: str, processes: int = 2, threads: int = 1, again: str | None = None, **settings: Any) -> None:
    """The bundle command of one set into runs/results/NAME, from where it stopped; its duration is noted.

    Args:
        again: name of a further run with other settings; it has a folder of its own, and its rounds stand below.
    """
    if name not in SETS:
        raise InputError(f"no set {name!r}: {', '.join(SETS)}")
    _, presets, measured = SETS[name]
    data = MEASURED / measured if measured else _phantom(presets[0])
    if not data.is_dir():
        raise InputError(f"{data}: not there; set ILTM_DATA to the folder of measuring data")
    out, first, *others = RUNS / (f"{name}-{again}" if again else name), *presets
    arguments = [first, str(data), str(out), *others, "--processes", str(processes)]
    arguments += [part for key, value in settings.items() for part in (f"--{key}", str(value))]
    before = read_json(out / "effort.json")["minutes"] if (out / "effort.json").is_file() else 0.0
    began = time.monotonic()
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    code = subprocess.call([sys.executable, "-m", "monai_iltm", "run", *arguments], env=environment)
    if out.is_dir():
        minutes = before + (time.monotonic() - began) / 60
        values = {"bundle_root": str(HOME / "bundles" / "iltm"), "dataset_dir": str(data), "output_dir": str(out)}
        files, told = overlaid(presets, processes)
        command = shown_command(files, {**values, **told, **full_ids(settings)}, processes)
        shown = command.replace(str(HOME) + "/", "").replace(str(MEASURED), "$ILTM_DATA")
        effort = {"minutes": round(minutes, 1), "processes": processes, "threads": threads, "command": shown}
        write_json(out / "effort.json", effort)
    sys.exit(code)


def write() -> None:
    """docs/results.md: tables from the runs in runs/results that have a finished round, notes from docs/notes.

    The tables of a set whose run is not on this machine stay as they are.
    """
    path = HOME / "docs" / "results.md"
    before = path.read_text(encoding="utf-8") if path.is_file() else ""
    parts = [HEAD]
    for name, (title, presets, _) in SETS.items():
        folder, notes = RunFolder(RUNS / name), HOME / "docs" / "notes" / f"{name}.md"
        tables = _tables(name, title, presets, folder) if folder.rounds() else _written(before, title)
        if tables:
            parts += [tables, notes.read_text(encoding="utf-8").strip()] if notes.is_file() else [tables]
    path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    print(path)


HEAD = f"""# Results

Written by `python scripts/results.py write` from runs made by `python scripts/results.py run NAME`, on a CPU
({platform.machine()}) that other work shared, so the minutes are an upper bound. One seed, where no other stands below.
Test labels choose no mask, threshold or round of a run; how its settings came about is told under each set.
Phantoms are made by the same command; the sources of the other sets stand in [data.md](data.md#presets).

AUROC, AP (average precision), AUPRO (false-positive limit 0.3) and Dice (pooled, at its best threshold) are over the
pixels of all test images; columns with * over the images that hold an anomaly alone; "resid." scores by |image - healed
mean| instead of the kernel density. Suspect: share of the training tokens that the next round leaves out; recall and
precision: of those tokens against the pooled truth, shown only. Oracle masks and clean training are the bracket: the
same prior with the true anomalies left out, and from images without any. They choose nothing. K is the number of codes;
a token is flagged, and redrawn, where its probability is below the threshold; a voxel is masked where its density among
the healed versions is below `mask_density` (or where it is in the top `mask_share` of all)."""


def _written(document: str, title: str) -> str:
    """The part of one set, up to its last table."""
    _, _, rest = document.partition(f"## {title}\n")
    lines = rest.partition("\n## ")[0].splitlines()
    last = max((number for number, line in enumerate(lines) if line.startswith("|")), default=None)
    return "" if last is None else "\n".join([f"## {title}", *lines[: last + 1]])


def _tables(name: str, title: str, presets: tuple[str, ...], folder: RunFolder) -> str:
    lines = [
        f"## {title}",
        "",
        f"Presets: {', '.join(presets)}; set `{name}`, seed {read_json(folder.record)['seed']}.",
    ]
    if (folder.path / "effort.json").is_file():
        effort = read_json(folder.path / "effort.json")
        lines[-1] += f" {effort['minutes']} minutes, yardsticks included; {effort.get('processes', 1)} process(es) of "
        lines[-1] += f"{effort['threads']} thread(s).{_stages(folder, effort.get('processes', 1))}"
        lines += ["", "```", effort["command"], "```"]
    lines += ["", *_table(_rows(folder))]
    for other in sorted(path.parent for path in RUNS.glob(f"{name}-*/effort.json")):
        once_more, told = RunFolder(other), read_json(other / "effort.json")
        lines += ["", f"Again, {told['minutes']} minutes:", "", "```", told["command"], "```", ""]
        lines += _table([row for row in _rows(once_more) if row[""] not in TRIVIAL.values()])
    for title, rows in (("Kinds reported apart:", _apart(folder)), ("Each kind of anomaly alone:", _kinds(folder))):
        if rows:
            lines += ["", title, "", *_table(rows)]
    return "\n".join(lines)


def _stages(folder: RunFolder, processes: int) -> str:
    """What a run spent its minutes on, in words, as its histories and the records of its cases tell.

    Of several processes of a CPU one trains an end of the bracket while another trains a round's prior.
    """
    ends = [folder.bracket(end) for end in ("clean", "oracle")]
    priors = [*folder.rounds(), *ends]
    cases = [ResultFolder(path) for prior in priors for path in (prior.maps, prior.test)]
    seconds = {"the VQ-VAE": sum(_seconds(folder.vqvae / "history.csv")), "priors": 0.0, "scoring": 0.0}
    beside = len(folder.rounds()) if processes > 1 else 0
    for prior in [*folder.rounds(), *[end for end in ends if end.history.is_file()][beside:]]:
        seconds["priors"] += sum(_seconds(prior.history))
    for results in cases:
        seconds["scoring"] += sum(read_json(results.record(case))["seconds"] for case in results.cases()) / processes
    told = ", ".join(f"{name} {spent / 60:.1f}" for name, spent in seconds.items() if spent)
    return f" Of these {told}." if told else ""


def _seconds(history: Path) -> list[float]:
    return [float(row["seconds"]) for row in read_csv(history)] if history.is_file() else []


def _rows(folder: RunFolder) -> list[dict[str, str]]:
    rows = []
    if folder.trivial.is_file():
        trivial = read_json(folder.trivial)
        rows += [{"": TRIVIAL[name], **_figures(figures)} for name, figures in trivial.items()]
    for one in folder.rounds():
        record = read_json(one.record)
        masks = {"suspect": f"{100 * record['suspect_tokens'] / record['tokens']:.1f} %"}
        masks |= {key: f"{value:.2f}" for key, value in record["training_mask"].items()}
        rows.append({"": f"round {one.index}", **masks, **_figures(_metrics(one.metrics))})
    for end, title in (("oracle", "oracle masks"), ("clean", "clean training")):
        if folder.bracket(end).record.is_file():
            rows.append({"": title, **_figures(_metrics(folder.bracket(end).metrics))})
    return rows


def _apart(folder: RunFolder) -> list[dict[str, str]]:
    rows = []
    for one in folder.rounds():
        figures = {k.removeprefix("apart_"): v for k, v in _metrics(one.metrics).items() if k.startswith("apart_")}
        if figures:
            rows.append({"": f"round {one.index}", **_figures(figures)})
    return rows


def _kinds(folder: RunFolder) -> list[dict[str, str]]:
    """A row for each kind of anomaly in each round."""
    rows = []
    for one in folder.rounds():
        figures = _metrics(one.metrics)
        for key in [key for key in figures if key.startswith("kind_") and key.endswith("_auroc")]:
            start = key.removesuffix("auroc")  # kind_NAME_
            alone = {name.removeprefix(start): value for name, value in figures.items() if name.startswith(start)}
            rows.append({"": f"round {one.index}, {start[5:-1]}", **_figures(alone)})
    return rows


def _metrics(path: Path) -> dict[str, float]:
    return read_json(path) if path.is_file() else {}


def _figures(figures: dict[str, float]) -> dict[str, str]:
    return {title: f"{figures[key]:.3f}" for title, key in COLUMNS.items() if key in figures}


def _table(rows: list[dict[str, str]]) -> list[str]:
    order = ["", "suspect", "recall", "precision", *COLUMNS]
    columns = [name for name in order if any(name in row for row in rows)]
    head = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    return head + ["| " + " | ".join(row.get(name, "") for name in columns) + " |" for row in rows]


def _phantom(preset: str) -> Path:
    folder = HOME / "runs" / "data" / preset
    if preset == "phantom3d":
        write_phantom3d(folder, training=96, testing=24, clean=96, lesions=(3, 8))
    else:
        write_phantom2d(folder, seed=UNSEEN)
    return folder


if __name__ == "__main__":
    tell_plainly()
    fire.Fire({"run": run, "write": write})
