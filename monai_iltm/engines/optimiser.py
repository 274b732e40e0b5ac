"""The prior's optimiser: Muon for the matrices of its blocks, AdamW for everything else."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from monai.optimizers import WarmupCosineSchedule
from torch import Tensor, nn
from torch.optim import AdamW, Muon, Optimizer

from monai_iltm.networks import MaskedTransformer


class StackedMuon(Muon):
    """torch's Muon, which orthogonalises all matrices of one shape together: twice as fast where they are small."""

    def __init__(self, matrices: Sequence[nn.Parameter], lr: float, weight_decay: float) -> None:
        super().__init__(matrices, lr=lr, weight_decay=weight_decay)  # all else is as torch has it

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            alike = defaultdict(list)
            for matrix in group["params"]:
                if matrix.grad is not None:
                    alike[matrix.shape].append((matrix, self._direction(matrix, matrix.grad, group)))
            for (rows, columns), pairs in alike.items():
                matrices, directions = zip(*pairs, strict=True)
                updates = orthogonal(torch.stack(directions), group["ns_coefficients"], group["ns_steps"], group["eps"])
                size = group["lr"] * math.sqrt(max(1, rows / columns))
                for matrix, update in zip(matrices, updates, strict=True):
                    matrix.mul_(1 - group["lr"] * group["weight_decay"]).add_(update, alpha=-size)

    def _direction(self, matrix: Tensor, gradient: Tensor, group: dict[str, Any]) -> Tensor:
        """The gradient, carried on by momentum and a look ahead."""
        if "momentum_buffer" not in self.state[matrix]:
            self.state[matrix]["momentum_buffer"] = torch.zeros_like(gradient)
        momentum = self.state[matrix]["momentum_buffer"].lerp_(gradient, 1 - group["momentum"])
        return gradient.lerp(momentum, group["momentum"])


def orthogonal(matrices: Tensor, coefficients: Sequence[float], steps: int, eps: float) -> Tensor:
    """Matrices f32 [n, r, c] with all singular values brought near 1, bf16: Newton-Schulz steps of the fifth order."""
    tall = matrices.shape[1] > matrices.shape[2]
    x = (matrices.mT if tall else matrices).to(torch.bfloat16).contiguous()
    x = x / x.flatten(1).norm(dim=1).clamp(min=eps)[:, None, None]  # no singular value above 1
    a, b, c = coefficients
    for _ in range(steps):
        square = torch.bmm(x, x.mT)
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


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
            "muon": StackedMuon(matrices, lr=lr, weight_decay=weight_decay),
            "adamw": AdamW(rest, lr=adamw_lr, betas=(0.9, 0.98), weight_decay=weight_decay, fused=True),
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
    optimizer: Optimizer, epochs: int, cases: int, batch_size: int, warmup_share: float = 0.05
) -> WarmupCosineSchedule:
    """Learning rates that rise over the first share of all steps, then fall to 0 along half a cosine.

    cases: of an epoch, in global batches of ``batch_size``, the last of which is filled up.
    """
    steps = epochs * -(-cases // batch_size)
    return WarmupCosineSchedule(optimizer, warmup_steps=max(1, round(warmup_share * steps)), t_total=steps)
