"""Network and image in, anomaly map out."""

from monai_iltm.inferers.kde import Healing, KDEInferer
from monai_iltm.inferers.residual import ResidualInferer

__all__ = ["Healing", "KDEInferer", "ResidualInferer"]
