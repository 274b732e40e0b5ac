"""CutPaste: a classifier of pasted parts, whose embeddings of normal patches have a density; and its loss."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch
import torch.nn.functional as F
from monai.networks.nets.resnet import ResNet
from torch import Tensor, nn

from monai_iltm.ops.corruption import cut_paste, scar

CLASSES = 3  # normal, patch, scar
HIDDEN = 128  # width of the head, and numbers of an embedding
SHRINKAGE = 0.01  # of the covariance towards a sphere, without which it could not be inverted
MOST_AT_ONCE = 512  # patches in one batch


class CutPaste(nn.Module):
    """Image to the distance of the patch about every pixel from normal patches.

    A residual network and a head of two layers embed a patch; ``fit`` takes mean and covariance of the embeddings of
    training images. The map is the Mahalanobis distance at every ``stride`` pixels, spread by a Gaussian.

    Args:
        image_size: of 2D images, every axis a multiple of ``stride``. channels: of the image.
        patch: side of a patch in pixels. stride: between patches.
        layers, widths: of the residual network's four stages; ResNet-18 has (2, 2, 2, 2) and (64, 128, 256, 512).

    Raises:
        ValueError: images that are not 2D, that are no multiples of the stride, or smaller than a patch; a stride
            larger than a patch, or an odd difference of both.

    Source: Li et al., CVPR 2021, the form for localisation; stride and spread are ours.
    """

    mean: Tensor
    whitening: Tensor
    bell: Tensor

    def __init__(
        self,
        image_size: Sequence[int],
        channels: int = 1,
        patch: int = 16,
        stride: int = 4,
        layers: Sequence[int] = (1, 1, 1, 1),
        widths: Sequence[int] = (16, 32, 64, 128),
    ) -> None:
        super().__init__()
        uneven = patch < stride or (patch - stride) % 2
        if uneven or len(image_size) != 2 or any(n % stride or n < patch for n in image_size):
            found = f"{tuple(image_size)}, patch {patch}, stride {stride}"
            raise ValueError(f"CutPaste: image_size is 2D, multiples of the stride, at least a patch; found {found}")
        self.patch, self.stride, self.factor = patch, stride, stride
        self.trunk = ResNet("basic", list(layers), list(widths), 2, channels, conv1_t_size=3, feed_forward=False)
        self.head = nn.Sequential(
            nn.Linear(widths[-1], HIDDEN), nn.BatchNorm1d(HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN)
        )
        self.classifier = nn.Linear(HIDDEN, CLASSES)
        self.register_buffer("mean", torch.zeros(HIDDEN))
        self.register_buffer("whitening", torch.eye(HIDDEN))
        steps = torch.arange(patch) - (patch - 1) / 2
        bell = torch.exp(-0.5 * (steps / stride).square())
        self.register_buffer("bell", (bell[:, None] * bell)[None, None], persistent=False)  # [1, 1, patch, patch]

    def embed(self, patches: Tensor) -> Tensor:
        """Embeddings [N, 128] of patches f32 [N, C, patch, patch]."""
        return self.head(self.trunk(patches).flatten(1))

    def forward(self, image: Tensor) -> Tensor:
        """Distances f32 [B, 1, H, W] of images f32 [B, C, H, W]."""
        side = self._padding()
        more = side // self.stride + 1  # strides beyond an edge whose patches still reach into the image
        around = F.pad(self.distances(image), [more] * 4, mode="replicate")
        spread = F.conv_transpose2d(around, self.bell, stride=self.stride)
        total = F.conv_transpose2d(torch.ones_like(around), self.bell, stride=self.stride)
        start = more * self.stride + side
        rows, columns = (slice(start, start + n) for n in image.shape[2:])
        return (spread / total)[:, :, rows, columns]

    def distances(self, image: Tensor) -> Tensor:
        """Mahalanobis distance of every patch, f32 [B, 1, H / stride, W / stride]."""
        grid = [n // self.stride for n in image.shape[2:]]
        whitened = torch.cat([(part - self.mean) @ self.whitening for part in self._embedded(image)])
        return whitened.norm(dim=1).reshape(len(image), 1, *grid)

    def fit(self, images: Iterable[Tensor]) -> None:
        """Mean and whitening of the embeddings of all patches of images, batches of f32 [B, C, H, W]; in eval mode."""
        count, total, products = 0, torch.zeros(HIDDEN).double(), torch.zeros(HIDDEN, HIDDEN).double()
        for part in (part.double().cpu() for batch in images for part in self._embedded(batch)):
            count, total, products = count + len(part), total + part.sum(0), products + part.T @ part
        mean = total / count
        covariance = products / count - mean.outer(mean)
        sphere = torch.eye(HIDDEN).double() * covariance.trace() / HIDDEN
        lower = torch.linalg.cholesky((1 - SHRINKAGE) * covariance + SHRINKAGE * sphere)
        self.mean.copy_(mean)
        self.whitening.copy_(torch.linalg.inv(lower).T)

    def _embedded(self, image: Tensor) -> Iterator[Tensor]:
        """Embeddings of every patch, a few at a time, image by image and row by row."""
        side = self._padding()
        padded = F.pad(image, [side] * 4, mode="reflect")
        patches = F.unfold(padded, self.patch, stride=self.stride)  # [B, C patch^2, n]
        shape = (image.shape[1], self.patch, self.patch)
        for part in patches.movedim(2, 1).reshape(-1, *shape).split(MOST_AT_ONCE):
            yield self.embed(part)

    def _padding(self) -> int:
        """Pixels on every side, with which the patches' middles are those of the strides."""
        return (self.patch - self.stride) // 2


class CutPasteLoss(nn.Module):
    """Cross-entropy of three classes of patches: as they are, with a rectangle pasted, with a scar.

    Args:
        network: what is trained. crops: of an image in one step.
    """

    def __init__(self, network: CutPaste, crops: int = 4) -> None:
        super().__init__()
        self.network, self.crops = network, crops
        # the source's patches have 64 pixels; in smaller ones a scar stays thinner than it is long
        self.width, self.length = (2, min(16, network.patch / 4)), (10, min(25, network.patch - 1))

    def forward(self, batch: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """``batch["image"]`` f32 [B, C, H, W] -> loss, and accuracy, the share that is told apart; scalars."""
        crops = [self._crop(image, generator) for image in batch["image"] for _ in range(self.crops)]
        patches = [cut_paste(crop, generator)[0] for crop in crops]
        scars = [scar(crop, generator, self.width, self.length)[0] for crop in crops]
        classes = torch.arange(CLASSES).repeat_interleave(len(crops)).to(batch["image"].device)
        logits = self.network.classifier(self.network.embed(torch.stack([*crops, *patches, *scars]))).float()
        accuracy = (logits.argmax(1) == classes).float().mean()
        return {"loss": F.cross_entropy(logits, classes), "accuracy": accuracy}

    def _crop(self, image: Tensor, generator: torch.Generator) -> Tensor:
        """A patch from anywhere in an image f32 [C, H, W]."""
        side = self.network.patch
        rows, columns = (int(torch.randint(n - side + 1, (), generator=generator)) for n in image.shape[1:])
        return image[:, rows : rows + side, columns : columns + side]
