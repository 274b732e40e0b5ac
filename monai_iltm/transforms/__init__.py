"""Dictionary transforms: from a file to the model's grid and back."""

from monai_iltm.transforms.augment import augmentation
from monai_iltm.transforms.masks import AnomalyMaskd
from monai_iltm.transforms.preprocess import ToImageGridd, image_loader, preprocessing

__all__ = ["AnomalyMaskd", "ToImageGridd", "augmentation", "image_loader", "preprocessing"]
