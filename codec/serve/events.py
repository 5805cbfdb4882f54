"""news of the server -> pages that listen: server-sent events (WHATWG HTML, section 9.2).

A listener that reads slowly misses news; nothing waits for it, and nothing is kept for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from codec.serve.problems import busy, reply_to

LIFE_S = 300.0
"""So long a stream lasts; then a browser asks for another one by itself."""
GRACE_S = 10.0
"""After which a stream that should have ended is cut: its listener does not read."""


class Events:
    """The listeners of a server.

    Args:
        most: how many there may be.
    """

    def __init__(self, most: int) -> None:
        self._most, self._latest, self._closed = most, "", False
        self._news = asyncio.Event()
        self.n_listeners = 0

    @property
    def is_full(self) -> bool:
        """Whether as many listen as may."""
        return self.n_listeners >= self._most

    def publish(self, text: str) -> None:
        """Tell all listeners; in the event loop."""
        self._latest = text
        self._wake()

    def close(self) -> None:
        """End all streams; in the event loop. A server that stops waits for them."""
        self._closed = True
        self._wake()

    def stream(self, first: Callable[[], str], life_s: float = LIFE_S) -> EventStream:
        """A reply that says `first()` and then the news; or that too many listen."""
        return EventStream(self, first, life_s)

    async def listen(self, first: Callable[[], str], life_s: float) -> AsyncIterator[str]:
        """Parts of a stream, until its time is over or the server stops."""
        end_s = time.monotonic() + life_s
        yield "retry: 2000\n\n" + _event(await asyncio.to_thread(first))
        while not self._closed and (left_s := end_s - time.monotonic()) > 0:
            news = self._news
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(news.wait(), left_s)
            if news.is_set() and not self._closed:
                yield _event(self._latest)

    def _wake(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()


class EventStream(StreamingResponse):
    """The reply that carries the events of one listener."""

    def __init__(self, events: Events, first: Callable[[], str], life_s: float) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        parts = events.listen(first, life_s)
        super().__init__(parts, media_type="text/event-stream", headers=headers)
        self._events, self._life_s = events, life_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it; a listener that does not read is cut off."""
        if self._events.is_full:
            refusal = reply_to(busy(f"{self._events.n_listeners} pages listen already"))
            await refusal(scope, receive, send)
            return
        self._events.n_listeners += 1
        try:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(
                    super().__call__(scope, receive, send), self._life_s + GRACE_S
                )
        finally:
            self._events.n_listeners -= 1


def _event(text: str) -> str:
    return "event: status\n" + "".join(f"data: {line}\n" for line in text.split("\n")) + "\n"
