"""The layout of a run folder, and the only file that knows it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import count, takewhile
from pathlib import Path

from monai_iltm.data.contamination import sha256
from monai_iltm.data.errors import InputError
from monai_iltm.data.images import is_volume
from monai_iltm.data.one_step import PathLike

MAP_SUFFIXES, MASK_SUFFIXES = (".nii.gz", ".tif"), (".nii.gz", ".png")


@dataclass(frozen=True)
class ResultFolder:
    """Results of scored cases: <case>_surprise, _healed, _mask, and a record a case, written last."""

    path: Path

    @property
    def scores(self) -> Path:
        """A row a case: image scores."""
        return self.path / "scores.csv"

    @property
    def metrics(self) -> Path:
        """Figures, where truth exists."""
        return self.path / "metrics.json"

    @property
    def source(self) -> Path:
        """Which weights the results are of."""
        return self.path / "source.json"

    @property
    def claims(self) -> Path:
        """While cases are scored: a file for each that some process has taken."""
        return self.path / "claims"

    def record(self, case: str) -> Path:
        """The case is done if this exists."""
        return self.path / "cases" / f"{case}.json"

    def cases(self) -> list[str]:
        """The cases that are done, sorted."""
        return sorted(path.name.removesuffix(".json") for path in (self.path / "cases").glob("*.json"))

    def find(self, case: str, kind: str) -> Path | None:
        """`kind` "surprise", "healed" or "mask" of a case, None where it is not there yet."""
        return _first(self.path / name for name in result_names(case, kind))

    def require(self, case: str, kind: str) -> Path:
        """As `find`. Raises InputError where it is not there."""
        path = self.find(case, kind)
        if path is None:
            again = f"remove {self.record(case)}, and the same command makes it anew"
            raise InputError(f"{self.path}: no {kind} of case {case}; {again}")
        return path


@dataclass(frozen=True)
class RoundFolder:
    """One round, or one end of the bracket; `record` is written last, so a round exists if its record does."""

    path: Path
    index: int = 0

    @property
    def is_round(self) -> bool:
        """Not an end of the bracket."""
        return self.path.name.startswith("round")

    @property
    def title(self) -> str:
        """What a person calls it."""
        return f"round {self.index}" if self.is_round else f"bracket {self.path.name}"

    @property
    def model(self) -> Path:
        """State dict of the LatentPrior."""
        return self.path / "model.pt"

    @property
    def history(self) -> Path:
        """A row an epoch of the prior's training."""
        return self.path / "history.csv"

    @property
    def maps(self) -> Path:
        """Surprise of the training cases."""
        return self.path / "maps"

    @property
    def masks(self) -> Path:
        """What the next round leaves out, in the images' own format and geometry."""
        return self.path / "masks"

    @property
    def pooled(self) -> Path:
        """The masks at the places where they are counted, bound to their hashes."""
        return self.path / "pooled.pt"

    @property
    def learned_from(self) -> Path:
        """Hashes of the masks that the round left out, as they were when it began."""
        return self.path / "learned_from.json"

    @property
    def calibration(self) -> Path:
        """Threshold of deployed masks, from the training scores' own distribution."""
        return self.path / "calibration.json"

    @property
    def test(self) -> Path:
        """Maps, healed means and masks of the test cases."""
        return self.path / "test"

    @property
    def datalist(self) -> Path:
        """Training cases with their masks, for the next round."""
        return self.path / "datalist.json"

    @property
    def scores(self) -> Path:
        """A row a case: image scores."""
        return self.path / "scores.csv"

    @property
    def metrics(self) -> Path:
        """Figures on the test split, where truth exists."""
        return self.path / "metrics.json"

    @property
    def record(self) -> Path:
        """What the round was and did; written last."""
        return self.path / "round.json"

    def map(self, case: str) -> Path | None:
        """Surprise map of a training case, None where it is not there yet."""
        return ResultFolder(self.maps).find(case, "surprise")

    def mask(self, case: str) -> Path | None:
        """Mask of a training case, None where it is not there yet."""
        return _first(self.masks / f"{case}{end}" for end in MASK_SUFFIXES)

    def test_file(self, case: str, kind: str) -> Path | None:
        """`kind` "surprise", "healed" or "mask" of a test case, None where it is not there yet."""
        return ResultFolder(self.test).find(case, kind)


@dataclass(frozen=True)
class RunFolder:
    """A whole run."""

    path: Path

    @property
    def record(self) -> Path:
        """Settings, seed, versions and hashes of the inputs."""
        return self.path / "run.json"

    @property
    def datalist(self) -> Path:
        """The cases that are used, sound ones only."""
        return self.path / "datalist.json"

    @property
    def vqvae(self) -> Path:
        """Folder of stage 1: model.pt, history.csv."""
        return self.path / "vqvae"

    @property
    def truth(self) -> Path:
        """Hashes of the labels that the figures rest on."""
        return self.path / "truth.json"

    @property
    def trivial(self) -> Path:
        """Figures of the detectors that learn nothing."""
        return self.path / "trivial.json"

    @property
    def report(self) -> Path:
        """The page that tells it all."""
        return self.path / "report.html"

    @property
    def bundle(self) -> Path:
        """The deployable bundle with its weights."""
        return self.path / "bundle"

    def kept(self, weights: Path) -> Path:
        """Beside weights, a folder for what they make of the training images, once for all rounds."""
        return weights.with_name(f"kept_{sha256(weights)[:12]}")

    def round(self, index: int) -> RoundFolder:
        """Round `index`, complete or not."""
        return RoundFolder(self.path / f"round_{index:02d}", index)

    def rounds(self) -> list[RoundFolder]:
        """The complete rounds, in order, up to the first gap."""
        return list(takewhile(lambda one: one.record.is_file(), map(self.round, count())))

    def stages(self, within: Path | None = None) -> list[Path]:
        """Trainings that all rounds share, or those `within` a round's folder: history.csv, and model.pt once done."""
        found = sorted(path.parent for path in (within or self.path).glob("*/history.csv"))
        return [path for path in found if not path.name.startswith("round_")]

    def bracket(self, name: str) -> RoundFolder:
        """An end of the bracket, "oracle" or "clean"."""
        return RoundFolder(self.path / "bracket" / name)


def result_names(case: str, kind: str) -> list[str]:
    """The names a test result of this kind may have: a map is .nii.gz or .tif, a mask .nii.gz or .png."""
    return [f"{case}_{kind}{end}" for end in (MASK_SUFFIXES if kind == "mask" else MAP_SUFFIXES)]


def result_name(case: str, kind: str, image_path: PathLike) -> str:
    """The name of a test result beside an image of this format."""
    return result_names(case, kind)[0 if is_volume(image_path) else 1]


def _first(paths: Iterable[Path]) -> Path | None:
    return next((path for path in paths if path.is_file()), None)
