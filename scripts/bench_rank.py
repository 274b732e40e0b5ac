"""One of the processes of the bench of machines: torchrun starts it with the folder of what they share."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ignite.distributed as idist
import torch
import torch.distributed as dist
from bench_inputs import HOME, SEED, SUSPECT_SHARE, bundle, codes_of
from ignite.engine import Engine, Events
from torch import Tensor, nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook

from monai_iltm import distributed
from monai_iltm.data.documents import read_json, write_json
from monai_iltm.data.weights import load_weights, save_in_one_step
from monai_iltm.distributed import barrier, fast_bfloat16, is_main, parallel, start_processes, stop_processes
from monai_iltm.engines.method import SCORING, read_method, run_stage
from monai_iltm.engines.optimiser import MuonAdamW
from monai_iltm.engines.step import TrainStep
from monai_iltm.engines.telling import tell_plainly
from monai_iltm.losses import TokenLoss, VQVAELoss
from monai_iltm.networks import LatentPrior

CPU = torch.device("cpu")
INFERER = HOME / "bundles" / "kde_inferer"
PLAIN_RATE = 0.1  # of plain gradient steps: Adam and Muon blow up a difference of rounding where a gradient is near 0


class Work:
    """Writes, after every case, how many seconds this rank has been at its cases: a handler of the scoring stage."""

    def __init__(self, folder: str) -> None:
        self.path, self.began = Path(folder) / f"work_{idist.get_rank()}.json", 0.0

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.write)

    def start(self, engine: Engine) -> None:
        self.began = time.perf_counter()

    def write(self, engine: Engine) -> None:
        write_json(self.path, {"seconds": time.perf_counter() - self.began, "cases": engine.state.iteration})


def work(folder: Path) -> None:
    """Scores cases and trains both networks with the other processes; rank 0 writes what it took into FOLDER/N."""
    start_processes()
    told = read_json(folder / "told.json")
    here = folder / str(idist.get_world_size())
    numbers: dict[str, Any] = {"scoring_s": score(folder, here, told["settings"])}
    settings = told["settings"] | {"head_dropout": 0.0, "prior_dropout": 0.0}
    network = bundle(**settings).get_parsed_content("network_def")
    load_weights(network, folder / "model.pt")
    network.vqvae.codebook.revive_below = 0.0  # what takes a dead code's place is drawn, by each process anew
    for name, step, engine, batch in trainings(network, told["settings"]):
        numbers[name] = train(step, engine, batch, told, here / f"{name}.pt")
    numbers |= two_priors(told)
    if is_main():
        write_json(here / "numbers.json", numbers)
    stop_processes()


def score(folder: Path, here: Path, settings: dict[str, Any]) -> float:
    """Seconds of the kde_inferer bundle over all cases."""
    parser = bundle(**settings)
    network = parser.get_parsed_content("network_def")
    load_weights(network, folder / "model.pt")
    image = torch.rand(1, 1, *settings["image_size"], generator=torch.Generator().manual_seed(SEED))
    parser.get_parsed_content("train::inferer").heal(image, network)  # once, unmeasured: compiled code is loaded
    handlers = read_json(INFERER / "configs" / "inference.json")["handlers"]
    own = read_method(HOME / "bundles", "iltm").of_part(SCORING, parser.get_parsed_content("values"))
    own |= {"handlers": [*handlers, {"_target_": "bench_rank.Work", "folder": str(here)}], "cases::split": "training"}
    own |= {"dataset_dir": str(folder / "data"), "output_dir": str(here / "maps"), "weights": str(folder / "model.pt")}
    barrier()
    began = time.perf_counter()
    run_stage(INFERER, "inference", own)
    return time.perf_counter() - began


def trainings(network: LatentPrior, settings: dict[str, Any]) -> list[tuple[str, Callable, Any, dict[str, Tensor]]]:
    """Of the prior and of the VQ-VAE: name, step, trainer and this rank's share of a random global batch."""
    generator = torch.Generator().manual_seed(SEED)
    net, vqvae, rank, world = network.transformer, network.vqvae, idist.get_rank(), idist.get_world_size()
    tokens, images = codes_of(net, settings["prior_batch_size"], net.length), settings["vqvae_batch_size"]
    batch = {"tokens": tokens, "suspect": torch.rand(tokens.shape, generator=generator) < SUSPECT_SHARE}
    pictures = {"image": torch.rand(images, 1, *settings["image_size"], generator=generator)}
    adam = torch.optim.Adam(vqvae.parameters(), settings["vqvae_learning_rate"])
    one, other = trainer(TokenLoss(net), MuonAdamW(net)), trainer(VQVAELoss(vqvae, settings["spectral_weight"]), adam)
    parts = [{name: values[rank::world] for name, values in whole.items()} for whole in (batch, pictures)]
    return [("prior", TrainStep(clip=1.0), one, parts[0]), ("vqvae", TrainStep(), other, parts[1])]


def two_priors(told: dict[str, Any]) -> dict[str, float]:
    """Seconds of a step of each of two priors, as the rounds train them: side by side, or one after another."""

    def stage() -> None:
        network = bundle(**told["settings"]).get_parsed_content("network_def")
        (_, step, engine, batch), _ = trainings(network, told["settings"])
        timed(step, engine, batch, told["timed_steps"])

    def seconds(*together: int) -> float:
        began = time.perf_counter()
        for count in together:
            distributed.train([stage] * count)
        barrier()
        return (time.perf_counter() - began) / told["timed_steps"]

    seconds(2)  # once, unmeasured
    return {"side by side": seconds(2), "in turn": seconds(1, 1)}


def trainer(module: nn.Module, optimizer: Any) -> Any:
    """What a step reads of MONAI's trainer; the module wrapped where several processes train it."""
    state = SimpleNamespace(device=CPU, iteration=0)
    return SimpleNamespace(state=state, network=parallel(module, CPU), optimizer=optimizer, amp=fast_bfloat16())


def train(step: Callable, engine: Any, batch: dict[str, Tensor], told: dict[str, int], path: Path) -> dict[str, Any]:
    """Plain gradient steps in float32, after which rank 0 writes how far the weights have moved, then timed steps as
    the bundle does them: seconds and summed bytes of one."""
    summed: list[int] = []
    if hasattr(engine.network, "register_comm_hook"):
        engine.network.register_comm_hook(summed, count_and_sum)
    own, before = (engine.optimizer, engine.amp), weights(engine.network)
    engine.optimizer, engine.amp = torch.optim.SGD(engine.network.parameters(), PLAIN_RATE), False
    timed(step, engine, batch, told["plain_steps"])
    if is_main():
        save_in_one_step(path, weights(engine.network) - before)
    engine.optimizer, engine.amp = own
    timed(step, engine, batch, 1)
    summed.clear()
    seconds = timed(step, engine, batch, told["timed_steps"])
    size = len(next(iter(batch.values()))) * idist.get_world_size()
    return {"seconds": seconds, "bytes": sum(summed) / told["timed_steps"], "weights": len(before), "batch": size}


def timed(step: Callable, engine: Any, batch: dict[str, Tensor], steps: int) -> float:
    """Mean seconds of some steps; all ranks begin together."""
    barrier()
    began = time.perf_counter()
    for _ in range(steps):
        engine.state.iteration += 1
        step(engine, batch)
    return (time.perf_counter() - began) / steps


def count_and_sum(summed: list[int], bucket):  # torch refuses a bucket whose type is given as a string
    """Average a bucket of gradients, as is done without this hook, and note its bytes."""
    summed.append(bucket.buffer().nbytes)
    return allreduce_hook(dist.group.WORLD, bucket)


def weights(network: nn.Module) -> Tensor:
    """A copy of all that a gradient moves, f32 [n]."""
    return torch.cat([p.detach().flatten().clone() for p in network.parameters() if p.requires_grad])


if __name__ == "__main__":
    tell_plainly()
    work(Path(sys.argv[1]))
