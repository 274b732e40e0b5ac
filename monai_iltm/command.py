"""The bundle command that a preset, its overlays and settings stand for; mistakes in them are told before it runs."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai_iltm import resources
from monai_iltm.data.documents import read_json
from monai_iltm.data.errors import InputError
from monai_iltm.engines.ids import SEPARATORS, flat, joined, parts
from monai_iltm.engines.method import require_known
from monai_iltm.engines.names import NAMES, SETTINGS, full_id, full_ids
from monai_iltm.engines.overrides import as_config, as_word, check_ids, load_configs, unknown, values_inside
from monai_iltm.engines.settings import EXPRESSIONS, FLAG_RULES, MASK_RULES, Kind, read_word, require_all

PATHS = ("bundle_root", "dataset_dir", "output_dir")


def config_path(name: str) -> Path:
    """configs/NAME.json, or the path itself. Raises InputError, with the names there are, where neither exists."""
    for path in (resources.configs() / f"{name}.json", Path(name)):
        if path.is_file():
            return path
    there = sorted(path.stem for path in resources.configs().glob("*.json"))
    raise InputError(f"no preset {name!r} in {resources.configs()}: {', '.join(there) or 'the folder is missing'}")


def overlaid(names: Sequence[str], processes: int = 1) -> tuple[list[Path], dict[str, Any]]:
    """The config of the iltm bundle, those laid over it, and, for several processes, the one that joins them; and the
    values of overlays that call settings by short names, which the bundle does not know, by id."""
    files, values = [defaults()], dict[str, Any]()
    for path in map(config_path, names):
        content = read_json(path)
        if content.keys().isdisjoint(NAMES):
            files.append(path)
            values = {one: value for one, value in values.items() if one not in content}
        else:
            values |= full_ids(content)
    return [*files, *([defaults().with_name("multi_gpu_train.json")] if processes > 1 else [])], values


def shown_command(files: list[Path], values: dict[str, Any], processes: int = 1) -> str:
    """The bundle command, ready to be pasted into a shell."""
    listed, *others = arguments(files, values)
    plain = all(shlex.quote(str(path)) == str(path) for path in files)
    quoted = f'"{listed}"' if plain else shlex.quote(listed)  # the first is easier to read, and to change
    start = "python -m" if processes == 1 else f"torchrun --standalone --nproc_per_node {processes} -m"
    return f"{start} monai.bundle run --config_file {quoted} {shlex.join(others)}"


def chosen(names: Sequence[str], words: dict[str, Any], processes: int = 1) -> tuple[list[Path], dict[str, Any]]:
    """The config files of the overlays named, and the values of the words given, by id; InputError for one that the
    bundle, or a stage of the method, does not know, or cannot be, there or in the overlays."""
    files, values = overlaid(names, processes)
    bundle = {**load_configs(files[:1]), "bundle_root": str(defaults().parents[1])}
    content = {**load_configs(files), "bundle_root": bundle["bundle_root"]}
    given = {_whole_id(name, content): read_given(name, word) for name, word in words.items()}
    content |= {name: value for name, value in {**values, **given}.items() if name == "method"}
    overlays = load_configs(path for path in files[1:] if path.parent != defaults().parent)
    check_ids([*flat(overlays), *values], {**bundle, "method": content["method"]}, _require_known_to_any)
    check_ids(given, content, require_known)
    require_all({**dict(values_inside(content)), **values, **given})
    return files, {**values, **given}


def _require_known_to_any(one: str, content: Mapping[str, Any]) -> None:
    """A preset of a set of images may hold ILTM's settings too, whatever the method."""
    try:
        require_known(one, content)
    except InputError:
        require_known(one, {**content, "method": "iltm"})


def _whole_id(name: str, content: Mapping[str, Any]) -> str:
    """The id of a short name, or of an id of a stage, which stands under ``settings``."""
    one = full_id(name)
    root = parts(one)[0]
    if SEPARATORS[0] not in one and one not in content:
        raise unknown(name, sorted([*content, *NAMES]))
    return one if root == one or isinstance(content.get(root), (dict, list)) else joined(SETTINGS, one)


def read_given(name: str, word: Any, kind: Kind | None = None) -> Any:
    """A word of the command line as its setting's value; a caller in Python has the value itself."""
    return read_word(name, word, kind) if isinstance(word, str) else word


def arguments(files: list[Path], values: dict[str, Any]) -> list[str]:
    """What follows `--config_file`: the files as one list, then --id value for every value."""
    listed = "[" + ",".join(repr(str(path)) for path in files) + "]"
    return [listed, *(part for key, value in decided(values).items() for part in (f"--{key}", as_word(value)))]


def decided(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings as MONAI takes them: with None for the rivals of those among them, and None as an expression, for
    MONAI drops a bare one."""
    rivals = (group for group in (FLAG_RULES, MASK_RULES) if not settings.keys().isdisjoint(group))
    whole = {**{name: None for group in rivals for name in group}, **settings}
    return {name: _as_monai_takes(name, value) for name, value in whole.items()}


def _as_monai_takes(name: str, value: Any) -> Any:
    """None as an expression, and texts so that they stay what they are, but for those that a person wrote to be run."""
    if value is None:
        return "$None"
    return value if name not in PATHS and str(value).startswith(EXPRESSIONS) else as_config(value)


def defaults() -> Path:
    return resources.bundles() / "iltm" / "configs" / "train.json"
