"""Stand-ins for what the one file for devices uses and Python 3.6 does not have; the library itself
uses the standard ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def dataclass(frozen: bool, eq: bool = True) -> Callable[[type], type]:
    """`dataclasses.dataclass` for frozen classes: constructor, equality and no assignment."""
    assert frozen

    def decorate(cls: type) -> type:
        names = _fields(cls)

        def __init__(self: Any, *values: Any, **named: Any) -> None:  # noqa: N807
            given = dict(zip(names, values, strict=False), **named)
            missing = [name for name in names if name not in given and not hasattr(cls, name)]
            if missing or len(values) > len(names) or set(given) - set(names):
                raise TypeError(f"{cls.__name__} takes {', '.join(names)}")
            for name in names:
                self.__dict__[name] = given[name] if name in given else getattr(cls, name)
            if hasattr(self, "__post_init__"):
                self.__post_init__()

        def __setattr__(self: Any, name: str, value: Any) -> None:  # noqa: N807
            raise AttributeError(f"cannot assign to field {name!r}")

        def __eq__(self: Any, other: Any) -> Any:  # noqa: N807
            return asdict(self) == asdict(other) if type(other) is cls else NotImplemented

        members: dict[str, Any] = {"__init__": __init__, "__setattr__": __setattr__}
        members.update({"__eq__": __eq__, "__hash__": None} if eq else {})
        for name, member in members.items():
            setattr(cls, name, member)
        return cls

    return decorate


def asdict(value: Any) -> dict[str, Any]:
    """`dataclasses.asdict` for fields that are no dataclasses themselves."""
    return {name: value.__dict__[name] for name in _fields(type(value))}


def _fields(cls: type) -> list[str]:
    """Names of a class's fields, those it inherits first."""
    return [
        name for base in reversed(cls.__mro__) for name in vars(base).get("__annotations__", {})
    ]


class cached_property:  # noqa: N801
    """`functools.cached_property`: the attribute of the instance, once there, hides this."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function
        self.__doc__ = function.__doc__

    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is None:
            return self
        value = instance.__dict__[self.function.__name__] = self.function(instance)
        return value
