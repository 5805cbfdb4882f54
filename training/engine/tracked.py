"""steps of something long -> a line that says what begins, and a bar where a terminal shows it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from codec.show.console import progress

T = TypeVar("T")


def tracked(values: Iterable[T], what: str, total: int, unit: str) -> Iterator[T]:
    """The values, one by one, while a bar on stderr moves on, if that is a terminal.

    Args:
        what: is done with them; said on stdout in a line of its own at the beginning.
        total: how many there are, and `unit`: what they are, in the plural.
    """
    print(f"{what}: {total:,} {unit}", flush=True)
    with progress(what, total) as step:
        for value in values:
            yield value
            step()
