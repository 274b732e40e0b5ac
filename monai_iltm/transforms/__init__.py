"""Dictionary transforms: from a file to the model's grid and back."""

from monai_iltm.transforms.augment import augmentation
from monai_iltm.transforms.intensity import scale_intensity
from monai_iltm.transforms.loading import ChannelFirstd, LoadMaskd, image_loader
from monai_iltm.transforms.masks import AnomalyMaskd
from monai_iltm.transforms.preprocess import ToImageGridd, preprocessing
from monai_iltm.transforms.refusing import RequireFitd, RequireSoundd

__all__ = [
    "AnomalyMaskd",
    "ChannelFirstd",
    "LoadMaskd",
    "RequireFitd",
    "RequireSoundd",
    "ToImageGridd",
    "augmentation",
    "image_loader",
    "preprocessing",
    "scale_intensity",
]
