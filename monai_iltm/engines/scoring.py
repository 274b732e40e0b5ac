"""Stage 3: images to surprise maps, case by case, for MONAI's SupervisedEvaluator; a killed run goes on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import PathLike
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator
from monai.transforms import Compose
from torch import nn
from torch.utils.data import Sampler
from tqdm import tqdm

from monai_iltm.data.contamination import sha256
from monai_iltm.data.documents import write_csv, write_json
from monai_iltm.data.errors import InputError
from monai_iltm.data.images import read_image
from monai_iltm.data.records import Kind, read_record
from monai_iltm.data.weights import load_weights
from monai_iltm.distributed import barrier, gathered, is_main, own_share
from monai_iltm.engines.ids import joined, plain_values
from monai_iltm.engines.step import score_step
from monai_iltm.inferers import MapInferer
from monai_iltm.store import ResultFolder, RoundFolder

# What a result does not rest on: by what a file is refused, and how much is held in memory.
NOT_DECIDING = ("expected_range", "max_read_gib", "spatial_dims", "keep_gib")


def resting_on(**things: Any) -> dict[str, Any]:
    """What results rest on beside weights, by id: values, and of objects, such as the images' record, the inferer and
    a network, their plain attributes (``ids.plain_values``)."""
    settings: dict[str, Any] = {}
    for name, thing in things.items():
        values = {joined(name, part): value for part, value in plain_values(thing).items() if part not in NOT_DECIDING}
        settings |= values if hasattr(thing, "__dict__") else {name: thing}
    return settings


def pending_cases(
    cases: Sequence[dict[str, Any]], output_dir: PathLike, weights: PathLike, settings: Mapping[str, Any] | None = None
) -> Sequence[dict[str, Any]]:
    """The cases that have no result in the folder yet; the same on every rank, and none of them claimed.

    The largest image file is first, as it tends to take longest: what is left at the end, when some processes are idle
    already, is short. A result counts if it is of the very image that its case has now.

    ``settings``: what results rest on beside weights.

    Raises InputError where the folder holds results of other weights or settings, which would stand for those of these.
    """
    if not len(cases):
        return cases
    results = ResultFolder(Path(output_dir))
    source = json.loads(json.dumps({"weights": sha256(weights), **(settings or {})}))
    if results.cases() and results.source.is_file():
        there = read_record(results.source, {}, f"remove {output_dir}, and the same command scores all anew")
        _require_same(there, source, output_dir)
    # Before any rank goes on all have looked: one that is ahead must not finish a case while another still counts.
    done = gathered([_is_done(results, case) for case in own_share(list(cases))])
    pending = [case for case, is_done in zip(cases, done, strict=True) if not is_done]
    pending.sort(key=lambda case: -Path(case["image"]).stat().st_size)
    if is_main():
        write_json(results.source, source)
        _forget_claims(results)  # of a run that was killed
    barrier()
    return pending


class UnclaimedCases(Sampler[int]):
    """Indices of the cases, in order, without those that another process has taken: whoever is free takes the next.

    A process takes a case by making a file of its name in a folder that all of them see; only one can. So processes of
    unequal speed, and cases of unequal length, end within about a case of each other.

    Args:
        cases: what `pending_cases` found.
        output_dir: folder of the results.
    """

    def __init__(self, cases: Sequence[dict[str, Any]], output_dir: PathLike) -> None:
        self.cases, self.results = cases, ResultFolder(Path(output_dir))
        self.taken = 0  # by all processes, as far as this one has seen: whatever stands before its own case

    def __len__(self) -> int:
        """Number of cases of all processes, the most that this one can get."""
        return len(self.cases)

    def __iter__(self) -> Iterator[int]:
        for index, case in enumerate(self.cases):
            self.taken = index + 1
            self.results.claims.mkdir(parents=True, exist_ok=True)
            try:
                (self.results.claims / case["case"]).touch(exist_ok=False)
            except FileExistsError:
                continue
            yield index


def evaluator(
    device: torch.device,
    dataset: Dataset,
    output_dir: PathLike,
    network: nn.Module,
    inferer: MapInferer,
    postprocessing: Compose,
    handlers: Sequence[Any],
) -> SupervisedEvaluator:
    """MONAI's evaluator over the cases of a dataset that nobody has taken, one after another (``score_step``).

    output_dir: folder of the results.
    """
    loader = DataLoader(dataset, batch_size=1, sampler=UnclaimedCases(dataset.data, output_dir))
    return SupervisedEvaluator(
        device=device,
        val_data_loader=loader,
        network=network,
        inferer=inferer,
        iteration_update=score_step,
        postprocessing=postprocessing,
        val_handlers=list(handlers),
    )


def prepare_network(network: nn.Module, weights: PathLike, device: torch.device, required: bool = True) -> None:
    """Load weights and make it ready to be asked.

    Raises InputError for a missing weight file, where it is ``required``; else the network stays untrained.
    """
    if required or Path(weights).is_file():
        load_weights(network, weights)
    network.to(device).eval()


def run_cases(evaluator: SupervisedEvaluator) -> None:
    """Score what is pending, then wait for the other ranks; with nothing pending, nothing is done.

    The data loader's sampler may end before its length, where others have taken the rest: ignite then asks it once
    more, in vain, and ends.

    Raises InputError where the sampler is not ``UnclaimedCases``, and where a case was taken and not finished, as by a
    process that outlived an earlier command.
    """
    loader: Any = evaluator.data_loader
    sampler = loader.sampler
    if not isinstance(sampler, UnclaimedCases):
        raise InputError(f"the dataloader's sampler must be UnclaimedCases, found {type(sampler).__name__}")
    if len(loader):
        evaluator.run()
    barrier()
    if is_main():
        _forget_claims(sampler.results)
    left = [case["case"] for case in sampler.cases if not sampler.results.record(case["case"]).is_file()]
    if left:
        raise InputError(
            f"{sampler.results.path}: another process took {len(left)} cases and did not finish them, {left[0]} among "
            "them: see that none is at work there, and give the same command again"
        )


def write_scores(output_dir: PathLike, threshold: float | None = None) -> None:
    """scores.csv beside the results, a row a case, highest first: rank 0 gathers what every rank has written.

    image_score_surprise: sum of the surprise above ``threshold`` (0 where there is none), in nats.
    """
    results = ResultFolder(Path(output_dir))
    if is_main():
        rows = [_row(results, case, threshold) for case in results.cases()]
        write_csv(results.scores, sorted(rows, key=lambda row: -row["image_score_surprise"]))
    barrier()


def forget_others(folder: RoundFolder, numbers: Mapping[str, Any]) -> None:
    """Remove the test results of a prior where they rest on other numbers than these."""
    source = ResultFolder(folder.test).source
    if source.is_file() and not numbers.items() <= read_record(source, {}, f"remove {folder.test}").items():
        shutil.rmtree(folder.test)
        for path in (folder.metrics, folder.scores, folder.record):
            path.unlink(missing_ok=True)


def _require_same(there: Mapping[str, Any], source: Mapping[str, Any], output_dir: PathLike) -> None:
    for name in sorted({*there, *source}):
        if there.get(name) != source.get(name):
            told = "" if name == "weights" else f" ({there.get(name)!r}, now {source.get(name)!r})"
            raise InputError(f"{output_dir} holds results of other {name}{told}: choose another output folder")


def _is_done(results: ResultFolder, case: Mapping[str, Any]) -> bool:
    path = results.record(case["case"])
    try:
        record = read_record(path, {"image": str}, "the case is scored anew")
    except InputError as error:
        if path.is_file():
            tqdm.write(str(error))
        return False
    return record["image"] == sha256(case["image"])


def _forget_claims(results: ResultFolder) -> None:
    if results.claims.is_dir():
        shutil.rmtree(results.claims)


def _row(results: ResultFolder, case: str, threshold: float | None) -> dict[str, Any]:
    kinds: dict[str, Kind] = {"numbers": dict, "seconds": (int, float)}
    record = read_record(results.record(case), kinds, "remove it, and the same command makes it anew")
    surprise = read_image(results.require(case, "surprise")).array
    above = np.maximum(surprise - (threshold or 0.0), 0.0).sum(dtype=np.float64)
    row = {"case": case, "image_score_surprise": float(above), **record["numbers"], "seconds": record["seconds"]}
    return row | ({"warning": record["warning"]} if "warning" in record else {})
