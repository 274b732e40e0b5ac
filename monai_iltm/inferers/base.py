"""What every method answers: one map of an image, and what else is worth keeping of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from monai.inferers import Inferer
from torch import Tensor


@dataclass(frozen=True)
class Scored:
    """A batch scored.

    surprise: f32 [B, 1, *S], higher = stranger. pictures: name -> f32 [B, C, *S], such as a healthy version.
    numbers: name -> [B], a value a case.
    """

    surprise: Tensor
    pictures: Mapping[str, Tensor] = field(default_factory=dict)
    numbers: Mapping[str, Tensor] = field(default_factory=dict)


class MapInferer(Inferer, ABC):
    """Images and a network to a map; MONAI's call gives the map alone."""

    @abstractmethod
    def score(self, images: Tensor, network: Any, mask: Tensor | None = None) -> Scored:
        """Score a batch; no weight and no buffer of the network is changed.

        Args:
            images: f32 [B, C, *S] in [0, 1].
            network: in eval mode.
            mask: bool [B, 1, *S], True = known to be suspect: an inferer that judges parts for themselves leaves them
                out; all others judge the whole image.
        """

    def __call__(self, inputs: Tensor, network: Any, *args: Any, **kwargs: Any) -> Tensor:
        """Images f32 [B, C, *S] in [0, 1] -> surprise f32 [B, 1, *S]."""
        return self.score(inputs, network).surprise
