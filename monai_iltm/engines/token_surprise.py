"""How well the prior predicts tokens: the cheap map, -log p of every token, and its mean over what may be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from monai.config import PathLike
from monai.engines.utils import IterationEvents
from monai.utils import convert_to_tensor

from monai_iltm.data.documents import read_json, write_json
from monai_iltm.distributed import barrier, is_main
from monai_iltm.engines.scoring import require_finite
from monai_iltm.ops.likelihood import token_log_likelihood
from monai_iltm.ops.tokens import pool_mask, to_image_grid
from monai_iltm.store import ResultFolder


@dataclass(frozen=True)
class TokenStep:
    """One scoring step of a SupervisedEvaluator whose network is a ``LatentPrior``.

    Tokens under ``batch["mask"]`` [B, 1, *S] (where there is one) are suspects: no other token reads them, and they do
    not count. pool_mode, pool_cut: of ``ops.tokens.pool_mask``.

    Output: pred f32 [B, 1, *S], -log p of every token in nats; token_score, its sum over the trusted tokens of a case,
    trusted_tokens, their number, and suspect_share in [0, 1].
    """

    pool_mode: str = "area"
    pool_cut: float = 0.5

    def __call__(self, engine: Any, batch: dict[str, Any]) -> dict[str, Any]:
        image = convert_to_tensor(batch["image"], track_meta=False).to(engine.state.device)
        prior = engine.network.transformer
        tokens = engine.network.tokens(image)
        suspect = torch.zeros_like(tokens, dtype=torch.bool)
        if "mask" in batch:
            mask = convert_to_tensor(batch["mask"], track_meta=False).to(engine.state.device) > 0
            suspect = pool_mask(mask, prior.grid, self.pool_mode, self.pool_cut).flatten(1)
        unlikely = -token_log_likelihood(prior, tokens, suspect)
        require_finite(batch, unlikely)
        engine.state.output = {
            "pred": to_image_grid(unlikely, prior.grid, image.shape[2:]),
            "token_score": torch.where(suspect, 0.0, unlikely).sum(1),
            "trusted_tokens": (~suspect).sum(1),
            "suspect_share": suspect.float().mean(1),
        }
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        return engine.state.output


def write_metrics(output_dir: PathLike, cases: Sequence[dict[str, Any]]) -> None:
    """metrics.json of a folder of token maps: nats_per_token, the mean -log p over the cases' trusted tokens; rank 0.

    A prior that has learned nothing has log K nats a token.
    """
    results = ResultFolder(Path(output_dir))
    if is_main():
        records = [read_json(results.record(case["case"])) for case in cases]
        tokens = sum(record["trusted_tokens"] for record in records)
        nats = sum(record["token_score"] for record in records)
        figures = {"nats_per_token": nats / tokens if tokens else None, "tokens": tokens, "cases": len(records)}
        write_json(results.metrics, figures)
    barrier()
