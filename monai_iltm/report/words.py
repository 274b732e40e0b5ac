"""The sentences and number formats of the report, and what must not be told: folders of the machine it ran on."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from monai_iltm.report.story import Story, finite

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


@dataclass(frozen=True)
class Judgement:
    """Whether a run is good: `tone` is "good", "fair", "bad" or "open", `text` one sentence."""

    tone: str
    text: str


def judgement(story: Story) -> Judgement:
    """The last round against each yardstick and the bracket; without a truth, what the masks did."""
    if not story.rounds:
        return Judgement("open", verdict(story))
    last = story.rounds[-1]
    if last.precision is None:
        why = "no truth of the test images is known" if story.testing else "there are no test images"
        return Judgement("open", f"Not measured, as {why}. {verdict(story)}")
    rivals = {name: value for name, figures in yardsticks(story).items() if (value := _precision(figures)) is not None}
    ends = {end.name: end.precision for end in story.brackets if end.precision is not None}
    tone, verdict_word = _grade(last.precision, rivals, ends.get("Oracle masks"))
    beside = _beside(last.precision, rivals | ends)
    reached = f"average precision {last.precision:.3f} in {last.name.lower()}"
    return Judgement(tone, f"{verdict_word}: {reached}{', ' if beside else ''}{beside}.")


def is_measured(story: Story) -> bool:
    """A finished round has figures, as the truth of test images is known."""
    return bool(story.rounds) and story.rounds[-1].precision is not None


def yardsticks(story: Story) -> dict[str, dict[str, Any]]:
    """Figures of the detectors that learn little or nothing, by the names that a person reads."""
    known = {TRIVIAL[name]: story.trivial[name] for name in TRIVIAL if name in story.trivial}
    others = {name.replace("_", " ").capitalize(): story.trivial[name] for name in story.trivial if name not in TRIVIAL}
    return known | others


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


def gain(story: Story) -> str:
    """One sentence on average precision over the rounds and what is left of the way to perfect masks, else empty."""
    known = [(one, one.precision) for one in story.rounds if one.precision is not None]
    if len(known) < 2:
        return ""
    (first, start), (last, end) = known[0], known[-1]
    span = f"from {start:.3f} in {first.name.lower()} to {end:.3f} in {last.name.lower()}"
    text = f"Average precision {'rose' if end > start else 'fell'} {span}"
    if abs(end - start) < 0.0005:
        text = f"Average precision stayed at {start:.3f} from {first.name.lower()} to {last.name.lower()}"
    oracle = next((one.precision for one in story.brackets if one.name == "Oracle masks"), None)
    if oracle is None:
        return text + "."
    if oracle - start < NO_GAP:
        return f"{text}; perfect masks give {oracle:.3f}, so that masks have little to repair here."
    if start < end < oracle:
        return f"{text}: {100 * (end - start) / (oracle - start):.0f} % of the way to perfect masks."
    return text + "."


def training_masks(story: Story) -> str:
    """One sentence on the last masks against the truth of the training images, else empty."""
    told = story.rounds[-1].record.get("training_mask") if story.rounds else None
    recall, precision = (finite(told.get(key)) if isinstance(told, dict) else None for key in ("recall", "precision"))
    if recall is None or precision is None:
        return ""
    return (
        f"Against the labels of the training images, which chose nothing, the masks hold {percent(recall, 0)} of the "
        f"anomalous tokens, and {percent(precision, 0)} of what they hold is anomalous."
    )


def listed(names: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def percent(share: Any, digits: int = 1) -> str:
    """0.0123 -> "1.2 %"; a dash for what is no finite number."""
    number = finite(share)
    return DASH if number is None else f"{100 * number:.{digits}f} %"


def decimal(value: Any, digits: int = 3) -> str:
    """0.98412 -> "0.984"; a dash for what is no finite number."""
    number = finite(value)
    return DASH if number is None else f"{number:.{digits}f}"


def rounds_word(count: int) -> str:
    """ "1 round", "3 rounds"."""
    return f"{count} round{'' if count == 1 else 's'}"


def redact(value: Any) -> str:
    """A setting as short text without folders or servers: of every absolute path or address the last name stays."""
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    text = re.sub(r"\b([a-z][a-z0-9+]*):/{2,}[^\s'\",)]*", r"\1:…", text)
    text = re.sub(r"(?:(?<![\w.…])~?/|\b[A-Za-z]:[\\/]+)(?:[^\\/'\"\n,:]+[\\/]+)+([^\\/\s'\",):]*)", r"…/\1", text)
    return text if len(text) <= 300 else text[:297] + "..."


def _grade(reached: float, rivals: Mapping[str, float], oracle: float | None) -> tuple[str, str]:
    """The tone, and what to call a run of this average precision beside detectors that learn little or nothing."""
    better = [_inside(name) for name, value in rivals.items() if value > reached]
    close = [_inside(name) for name, value in rivals.items() if value > reached - NO_GAP]
    if rivals and len(better) == len(rivals):
        return "bad", "Not useful here, as all that learns little or nothing finds more"
    if better:
        return "bad", f"Less useful than {listed(better)}"
    if close:
        return "fair", f"Hardly better than {listed(close)}"
    if oracle is not None and oracle - reached >= NO_GAP:
        return "fair", "Useful, but short of perfect masks" if rivals else "Short of perfect masks"
    if not rivals:
        return "open", "Not compared yet" if oracle is None else "As good as perfect masks"
    return "good", "Useful" if oracle is None else "Good, as with perfect masks"


def _beside(reached: float, others: Mapping[str, float]) -> str:
    """ "above raw intensity (0.100), below oracle masks (0.660) and clean training (0.690)"."""
    places: dict[str, list[str]] = {"above": [], "level with": [], "below": []}
    for name, value in others.items():
        place = "level with" if f"{value:.3f}" == f"{reached:.3f}" else "above" if value < reached else "below"
        places[place].append(f"{_inside(name)} ({value:.3f})")
    return ", ".join(f"{place} {listed(names)}" for place, names in places.items() if names)


def _inside(name: str) -> str:
    """A name within a sentence: small, unless it begins with capitals."""
    return name if name[1:2].isupper() else name[:1].lower() + name[1:]


def _precision(figures: Mapping[str, Any]) -> float | None:
    return finite(figures.get("average_precision"))
