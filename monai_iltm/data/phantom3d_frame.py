"""The voxel grid of a whole-body phantom, the patient's pose in it, and painting organs in body coordinates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

# mm; x to the patient's right, y to the front, z up from the vertex of a standard body: head to the top of the thighs
FIELD = np.array([[-220.0, 220.0], [-170.0, 170.0], [-880.0, 20.0]])
PIVOT = np.array([0.0, 0.0, -430.0])  # pose and scale leave this point where it is
Box = tuple[slice, slice, slice]
Depth = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Frame:
    """A grid of `shape` voxels over FIELD, and the affine map between world (mm, RAS) and body coordinates (mm)."""

    shape: tuple[int, int, int]
    stretch: np.ndarray  # [3], the patient's size over the standard body's
    rotation: np.ndarray  # [3, 3], body to world
    shift: np.ndarray  # [3], mm

    @staticmethod
    def draw(rng: np.random.Generator, shape: tuple[int, int, int]) -> Frame:
        """A random patient: stature within 6 %, slim to stout, a few degrees and up to 12 mm off the axis."""
        girth, stature = rng.uniform(0.90, 1.14), rng.uniform(0.94, 1.06)
        stretch = np.array([girth * rng.uniform(0.97, 1.03), girth * rng.uniform(0.95, 1.10), stature])
        tilt = np.deg2rad(rng.uniform([-3.0, -2.0, -5.0], [3.0, 2.0, 5.0]))
        return Frame(shape, stretch, _rotation(tilt), rng.uniform(-12, 12, 3))

    @property
    def spacing(self) -> np.ndarray:
        return (FIELD[:, 1] - FIELD[:, 0]) / np.array(self.shape)

    @property
    def affine(self) -> np.ndarray:
        """Voxel index to world, 4 x 4 float64, RAS."""
        affine = np.diag([*self.spacing, 1.0])
        affine[:3, 3] = FIELD[:, 0] + self.spacing / 2
        return affine

    @property
    def edge(self) -> float:
        """mm over which an organ's share falls to about a quarter: that of averaging over one voxel."""
        return 0.17 * float(self.spacing.mean())

    def to_world(self, place: np.ndarray) -> np.ndarray:
        return self.rotation @ (self.stretch * (place - PIVOT)) + PIVOT + self.shift

    def whole(self) -> Box:
        return tuple(slice(0, n) for n in self.shape)  # type: ignore[return-value]

    def box(self, low: np.ndarray, high: np.ndarray) -> Box:
        """Voxels that hold the body box [low, high] and a margin for soft edges; may be empty outside the field."""
        corners = np.array([[(low, high)[(i >> k) & 1][k] for k in range(3)] for i in range(8)])
        world = np.array([self.to_world(corner) for corner in corners])
        margin = 8 * self.edge
        first = np.floor((world.min(0) - margin - FIELD[:, 0]) / self.spacing).astype(int)
        last = np.ceil((world.max(0) + margin - FIELD[:, 0]) / self.spacing).astype(int)
        sides = zip(np.clip(first, 0, self.shape), np.clip(last, 0, self.shape), strict=True)
        return tuple(slice(int(a), int(b)) for a, b in sides)  # type: ignore[return-value]

    def body_grid(self, box: Box) -> list[np.ndarray]:
        """Body coordinates x, y, z of the box's voxels, each float32 [*box]."""
        back = self.rotation.T / self.stretch[:, None]
        offset = PIVOT - back @ (PIVOT + self.shift)
        axes = np.ix_(*(FIELD[k, 0] + (np.arange(box[k].start, box[k].stop) + 0.5) * self.spacing[k] for k in range(3)))
        worlds = [axis.astype(np.float32) for axis in axes]
        rows = [[np.float32(back[k, j]) * worlds[j] for j in range(3)] for k in range(3)]
        return [rows[k][0] + rows[k][1] + rows[k][2] + np.float32(offset[k]) for k in range(3)]

    def share(self, depth: np.ndarray) -> np.ndarray:
        """Share in [0, 1] of a voxel inside an organ, from the depth in mm of its centre below the organ's surface."""
        return 1 / (1 + np.exp(np.clip(depth / np.float32(-self.edge), -30, 30)))


@dataclass(frozen=True)
class Painting:
    """A patient being painted: uptake [*S] float32 in SUV and the organ that was painted last, labels [*S] uint8."""

    frame: Frame
    uptake: np.ndarray
    labels: np.ndarray

    @staticmethod
    def blank(frame: Frame) -> Painting:
        return Painting(frame, np.zeros(frame.shape, np.float32), np.zeros(frame.shape, np.uint8))

    def paint(self, depth: Depth, box: Box, value: float, label: int) -> None:
        """Cover what lies under an organ, given by its depth in mm over body coordinates."""
        part = self.uptake[box]
        if not part.size:
            return
        share = self.frame.share(depth(*self.frame.body_grid(box)))
        part += share * (np.float32(value) - part)
        self.labels[box][share > 0.5] = label

    def ellipsoid(
        self, centre: tuple, half: tuple, value: float, label: int, tilt: float = 0.0, power: float = 2.0
    ) -> None:
        """A superellipsoid at `centre` with half-axes `half` in mm, turned by `tilt` radians in the coronal plane."""
        reach = np.array([max(half[0], half[2])] * 3) if tilt else np.array(half)
        reach[1] = half[1]
        box = self.frame.box(np.array(centre) - reach, np.array(centre) + reach)
        self.paint(ellipsoid_depth(centre, half, tilt, power), box, value, label)

    def tube(self, points: np.ndarray, radius: float, value: float, label: int) -> None:
        """A tube of `radius` mm around the line through points [n, 3]; they should lie closer than a radius."""
        box = self.frame.box(points.min(0) - radius, points.max(0) + radius)
        self.paint(tube_depth(points, radius), box, value, label)


def ellipsoid_depth(centre: tuple, half: tuple, tilt: float = 0.0, power: float = 2.0) -> Depth:
    """Depth in mm below a superellipsoid's surface: exact on the axes of a sphere, good near any surface."""
    cos, sin = np.float32(np.cos(tilt)), np.float32(np.sin(tilt))
    thickness = np.float32(np.cbrt(np.prod(half)))

    def depth(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        dx, dz = x - np.float32(centre[0]), z - np.float32(centre[2])
        along, across = cos * dx + sin * dz, cos * dz - sin * dx
        parts = ((along, half[0]), (y - np.float32(centre[1]), half[1]), (across, half[2]))
        total = np.sum([np.abs(part / np.float32(size)) ** np.float32(power) for part, size in parts], axis=0)
        return (1 - total ** np.float32(1 / power)) * thickness

    return depth


def tube_depth(points: np.ndarray, radius: float) -> Depth:
    """Depth in mm below the surface of the balls of `radius` around points [n, 3]."""

    def depth(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        nearest = np.full(x.shape, np.inf, np.float32)
        for px, py, pz in points.astype(np.float32):
            np.minimum(nearest, (x - px) ** 2 + (y - py) ** 2 + (z - pz) ** 2, out=nearest)
        return np.float32(radius) - np.sqrt(nearest)

    return depth


def _rotation(angles: np.ndarray) -> np.ndarray:
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles), np.sin(angles)
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x
