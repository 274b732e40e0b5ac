"""Stages and rounds: one process function a stage, handed to MONAI's trainers, and the outer engine over them."""

# bound here, so that a bundle's config reaches each by "$from monai_iltm.engines import NAME"
from monai_iltm.engines import (
    batches,
    begin,
    distributed,
    door,
    evaluation,
    masks,
    optimiser,
    package,
    prior,
    reconstruction,
    rounds,
    scoring,
    stages,
    token_surprise,
    vqvae,
    yardsticks,
)

__all__ = [
    "batches",
    "begin",
    "distributed",
    "door",
    "evaluation",
    "masks",
    "optimiser",
    "package",
    "prior",
    "reconstruction",
    "rounds",
    "scoring",
    "stages",
    "token_surprise",
    "vqvae",
    "yardsticks",
]
