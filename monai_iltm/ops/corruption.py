"""Synthetic anomalies: a part of an image, pasted elsewhere in it."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

TOLERANCE = 1e-3  # pixels by which the edge of a part may be missed through rounding


def paste(image: Tensor, source: Tensor, target: Tensor, size: Tensor, angle: float = 0.0) -> tuple[Tensor, Tensor]:
    """A rectangle of an image, turned, over another place of it.

    Args:
        image: f32 [C, H, W]. source, target: centres (row, column) in pixels, the first pixel's is 0.
        size: height and width in pixels. angle: radians by which the rectangle is turned.

    Returns:
        The image with the part over it, bilinear where it does not meet the pixels, and where: bool [1, H, W].
    """
    height, width = image.shape[1:]
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    rows, columns = rows - target[0], columns - target[1]
    down = math.cos(angle) * rows + math.sin(angle) * columns  # in the rectangle's own axes, [H, W]
    right = math.cos(angle) * columns - math.sin(angle) * rows
    reach = (size - 1) / 2 + TOLERANCE
    inside = (down.abs() <= reach[0]) & (right.abs() <= reach[1])
    grid = torch.stack(
        [2 * (right + source[1]) / max(1, width - 1) - 1, 2 * (down + source[0]) / max(1, height - 1) - 1], -1
    )
    part = F.grid_sample(image[None], grid[None].to(image), "bilinear", "border", align_corners=True)[0]
    inside = inside[None].to(image.device)
    return torch.where(inside, part, image), inside


def cut_paste(
    image: Tensor,
    generator: torch.Generator,
    area: tuple[float, float] = (0.02, 0.15),
    aspect: tuple[float, float] = (0.3, 3.3),
    jitter: float = 0.1,
) -> tuple[Tensor, Tensor]:
    """A rectangle of an image f32 [C, H, W] in [0, 1] over another place of it, and where: bool [1, H, W].

    Args:
        generator: on the CPU, of all that is drawn. area: of the rectangle, as a share of the image. aspect: height
            over width, as likely above 1 as below. jitter: largest change of its contrast, and of its brightness.

    Raises ValueError for an image that is not 2D.

    Source: Li et al., CVPR 2021.
    """
    share = _between(*area, generator)
    ratio = math.exp(_between(math.log(aspect[0]), math.log(aspect[1]), generator))
    whole = math.prod(image.shape[1:]) * share
    size = torch.tensor([math.sqrt(whole * ratio), math.sqrt(whole / ratio)])
    return _pasted(image, size, 0.0, jitter, generator)


def scar(
    image: Tensor,
    generator: torch.Generator,
    width: tuple[float, float] = (2, 16),
    length: tuple[float, float] = (10, 25),
    angle: float = math.pi / 4,
    jitter: float = 0.1,
) -> tuple[Tensor, Tensor]:
    """A thin rectangle of an image f32 [C, H, W] in [0, 1], turned, over another place of it, and where: bool
    [1, H, W].

    width, length: in pixels. angle: largest turn either way, radians. The rest: as ``cut_paste``.

    Source: Li et al., CVPR 2021.
    """
    size = torch.tensor([_between(*length, generator), _between(*width, generator)])
    return _pasted(image, size, _between(-angle, angle, generator), jitter, generator)


def _pasted(
    image: Tensor, size: Tensor, angle: float, jitter: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """A rectangle of about this size, from anywhere to anywhere in the image, its intensities changed a little."""
    if image.ndim != 3:
        raise ValueError(f"a part is pasted into an image [C, H, W], found {tuple(image.shape)}")
    room = torch.tensor(image.shape[1:])
    size = size.round().clamp(min=torch.ones(2), max=room - 1)
    source, target = (_corner(room, size, generator) + (size - 1) / 2 for _ in range(2))
    changed, inside = paste(image, source, target, size, angle)
    gain, offset = (_between(-jitter, jitter, generator) for _ in range(2))
    changed = ((1 + gain) * changed + offset).clamp(0, 1)
    return torch.where(inside, changed, image), inside


def _corner(room: Tensor, size: Tensor, generator: torch.Generator) -> Tensor:
    """First row and column of a rectangle that lies in the image."""
    return (torch.rand(2, generator=generator) * (room - size + 1)).floor()


def _between(low: float, high: float, generator: torch.Generator) -> float:
    return low + (high - low) * torch.rand((), generator=generator).item()
