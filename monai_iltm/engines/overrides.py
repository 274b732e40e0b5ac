"""The words after `monai.bundle run`: every id is known, every value is one, no text is taken for something else."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fire.parser import DefaultParseValue

from monai_iltm.data.documents import read_json
from monai_iltm.data.errors import InputError
from monai_iltm.engines.ids import joined, names_inside, parts, put
from monai_iltm.engines.names import NAMES, SETTINGS, new_id
from monai_iltm.engines.settings import EXPRESSIONS, Text, kind_of, require, require_all

# What `python -m monai.bundle run` takes itself, beside the ids of a config.
BUNDLE_OPTIONS = {"run_id", "init_id", "final_id", "meta_file", "config_file", "logging_file", "tracking", "args_file"}
CheckSetting = Callable[[str, Mapping[str, Any]], None]


def check_overrides(arguments: Sequence[str], check_setting: CheckSetting = lambda one, _: None) -> None:
    """Every ``--id value`` of a ``monai.bundle run`` command names something that its config files hold, and gives it
    a value of its kind; so do the files themselves.

    check_setting: id under ``settings``, content of the files -> InputError where no stage of the method takes it.

    Raises InputError that names the id and the nearest known one, or the value and how to write one.
    """
    given = [(name, word) for name, word in _pairs(arguments) if name not in BUNDLE_OPTIONS]
    files = _config_files(arguments)
    if not files:
        return
    content = load_configs(files)
    content |= {name: word for name, word in given if name in ("bundle_root", "method") and word}
    for name, word in given:
        if name not in content and (now := new_id(name, content)):
            shown = "'$None'" if word in ("None", "null") else word or ""
            raise InputError(f"{name} is called {now} here: write --{now} {shown}".rstrip())
    check_ids([name for name, _ in given], content, check_setting)
    _check_files(files, content)
    require_all(dict(values_inside(content)))
    for name, word in given:
        _check_word(name, word)


def load_configs(files: Iterable[Any]) -> dict[str, Any]:
    """The content of config files, later ones over earlier ones, as MONAI lays them."""
    content: dict[str, Any] = {}
    for path in files:
        for one, value in read_json(path).items():
            put(content, one.lstrip("+"), value)
    return content


def check_ids(
    ids: Iterable[str], content: Mapping[str, Any], check_setting: CheckSetting = lambda one, _: None
) -> None:
    """Raise InputError for the first id that a config does not hold, with the nearest one that it does.

    An id of several parts, as layout::contamination, may also name an argument that its component takes.
    """
    for one in ids:
        root, *inner = parts(one)
        if root not in content:
            raise unknown(one, sorted([*content, *NAMES]))
        if root == SETTINGS and inner:
            check_setting(joined(*inner), content)
            continue
        held, place = content[root], root
        for part in inner:
            known = names_inside(held)
            if known is None:
                break
            if part not in known:
                raise unknown(joined(place, part), [joined(place, name) for name in known])
            held, place = known[part], joined(place, part)


def _check_files(files: Sequence[str], content: Mapping[str, Any]) -> None:
    """A file laid over a bundle's config may hold ids of before as little as a command line."""
    own = load_configs(files[:1])
    for path in files[1:]:
        for one in read_json(path):
            if one not in own and (now := new_id(one, content)):
                raise InputError(f"{path}: {one} is called {now} here")


def values_inside(held: Any, *before: str) -> Iterator[tuple[str, Any]]:
    """(id, value) of all that a piece of a config holds, inside its components too."""
    inside = held if isinstance(held, Mapping) else {}
    for name, value in inside.items():
        if isinstance(value, Mapping):
            yield from values_inside(value, *before, name)
        else:
            yield joined(*before, name), value


def check_names(names: Iterable[str], known: Iterable[str]) -> None:
    """Raise InputError for the first name that is not known, with the nearest one that is."""
    known = sorted(known)
    for name in sorted(names):
        if name not in known:
            raise unknown(name, known)


def as_config(value: Any) -> Any:
    """A value as a config's override holds it: a text that MONAI would evaluate, cut or refer becomes an expression
    that is this text."""
    if not isinstance(value, str) or not (value.startswith(EXPRESSIONS) or "#" in value):
        return value
    return "$" + ascii(value).replace("#", r"\x23").replace("@", r"\x40")


def as_word(value: Any) -> str:
    """A value as a word of a command line, which MONAI's own reading of it gives back: Python's literals, and texts as
    they are unless they would be taken for something else."""
    if not isinstance(value, str):
        return repr(value)
    return value if DefaultParseValue(value) == value else repr(value)


def _check_word(name: str, word: str | None) -> None:
    if word is None:  # a bare --id means True
        require(name, True)
        return
    if word in ("None", "null"):
        raise InputError(f"--{name} {word} would be dropped without a word: write --{name} '$None'")
    is_path = isinstance(kind_of(name), Text)
    if word.startswith(EXPRESSIONS):
        if is_path and Path(word).exists():
            raise InputError(f"{name} {word!r} would be run as code: write --{name} ./{word}")
        return
    if "#" in word:
        safe = as_config(str(Path(word).absolute()) if is_path else word)
        raise InputError(f'{name} {word!r} holds "#", which MONAI reads as "::": write --{name} "{safe}"')
    require(name, DefaultParseValue(word), word)


def _pairs(arguments: Sequence[str]) -> list[tuple[str, str | None]]:
    """(id, word) of every ``--id word`` and ``--id=word``; None where there is no word."""
    pairs: list[tuple[str, str | None]] = []
    for index, part in enumerate(arguments):
        if part.startswith("--"):
            name, equals, word = part[2:].partition("=")
            following = arguments[index + 1] if index + 1 < len(arguments) else "--"
            pairs.append((name, word if equals else None if following.startswith("--") else following))
    return pairs


def _config_files(arguments: Sequence[str]) -> list[str]:
    """The value of --config_file: a path, several with commas between, or a list as Python or JSON writes it."""
    value = dict(_pairs(arguments)).get("config_file") or ""
    if value.startswith("["):
        return [str(path) for path in ast.literal_eval(value)]
    return [value] if Path(value).is_file() else [part for part in value.split(",") if part]


def unknown(name: str, known: Sequence[str]) -> InputError:
    """The error of a name that is none of those known, with the nearest of them."""
    near = difflib.get_close_matches(name, known, 1)
    return InputError(f"no setting is called {name!r}" + (f": did you mean {near[0]!r}?" if near else ""))
