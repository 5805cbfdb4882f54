"""recipe.yaml -> frozen dataclass: every number a training run depends on, in one file that can be
read and diffed.

The dataclass of a recipe has a field `file`, the file that it was read from: it is no part of what
is compared, and no key that a file may hold. Where it has a function `completed`, this adds what
follows from the values of a file.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import yaml

T = TypeVar("T")

RECIPES = Path(__file__).parent.parent / "recipes"


RENAMED = {"bf16": "precision: bf16, fp16 or fp32"}
"""Keys that recipes had once, and what says the same now."""

Kind = type[T] | Callable[[dict[str, Any]], type[T]]
"""A recipe's dataclass, or what tells it by the values of a file."""


def read_recipe(kind: Kind[T], path: str | Path, overrides: typing.Sequence[str] = ()) -> T:
    """Read the dataclass `kind` from a YAML file, with `key=value` overrides (`stage1.steps=100`)
    put over it.

    Args:
        path: a file, or the bare name of a recipe that ships in `training/recipes`.
        overrides: `key=value` strings; dots step into nested sections, values are YAML.

    Raises:
        FileNotFoundError: no such recipe; the message lists those that ship.
        ValueError: not YAML, an unknown or missing key, or a value of the wrong type; the message
            names the key.
    """
    file = Path(path)
    if not file.is_file():
        file = RECIPES / f"{path}.yaml"
    if not file.is_file():
        shipped = ", ".join(sorted(p.stem for p in RECIPES.glob("*.yaml")))
        raise FileNotFoundError(f"no recipe {str(path)!r}: give a YAML file or one of: {shipped}")
    values = _yaml(file.read_text(), f"recipe {file}")
    if not isinstance(values, dict):
        raise ValueError(f"recipe {file} is not a mapping of keys to values")
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals:
            raise ValueError(f"override {override!r} is not of the form key=value")
        *sections, last = key.split(".")
        place = values
        for section in sections:
            place = place.setdefault(section, {})
            if not isinstance(place, dict):
                raise ValueError(f"override {override!r}: {section!r} is not a section")
        place[last] = _yaml(value, f"override {override!r}")
    built: Any = kind if isinstance(kind, type) else kind(values)
    if hasattr(built, "completed"):
        values = built.completed(values)
    return typing.cast(T, _build(built, values | {"file": str(file)}, where=""))


def plain_values(recipe: Any) -> dict[str, Any]:
    """A recipe as YAML writes it, without the name of its file."""
    values = dataclasses.asdict(recipe)
    del values["file"]
    return {key: _plain(value) for key, value in values.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items()}
    return list(value) if isinstance(value, tuple) else value


def _yaml(text: str, where: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"{where} is not YAML: {error}") from error


def _build(kind: Any, values: dict[str, Any], where: str) -> Any:
    fields = {f.name: f for f in dataclasses.fields(kind)}
    hints = typing.get_type_hints(kind)
    if unknown := sorted(set(values) - set(fields)):
        if now := RENAMED.get(unknown[0]):
            raise ValueError(f"recipe key {where + unknown[0]!r} is no longer; it is now {now}")
        known = ", ".join(sorted(set(fields) - {"file"}))
        raise ValueError(f"unknown recipe key {where + unknown[0]!r}; known here: {known}")
    made = {}
    for name, field in fields.items():
        if name in values:
            made[name] = _convert(hints[name], values[name], where + name)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ValueError(f"the recipe lacks the key {where + name!r}")
    return kind(**made)


def _convert(hint: Any, value: Any, name: str) -> Any:
    """`value` as the type `hint` asks for: a dataclass, a tuple of numbers, an optional, or a plain
    value.
    """
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None:
            return None
        hint = next(h for h in typing.get_args(hint) if h is not type(None))
        return _convert(hint, value, name)
    if origin is typing.Literal:
        if value not in typing.get_args(hint):
            raise ValueError(
                f"recipe key {name!r} is one of {', '.join(typing.get_args(hint))}, not {value!r}"
            )
        return value
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, dict):
            raise ValueError(f"recipe key {name!r} is a section, not {value!r}")
        return _build(hint, value, f"{name}.")
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise ValueError(f"recipe key {name!r} is a list, not {value!r}")
        return tuple(_convert(typing.get_args(hint)[0], v, name) for v in value)
    if hint is float and isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            return float(value)  # YAML reads 1e-3 as a string
        except ValueError:
            pass
    elif isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    raise ValueError(f"recipe key {name!r} wants {hint.__name__}, not {value!r}")
