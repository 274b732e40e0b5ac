"""One step of training and one of scoring, the same for all methods, and the trainer that takes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedTrainer
from monai.engines.utils import IterationEvents
from monai.inferers import SimpleInferer
from monai.utils import convert_to_tensor
from torch import Tensor, nn
from torch.optim import Optimizer

from monai_iltm.data.errors import InputError
from monai_iltm.engines.batches import GlobalBatches
from monai_iltm.handlers.epochs import EpochSeed
from monai_iltm.handlers.finite import advice


class TrainStep:
    """One optimiser step on what ``engine.network``, a loss that holds the network it trains, says of a batch.

    What is drawn depends on the seed and the step's number alone.

    Args:
        clip: largest norm of the gradient; None: any.
    """

    def __init__(self, clip: float | None = None) -> None:
        self.clip = clip

    def __call__(self, engine: Any, batch: Mapping[str, Any]) -> dict[str, float]:
        """The loss and its parts; ``engine`` is a SupervisedTrainer, with its stage's seed, 0 if none."""
        engine.network.train()
        return optimiser_step(engine.network, engine.optimizer, *drawn_for(engine, batch), engine.amp, self.clip)


def drawn_for(engine: Any, batch: Mapping[str, Any]) -> tuple[dict[str, Tensor], torch.Generator]:
    """The batch's tensors on the engine's device, and the generator of all that this step draws."""
    tensors = {name: value.to(engine.state.device) for name, value in batch.items() if isinstance(value, Tensor)}
    seed = getattr(engine, "seed", 0)
    return tensors, torch.Generator().manual_seed(1_000_003 * seed + engine.state.iteration)


def optimiser_step(
    loss: nn.Module,
    optimizer: Optimizer,
    batch: Mapping[str, Tensor],
    generator: torch.Generator,
    amp: bool = False,
    clip: float | None = None,
) -> dict[str, float]:
    """One step on what a loss says of a batch: the loss and its parts. amp: forward in bfloat16; clip: of the
    gradient's norm."""
    optimizer.zero_grad(set_to_none=True)
    device = next(iter(batch.values())).device
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=amp):
        parts = loss(batch, generator)
    parts["loss"].backward()
    if clip is not None:
        nn.utils.clip_grad_norm_(loss.parameters(), clip)
    optimizer.step()
    return {name: value.item() for name, value in parts.items()}


def trainer(
    max_epochs: int,
    dataset: Dataset,
    batch_size: int,
    network: nn.Module,
    optimizer: Optimizer,
    step: Callable[..., dict[str, float]],
    handlers: Sequence[Any],
    amp: bool = False,
    seed: int = 0,
) -> SupervisedTrainer:
    """MONAI's trainer over global batches of a dataset (``GlobalBatches``), several ranks together.

    Args:
        batch_size: of all ranks together. network: the loss, on its device, as ``distributed.parallel`` gives it.
        step: such as ``TrainStep``. amp: forward in bfloat16. seed: of the order of the batches and of all that is
            drawn.
    """
    loader = DataLoader(dataset, batch_sampler=GlobalBatches(len(dataset), batch_size, seed))
    made = SupervisedTrainer(
        device=next(network.parameters()).device,
        max_epochs=max_epochs,
        train_data_loader=loader,
        network=network,
        optimizer=optimizer,
        loss_function=network,  # asked for by MONAI; the step takes the network, which is the loss
        inferer=SimpleInferer(),
        iteration_update=step,
        train_handlers=[EpochSeed(seed), *handlers],
        amp=amp,
        decollate=False,
    )
    made.seed = seed  # type: ignore[attr-defined]  # the step's
    return made


def score_step(engine: Any, batch: Mapping[str, Any]) -> dict[str, Any]:
    """Score ``batch["image"]`` [B, C, *S]; ``engine`` is a SupervisedEvaluator whose inferer is a ``MapInferer``.

    Output: pred f32 [B, 1, *S], the surprise; the inferer's pictures by their names; numbers, those of the inferer.

    Raises InputError, with the case, where a result is not finite.
    """
    device = engine.state.device
    image = convert_to_tensor(batch["image"], track_meta=False, device=device)
    mask = convert_to_tensor(batch["mask"], track_meta=False, device=device) > 0 if "mask" in batch else None
    scored = engine.inferer.score(image, engine.network, mask)
    for result in (scored.surprise, *scored.pictures.values(), *scored.numbers.values()):
        _require_finite(batch, result)
    engine.state.output = {"pred": scored.surprise, **scored.pictures, "numbers": dict(scored.numbers)}
    engine.fire_event(IterationEvents.MODEL_COMPLETED)
    return engine.state.output


def _require_finite(batch: Mapping[str, Any], result: Tensor) -> None:
    """Raise InputError, with the case, where a result [B, ...] of a batch is not finite."""
    finite = result.reshape(len(result), -1).isfinite().all(1)
    if not finite.all():
        place = int(finite.int().argmin())
        case = batch["case"][place] if "case" in batch else f"image {place}"
        raise InputError(f"{case}: its map is not finite, as after a training that diverged; {advice()}")
