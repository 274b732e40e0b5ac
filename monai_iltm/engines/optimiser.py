"""The prior's optimiser: Muon for the matrices of its blocks, AdamW for everything else."""

from __future__ import annotations

from typing import Any

import torch
from monai.optimizers import WarmupCosineSchedule
from torch.optim import AdamW, Muon, Optimizer

from monai_iltm.networks import MaskedTransformer


class MuonAdamW(Optimizer):
    """Two optimisers that step, and are saved, as one.

    Orthogonalised momentum (Muon) learns the blocks' matrices in far fewer steps than AdamW does; embeddings, norms,
    biases and the output layer stay with AdamW.

    Args:
        transformer: the prior.
        lr: of Muon; adamw_lr: of AdamW; weight_decay: of both.

    Source: K. Jordan et al. 2024, Muon, as torch implements it.
    """

    def __init__(
        self, transformer: MaskedTransformer, lr: float = 0.02, adamw_lr: float = 0.002, weight_decay: float = 0.05
    ) -> None:
        matrices = [p for p in transformer.blocks.parameters() if p.ndim == 2]
        chosen = {id(p) for p in matrices}
        rest = [p for p in transformer.parameters() if id(p) not in chosen]
        self.parts = {
            "muon": Muon(matrices, lr=lr, weight_decay=weight_decay),
            "adamw": AdamW(rest, lr=adamw_lr, betas=(0.9, 0.98), weight_decay=weight_decay),
        }
        # the very groups of the parts: a scheduler that sets a group's lr sets theirs
        super().__init__(self._groups(), {})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for part in self.parts.values():
            part.step()

    def state_dict(self) -> dict[str, Any]:
        return {name: part.state_dict() for name, part in self.parts.items()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for name, part in self.parts.items():
            part.load_state_dict(state_dict[name])
        self.param_groups = self._groups()  # loading has given the parts new groups

    def _groups(self) -> list[dict[str, Any]]:
        return [group for part in self.parts.values() for group in part.param_groups]


def warmup_cosine(
    optimizer: Optimizer, epochs: int, steps_per_epoch: int, warmup_share: float = 0.05
) -> WarmupCosineSchedule:
    """Learning rates that rise over the first share of all steps, then fall to 0 along half a cosine."""
    steps = epochs * steps_per_epoch
    return WarmupCosineSchedule(optimizer, warmup_steps=max(1, round(warmup_share * steps)), t_total=steps)
