"""Iterative Latent Token Masking: anomaly detection learned from images that are all contaminated."""

__version__ = "0.1.0"
