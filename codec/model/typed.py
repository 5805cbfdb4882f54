"""parsed JSON -> frozen dataclass: every value is checked against the type of its field before
anything is made of it.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


def from_json(kind: type[T], values: Any, where: str) -> T:
    """A JSON object -> a dataclass, whose fields describe it: `int`, `float`, `str`, `bool`,
    `Literal`, `X | None`, `tuple[X, ...]` (a list) or a dataclass (an object).

    Args:
        kind: the dataclass.
        values: the parsed object.
        where: what it is, for messages: "config.json".

    Raises:
        ValueError: not an object; a key is missing or unknown; or a value has another type.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"{where} is a JSON object, not {_named(values)}")
    known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    if unknown := sorted(map(str, set(values) - set(known))):
        raise ValueError(f"{where} holds unknown keys: {', '.join(unknown)}; update the library")
    needed = [
        name
        for name, field in known.items()
        if field.default is MISSING and field.default_factory is MISSING
    ]
    if missing := [name for name in needed if name not in values]:
        raise ValueError(f"{where} lacks {', '.join(missing)}")
    types_ = _types(kind)  # type: ignore[arg-type]
    return kind(**{key: _value(types_[key], v, f"{key} of {where}") for key, v in values.items()})


@cache
def _types(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _value(kind: Any, value: Any, where: str) -> Any:
    origin, inside = get_origin(kind), get_args(kind)
    if is_dataclass(kind):
        return from_json(kind, value, where)  # type: ignore[arg-type]
    if origin in (Union, types.UnionType):
        if value is None and type(None) in inside:
            return None
        return _value(next(t for t in inside if t is not type(None)), value, where)
    if origin is tuple:
        return _several(inside, value, where)
    if origin is Literal:
        if not isinstance(value, str) or value not in inside:
            raise ValueError(f"{where} is one of {', '.join(map(repr, inside))}, not {value!r}")
        return value
    # JSON has one kind of number: 1 stands for 1.0 too, but never true or "1"
    fits = isinstance(value, (int, float) if kind is float else kind)
    if not fits or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"{where} is of type {kind.__name__}, not {_named(value)}")
    return value


def _several(inside: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"{where} is a list, not {_named(value)}")
    if inside[-1] is Ellipsis:
        inside = inside[:1] * len(value)
    if len(value) != len(inside):
        raise ValueError(f"{where} has {len(inside)} values, not {len(value)}")
    return tuple(
        _value(kind, one, f"value {i} of {where}")
        for i, (kind, one) in enumerate(zip(inside, value, strict=True))
    )


def _named(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
