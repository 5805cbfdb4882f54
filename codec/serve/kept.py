"""things that the server keeps for a while under a name that it makes: blobs and sessions.

Bounded in number, bytes and age. Where there are too many, the oldest of the owner that has most
goes: an owner that puts in more and more things pushes out its own.
"""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")


class _Thing(NamedTuple):
    owner: str
    value: object
    n_bytes: int
    since_s: float


@dataclass
class _Owner:
    names: OrderedDict[str, None] = field(default_factory=OrderedDict)
    n_bytes: int = 0


class Kept(Generic[T]):
    """A bounded store; only who put a thing in gets it out.

    Args:
        max_items: the most things.
        max_bytes: the most bytes of them.
        max_age_s: seconds after which a thing is gone.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        max_items: int,
        max_bytes: int,
        max_age_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits, self._clock = (max_items, max_bytes, max_age_s), clock
        self._things: OrderedDict[str, _Thing] = OrderedDict()
        self._owners: dict[str, _Owner] = {}
        self.n_bytes = 0

    def __len__(self) -> int:
        return len(self._things)

    def put(self, owner: str, value: T, n_bytes: int) -> str:
        """Keep a thing; gives its name, which nobody can guess.

        Raises:
            ValueError: it alone is more than the store holds.
        """
        max_items, max_bytes, max_age_s = self._limits
        if n_bytes > max_bytes:
            raise ValueError(f"{n_bytes} bytes are more than the {max_bytes} that are kept")
        name = secrets.token_urlsafe(12)
        self._things[name] = _Thing(owner, value, n_bytes, self._clock())
        self.n_bytes += n_bytes
        mine = self._owners.setdefault(owner, _Owner())
        mine.names[name] = None
        mine.n_bytes += n_bytes
        for old, thing in list(self._things.items()):
            if self._clock() - thing.since_s <= max_age_s:
                break  # those behind it are younger
            self._remove(old)
        while len(self._things) > max_items:
            self._remove_of(max(self._owners.values(), key=lambda one: len(one.names)))
        while self.n_bytes > max_bytes:
            self._remove_of(max(self._owners.values(), key=lambda one: one.n_bytes))
        return name

    def get(self, owner: str, name: str) -> T | None:
        """The thing of this name; None where there is none, or it is another owner's or too old."""
        thing = self._things.get(name)
        if thing is None or thing.owner != owner:
            return None
        if self._clock() - thing.since_s > self._limits[2]:
            self._remove(name)
            return None
        return thing.value  # type: ignore[return-value]

    def remove(self, owner: str, name: str) -> bool:
        """Forget a thing; whether it was there."""
        if self.get(owner, name) is None:
            return False
        self._remove(name)
        return True

    def _remove_of(self, owner: _Owner) -> None:
        self._remove(next(iter(owner.names)))

    def _remove(self, name: str) -> None:
        thing = self._things.pop(name)
        self.n_bytes -= thing.n_bytes
        owner = self._owners[thing.owner]
        owner.n_bytes -= thing.n_bytes
        del owner.names[name]
        if not owner.names:
            del self._owners[thing.owner]
