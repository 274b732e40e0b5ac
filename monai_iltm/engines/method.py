"""A method: the stages that are trained, each a bundle's config, and the bundle that scores; declared in JSON.

MONAI is imported where a config is parsed: what a method knows is asked for before anything else is.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monai_iltm.data.documents import read_json
from monai_iltm.data.errors import InputError
from monai_iltm.data.one_step import PathLike
from monai_iltm.engines.overrides import as_config, check_names

if TYPE_CHECKING:
    from monai.bundle import ConfigParser
    from monai.transforms import Compose
    from torch import nn

    from monai_iltm.inferers import MapInferer

PLACES, IMAGES = "places", "images"  # what rounds may leave out: parts of images, or whole ones


@dataclass(frozen=True)
class Stage:
    """One training, a bundle's config.

    Args:
        name: of its folder. title: what a person reads, the name where none is given. bundle, config: what is run.
        once: trained before the rounds, and never again; else in every round.
        takes: its setting -> the stage whose weights it is.
        keeps: its setting -> the stage beside whose weights there is a folder for what they make of the images.
        warm: its setting that is the weights of the round before, where the rounds start warm.
        first: its setting -> the run's setting that stands for it in round 0, where that is given.
    """

    name: str
    bundle: str
    config: str = "train"
    title: str = ""
    once: bool = False
    takes: Mapping[str, str] = field(default_factory=dict)
    keeps: Mapping[str, str] = field(default_factory=dict)
    warm: str | None = None
    first: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Method:
    """What the rounds go round.

    Args:
        bundles: folder of the bundles. stages: in order, the last one's weights are those that score.
        scorer: the bundle that scores, and is deployed.
        falls: settings of the scorer that may fall from round to round; exactly one is given.
        marks: what its stages can leave out, of ``PLACES`` and ``IMAGES``.
    """

    bundles: Path
    stages: tuple[Stage, ...]
    scorer: str
    falls: tuple[str, ...] = ()
    marks: tuple[str, ...] = (PLACES, IMAGES)

    def ids(self) -> set[str]:
        """The settings that its stages and its scorer know."""
        configs = {(stage.bundle, stage.config) for stage in self.stages} | {(self.scorer, "inference")}
        files = [path for bundle, config in configs for path in config_files(self.bundles / bundle, config)]
        return {name for path in files for name in read_json(path)}

    def fallen(self, settings: Mapping[str, Any], share: float, index: int) -> dict[str, float | None]:
        """The scorer's falling numbers as they are in a round: those given are less by a share every round."""
        given = {name: settings.get(name) for name in self.falls}
        return {name: None if value is None else value * (1 - share) ** index for name, value in given.items()}

    def network(self, settings: Mapping[str, Any]) -> nn.Module:
        """What scores, untrained."""
        return self._parser(self.scorer, "inference", settings).get_parsed_content("network_def")

    def inferer(self, settings: Mapping[str, Any]) -> MapInferer:
        """What makes maps of it."""
        return self._parser(self.scorer, "inference", settings).get_parsed_content("inferer")

    def grid(self, settings: Mapping[str, Any]) -> tuple[int, ...]:
        """Cells per axis at which a mask is counted: those of the scorer's "grid", where it has one, else voxels."""
        parser = self._parser(self.scorer, "inference", settings)
        return tuple(parser.get_parsed_content("grid" if "grid" in parser else "image_size"))

    def preprocessing(self, settings: Mapping[str, Any]) -> Compose:
        """Geometry of an image and its mask, as the last stage has it."""
        last = self.stages[-1]
        return self._parser(last.bundle, last.config, settings).get_parsed_content("train::preprocessing")

    def _parser(self, bundle: str, config: str, settings: Mapping[str, Any]) -> ConfigParser:
        from monai.bundle import ConfigParser

        files = config_files(self.bundles / bundle, config)
        parser = ConfigParser(ConfigParser.load_config_files([str(path) for path in files]))
        known = {name: value for name, value in settings.items() if name in parser}
        parser.update({name: as_config(value) for name, value in known.items()})
        return parser


def read_method(bundles: PathLike, name: str) -> Method:
    """The method of a bundle: its configs/method.json; without one, its own train.json is the only stage.

    Raises InputError where no bundle has that name, and for a file that declares none.
    """
    folder = Path(bundles).resolve() / name
    if not folder.is_dir():
        there = sorted(path.name for path in folder.parent.glob("*/") if (path / "configs").is_dir())
        raise InputError(f"no method {name!r} in {folder.parent}: {', '.join(there) or 'the folder is missing'}")
    path = folder / "configs" / "method.json"
    only: dict[str, Any] = {"stages": [{"name": folder.name, "bundle": folder.name}]}
    content = read_json(path) if path.is_file() else only
    try:
        stages = tuple(_stage(entry) for entry in content["stages"])
        others = {name: tuple(value) for name, value in content.items() if name in ("falls", "marks")}
        method = Method(folder.parent, stages, content.get("scorer", folder.name), **others)
    except (KeyError, TypeError) as error:
        raise InputError(f"{path}: no method: {error}") from error
    earlier: set[str] = set()
    for stage in method.stages:
        check_names([*stage.takes.values(), *stage.keeps.values()], earlier)
        earlier.add(stage.name)
    return method


def known_settings(content: Mapping[str, Any]) -> set[str]:
    """What the stages of the method know that a config of rounds names; nothing where it names none."""
    if "method" not in content:
        return set()
    return read_method(Path(content["bundle_root"]) / "..", content["method"]).ids()


def _stage(entry: Mapping[str, Any]) -> Stage:
    check_names(entry, [one.name for one in fields(Stage)])
    return Stage(**{"title": entry["name"], **entry})


def run_stage(bundle: PathLike, config: str, settings: Mapping[str, Any], **paths: Any) -> None:
    """Run a bundle's config in this process.

    Args:
        bundle: its folder; config: "train", "evaluate" (over "inference") or "inference".
        settings: values by id; those that the config does not hold are not its concern.
        paths: values that it must hold.

    Raises:
        InputError: no such bundle, or a path id that the config does not hold.
    """
    from monai.bundle import ConfigWorkflow

    files = config_files(bundle, config)
    known = {key for path in files for key in read_json(path)}
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
