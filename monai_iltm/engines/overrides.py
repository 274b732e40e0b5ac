"""The words after `monai.bundle run`: every id is known, every value is one, no text is taken for something else."""

from __future__ import annotations

import ast
import difflib
import inspect
import pydoc
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fire.parser import DefaultParseValue

from monai_iltm.data.documents import read_json
from monai_iltm.data.errors import InputError
from monai_iltm.engines.settings import EXPRESSIONS, KINDS, Text, require, require_all

# What `python -m monai.bundle run` takes itself, beside the ids of a config.
BUNDLE_OPTIONS = {"run_id", "init_id", "final_id", "meta_file", "config_file", "logging_file", "tracking", "args_file"}
SETTINGS = "settings"  # where a config of rounds holds the values of its stages
SEPARATORS = ("::", "#")  # of an id's parts, MONAI's new one and its old one


def check_overrides(
    arguments: Sequence[str], known_settings: Callable[[Mapping[str, Any]], Iterable[str]] = lambda _: ()
) -> None:
    """Every ``--id value`` of a ``monai.bundle run`` command names something that its config files hold, and gives it
    a value of its kind; so do the files themselves.

    known_settings: content of the files -> what may stand under ``settings``, beside what does.

    Raises InputError that names the id and the nearest known one, or the value and how to write one.
    """
    given = [(name, word) for name, word in _pairs(arguments) if name not in BUNDLE_OPTIONS]
    files = _config_files(arguments)
    if not files:
        return
    content = load_configs(files)
    told = {name: word for name, word in given if name in ("bundle_root", "method") and word}
    check_ids([name for name, _ in given], content, known_settings({**content, **told}))
    require_all(content)
    for name, word in given:
        _check_word(name, word)


def load_configs(files: Iterable[Any]) -> dict[str, Any]:
    """The content of config files, later ones over earlier ones, at the top level alone."""
    content: dict[str, Any] = {}
    for path in files:
        content |= {key.lstrip("+"): value for key, value in read_json(path).items()}
    return content


def check_ids(ids: Iterable[str], content: Mapping[str, Any], settings: Iterable[str] = ()) -> None:
    """Raise InputError for the first id that a config does not hold, with the nearest one that it does.

    An id of several parts, as layout::contamination, may also name an argument that its component takes; under
    ``settings`` these may stand too.
    """
    paths = [_parts(one) for one in ids]
    check_names({parts[0] for parts in paths}, content)
    for root, *inner in paths:
        held, place = content[root], root
        if root == SETTINGS and isinstance(held, dict):
            held = {**dict.fromkeys(settings), **held}
        for part in inner:
            known = _inside(held)
            if known is None:
                break
            if part not in known:
                raise _unknown(f"{place}::{part}", [f"{place}::{name}" for name in known])
            held, place = known[part], f"{place}::{part}"


def check_names(names: Iterable[str], known: Iterable[str]) -> None:
    """Raise InputError for the first name that is not known, with the nearest one that is."""
    known = sorted(known)
    for name in sorted(names):
        if name not in known:
            raise _unknown(name, known)


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
    is_path = isinstance(KINDS.get(name), Text)
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


def _parts(one: str) -> list[str]:
    for separator in SEPARATORS[1:]:
        one = one.replace(separator, SEPARATORS[0])
    return one.split(SEPARATORS[0])


def _inside(held: Any) -> dict[str, Any] | None:
    """What an id may name inside a piece of a config; None where that cannot be told."""
    if isinstance(held, list):
        return {str(index): entry for index, entry in enumerate(held)}
    if not isinstance(held, dict):
        return None
    target = pydoc.locate(str(held.get("_target_", "")))
    if not callable(target):
        return dict(held)
    arguments = inspect.signature(target).parameters
    if any(argument.kind is argument.VAR_KEYWORD for argument in arguments.values()):
        return None
    return {**dict.fromkeys(arguments), **held}


def _unknown(name: str, known: Sequence[str]) -> InputError:
    near = difflib.get_close_matches(name, known, 1)
    return InputError(f"no setting is called {name!r}" + (f": did you mean {near[0]!r}?" if near else ""))
