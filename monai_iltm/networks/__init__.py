"""Whatever holds weights."""

from monai_iltm.networks.latent_prior import LatentPrior, token_grid
from monai_iltm.networks.masked_transformer import MaskedTransformer
from monai_iltm.networks.vqvae import VQVAE

__all__ = ["VQVAE", "LatentPrior", "MaskedTransformer", "token_grid"]
