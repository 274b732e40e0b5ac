"""When the rounds end: the masks have settled, collapsed, begun to swing, or the limit is reached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SETTLED_OVERLAP = 0.9  # the number of suspects may stay by chance, or because a share is fixed, while the masks move
MOST_SUSPECT = 0.9  # of all tokens: what is left cannot teach what is normal


@dataclass(frozen=True)
class Masked:
    """One round's masks: how many tokens of how many are suspect, and the overlap with the two rounds before."""

    suspect: int
    tokens: int
    overlap: float | None = None
    overlap_before: float | None = None

    def change_from(self, before: Masked) -> float:
        """Relative change of the number of suspect tokens."""
        return abs(self.suspect - before.suspect) / max(before.suspect, 1)


def masked_in(record: Mapping[str, Any]) -> Masked:
    """What a round's record tells of its masks."""
    return Masked(record["suspect_tokens"], record["tokens"], record["jaccard"], record["jaccard_before"])


def verdict(rounds: Sequence[Masked], max_rounds: int, tolerance: float = 0.01, least_overlap: float = 0.0) -> str:
    """ "continue", "converged", "collapsed", "oscillating" or "max_rounds", from all rounds so far.

    Converged: the number of suspect tokens changed by less than ``tolerance``, and the masks overlap with the last ones
    by at least ``least_overlap`` (Jaccard). Collapsed: none is suspect, or nine tenths of all. Oscillating: twice in
    succession the masks were more like those of two rounds ago than the last ones.
    """
    last = rounds[-1]
    if last.suspect == 0 or last.suspect > MOST_SUSPECT * last.tokens:
        return "collapsed"
    if len(rounds) > 1 and last.change_from(rounds[-2]) < tolerance and (last.overlap or 0.0) >= least_overlap:
        return "converged"
    if len(rounds) > 3 and all(_swings(masked) for masked in rounds[-2:]):
        return "oscillating"
    return "max_rounds" if len(rounds) >= max_rounds else "continue"


def _swings(masked: Masked) -> bool:
    return None not in (masked.overlap, masked.overlap_before) and masked.overlap_before > masked.overlap  # type: ignore[operator]
