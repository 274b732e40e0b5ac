"""Iterative Latent Token Masking: anomaly detection learned from images that are all contaminated."""

import getpass
import os

__version__ = "0.1.0"

# Before MONAI imports MLflow, which else writes a number for its telemetry into the home folder.
os.environ.update(MLFLOW_DISABLE_TELEMETRY="true", DO_NOT_TRACK="true")

try:
    getpass.getuser()
except (KeyError, OSError):  # a container's user id without a name, which ends the import of monai
    os.environ["USER"] = f"uid{os.getuid()}"
