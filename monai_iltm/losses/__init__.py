"""What a network is trained by: modules around it, a batch in, {"loss": scalar, parts of it} out."""

from monai_iltm.losses.reconstruction import ReconstructionLoss, VQVAELoss
from monai_iltm.losses.tokens import TokenLoss

__all__ = ["ReconstructionLoss", "TokenLoss", "VQVAELoss"]
