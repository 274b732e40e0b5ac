"""What every result stands beside: detectors that learn nothing, and the two ends of the bracket."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from ignite.engine import Events
from monai.transforms import Compose
from monai.utils import convert_to_tensor
from torch import Tensor, nn

from monai_iltm.data.documents import write_json
from monai_iltm.data.weights import load_weights
from monai_iltm.distributed import barrier, is_main
from monai_iltm.engines.evaluation import all_figures, truth_of
from monai_iltm.engines.rounds import Rounds
from monai_iltm.engines.stages import Training
from monai_iltm.inferers import ResidualInferer
from monai_iltm.transforms import ToImageGridd

# Added to the MAD, in units of the intensity range: the kernel density's own floor, so that neither has an advantage.
MAD_FLOOR = 0.05
FEWEST = 2  # images that something can be learned from


class Yardsticks:
    """After the rounds: trivial.json, and bracket/oracle and bracket/clean, where the truth that they need is known.

    Diagnostics only: the truth chooses nothing.

    Args:
        preprocessing: geometry of the stages.
        vqvae: the method's network that reconstructs, filled from the run's weights when needed; None: there is none.
        bracket: also train on oracle masks and on the split "clean".
    """

    def __init__(self, preprocessing: Compose, vqvae: nn.Module | None = None, bracket: bool = True) -> None:
        self.vqvae, self.preprocessing, self.bracket = vqvae, preprocessing, bracket

    def attach(self, workflow: Rounds) -> None:
        """Let the bracket train beside the rounds' where a process is free; their scoring waits for these."""
        workflow.add_event_handler(Events.STARTED, lambda engine: engine.stages.waiting.extend(self._trainings(engine)))

    def measure(self, workflow: Rounds) -> None:
        """All yardsticks that are not there yet."""
        run, known = workflow.folder, _known(workflow)
        if not known:
            return
        if is_main() and not run.trivial.is_file():
            if self.vqvae is not None:
                load_weights(self.vqvae, run.vqvae / "model.pt")
            write_json(run.trivial, self._trivial(workflow.cases("training"), known))
        barrier()
        trainings = self._trainings(workflow)
        workflow.stages.train_all(*trainings)
        for folder in (training.folder for training in trainings):
            workflow.score_test(folder)
            if is_main():
                write_json(folder.record, {"round": 0})
            barrier()

    def _trainings(self, workflow: Rounds) -> list[Training]:
        """The bracket's, as long as those of the later rounds: from images without anomalies, and from the training
        images with the true anomalies left out."""
        if not self.bracket or not _known(workflow):
            return []
        run, trainings = workflow.folder, []
        if workflow.cases("clean"):
            trainings.append(Training(run.bracket("clean"), run.datalist, "clean"))
        training = workflow.cases("training")
        left = workflow.marks.oracle(training) if any(case.get("label") for case in training) else []
        if len(left) >= FEWEST:  # where whole images are left out, none may be left
            oracle = run.bracket("oracle")
            if is_main():
                write_json(oracle.datalist, {"training": left})
            barrier()
            trainings.append(Training(oracle, oracle.datalist))
        return trainings

    def _trivial(self, training: Sequence[dict], known: Sequence[dict]) -> dict[str, dict[str, float]]:
        truth = [truth_of(case) for case in known]
        detectors: dict[str, Callable[[Tensor], Tensor]] = {
            "raw_intensity": lambda image: image.mean(0, keepdim=True),
            "robust_z": _robust_z([self._image(case) for case in training]),
        }
        if self.vqvae is not None:
            network = self.vqvae.eval()
            detectors["vqvae_residual"] = lambda image: ResidualInferer()(image[None], network)[0]
        figures = {}
        for name, detector in detectors.items():
            maps = list(self._maps(known, detector))
            figures[name] = all_figures(maps, truth, np.array([one.mean() for one in maps]))
        return figures

    def _maps(self, cases: Sequence[dict], detector: Callable[[Tensor], Tensor]) -> Iterator[np.ndarray]:
        back = ToImageGridd(["pred"], self.preprocessing)
        for case in cases:
            item = self.preprocessing({"case": case["case"], "image": case["image"]})
            item["pred"] = detector(convert_to_tensor(item["image"], track_meta=False))
            yield convert_to_tensor(back(item)["pred"], track_meta=False)[0].numpy()

    def _image(self, case: dict[str, Any]) -> Tensor:
        item = self.preprocessing({"case": case["case"], "image": case["image"]})
        return convert_to_tensor(item["image"], track_meta=False)


def _known(workflow: Rounds) -> list[dict[str, Any]]:
    """The test cases whose truth is known, where an anomaly is among them; else none."""
    known = [case for case in workflow.cases("testing") if case.get("label") or case.get("normal")]
    return known if any(case.get("label") for case in known) else []


def _robust_z(images: Sequence[Tensor]) -> Callable[[Tensor], Tensor]:
    """|x - median| / (MAD + floor) at every voxel over the training set, mean over channels."""
    stack = torch.stack(list(images))
    median = stack.median(0).values
    deviation = (stack - median).abs().median(0).values + MAD_FLOOR
    return lambda image: ((image - median).abs() / deviation).mean(0, keepdim=True)
