"""What a person installs: the wheel alone runs the method, the Makefile keeps the Python that is asked for."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path
from pydoc import locate
from typing import Any

import pytest

from monai_iltm import __version__, resources
from monai_iltm.data.errors import InputError

PROJECT = Path(__file__).resolve().parents[1]
PATIENCE = 600
TINY = {"vqvae_epochs": 1, "prior_epochs": 1, "max_rounds": 1, "draws": 2, "decodes": 1, "bracket": False}
TINY |= {
    "image_size": [32, 32],
    "vqvae_widths": [8, 8],
    "augmented_versions": 0,
    "prior_width": 16,
    "prior_heads": 2,
    "prior_depth": 1,
}
THIS = f"{sys.version_info[0]}.{sys.version_info[1]}"


def succeed(*words: str | Path, folder: Path) -> str:
    """What a command prints that must end well, with nothing of this process's paths."""
    plain = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "ILTM_HOME")}
    plain["PYTHONWARNINGS"] = "ignore:parsing config_file:UserWarning"
    done = subprocess.run(
        list(map(str, words)), cwd=folder, env=plain, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


# ---- names ----


def class_paths(content: Any) -> Iterator[str]:
    """Every `_target_` of a config."""
    if isinstance(content, dict):
        yield from (value for key, value in content.items() if key == "_target_")
        for value in content.values():
            yield from class_paths(value)
    elif isinstance(content, list):
        for value in content:
            yield from class_paths(value)


def test_every_class_path_of_a_config_names_something_to_call():
    """By pydoc, as MONAI looks; from Python 3.12 on it would find a module of the same name first."""
    files = [*PROJECT.glob("bundles/*/configs/*.json"), *PROJECT.glob("configs/*.json")]
    paths = {path for file in files for path in class_paths(json.loads(file.read_text()))}
    own = sorted(path for path in paths if path.startswith("monai_iltm."))
    assert len(own) > 20
    assert [path for path in own if not callable(locate(path))] == []


# ---- where bundles and presets lie ----


def test_a_checkout_is_its_own_home(monkeypatch):
    monkeypatch.delenv("ILTM_HOME", raising=False)
    assert resources.home() == PROJECT
    assert (resources.bundles(), resources.configs()) == (PROJECT / "bundles", PROJECT / "configs")


def test_another_home_by_the_environment(monkeypatch, tmp_path):
    (tmp_path / "bundles" / "iltm").mkdir(parents=True)
    monkeypatch.setenv("ILTM_HOME", str(tmp_path))
    assert resources.configs() == tmp_path.resolve() / "configs"
    monkeypatch.setenv("ILTM_HOME", str(tmp_path / "none"))
    with pytest.raises(InputError, match="none: holds no bundles/iltm; ILTM_HOME must name"):
        resources.bundles()


# ---- the Makefile ----


@pytest.fixture(autouse=True)
def own_make(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `make check PYTHON=...` was told is not told to the make that is tested."""
    for name in ("MAKEFLAGS", "MAKEOVERRIDES", "MFLAGS", "PYTHON"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def makefile(tmp_path: Path) -> Path:
    """A folder with the Makefile and a complete environment of this Python."""
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    for name in ("setup.cfg", "setup.py", "pyproject.toml", "constraints.txt", "Makefile"):
        shutil.copy(PROJECT / name, tmp_path)
    venv.create(tmp_path / ".venv", symlinks=True)
    for name in ("installed", "tools"):
        (tmp_path / ".venv" / name).touch()
    return tmp_path


def other_python(folder: Path) -> Path:
    """An interpreter of another version, as far as it is asked for one."""
    path = folder / "python3.99"
    path.write_text("#!/bin/sh\necho 3.99\n")
    path.chmod(0o755)
    return path


def test_the_environment_that_is_there_is_used(makefile):
    assert "made anew" not in succeed("make", "-n", "check", folder=makefile)
    assert "pip install" not in succeed("make", "-n", "check", f"PYTHON={sys.executable}", folder=makefile)


@pytest.mark.parametrize("by", ["argument", "environment"])
def test_a_python_that_is_asked_for_makes_the_environment_anew(makefile, monkeypatch, by):
    python = other_python(makefile)
    if by == "environment":
        monkeypatch.setenv("PYTHON", str(python))
    words = [f"PYTHON={python}"] if by == "argument" else []
    shown = succeed("make", "-n", "check", *words, folder=makefile)
    assert f".venv has Python {THIS}, and {python} is asked for: it is made anew" in shown
    assert f"{python} -m venv --clear .venv" in shown
    assert shown.count("pip install") == 3


def test_no_folder_is_cleared_that_venv_did_not_make(makefile):
    (makefile / ".venv" / "pyvenv.cfg").unlink()
    shown = succeed("make", "-n", "check", f"PYTHON={other_python(makefile)}", folder=makefile)
    assert "--clear" not in shown


# ---- the wheel ----


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of an sdist, and of a wheel made of that; weights lay in the checkout that they were made of."""
    source, out = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("dist")
    junk = shutil.ignore_patterns("__pycache__", "models", "*.pt")
    for name in ("monai_iltm", "bundles", "configs"):
        shutil.copytree(PROJECT / name, source / name, ignore=junk)
    for path in PROJECT.glob("[!.]*"):
        if path.is_file():
            shutil.copy(path, source)
    for name in ("bundles/vqvae/models/model.pt", "configs/__pycache__/a.pyc", "runs/a/run.json"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).touch()
    sdist = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
    succeed(sys.executable, "-c", sdist, out, folder=source)
    wheel = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-index", "--no-build-isolation"]
    succeed(*wheel, "--wheel-dir", out, next(out.glob("*.tar.gz")), folder=out)
    return out


@pytest.mark.slow
def test_what_travels(built):
    """Every file of the package, the bundles and the presets, nothing that a run has left."""
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        inside = {name for name in wheel.namelist() if ".dist-info/" not in name}
        metadata = wheel.read(f"monai_iltm-{__version__}.dist-info/METADATA").decode()
    files = [*PROJECT.glob("monai_iltm/**/*.py"), *PROJECT.glob("monai_iltm/**/templates/*")]
    own = [path.relative_to(PROJECT) for path in files]
    data = [path.relative_to(PROJECT) for folder in ("bundles", "configs") for path in (PROJECT / folder).rglob("*")]
    kept = [path for path in data if (PROJECT / path).is_file() and not {"models", "__pycache__"} & set(path.parts)]
    expected = {str(path) for path in own} | {f"monai_iltm/{path}" for path in kept} | {"monai_iltm/py.typed"}
    assert inside == expected
    assert re.findall(r"^Classifier: Programming Language :: Python :: (3\.\d+)$", metadata, re.M)[0] == "3.10"
    with tarfile.open(next(built.glob("*.tar.gz"))) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert {str(path) for path in [*own, *kept]} | {"constraints.txt", "Makefile", "setup.py"} <= names
    assert [name for name in names if name.endswith((".pt", ".pyc")) or name.startswith("runs")] == []


@pytest.mark.slow
def test_an_index_would_take_it(built):
    pytest.importorskip("twine", reason="twine is not installed")
    succeed(sys.executable, "-m", "twine", "check", "--strict", *built.iterdir(), folder=built)


@pytest.fixture
def installed(built: Path, tmp_path: Path) -> Path:
    """Commands of a fresh environment that holds the wheel; after it come the requirements that are installed here.

    A path in a .pth is not searched for further .pth files: what makes the checkout importable here does not there.
    """
    venv.create(tmp_path / "fresh", symlinks=True)
    commands = tmp_path / "fresh" / "bin"
    succeed(
        *[sys.executable, "-m", "pip", "--python", commands / "python", "install", "--no-deps", "--no-index"],
        next(built.glob("*.whl")),
        folder=tmp_path,
    )
    (site,) = (tmp_path / "fresh" / "lib").glob("python*/site-packages")
    here = dict.fromkeys(sysconfig.get_path(kind) for kind in ("purelib", "platlib"))
    (site / "requirements.pth").write_text("\n".join(here) + "\n")
    return commands


@pytest.mark.slow
def test_the_wheel_alone_runs_the_method_and_its_bundle(installed, tmp_path):
    asked = "import monai_iltm; from monai_iltm.resources import home; print(monai_iltm.__file__); print(home())"
    file, home = succeed(installed / "python", "-c", asked, folder=tmp_path).splitlines()
    assert Path(home) == Path(file).parent
    assert tmp_path.resolve() in Path(file).resolve().parents
    for words in ([installed / "monai-iltm"], [installed / "python", "-m", "monai_iltm"]):
        assert succeed(*words, "--version", folder=tmp_path) == f"{__version__}\n"
    phantom = ["phantom", "2d", "data", "--training", "4", "--testing", "2", "--clean", "0", "--size", "32"]
    succeed(installed / "monai-iltm", *phantom, folder=tmp_path)
    told = [part for key, value in TINY.items() for part in (f"--{key}", str(value))]
    succeed(installed / "monai-iltm", "run", "phantom2d", "data", "run", *told, folder=tmp_path)
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["versions"]["monai_iltm"] == __version__
    bundle = shutil.copytree(tmp_path / "run" / "bundle", tmp_path / "elsewhere" / "scorer")
    config = ["--bundle_root", bundle, "--config_file", bundle / "configs" / "inference.json"]
    scored = ["--dataset_dir", tmp_path / "data", "--output_dir", tmp_path / "out"]
    succeed(installed / "python", "-m", "monai.bundle", "run", *config, *scored, folder=tmp_path)
    assert len(list((tmp_path / "out").glob("*_surprise.*"))) == 6
