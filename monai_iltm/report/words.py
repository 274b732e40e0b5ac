"""The sentences and number formats of the report, and what must not be told: folders of the machine it ran on."""

from __future__ import annotations

import json
import re
from html import escape
from typing import Any

from monai_iltm.report.story import Stage, Story, finite

DASH = "\N{EN DASH}"
NO_GAP = 0.02  # of average precision: two trainings of the same prior differ by as much
TRIVIAL = {"raw_intensity": "Raw intensity", "robust_z": "Robust z-score", "vqvae_residual": "VQ-VAE residual"}
METRICS = {
    "auroc": "AUROC",
    "average_precision": "AP",
    "aupro": "AUPRO",
    "best_dice": "Dice, pooled",
    "best_dice_per_case": "Dice, per case",
    "image_auroc": "Image AUROC",
}
ROW_LEGEND = {
    "Raw intensity": "brighter counts as more anomalous. No model at all.",
    "Robust z-score": "distance from what the training images show at the same place, |x - median| / MAD.",
    "VQ-VAE residual": "difference between an image and its plain reconstruction. No masking, no healing.",
    "Round 0": "the prior learned from all tokens, anomalies included.",
    "Later rounds": "the prior learned anew, leaving out what the round before held suspect.",
    "Oracle masks": "the prior learned with the true anomalies left out: what perfect masks would give.",
    "Clean training": "the prior learned from images without anomalies.",
}
COLUMN_LEGEND = (
    "<b>Suspect</b>: share of the training tokens to be left out of the next round. "
    "<b>Change</b>: of their number against the round before. "
    "<b>Overlap</b>: Jaccard index with the masks of the round before, 1 means the same. "
)
METRIC_LEGEND = (
    "<b>KDE</b>: score by kernel density of the healed versions. "
    "<b>resid.</b>: score by mean residual, |image - healed mean|. "
    "AUROC, AP, AUPRO (false-positive limit 0.3) and pooled Dice are over all test pixels together; "
    "Dice at its best threshold. Test labels chose nothing."
)


def percent(share: float | None, digits: int = 1) -> str:
    """0.0123 -> "1.2 %"; a dash for None."""
    return DASH if finite(share) is None else f"{100 * float(share or 0):.{digits}f} %"


def decimal(value: Any, digits: int = 3) -> str:
    """0.98412 -> "0.984"; a dash for what is no finite number."""
    number = finite(value)
    return DASH if number is None else f"{number:.{digits}f}"


def rounds_word(count: int) -> str:
    """ "1 round", "3 rounds"."""
    return f"{count} round{'' if count == 1 else 's'}"


def verdict(story: Story) -> str:
    """One plain sentence: did the masks settle?"""
    if not story.rounds:
        return "In progress: no round is finished yet."
    last = story.rounds[-1]
    done, share = rounds_word(len(story.rounds)), percent(last.suspect_share)
    moved = f"suspect tokens changed by {percent(last.change)}"
    match last.record.get("verdict"):
        case "converged":
            return f"Masks settled after {done}: {moved}."
        case "collapsed":
            too_much = (last.suspect_share or 0) > 0.5
            why = "nothing is left to learn from" if too_much else "there is nothing to leave out"
            return f"Masks collapsed after {done}: {share} of the training tokens are suspect, {why}."
        case "oscillating":
            return f"Masks swing back and forth and do not settle: after {done}, {moved}."
        case "max_rounds" if last.change is None:
            return f"Stopped after {done}, the limit set: {share} of the training tokens are suspect."
        case "max_rounds":
            return f"Stopped at the limit of {done}: {moved}."
    first = f"{share} of the training tokens are suspect"
    return f"In progress after {done}: {first if last.change is None else moved}."


def shortfall(story: Story) -> str:
    """One plain sentence where detectors that learn nothing find more than the last round does; else empty."""
    end = _precision(story.rounds[-1]) if story.rounds else None
    rivals = {TRIVIAL[name]: finite(story.trivial.get(name, {}).get("average_precision")) for name in TRIVIAL}
    better = {name: value for name, value in rivals.items() if value is not None and end is not None and value > end}
    if not better:
        return ""
    best = max(better, key=lambda name: better[name])
    against = f"average precision {better[best]:.3f} against {end:.3f}"
    if len(better) == sum(value is not None for value in rivals.values()):
        plain = "every detector that learns little or nothing"
        return f"Not useful here: {plain} finds more, {best.lower()} most ({against})."
    names = " and ".join(name.lower() for name in sorted(better))
    return f"Less useful than {names}, without any training ({best.lower()}: {against})."


def accuracy(story: Story) -> str:
    """One sentence on average precision over the rounds and against the bracket; empty where no truth is known."""
    known = [(stage, value) for stage in story.rounds if (value := _precision(stage)) is not None]
    if not known:
        return ""
    (first, start), (last, end) = known[0], known[-1]
    if first is last:
        text = f"Average precision on the test images is {start:.3f} in {first.name.lower()}"
    else:
        span = f"from {start:.3f} in {first.name.lower()} to {end:.3f} in {last.name.lower()}"
        how = f"rose {span}" if end > start else f"fell {span}"
        if abs(end - start) < 0.0005:
            how = f"stayed at {start:.3f} from {first.name.lower()} to {last.name.lower()}"
        text = f"Average precision on the test images {how}"
    oracle = next((_precision(stage) for stage in story.brackets if stage.name == "Oracle masks"), None)
    if oracle is None:
        return text + "."
    text += f"; perfect masks would give {oracle:.3f}"
    if oracle - start < NO_GAP:
        text += ", so that masks have nothing to repair here"
    elif end >= oracle:
        text += ", no more than the rounds reach"
    elif first is not last and end > start:
        text += f", so {100 * (end - start) / (oracle - start):.0f} % of that gap is closed"
    return text + "."


def redact(value: Any) -> str:
    """A setting as short text without folders or servers: of every absolute path or address the last name stays."""
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    text = re.sub(r"\b([a-z][a-z0-9+]*):/{2,}[^\s'\",)]*", r"\1:…", text)
    text = re.sub(r"(?:(?<![\w.…])~?/|\b[A-Za-z]:[\\/]+)(?:[^\\/'\"\n,:]+[\\/]+)+([^\\/\s'\",):]*)", r"…/\1", text)
    return text if len(text) <= 300 else text[:297] + "..."


def safe(value: Any) -> str:
    """Text for HTML."""
    return escape(str(value), quote=True)


def _precision(stage: Stage) -> float | None:
    return finite(stage.metrics.get("average_precision"))
