"""The README's picture: one test image of a run with what the last round says of it.

python scripts/picture.py runs/demo docs/demo.png
"""

from __future__ import annotations

from pathlib import Path

import fire
import matplotlib

matplotlib.use("Agg")
import numpy as np
from matplotlib import pyplot as plt
from sklearn.metrics import average_precision_score

from monai_iltm.data.cases import load_cases
from monai_iltm.data.documents import read_json
from monai_iltm.data.images import read_image
from monai_iltm.report.pictures import HEAT, Scale, surprise_scale
from monai_iltm.report.story import read_story
from monai_iltm.store import RoundFolder, RunFolder


def picture(run: str, out: str, rows: int = 2) -> None:
    """Draw 2D test images with an anomaly, around the median of their own average precision: neither best nor worst."""
    folder = RunFolder(Path(run))
    last = folder.rounds()[-1]
    cases = load_cases(read_json(folder.record)["dataset_dir"], "testing", folder.datalist, check=False)
    ranked = sorted(
        (_panels(last, case) for case in cases if case.get("label")), key=lambda panels: panels["precision"]
    )
    middle = len(ranked) // 2
    shown = ranked[max(0, middle - rows // 2) :][:rows]
    scale = surprise_scale(read_story(run))
    figure, axes = plt.subplots(rows, 5, figsize=(10, 2.05 * rows + 0.25), squeeze=False)
    for line, panels in zip(axes, shown, strict=True):
        _draw(line, panels, scale)
    for axis, title in zip(axes[0], ("image", "healed mean", "surprise", "mask", "truth"), strict=True):
        axis.set_title(title, fontsize=11)
    figure.tight_layout(pad=0.3)
    figure.savefig(out, dpi=110)
    print(out)


def _panels(last: RoundFolder, case: dict) -> dict:
    files = {kind: read_image(str(last.test_file(case["case"], kind))).array for kind in ("surprise", "healed", "mask")}
    truth = read_image(case["label"]).array > 0
    precision = average_precision_score(truth.ravel(), files["surprise"].ravel())
    return {**files, "image": read_image(case["image"]).array, "truth": truth, "precision": precision}


def _draw(line: np.ndarray, panels: dict, scale: Scale) -> None:
    line[0].imshow(panels["image"], cmap="gray_r")
    line[1].imshow(panels["healed"], cmap="gray_r", vmin=0, vmax=1)
    line[2].imshow(panels["surprise"], cmap=HEAT, vmin=scale.low, vmax=scale.high)
    for axis, name in ((line[3], "mask"), (line[4], "truth")):
        axis.imshow(panels["image"], cmap="gray_r")
        axis.imshow(np.ma.masked_equal(panels[name] > 0, False), cmap="autumn", alpha=0.75)
    for axis in line:
        axis.set_axis_off()


if __name__ == "__main__":
    fire.Fire(picture)
