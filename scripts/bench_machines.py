"""The bench of many processes: what sharing cases and batches among them does, and a round on many workers."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any

import torch
from bench_inputs import HOME, SEED, SUSPECT_SHARE, bundle, codes_of, preset
from bench_measure import agree
from bench_memory import pair, shown
from bench_rank import CPU, timed, trainer

from monai_iltm.data.documents import read_json, write_json
from monai_iltm.data.errors import InputError
from monai_iltm.data.images import read_image
from monai_iltm.data.phantom2d import write_phantom2d
from monai_iltm.data.weights import save_in_one_step
from monai_iltm.engines.optimiser import MuonAdamW
from monai_iltm.engines.step import TrainStep
from monai_iltm.losses import TokenLoss
from monai_iltm.ops.likelihood import p_value
from monai_iltm.store import ResultFolder
from monai_iltm.transforms import preprocessing

COLUMNS = {
    "step": "step",
    "size": "size",
    "processes": "processes",
    "ours_s": "ours, s",
    "speedup": "speed-up",
    "parts": "of which",
    "longest_over_mean": "longest over mean",
    "target": "target",
    "gradient_mb": "gradients, MB a step",
    "sent_mb": "sent by each, MB a step",
    "agreement": "agreement",
}
MOVED = 1e-3  # of the largest change of a weight, by which weights of one and of several processes may differ
VOLUMES, BODY = 425, (208, 168, 216)
BITS_PER_S = 10e9


def machines(device: torch.device, small: bool, out: Path | None = None) -> Iterator[dict[str, Any]]:
    """The work shared among 1, 2 and 4 processes (gloo) of one thread each, on this machine's CPU whatever `--device`
    says. One run of each; the processes' start is not counted. Where they are more than the cores they take turns: how
    evenly they share still counts, how fast they are does not.

    Scoring: the kde_inferer bundle, preset phantom2d, random weights, about 5 % of the tokens flagged at first. A
    rank's seconds end with its own last case. All maps must be those of one process, bit for bit.

    Training: steps of preset phantom2d at one global batch, with the bundle's optimiser, in bfloat16 where the CPU is
    made for it, their mean. The gradients that all-reduce sums in a step are counted; a ring moves 2 (n - 1) / n times
    as much from each of n processes. The codebook's own sums, some kB, are left out. Weights are compared after 4 plain
    gradient steps in float32 without dropout.

    Two priors, as the rounds of one machine train them: both with the threads of all processes, one after another, or
    side by side, a process and half of the threads each. The start of the two stages is counted.

    One round: predicted, not measured, for 425 volumes of 208 x 168 x 216 on 1, 8 and 64 workers like this process, as
    many threads. They are CPU workers, because no GPU was at hand. Prior: the mean of measured steps of one volume of
    14,742 tokens, with the default prior and 60 epochs, in bfloat16 where the CPU is made for it; every worker has
    one volume of the global batch, which grows with their number: what that does to quality was not measured. Network:
    the gradients by a ring of 10 Gbit/s while no worker computes; latency and waiting are not counted. Scoring: whole
    volumes, the largest
    share, each as long as the bench `bodies` measured it at as many threads (one level, where the bundle has three;
    float32); left out where it did not. Reading, encoding, masks, test images and stage 1 are left out."""
    with tempfile.TemporaryDirectory() as name:
        folder, counts = Path(name), (1, 2) if small else (1, 2, 4)
        prepare(folder, small)
        for processes in counts:
            launch(folder, processes)
        kinds = [scoring, *(partial(training, name) for name in ("prior", "vqvae"))]
        for rows in (*kinds, *(partial(two_priors, name) for name in ("in turn", "side by side"))):
            yield from (rows(folder, processes) for processes in counts)
    yield from rounds(small, out)


def prepare(folder: Path, small: bool) -> None:
    """What the processes share: images, untrained networks all of whose codes are encoder outputs, settings."""
    side, cases = (32, 4) if small else (64, 96)
    settings = preset("phantom2d") | {"image_size": [side, side]}
    settings |= {"vqvae_widths": [8, 8], "prior_batch_size": 4, "vqvae_batch_size": 4} if small else {}
    data = write_phantom2d(folder / "data", training=cases, testing=0, clean=0, size=side).parent
    transform = preprocessing(settings["image_size"], 1, settings["intensity_range"])
    paths = sorted(data.glob("images/*"))[:4]
    images = torch.stack([transform({"image": str(path)})["image"].as_tensor() for path in paths])
    torch.manual_seed(SEED)
    network = bundle(**settings).get_parsed_content("network_def").eval()
    codebook, net = network.vqvae.codebook, network.transformer
    with torch.no_grad():
        features = network.vqvae.encode(images).movedim(1, -1).flatten(0, -2)
        codebook.embedding.weight.copy_(features[torch.randperm(len(features))[: net.num_codes]])
        codebook.ema_w.copy_(codebook.embedding.weight)
        codebook.ema_cluster_size.fill_(1.0)
        codebook.started.fill_(True)
        tokens = network.tokens(images)
        alpha = float(p_value(net(tokens), tokens).quantile(SUSPECT_SHARE))
    save_in_one_step(folder / "model.pt", network.state_dict())
    settings |= {"alpha": alpha, "threshold_times_uniform": None}
    write_json(folder / "told.json", {"settings": settings, "plain_steps": 4, "timed_steps": 2 if small else 16})


def launch(folder: Path, processes: int) -> None:
    """Run bench_rank.py in so many processes. Raises InputError, with their last words, where one fails."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    command += [str(HOME / "scripts" / "bench_rank.py"), str(folder)]
    alone = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    environment = {**os.environ, **alone, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError(f"{processes} processes failed:\n{done.stderr[-2000:]}")


def scoring(folder: Path, processes: int) -> dict[str, Any]:
    here = folder / str(processes)
    results, settings = ResultFolder(here / "maps"), read_json(folder / "told.json")["settings"]
    records = [read_json(results.record(case)) for case in results.cases()]
    seconds = [read_json(path)["seconds"] for path in sorted(here.glob("work_*.json"))]
    seconds += [0.0] * (processes - len(seconds))  # of those who came too late for any case
    mean, longest = sum(seconds) / processes, max(record["seconds"] for record in records)
    return row(
        "scoring",
        f"{len(records)} cases of {shown(settings['image_size'])}, {os.cpu_count()} cores",
        processes,
        [read_json(folder / n / "numbers.json")["scoring_s"] for n in ("1", str(processes))],
        parts="ranks: " + ", ".join(f"{value:.3g}" for value in seconds),
        longest_over_mean=max(seconds) / mean,
        target=f"<= 1.05 + {longest / mean:.2f}, one case" if processes > 1 else "",
        agreement=same_maps(folder / "1" / "maps", here / "maps") if processes > 1 else "",
    )


def training(name: str, folder: Path, processes: int) -> dict[str, Any]:
    one, numbers = (read_json(folder / n / "numbers.json")[name] for n in ("1", str(processes)))
    alone, ours = (torch.load(folder / n / f"{name}.pt", weights_only=True) for n in ("1", str(processes)))
    moved, summed = float(alone.abs().max()), numbers["bytes"] / 1e6
    return row(
        {"prior": "prior step", "vqvae": "VQ-VAE step"}[name],
        f"global batch {numbers['batch']}, {numbers['weights']:,} weights",
        processes,
        [one["seconds"], numbers["seconds"]],
        gradient_mb=summed or None,
        sent_mb=ring(processes) * summed or None,
        agreement=f"{agree('weights', ours, alone, MOVED * moved)}, moved {moved:.1g}" if processes > 1 else "",
    )


def two_priors(way: str, folder: Path, processes: int) -> dict[str, Any]:
    one, ours = (read_json(folder / n / "numbers.json")[way] for n in ("1", str(processes)))
    batch = read_json(folder / "told.json")["settings"]["prior_batch_size"]
    return row(f"a step of each of two priors, {way}", f"batch {batch} each", processes, [one, ours])


def rounds(small: bool, out: Path | None) -> Iterator[dict[str, Any]]:
    """A round on 1, 8 and 64 workers: from a step that is measured here and, if it is there, the bench of bodies."""
    net = pair((32, 32, 32) if small else BODY, "any", CPU).transformer
    suspect = torch.rand(1, net.length, generator=torch.Generator().manual_seed(SEED)) < SUSPECT_SHARE
    engine = trainer(TokenLoss(net), MuonAdamW(net))
    step = timed(
        TrainStep(clip=1.0), engine, {"tokens": codes_of(net, 1, net.length), "suspect": suspect}, 1 if small else 4
    )
    gradients = sum(p.nbytes for p in net.parameters() if p.requires_grad)
    prior = read_json(HOME / "bundles" / "masked_transformer" / "configs" / "train.json")
    epochs, volume, one = prior["train"]["trainer"]["max_epochs"], seconds_a_volume(small, out), 0.0
    for workers in (1, 8, 64):
        share, sent = ceil(VOLUMES / workers), ring(workers) * gradients
        parts = {"prior": epochs * share * step, "network": epochs * share * 8 * sent / BITS_PER_S}
        parts |= {} if volume is None else {"scoring": share * volume}
        whole = sum(parts.values())
        one = one or whole
        yield row(
            "one round, predicted" + ("" if volume else ", without scoring"),
            f"{VOLUMES} volumes, {net.length:,} tokens each; {torch.get_num_threads()} threads a worker",
            workers,
            [one, whole],
            parts=", ".join(f"{name} {seconds / 3600:.3g} h" for name, seconds in parts.items()),
            gradient_mb=gradients / 1e6,
            sent_mb=sent / 1e6 or None,
        )


def seconds_a_volume(small: bool, out: Path | None) -> float | None:
    """To score a whole body on a CPU, as the bench of bodies has measured it at as many threads; None if it has not."""
    path = out / "bodies.json" if out else None
    record = read_json(path) if path and path.is_file() else {}
    alike = {"device": "cpu", "small": small, "threads": torch.get_num_threads()}
    rows = record["rows"] if alike.items() <= record.items() else []
    return next((row["ours_s"] for row in rows if row["step"] == "whole body, phantom"), None)


def row(step: str, size: str, processes: int, seconds: list[float], **told: Any) -> dict[str, Any]:
    """A row of the table; seconds: of one process, and of all of these."""
    numbers = {"processes": processes, "ours_s": seconds[1], "speedup": seconds[0] / seconds[1]}
    return {**dict.fromkeys(COLUMNS), "step": step, "size": size, **numbers, **told}


def ring(processes: int) -> float:
    """How many times its bytes an all-reduce by ring moves from each process."""
    return 2 * (processes - 1) / processes


def same_maps(one: Path, other: Path) -> str:
    """That two result folders hold the same maps, in words. Raises InputError where a bit differs."""
    results, others = ResultFolder(one), ResultFolder(other)
    if results.cases() != others.cases():
        raise InputError(f"{len(results.cases())} cases by one process, {len(others.cases())} by several")
    pairs = [(case, kind) for case in results.cases() for kind in ("surprise", "healed")]
    for case, kind in pairs:
        ours, theirs = (read_image(folder.require(case, kind)).array for folder in (results, others))
        if ours.dtype != theirs.dtype or ours.tobytes() != theirs.tobytes():
            raise InputError(f"case {case}, {kind}: the map of several processes is not that of one, bit for bit")
    return f"{len(pairs)} maps equal, bit for bit"
