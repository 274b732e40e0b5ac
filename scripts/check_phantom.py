"""Print how the phantoms compare with real anatomy and uptake, and how trivial detectors fare on them (Markdown).

python scripts/check_phantom.py            everything; needs the measuring data at ILTM_DATA or ../shared/data
python scripts/check_phantom.py --part 2d  trivial detectors on phantom2d alone (also: 3d, uptake, noise, anatomy)
"""

from __future__ import annotations

import argparse
import csv
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import nibabel
import numpy as np
from scipy.ndimage import binary_erosion, gaussian_filter, label
from sklearn.metrics import average_precision_score, roc_auc_score

from monai_iltm.data.phantom2d import phantom2d_slice
from monai_iltm.data.phantom3d import phantom3d_organs, phantom3d_volume
from monai_iltm.data.phantom3d_anatomy import ORGANS
from monai_iltm.data.phantom3d_frame import FIELD
from monai_iltm.data.phantom_io import case_generator, planned_cases

DATA = Path(os.environ.get("ILTM_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
PATIENTS, FINE = 24, (96, 72, 192)  # about 4.7 mm voxels, as the real scan has
HINTS = {
    "brain (grey matter)": "brain",
    "myocardium": "myocardium",
    "blood pool": "blood pool",
    "liver": "liver",
    "spleen": "spleen",
    "kidney parenchyma": "kidney",
    "bladder (urine; max)": "urine",
    "lung": "lung",
    "bone marrow (lumbar)": "bone marrow",
    "skeletal muscle": "muscle",
    "subcutaneous fat": "fat",
    "bowel/stomach wall": "bowel",
}
XCAT = {"brain": 3, "lung": 6, "liver": 5}
TOTALSEGMENTATOR = {"liver": (5,), "spleen": (1,), "kidney": (2, 3), "urine": (21,)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = {"uptake": uptake, "noise": noise, "anatomy": anatomy, "2d": trivial_2d, "3d": trivial_3d}
    parser.add_argument("--part", choices=parts)
    chosen = parser.parse_args().part
    for name in [chosen] if chosen else parts:
        if name in ("uptake", "noise", "anatomy") and not DATA.is_dir():
            print(f"{name}: left out, no measuring data at {DATA} (set ILTM_DATA)\n")
        else:
            parts[name]()


def load(name: str) -> nibabel.Nifti1Image:
    image = nibabel.load(DATA / name)
    assert isinstance(image, nibabel.Nifti1Image)
    return image


def patients() -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(SUV, organs, affine) of healthy phantoms."""
    made = []
    for seed in range(PATIENTS):
        suv, _, affine = phantom3d_volume(np.random.default_rng(seed), FINE, 0)
        made.append((suv, phantom3d_organs(np.random.default_rng(seed), FINE), affine))
    return made


def table(title: str, head: list[str], rows: list[list[str]]) -> None:
    print(f"**{title}**\n")
    for row in (head, ["---"] * len(head), *rows):
        print("| " + " | ".join(row) + " |")
    print()


def uptake() -> None:
    made = patients()
    with open(DATA / "wholebody_labelmaps" / "fdg_uptake_hint.csv", newline="") as file:
        hints = {row["structure"]: row for row in csv.DictReader(file)}
    livers = np.array([core(suv, organs, "liver").mean() for suv, organs, _ in made])
    rows = []
    for structure, organ in HINTS.items():
        summary = np.max if organ == "urine" else np.mean
        cores = [core(suv, organs, organ) for suv, organs, _ in made]
        found = np.array([summary(values) if values.size else np.nan for values in cores])
        hint = hints[structure]
        scans = [key for key in ("measured_STS001", "measured_QIN139") if hint[key]]
        real = ", ".join(f"{float(hint[key]) / float(hints['liver'][key]):.2g}" for key in scans)
        suv = "{:.2f} / {:.2f} / {:.2f}".format(*np.nanpercentile(found, [0, 50, 100]))
        ratio = "{:.2g} / {:.2g} / {:.2g}".format(*np.nanpercentile(found / livers, [0, 50, 100]))
        usual = f"{hint['typical_suvmean_low']} - {hint['typical_suvmean_high']}"
        rows.append([structure, usual, ", ".join(hint[key] for key in scans) or "-", suv, real or "-", ratio])
    head = ["structure", "usual", "two real scans", "phantom (min / median / max)", "real / liver", "phantom / liver"]
    table(f"Uptake (SUV), {PATIENTS} phantoms at {FINE}, organs' cores", head, rows)


def core(suv: np.ndarray, organs: np.ndarray, organ: str) -> np.ndarray:
    """Values inside an organ, away from its edge where it is thick enough."""
    inside = organs == ORGANS.index(organ)
    eroded = binary_erosion(inside)
    return suv[eroded if eroded.sum() > 20 else inside]


def noise() -> None:
    real = np.asarray(load("sts001_wholebody_fdgpet_3d/test/STS_001_wb_suv.nii.gz").dataobj)
    liver = real_liver(real)
    rows = []
    for block in ((1, 1, 1), (1, 1, 3), (2, 1, 3)):
        size = " x ".join(f"{side * n:.1f}" for side, n in zip((4.69, 4.69, 3.27), block, strict=True))
        rows.append(noise_row("real scan", size, [averaged(real, block)], [averaged(liver, block) > 0.999]))
    drawn = [phantom3d_volume(np.random.default_rng(seed)) for seed in range(PATIENTS)]
    organs = [phantom3d_organs(np.random.default_rng(seed)) for seed in range(PATIENTS)]
    livers = [binary_erosion(labels == ORGANS.index("liver"), iterations=2) for labels in organs]
    size = " x ".join(f"{side:.1f}" for side in np.diag(drawn[0][2])[:3])
    rows.append(noise_row("phantom, default", size, [suv for suv, _, _ in drawn], livers))
    head = ["", "voxel (mm)", "variation in the liver", "correlation of neighbours (x, y, z)"]
    table(f"Noise: the real scan's liver, averaged over blocks of voxels, and {PATIENTS} phantoms (median)", head, rows)


def real_liver(suv: np.ndarray) -> np.ndarray:
    """The largest region of liver-like uptake once smoothed, away from its edge: chosen by uptake, not by calm."""
    smooth = gaussian_filter(suv, (3, 3, 4))
    regions, _ = label((smooth > 1.6) & (smooth < 2.4))
    return binary_erosion(regions == np.bincount(regions.ravel())[1:].argmax() + 1, iterations=3)


def averaged(values: np.ndarray, block: tuple[int, int, int]) -> np.ndarray:
    """Means over blocks of voxels; what does not fill a block is cut off."""
    whole = values[tuple(slice(0, n // k * k) for n, k in zip(values.shape, block, strict=True))]
    sides = [part for n, k in zip(whole.shape, block, strict=True) for part in (n // k, k)]
    return whole.reshape(sides).mean((1, 3, 5))


def noise_row(name: str, size: str, volumes: list[np.ndarray], livers: list[np.ndarray]) -> list[str]:
    variation = [suv[liver].std() / suv[liver].mean() for suv, liver in zip(volumes, livers, strict=True)]
    pairs = [neighbour_correlation(suv, liver) for suv, liver in zip(volumes, livers, strict=True)]
    told_pairs = ", ".join(f"{value:.2f}" for value in np.median(pairs, 0))
    return [name, size, f"{np.median(variation):.3f}", told_pairs]


def neighbour_correlation(suv: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """[3]: correlation of voxels with their next along each axis, both inside."""
    found = []
    for axis in range(3):
        values, held = np.moveaxis(suv, axis, 0), np.moveaxis(inside, axis, 0)
        pair = held[1:] & held[:-1]
        found.append(np.corrcoef(values[1:][pair], values[:-1][pair])[0, 1])
    return np.array(found)


def spread(values: list[float]) -> np.ndarray:
    return np.percentile(values, [0, 50, 100])


def anatomy() -> None:
    made = patients()
    xcat = load("wholebody_labelmaps/xcat_mesh50_wholebody_2mm.nii.gz")
    labels = np.asarray(xcat.dataobj)
    vertex = np.flatnonzero((labels > 0).any((0, 1))).max()
    rows = []
    for organ, value in XCAT.items():
        heights = 2.0 * (vertex - np.flatnonzero((labels == value).any((0, 1))))
        volume = (labels == value).sum() * 0.008
        span = f"{heights.min():.0f} - {heights.max():.0f}"
        rows.append(["XCAT", organ, f"{volume:.0f}", told(made, organ), span, reach(made, organ)])
    total = load("wholebody_labelmaps/totalsegmentator_torso_3mm_labels.nii.gz")
    for organ, values in TOTALSEGMENTATOR.items():
        volume = np.isin(np.asarray(total.dataobj), values).sum() * 0.027
        rows.append(["CT patient", organ, f"{volume:.0f}", told(made, organ), "-", "-"])
    head = ["map", "organ", "its ml", "phantom ml (min / median / max)", "its mm below the vertex", "phantom (median)"]
    table(f"Body proportions, {PATIENTS} phantoms at {FINE}", head, rows)


def told(made: list, organ: str) -> str:
    voxel = np.prod((FIELD[:, 1] - FIELD[:, 0]) / FINE) / 1000
    names = ("brain", "white matter") if organ == "brain" else (organ,)
    volumes = [np.isin(organs, [ORGANS.index(name) for name in names]).sum() * voxel for _, organs, _ in made]
    return "{:.0f} / {:.0f} / {:.0f}".format(*spread(volumes))


def reach(made: list, organ: str) -> str:
    """Median top and bottom of an organ in mm below the vertex."""
    ends = []
    for _, organs, affine in made:
        middle = organs[FINE[0] // 3 : -FINE[0] // 3]  # without raised arms, which reach above the vertex
        top = np.flatnonzero((middle > 0).any((0, 1))).max()
        height = np.flatnonzero((organs == ORGANS.index(organ)).any((0, 1)))
        ends.append([(top - height.max()) * affine[2, 2], (top - height.min()) * affine[2, 2]])
    return "{:.0f} - {:.0f}".format(*np.median(ends, 0))


def trivial_2d() -> None:
    def draw(preference: float, rng: np.random.Generator, lesions: int) -> tuple[np.ndarray, np.ndarray]:
        return phantom2d_slice(rng, lesions, site_preference=preference)

    trivial(
        "phantom2d, 192 training, 32 anomalous test images",
        {"training": 192, "testing": 64},
        draw,
        (1 / 255, 0.02, 0.1),
    )


def trivial_3d() -> None:
    def draw(preference: float, rng: np.random.Generator, lesions: int) -> tuple[np.ndarray, np.ndarray]:
        return phantom3d_volume(rng, lesions=lesions, site_preference=preference)[:2]

    trivial("phantom3d, 24 training, 8 anomalous test volumes", {"training": 24, "testing": 16}, draw, (0.05, 0.2, 1.0))


def trivial(what: str, counts: dict, draw: Callable, floors: tuple[float, ...]) -> None:
    rows = []
    for preference in (0.8, 0.3, 0.0):
        rows += detectors(f"site_preference {preference}", counts, partial(draw, preference), floors)
    table(f"Trivial detectors on {what}", ["setting", "lesion share", "detector", "AUROC", "AP"], rows)


def detectors(setting: str, counts: dict, draw: Callable, floors: tuple[float, ...]) -> list[list[str]]:
    """`floors`: added to the MAD; no detector owns one, so several are tried."""
    parameters = {**counts, "clean": 0, "contamination": 1.0, "lesions": (1, 3), "seed": 0}
    drawn: dict[str, list] = {"training": [], "testing": []}
    for split, index, _, lesions in planned_cases(parameters):
        if lesions:
            drawn[split].append(draw(case_generator(0, split, index), lesions))
    training = np.stack([image for image, _ in drawn["training"]])
    test = np.stack([image for image, _ in drawn["testing"]])
    truth = np.stack([mask for _, mask in drawn["testing"]]).ravel()
    median = np.median(training, 0)
    deviation = np.median(np.abs(training - median), 0)
    scores = {"raw intensity": test}
    scores |= {f"robust z, MAD + {floor:.3g}": np.abs(test - median) / (deviation + floor) for floor in floors}
    rows = []
    for name, score in scores.items():
        auroc, precision = roc_auc_score(truth, score.ravel()), average_precision_score(truth, score.ravel())
        rows.append([setting, f"{truth.mean():.5f}", name, f"{auroc:.3f}", f"{precision:.3f}"])
    return rows


if __name__ == "__main__":
    main()
