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
from monai_iltm.engines.ids import holds, ids_near, joined, parts, put, value_of
from monai_iltm.engines.names import FIRST, SETTINGS, STAGES
from monai_iltm.engines.overrides import as_config, check_names, load_configs, unknown

if TYPE_CHECKING:
    from monai.transforms import Compose
    from torch import nn

    from monai_iltm.inferers import MapInferer

SCORING = "scoring"  # what scores, where a setting is its alone, as a stage's
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
    """

    name: str
    bundle: str
    config: str = "train"
    title: str = ""
    once: bool = False
    takes: Mapping[str, str] = field(default_factory=dict)
    keeps: Mapping[str, str] = field(default_factory=dict)
    warm: str | None = None


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

    def parts(self) -> dict[str, tuple[str, str]]:
        """Bundle and config of every stage by its name, then of what scores."""
        stages = {stage.name: (stage.bundle, stage.config) for stage in self.stages}
        return {**stages, SCORING: (self.scorer, "inference")}

    def require_known(self, one: str) -> None:
        """Raise InputError for a setting that none of its stages takes, with the nearest that one does."""
        root, *rest = parts(one)
        known: list[str] = []
        alone = root in (STAGES, FIRST)
        inner = joined(*rest[1:]) if alone else one
        for name in self.parts():
            if alone and rest[:1] != [name]:
                known.append(joined(root, name))
                continue
            content = self._config(name)
            if holds(content, inner):
                return
            before = (root, name) if alone else ()
            known.extend(joined(*before, near) for near in ids_near(content, inner))
        raise unknown(joined(SETTINGS, one), sorted({joined(SETTINGS, name) for name in known}))

    def of_part(self, name: str, settings: Mapping[str, Any], first: bool = False) -> dict[str, Any]:
        """The settings that a stage, or ``SCORING``, takes: those of all that its config holds, over them its own.

        first: in round 0.
        """
        content = self._config(name)
        taken = {one: value for one, value in settings.items() if holds(content, one)}
        for root in (STAGES, FIRST) if first else (STAGES,):
            before = joined(root, name, "")
            taken |= {one[len(before) :]: value for one, value in settings.items() if one.startswith(before)}
        return taken

    def value(self, name: str, one: str, settings: Mapping[str, Any]) -> Any:
        """What a stage's config, or that of what scores, holds at an id, with these settings."""
        return value_of(self._content(name, settings), one)

    def fallen(self, settings: Mapping[str, Any], share: float, index: int) -> dict[str, float | None]:
        """The scorer's falling numbers as they are in a round, by id: those given are less by a share every round."""
        content = self._content(SCORING, settings) if self.falls else {}
        given = {one: value_of(content, one) for one in self.falls}
        return {one: None if value is None else value * (1 - share) ** index for one, value in given.items()}

    def network(self, settings: Mapping[str, Any]) -> nn.Module:
        """What scores, untrained."""
        return self._parsed(SCORING, settings, "network_def")

    def inferer(self, settings: Mapping[str, Any]) -> MapInferer:
        """What makes maps of it."""
        return self._parsed(SCORING, settings, "inferer")

    def grid(self, settings: Mapping[str, Any]) -> tuple[int, ...]:
        """Cells per axis at which a mask is counted: those of the scorer's "grid", where it has one, else voxels."""
        content = self._content(SCORING, settings)
        voxels = value_of(content, "images::size")
        return tuple(self._parsed(SCORING, settings, "grid") if "grid" in content else voxels)

    def preprocessing(self, settings: Mapping[str, Any]) -> Compose:
        """Geometry of an image and its mask, as the last stage has it."""
        return self._parsed(self.stages[-1].name, settings, "train::preprocessing")

    def _parsed(self, name: str, settings: Mapping[str, Any], one: str) -> Any:
        from monai.bundle import ConfigParser

        return ConfigParser(self._content(name, settings)).get_parsed_content(one)

    def _content(self, name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
        """A stage's config, or that of what scores, with these settings."""
        content = self._config(name)
        for one, value in self.of_part(name, settings).items():
            put(content, one, as_config(value))
        return content

    def _config(self, name: str) -> dict[str, Any]:
        """The same as its bundle has it."""
        bundle, config = self.parts()[name]
        return load_configs(config_files(self.bundles / bundle, config))


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


def require_known(one: str, content: Mapping[str, Any]) -> None:
    """Raise InputError for a setting under ``settings`` of a config of rounds that its method's stages do not take."""
    read_method(Path(content["bundle_root"]) / "..", content["method"]).require_known(one)


def _stage(entry: Mapping[str, Any]) -> Stage:
    check_names(entry, [one.name for one in fields(Stage)])
    return Stage(**{"title": entry["name"], **entry})


def run_stage(bundle: PathLike, config: str, settings: Mapping[str, Any]) -> None:
    """Run a bundle's config in this process.

    Args:
        bundle: its folder; config: "train", "evaluate" (over "inference") or "inference".
        settings: values by id.

    Raises:
        InputError: no such bundle, or an id that the config does not hold.
    """
    from monai.bundle import ConfigWorkflow

    files = config_files(bundle, config)
    content = load_configs(files)
    inside = [one for one in settings if parts(one)[0] != SETTINGS]  # the rounds' own stages look at what is under it
    if missing := sorted(one for one in inside if not holds(content, one)):
        raise InputError(f"{bundle}: {config} holds no {', '.join(missing)}")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "parsing config_file", UserWarning)  # our own bundles are trusted
        workflow = ConfigWorkflow(
            config_file=[str(path) for path in files],
            meta_file=str(Path(bundle) / "configs" / "metadata.json"),
            logging_file=str(Path(bundle) / "configs" / "logging.conf"),
            workflow_type="infer" if config in ("inference", "evaluate") else "train",
            **{one: as_config(value) for one, value in {"bundle_root": str(bundle), **settings}.items()},
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
