"""calls of a store on disk -> one thread of its own -> what they give, or why not, in bounded time.

A file that another program has locked, or a disk that stalls, holds that thread alone: pictures are
decoded and other requests answered meanwhile, and each request that needs the store waits at most
`ANSWER_S`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from codec.link.database import BUSY_S
from codec.serve.batching import Batcher, QueueFullError

T = TypeVar("T")

ANSWER_S = BUSY_S + 2.0
"""A little longer than a store waits for another process, so that it can say so."""
MOST_WAITING = 1024
"""More than the connections that a server has: as many wait only while the store stalls."""


class Storing:
    """The calls of one store, one at a time; their owners take turns.

    Args:
        what: the store, in words for a person.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._calls = Batcher(_outcomes, 1, MOST_WAITING)
        self._calls.start()

    async def call(self, owner: str, function: Callable[..., T], *values: Any) -> T:
        """What a function gives that asks the store. A call that is given up before its turn is not
        made.

        Args:
            owner: whose call it is.

        Raises:
            OSError: there is no answer in time, or too many calls wait.
            Exception: the function's own.
        """
        asked = self._calls.run((function, values), owner)
        try:
            done = await asyncio.wait_for(asked, ANSWER_S)
        except asyncio.TimeoutError as error:
            raise OSError(f"{self._what}: no answer within {ANSWER_S:g} seconds") from error
        except QueueFullError as error:
            raise OSError(f"{self._what}: {error}") from error
        found: T
        found, failure = done.value
        if failure is not None:
            raise failure
        return found

    def close(self) -> None:
        """End the thread, after the call that it makes now."""
        self._calls.stop()


def _outcomes(calls: list[Any]) -> list[Any]:
    """What each call gives, and its exception. As a value: one that a store raises may be the
    `TimeoutError` that `asyncio.wait_for` raises too.
    """
    return [_outcome(*call) for call in calls]


def _outcome(function: Callable[..., Any], values: Any) -> tuple[Any, Exception | None]:
    try:
        return function(*values), None
    except Exception as error:
        return None, error
