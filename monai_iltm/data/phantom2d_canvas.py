"""A trunk's pose in the picture, and painting in its body frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

EDGE = 0.5  # pixels over which an organ's uptake falls to about a quarter; the blur follows


@dataclass(frozen=True)
class Pose:
    """Where the trunk lies: centre in pixels, half-axes in pixels, rotation in radians."""

    row: float
    col: float
    half_height: float
    half_width: float
    angle: float

    @staticmethod
    def draw(rng: np.random.Generator, size: int) -> Pose:
        unit = size / 64
        zoom, slender = rng.uniform(0.74, 1.08), rng.uniform(0.88, 1.14)
        shift = rng.uniform(-4, 4, 2) * unit
        centre = (size - 1) / 2
        half_height, half_width = 26.5 * unit * zoom * slender, 20.5 * unit * zoom / slender
        return Pose(centre + shift[0], centre + shift[1], half_height, half_width, rng.uniform(-0.25, 0.25))

    def to_body(self, row: np.ndarray, col: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Body coordinates (x, y) of pixels."""
        down, right = row - self.row, col - self.col
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        return (cos * right + sin * down) / self.half_width, (-sin * right + cos * down) / self.half_height

    def to_pixel(self, x: float, y: float) -> tuple[float, float]:
        """(row, col) of a body point."""
        right, down = x * self.half_width, y * self.half_height
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        return self.row + sin * right + cos * down, self.col + cos * right - sin * down


@dataclass(frozen=True)
class Canvas:
    """Pixel grid in the body frame; paints with soft edges of a fixed width in pixels."""

    x: np.ndarray
    y: np.ndarray
    scale: float  # pixels in one unit of the body frame, geometric mean of both axes

    def ellipse(self, x: float, y: float, a: float, b: float, tilt: float = 0.0, power: float = 2.0) -> np.ndarray:
        """Share in [0, 1] of every pixel inside a superellipse with half-axes a and b."""
        dx, dy = self.x - x, self.y - y
        cos, sin = np.cos(tilt), np.sin(tilt)
        along, across = np.abs((cos * dx + sin * dy) / a), np.abs((cos * dy - sin * dx) / b)
        radius = (along**power + across**power) ** (1 / power)
        return self.soft((1 - radius) * np.sqrt(a * b))

    def tube(self, points: np.ndarray, width: float) -> np.ndarray:
        """Share in [0, 1] of every pixel inside a tube of radius `width` along points [n, 2] (x, y)."""
        distance = np.min([np.hypot(self.x - px, self.y - py) for px, py in points], axis=0)
        return self.soft(width - distance)

    def soft(self, depth: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-np.clip(depth * self.scale / EDGE, -40, 40)))


def over(under: np.ndarray, share: np.ndarray, value: float) -> np.ndarray:
    """Paint an organ over what lies under it."""
    return under * (1 - share) + value * share
