"""What a bundle's folder must hold, and what no file in it may."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from monai.bundle import ConfigParser, verify_metadata

from monai_iltm import __version__
from monai_iltm.data.contamination import sha256
from monai_iltm.engines.ids import holds

PROJECT = Path(__file__).resolve().parents[2]
REQUIRED = ("LICENSE", "configs/metadata.json", "configs/logging.conf", "docs/README.md")
WITHOUT_INFERENCE = {"iltm"}  # it leaves a kde_inferer bundle that does it
SECTIONS = (
    "Model Overview",
    "Model Description",
    "Data",
    "Training configuration",
    "Performance",
    "MONAI Bundle Commands",
    "Limitations",
    "References",
    "License",
)
BOTH = {"bundle_root", "device", "dataset_dir", "output_dir", "network_def"}
KEYS = {
    "train": BOTH
    | {f"train::{key}" for key in ("trainer", "trainer::max_epochs", "dataset", "dataset::data")}
    | {"train::handlers", "train::inferer", "train::preprocessing"},
    "inference": BOTH | {"dataset", "inferer", "preprocessing", "postprocessing", "evaluator", "handlers"},
}
MOST_BYTES = 25 * 2**20
ABSOLUTE = re.compile(r"(?<![\w.@'\]/])/(home|root|work|tmp|usr|opt|mnt|data|workspace)\b|[A-Za-z]:\\")


def configs(bundle: Path) -> list[Path]:
    return sorted((bundle / "configs").glob("*.json"))


def strings(content: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Top key and value of every string in a config."""
    if isinstance(content, str):
        yield key, content
    elif isinstance(content, dict):
        for name, value in content.items():
            yield from strings(value, key or name)
    elif isinstance(content, list):
        for value in content:
            yield from strings(value, key)


def expressions(path: Path) -> Iterator[tuple[str, ast.AST]]:
    """Text and syntax tree of every expression of a config, imports aside."""
    for key, text in strings(json.loads(path.read_text())):
        if text.startswith("$") and key != "imports":
            yield text, ast.parse(re.sub(r"@[\w:]+", lambda ref: re.sub(r"\W", "_", ref[0]), text[1:]), mode="eval")


def is_path(node: ast.BinOp) -> bool:
    """A reference and a text, put together by +."""
    ends = (node.left, node.right)
    return isinstance(node.op, ast.Add) and any(isinstance(n, ast.Constant) and isinstance(n.value, str) for n in ends)


def test_required_files(bundle):
    assert [name for name in REQUIRED if not (bundle / name).is_file()] == []
    assert (bundle / "configs" / "inference.json").is_file() or bundle.name in WITHOUT_INFERENCE
    assert (bundle / "LICENSE").read_bytes() == (PROJECT / "LICENSE").read_bytes()


@pytest.mark.parametrize("kind", KEYS)
def test_keys_that_other_programs_look_for(bundle, kind):
    path = bundle / "configs" / f"{kind}.json"
    if path.is_file():
        parser = ConfigParser(ConfigParser.load_config_file(path))
        assert {key for key in KEYS[kind] if key not in parser} == set()


def test_no_code_no_weights_no_large_file(bundle):
    files = [path for path in bundle.rglob("*") if path.is_file() and "models" not in path.parts]
    assert [path for path in files if path.suffix not in ("", ".json", ".conf", ".md")] == []
    assert [path for path in files if path.stat().st_size > MOST_BYTES] == []


def test_json_is_written_in_one_way(bundle):
    """Four spaces a level, and no key twice."""
    for path in configs(bundle):
        json.loads(path.read_text(), object_pairs_hook=no_key_twice)
        *lines, last = path.read_text().split("\n")
        assert last == "", path
        assert [line for line in lines if (len(line) - len(line.lstrip())) % 4 or line != line.rstrip()] == [], path


def no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len({key for key, _ in pairs}) == len(pairs), pairs
    return dict(pairs)


def test_no_path_of_one_machine(bundle):
    for path in [*configs(bundle), bundle / "configs" / "logging.conf", bundle / "docs" / "README.md"]:
        assert ABSOLUTE.search(path.read_text()) is None, path
        if path.suffix == ".json":
            assert [text for _, text in strings(json.loads(path.read_text())) if text.startswith(("/", "~"))] == []


def test_no_logic_in_json(bundle):
    for path in configs(bundle):
        for text, tree in expressions(path):
            for node in ast.walk(tree):
                assert not isinstance(node, (ast.Lambda, ast.comprehension)), f"{path}: {text}"
                assert not isinstance(node, ast.BinOp) or is_path(node), f"{path}: {text}"


@pytest.mark.parametrize("text", ["$lambda x: x", "$@a * 2", "$@a - @b", "$[x for x in @a]"])
def test_logic_would_be_found(tmp_path, text):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "train.json").write_text(json.dumps({"a": 1, "b": {"c": [text]}}))
    with pytest.raises(AssertionError):
        test_no_logic_in_json(tmp_path)


def test_metadata_keeps_the_schema(bundle):
    """MONAI downloads a schema only where there is none at filepath; it wants a hash of the one that is there."""
    schema = Path(__file__).with_name("metadata_schema.json")
    told = {"filepath": str(schema), "hash_val": sha256(schema), "hash_type": "sha256"}
    verify_metadata(meta_file=str(bundle / "configs" / "metadata.json"), **told)


def test_versions(bundle):
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    assert metadata["version"] == next(iter(metadata["changelog"]))
    pins = dict(re.findall(r"^([\w.-]+)==([\w.]+)", (PROJECT / "constraints.txt").read_text(), re.M))
    told = {
        "monai": metadata["monai_version"],
        "torch": metadata["pytorch_version"],
        "numpy": metadata["numpy_version"],
    }
    told |= metadata["required_packages_version"]
    assert told.pop("monai-iltm") == __version__
    assert told == {name: pins[name] for name in told}


def test_readme_has_the_sections(bundle):
    text = (bundle / "docs" / "README.md").read_text()
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    assert [name for name in headings if name in SECTIONS] == list(SECTIONS)
    assert "research use only" in text
    assert "not a medical device" in text


def test_readme_names_what_exists(bundle):
    """Config files and settings of the commands."""
    blocks = re.findall(r"^```\n(.+?)^```", (bundle / "docs" / "README.md").read_text(), re.M | re.S)
    lines = [line for block in blocks for line in block.splitlines() if "monai.bundle run" in line]
    assert lines
    for line in lines:
        files = re.findall(r"[\w./]*configs/\w+\.json", line)
        content: dict[str, Any] = {}
        for name in files:
            path = (bundle / name).resolve()
            if not path.is_file():  # of what a run of iltm leaves
                path = PROJECT / "bundles" / "kde_inferer" / name.removeprefix("RUN/bundle/")
            assert path.is_file(), line
            content |= json.loads(path.read_text())
        assert files
        given = set(re.findall(r"--([\w:]+)", line)) - {"config_file", "standalone", "nproc_per_node"}
        assert [one for one in given if not holds(content, one)] == [], line


def test_one_setting_one_default():
    """A setting that several bundles share has one default, so that a model trained by default is found by default."""
    paths = {"output_dir", "stage_name", "weights", "network_def", "preprocessing", "source", "lr_scheduler", "grid"}
    shared: dict[str, dict[str, list[str]]] = {}
    for path in sorted((PROJECT / "bundles").glob("*/configs/*.json")):
        if path.stem in ("train", "inference"):
            for key, value in json.loads(path.read_text()).items():
                plain = not isinstance(value, dict) and key not in paths | {"imports", "initialize", "run", "handlers"}
                if plain or key in ("vqvae", "images"):
                    shared.setdefault(key, {}).setdefault(json.dumps(value), []).append(str(path.relative_to(PROJECT)))
    assert {key: found for key, found in shared.items() if len(found) > 1} == {}


def test_multi_gpu_overlays_only_add_the_processes(bundle):
    for name, files in (("train", ["train"]), ("evaluate", ["inference", "evaluate"])):
        overlay = bundle / "configs" / f"multi_gpu_{name}.json"
        if overlay.is_file():
            alone = ConfigParser.load_config_files([str(bundle / "configs" / f"{file}.json") for file in files])
            assert json.loads(overlay.read_text()) == {
                "initialize": ["$distributed.start_processes()", *alone["initialize"]],
                "finalize": ["$distributed.stop_processes()"],
            }
