"""Ids of settings, with "::" between their parts as MONAI writes them: a tree of values, and the values by id.

Imports nothing that takes long: a command line is looked at before anything else is.
"""

from __future__ import annotations

import inspect
import pydoc
from collections.abc import Iterator, Mapping
from typing import Any

SEPARATORS = ("::", "#")  # of an id's parts, MONAI's new one and its old one


def parts(one: str) -> list[str]:
    """The parts of an id."""
    for separator in SEPARATORS[1:]:
        one = one.replace(separator, SEPARATORS[0])
    return one.split(SEPARATORS[0])


def joined(*names: str) -> str:
    """The id of these parts."""
    return SEPARATORS[0].join(names)


def flat(tree: Mapping[str, Any], **others: Any) -> dict[str, Any]:
    """The values of a tree, after those of others, by id. A component ("_target_") is a value, an empty branch none."""
    return dict(_leaves({**others, **tree}))


def _leaves(tree: Mapping[str, Any], *before: str) -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping) and "_target_" not in value:
            yield from _leaves(value, *before, *parts(name))
        else:
            yield joined(*before, name), value


def put(tree: dict[str, Any], one: str, value: Any) -> None:
    """Set the value of an id in a tree, in place; branches that are not there are made."""
    *branch, name = parts(one)
    for part in branch:
        tree = tree.setdefault(part, {}) if isinstance(tree, dict) else tree[int(part)]
    tree[name] = value


def names_inside(held: Any) -> dict[str, Any] | None:
    """What an id may name inside a piece of a config: its entries, and the arguments of a component with their
    defaults, of a plain value nothing; None where that cannot be told."""
    if isinstance(held, list):
        return {str(index): entry for index, entry in enumerate(held)}
    if not isinstance(held, dict):
        return {}
    target = pydoc.locate(str(held.get("_target_", "")))
    if not callable(target):
        return dict(held)
    arguments = inspect.signature(target).parameters
    if any(argument.kind is argument.VAR_KEYWORD for argument in arguments.values()):
        return None
    return {**{name: argument.default for name, argument in arguments.items()}, **held}


def holds(content: Mapping[str, Any], one: str) -> bool:
    """Whether a config holds an id, or a component that takes it as an argument."""
    held: Any = content
    for part in parts(one):
        inside = dict(held) if held is content else names_inside(held)
        if inside is None:
            return True
        if part not in inside:
            return False
        held = inside[part]
    return True


def ids_near(content: Mapping[str, Any], one: str) -> list[str]:
    """The ids that a config holds beside one that it does not hold, as far as the id leads."""
    held: Any = content
    for depth, part in enumerate(parts(one)):
        inside = dict(held) if held is content else names_inside(held) or {}
        if part not in inside:
            names = [name for name in inside if not name.startswith("_")]
            return [joined(*parts(one)[:depth], name) for name in names]
        held = inside[part]
    return [one]


def value_of(content: Mapping[str, Any], one: str) -> Any:
    """What a config holds at an id that it ``holds``, else the component's default."""
    held: Any = content
    for part in parts(one):
        held = (dict(held) if held is content else names_inside(held) or {})[part]
    return held


def plain_values(thing: Any) -> dict[str, Any]:
    """The public attributes of an object that are None, truths, numbers, texts, or lists of these."""
    values = {name: value for name, value in getattr(thing, "__dict__", {}).items() if _is_plain(value)}
    return {name: value for name, value in values.items() if not name.startswith("_") and name != "training"}


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(_is_plain(entry) for entry in value)
    return value is None or isinstance(value, (bool, int, float, str))
