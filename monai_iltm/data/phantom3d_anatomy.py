"""A healthy whole body in FDG: analytic organs from the vertex to the thighs, uptake drawn from published ranges.

Sizes and places follow adult label maps, uptake follows usual SUV means; docs/phantoms.md compares both.
"""

from __future__ import annotations

import numpy as np

from monai_iltm.data.phantom3d_frame import Frame, Painting

ORGANS = (
    *("air", "fat", "muscle", "bone marrow", "brain", "white matter", "lung", "blood pool", "myocardium", "liver"),
    *("spleen", "stomach", "bowel", "kidney", "urine", "tonsil"),
)
LABEL = {name: value for value, name in enumerate(ORGANS)}

# half-width and half-depth of the body and its centre towards the front (mm) by height
OUTLINE = np.array(
    [
        (5, 4, 4, 22),
        (-10, 42, 52, 22),
        (-40, 67, 88, 22),
        (-85, 77, 102, 22),
        (-130, 74, 103, 22),
        (-175, 60, 92, 18),
        (-205, 56, 64, 0),
        (-235, 72, 66, -8),
        (-265, 138, 78, -8),
        (-310, 170, 94, -4),
        (-400, 166, 108, 0),
        (-500, 162, 117, 0),
        (-560, 158, 120, 0),
        (-640, 157, 118, 0),
        (-720, 170, 114, 0),
        (-800, 181, 110, -4),
        (-900, 178, 106, -6),
    ],
    dtype=np.float32,
)[::-1]


def healthy_body(rng: np.random.Generator, frame: Frame) -> tuple[np.ndarray, np.ndarray]:
    """Uptake [*S] float32 in SUV without blur and noise, and the organ of every voxel [*S] uint8, indices to ORGANS."""
    painting = Painting.blank(frame)
    for organs in (_body, _arms, _bones, _head, _chest, _heart, _upper_abdomen, _bowel, _kidneys, _bladder):
        organs(rng, painting)
    return painting.uptake, painting.labels


def _body(rng: np.random.Generator, painting: Painting) -> None:
    frame, fat = painting.frame, rng.uniform(8, 24)

    def depth(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        width, thick, centre = (np.interp(z, OUTLINE[:, 0], OUTLINE[:, k]).astype(np.float32) for k in (1, 2, 3))
        radius = (np.abs(x / width) ** 2.4 + np.abs((y - centre) / thick) ** 2.4) ** np.float32(1 / 2.4)
        return np.where(z < 5, (1 - radius) * np.minimum(width, thick), np.float32(-50))

    def lean(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        return depth(x, y, z) - np.where(z > -230, np.float32(6), np.float32(fat))

    painting.paint(depth, frame.whole(), rng.uniform(0.15, 0.4), LABEL["fat"])
    painting.paint(lean, frame.whole(), rng.uniform(0.4, 0.8), LABEL["muscle"])


def _arms(rng: np.random.Generator, painting: Painting) -> None:
    """Raised beside the head, or out of the field."""
    raised, value, bend = rng.random() < 0.5, rng.uniform(0.35, 0.7), rng.uniform(-15, 15)
    if not raised:
        return
    for side in (-1, 1):
        line = _line((side * 150, -8, -285), (side * (172 + bend), 0, -150), (side * (165 + bend), 10, 40), count=24)
        painting.tube(line, 36, value, LABEL["muscle"])


def _bones(rng: np.random.Generator, painting: Painting) -> None:
    marrow = rng.uniform(0.9, 1.8)
    label = LABEL["bone marrow"]
    for height in np.arange(-175, -720, -31.0):  # vertebral bodies, wider downwards
        size = 13 + 9 * min((-175 - height) / 350, 1)
        painting.ellipsoid((0, _spine_depth(height), height), (size, size * 0.8, 11.5), marrow, label, power=3)
    painting.ellipsoid((0, -72, -735), (42, 16, 46), marrow * 0.85, label)
    painting.ellipsoid((0, 88, -375), (15, 6, 68), marrow * 0.7, label)
    for side in (-1, 1):
        painting.ellipsoid((side * 92, -32, -690), (15, 46, 56), marrow * 0.75, label, tilt=side * -0.5)
        painting.ellipsoid((side * 86, -2, -812), (23, 23, 23), marrow * 0.55, label)
        painting.ellipsoid((side * 124, -12, -292), (18, 18, 22), marrow * 0.6, label)


def _spine_depth(height: float) -> float:
    """Lordosis of neck and loins, kyphosis of the chest: mm towards the front."""
    return float(np.interp(height, [-735, -640, -560, -400, -280, -175], [-62, -42, -50, -72, -52, -14]))


def _head(rng: np.random.Generator, painting: Painting) -> None:
    grey = rng.uniform(6, 12)
    painting.ellipsoid((0, 22, -82), (58, 74, 57), grey, LABEL["brain"], power=2.3)
    painting.ellipsoid((0, 22, -82), (41, 57, 39), grey * rng.uniform(0.35, 0.5), LABEL["white matter"])
    painting.ellipsoid((0, -28, -128), (43, 28, 20), grey * 0.85, LABEL["brain"])
    throat, even = rng.uniform(1.2, 4.5), rng.uniform(0.85, 1.0)
    for side in (-1, 1):
        painting.ellipsoid((side * 17, 30, -82), (9, 22, 12), grey * 0.95, LABEL["brain"])
        painting.ellipsoid((side * 19, 48, -172), (8, 9, 13), throat * (even if side > 0 else 1), LABEL["tonsil"])


def _chest(rng: np.random.Generator, painting: Painting) -> None:
    air, width, depth, height = (rng.uniform(*span) for span in ((0.3, 0.6), (45, 51), (68, 79), (99, 112)))
    for side in (-1, 1):
        x, y, z = _near(rng, (side * 68, -4, -392), 3)
        painting.ellipsoid((x, y, z), (width, depth, height), air, LABEL["lung"], tilt=side * 0.12, power=2.4)


def _heart(rng: np.random.Generator, painting: Painting) -> None:
    pool, present, wall = rng.uniform(1.3, 2.0), rng.random() < 0.75, rng.uniform(1.8, 10)
    label, size, tilt = LABEL["blood pool"], rng.uniform(0.9, 1.12), rng.uniform(0.5, 1.0)
    x, y, z = _near(rng, (-48, 28, -462), 5)
    painting.ellipsoid((x + 36, y + 8, z + 10), (46 * size, 40 * size, 48 * size), pool, label)
    arch = _line((-2, 20, -410), (-4, 2, -345), (-16, -38, -360), (-18, -44, -480), (-12, -22, -660), count=60)
    painting.tube(arch, 12, pool, label)
    if present:  # fed or fasting: anything from the blood pool's uptake to blazing
        painting.ellipsoid((x, y, z), (34 * size, 34 * size, 45 * size), wall, LABEL["myocardium"], tilt)
    painting.ellipsoid((x, y, z), (22 * size, 22 * size, 33 * size), pool, label, tilt)


def _upper_abdomen(rng: np.random.Generator, painting: Painting) -> None:
    liver = rng.uniform(1.7, 2.6)
    x, y, z = _near(rng, (66, 2, -528), 5)
    right = tuple(rng.uniform((50, 64, 76), (58, 76, 90)))
    painting.ellipsoid((x, y, z), right, liver, LABEL["liver"], tilt=0.25, power=2.3)
    painting.ellipsoid((x - 58, y + 38, z + 34), (56, 38, 35), liver, LABEL["liver"], tilt=-0.15)
    x, y, z = _near(rng, (-108, -44, -528), 5)
    half = rng.uniform((24, 38, 36), (31, 48, 46))
    painting.ellipsoid((x, y, z), tuple(half), rng.uniform(1.4, 2.5), LABEL["spleen"])
    x, y, z = _near(rng, (-62, 42, -545), 6)
    half = rng.uniform((32, 26, 40), (44, 36, 54))
    painting.ellipsoid((x, y, z), tuple(half), rng.uniform(0.8, 3.5), LABEL["stomach"], tilt=0.4)
    painting.ellipsoid((x, y, z), tuple(half - 10), rng.uniform(0.5, 0.9), LABEL["stomach"], tilt=0.4)


def _bowel(rng: np.random.Generator, painting: Painting) -> None:
    """A colon in its frame, stretches of it hot, and a few hot loops of small bowel."""
    frame = _line(
        *((104, 0, -735), (112, 2, -660), (100, 28, -606), (20, 62, -628)),
        *((-62, 56, -606), (-112, 0, -590), (-114, -4, -690), (-70, 8, -748), (-8, -22, -765)),
        count=80,
    )
    frame = frame + rng.normal(0, 5, (1, 3)) + 5 * np.sin(np.linspace(0, 20, len(frame)) + rng.uniform(0, 6))[:, None]
    painting.tube(frame, rng.uniform(13, 18), rng.uniform(0.8, 1.6), LABEL["bowel"])
    for _ in range(rng.integers(0, 3)):
        start = rng.integers(0, len(frame) - 24)
        painting.tube(frame[start : start + rng.integers(8, 24)], 14, rng.uniform(2, 6), LABEL["bowel"])
    for _ in range(rng.integers(2, 6)):
        heading = np.cumsum(rng.normal(0, 0.5, (26, 3)), 0) + rng.normal(0, 1, 3)
        walk = np.cumsum(8 * heading / np.linalg.norm(heading, axis=1, keepdims=True), 0)
        walk += np.array([0, 30, -682]) + rng.normal(0, (30, 12, 22)) - walk.mean(0)
        walk = np.clip(walk, (-88, -2, -748), (88, 72, -632))
        painting.tube(walk, rng.uniform(9, 13), rng.uniform(0.8, 4.5), LABEL["bowel"])


def _kidneys(rng: np.random.Generator, painting: Painting) -> None:
    """A pair: nearly the same height, size and uptake; hot urine in the pelves, now and then in a stretch of ureter."""
    cortex, urine = rng.uniform(2, 7), rng.uniform(4, 20)
    x, y, z = _near(rng, (70, -40, -572), 3)
    half = rng.uniform((24, 21, 46), (29, 26, 56))
    for side in (-1, 1):
        height = z - 6 * side + rng.normal(0, 3)
        heat = cortex * rng.uniform(0.93, 1)
        painting.ellipsoid((side * x, y, height), tuple(half), heat, LABEL["kidney"], side * -0.25)
        pelvis = tuple(rng.uniform((7, 7, 10), (10, 10, 18)))
        painting.ellipsoid((side * (x - 13), y + 4, height), pelvis, urine, LABEL["urine"])
        ureter = _line((side * 52, y + 6, height - 20), (side * 42, -22, -690), (side * 24, -18, -755), count=60)
        start, length = rng.integers(0, 48), rng.integers(0, 14)
        if rng.random() < 0.5:
            painting.tube(ureter[start : start + length + 1], 3.5, urine, LABEL["urine"])


def _bladder(rng: np.random.Generator, painting: Painting) -> None:
    fill, urine = rng.uniform(0.6, 1.1), float(np.exp(rng.uniform(np.log(10), np.log(90))))
    x, y, z = _near(rng, (0, 8, -792), 3)
    painting.ellipsoid((x, y, z + 20 * fill), (48 * fill, 44 * fill, 36 * fill), urine, LABEL["urine"])


def _near(rng: np.random.Generator, place: tuple, spread: float) -> np.ndarray:
    return np.array(place) + rng.normal(0, spread, 3)


def _line(*corners: tuple, count: int) -> np.ndarray:
    """Points [count, 3], evenly spaced on the line through the corners."""
    turns = np.array(corners, dtype=float)
    reached = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(turns, axis=0), axis=1))])
    steps = np.linspace(0, reached[-1], count)
    return np.stack([np.interp(steps, reached, turns[:, k]) for k in range(3)], 1)
