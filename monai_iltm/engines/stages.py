"""A stage is a bundle: run one with the settings it knows, and those of a run each into its folder."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import ignite.distributed as idist
from monai.bundle import ConfigParser, ConfigWorkflow
from monai.config import PathLike

from monai_iltm.data.errors import InputError
from monai_iltm.distributed import train, trainers
from monai_iltm.engines.overrides import as_config
from monai_iltm.store import RoundFolder, RunFolder


@dataclass(frozen=True)
class Prior:
    """Stage 2 into a folder, from a part of a datalist, whose masks are left out."""

    folder: RoundFolder
    datalist: Path
    split: str = "training"


class Stages:
    """The stages of a run; one that was killed goes on from its last epoch or case.

    ``waiting`` holds priors that need stage 1 alone: where a process is free while a round's prior trains, one of them
    trains beside it.

    Args:
        run: the run folder. bundles: folder of the bundles vqvae, masked_transformer and kde_inferer.
        settings: values for the stages, by id.
        warm_start: a round's prior starts from the last one's weights.
    """

    def __init__(self, run: RunFolder, bundles: PathLike, settings: Mapping[str, Any], warm_start: bool) -> None:
        self.folder, self.bundles, self.settings, self.warm_start = run, Path(bundles), settings, warm_start
        self.waiting: list[Prior] = []

    def train_vqvae(self) -> None:
        """Stage 1, unless it is done."""
        if not (self.folder.vqvae / "model.pt").is_file():
            train([partial(self._run, "vqvae", "train", "VQ-VAE", output_dir=str(self.folder.vqvae))])

    def train_round(self, prior: Prior) -> None:
        """Stage 2 of a round; beside it, where a process would else wait and memory allows it, one that waits.

        Round 0 encodes the training images for all: what reads the same images waits for that.
        """
        free = trainers() < idist.get_world_size() and self.settings["side_by_side"]
        able = [other for other in _due(self.waiting) if prior.folder.index or other.split != prior.split]
        self.train_priors(prior, *(able[:1] if free else []))

    def train_priors(self, *priors: Prior) -> None:
        """Stage 2 of each that is not done; they do not rest on each other (``distributed.train``)."""
        due = _due(priors)
        name = " and ".join(prior.folder.title for prior in due) + ": prior"
        train([partial(self._train_prior, prior, name) for prior in due])

    def score(self, folder: RoundFolder, output: Path, split: str, **told: Any) -> None:
        """Stage 3 over a split with a folder's prior, cases that are done excepted; told: further values, by id."""
        self._run(
            "kde_inferer",
            "evaluate" if split == "testing" else "inference",
            f"{folder.title}: {split} maps",
            output_dir=str(output),
            split={"testing": ["testing", "testing_apart"]}.get(split, split),
            weights=str(folder.model),
            **told,
        )

    def _train_prior(self, prior: Prior, name: str) -> None:
        folder, index = prior.folder, prior.folder.index
        start = self.folder.round(index - 1).model if self.warm_start and index else None
        first = self.settings.get("first_prior_epochs") if folder == self.folder.round(0) else None
        self._run(
            "masked_transformer",
            "train",
            name,
            output_dir=str(folder.path),
            datalist=str(prior.datalist),
            split=prior.split,
            prior_epochs=first or self.settings["prior_epochs"],
            vqvae_weights=str(self.folder.vqvae / "model.pt"),
            start_weights=str(start) if start else None,
            token_store=str(self.folder.tokens),
        )

    def _run(self, bundle: str, config: str, name: str, **told: Any) -> None:
        shared = {"check_data": False, "datalist": str(self.folder.datalist), "stage_name": name}
        run_stage(self.bundles / bundle, config, self.settings, **{**shared, **told})


def run_stage(bundle: PathLike, config: str, settings: Mapping[str, Any], **paths: Any) -> None:
    """Run a bundle's config in this process.

    Args:
        bundle: its folder; config: "train", "evaluate" (over "inference") or "inference".
        settings: values by id; those that the config does not hold are not its concern.
        paths: values that it must hold.

    Raises:
        InputError: no such bundle, or a path id that the config does not hold.
    """
    files = config_files(bundle, config)
    known = {key for path in files for key in ConfigParser.load_config_file(path)}
    if unknown := sorted(set(paths) - known):
        raise InputError(f"{bundle}: {config} holds no {', '.join(unknown)}")
    told = {key: value for key, value in settings.items() if key in known}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "parsing config_file", UserWarning)  # our own bundles are trusted
        workflow = ConfigWorkflow(
            config_file=[str(path) for path in files],
            meta_file=str(Path(bundle) / "configs" / "metadata.json"),
            logging_file=str(Path(bundle) / "configs" / "logging.conf"),
            workflow_type="train" if config == "train" else "infer",
            **{name: as_config(value) for name, value in {"bundle_root": str(bundle), **told, **paths}.items()},
        )
        workflow.initialize()
        workflow.run()
        workflow.finalize()


def config_files(bundle: PathLike, config: str) -> list[Path]:
    """The files of a config, the bundle's own first; evaluate lies over inference. Raises InputError if missing."""
    names = {"evaluate": ["inference.json", "evaluate.json"]}.get(config, [f"{config}.json"])
    files = [Path(bundle) / "configs" / name for name in names]
    for path in files:
        if not path.is_file():
            raise InputError(f"{path}: bundle config not found")
    return files


def _due(priors: Sequence[Prior]) -> list[Prior]:
    return [prior for prior in priors if not prior.folder.model.is_file()]
