"""Network and image in, anomaly map out."""

from monai_iltm.inferers.base import MapInferer, Scored
from monai_iltm.inferers.direct import DirectInferer
from monai_iltm.inferers.kde import Healing, KDEInferer
from monai_iltm.inferers.likelihood import LikelihoodInferer
from monai_iltm.inferers.residual import ResidualInferer

__all__ = ["DirectInferer", "Healing", "KDEInferer", "LikelihoodInferer", "MapInferer", "ResidualInferer", "Scored"]
