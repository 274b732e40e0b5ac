"""Tiny data, tiny settings, and the ways a bundle is run: in this process, by its command, by torchrun."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from monai.bundle import ConfigWorkflow

from monai_iltm.data.phantom2d import write_phantom2d
from monai_iltm.engines.ids import holds
from monai_iltm.engines.method import config_files, read_method
from monai_iltm.engines.names import new_id
from monai_iltm.engines.overrides import load_configs

PROJECT = Path(__file__).resolve().parents[2]
BUNDLES = sorted(path for path in (PROJECT / "bundles").iterdir() if path.is_dir())
CONFIGS = [
    pytest.param(
        bundle, config, id=f"{bundle.name}-{config}", marks=[pytest.mark.slow] if bundle.name == "iltm" else []
    )
    for bundle in BUNDLES
    for config in ("train", "inference", "evaluate")
    if (bundle / "configs" / f"{config}.json").is_file()
]
# What makes any bundle small, beside its networks; each config takes what it knows.
TINY = {
    "image_size": [32, 32],
    "num_codes": 8,
    "code_features": 4,
    "vqvae_epochs": 2,
    "vqvae_batch_size": 4,
    "groups": 2,
    "prior_epochs": 2,
    "prior_batch_size": 4,
    "augmented_versions": 0,
    "draws": 3,
    "decodes": 2,
    "max_rounds": 1,
    "bracket": False,
}
METHODS = [read_method(PROJECT / "bundles", bundle.name) for bundle in BUNDLES]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every folder in bundles/ for a test of ``bundle``, every config that can run for one of ``config`` too."""
    if {"bundle", "config"} <= set(metafunc.fixturenames):
        metafunc.parametrize(("bundle", "config"), CONFIGS)
    elif "bundle" in metafunc.fixturenames:
        metafunc.parametrize("bundle", BUNDLES, ids=lambda path: path.name)


@pytest.fixture(scope="session")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of 6 training, 3 test and 4 clean pictures."""
    return write_phantom2d(tmp_path_factory.mktemp("phantom"), training=6, testing=3, clean=4, size=32).parent


@pytest.fixture(scope="session")
def tiny(phantom: Path, smallest_networks: dict[str, Any]) -> dict[str, Any]:
    """Small settings with the phantom as data set."""
    return {**smallest_networks, **TINY, "dataset_dir": str(phantom)}


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory, tiny: dict[str, Any]) -> Callable[[str], dict[str, str]]:
    """Bundle name -> the settings that name weights for it, trained once a session."""

    @cache
    def model(name: str, config: str = "train") -> str:
        out = tmp_path_factory.mktemp(name)
        run_config(PROJECT / "bundles" / name, config, **tiny, **needed(name, config), output_dir=str(out))
        return str(out / "model.pt")

    def needed(name: str, config: str = "train") -> dict[str, str]:
        """What a stage takes from others; of what scores, the weights of its method's last stage."""
        if config in ("inference", "evaluate") or not (PROJECT / "bundles" / name / "configs" / "train.json").is_file():
            last = next((one.stages[-1] for one in METHODS if one.scorer == name and len(one.stages) > 1), None)
            return {"weights": model(last.bundle, last.config) if last else model(name)}
        takes: dict[str, str] = {}
        for method in METHODS:
            by_name = {stage.name: stage for stage in method.stages}
            for stage in method.stages:
                if (stage.bundle, stage.config) == (name, config):
                    others = {setting: by_name[other] for setting, other in stage.takes.items()}
                    takes |= {setting: model(other.bundle, other.config) for setting, other in others.items()}
        return takes

    return needed


@pytest.fixture(scope="session")
def run(tiny: dict[str, Any]) -> Callable[..., SimpleNamespace]:
    """Run a bundle's config in this process with tiny settings, others on top."""
    return lambda bundle, config, *overlays, **settings: run_config(bundle, config, *overlays, **{**tiny, **settings})


@pytest.fixture(scope="session")
def command() -> Callable[..., subprocess.CompletedProcess]:
    """Run `python -m monai.bundle run` in a folder: config files, then settings; ``ranks`` starts it by torchrun."""
    return run_command


def known_to(content: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """Of settings by short name or id those that a config holds, by their ids there."""
    told = {new_id(name, content) or name: value for name, value in settings.items()}
    return {one: value for one, value in told.items() if holds(content, one) or one.startswith("settings::")}


@pytest.fixture(scope="session")
def of(tiny: dict[str, Any]) -> Callable[..., dict[str, Any]]:
    """The tiny settings, others on top, that the config of some files holds, by their ids there."""
    return lambda files, **settings: known_to(load_configs(files), {**tiny, **settings})


def run_config(bundle: Path, config: str, *overlays: Path, **settings: Any) -> SimpleNamespace:
    """A bundle's config from initialize to finalize: what check_properties finds missing, and the parser."""
    files = [str(path) for path in (*config_files(bundle, config), *overlays)]
    told = known_to(load_configs(files), settings)
    with undisturbed():
        workflow = ConfigWorkflow(
            config_file=files,
            meta_file=str(bundle / "configs" / "metadata.json"),
            logging_file=False,
            workflow_type="infer" if config in ("inference", "evaluate") else "train",
            bundle_root=str(bundle),
            **told,
        )
        workflow.initialize()
        missing = workflow.check_properties()
        workflow.run()
        workflow.finalize()
    return SimpleNamespace(missing=missing, parser=workflow.parser)


@contextmanager
def undisturbed() -> Iterator[None]:
    """A workflow sets sys.path, the excepthook and the loggers; a test process must not keep them."""
    path, hook, root = list(sys.path), sys.excepthook, logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "parsing config_file", UserWarning)  # MONAI's word on foreign configs
            yield
    finally:
        sys.path[:], sys.excepthook = path, hook
        root.handlers[:], root.level = handlers, level


def run_command(folder: Path, *files: str, ranks: int = 0, **settings: Any) -> subprocess.CompletedProcess:
    """The command as a user types it."""
    given = json.dumps(list(files)).replace('"', "'") if len(files) > 1 else files[0]
    told = [part for key, value in settings.items() for part in (f"--{key}", as_text(value))]
    launcher = ["torch.distributed.run", "--standalone", f"--nproc_per_node={ranks}", "-m"] if ranks else []
    line = [sys.executable, "-m", *launcher, "monai.bundle", "run", "--config_file", given, *told]
    quiet = {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore:parsing config_file:UserWarning"}
    return subprocess.run(
        line, cwd=folder, env={**os.environ, **quiet}, capture_output=True, text=True, timeout=300, check=False
    )


def as_text(value: Any) -> str:
    return "$None" if value is None else str(value)
