"""request and reply -> counted: status, time and bytes of HTTP, of every request to an application.

The bytes are those of the request line, the status line, headers, and bodies; TLS's are not there.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from http import HTTPStatus

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from codec.serve.models import TASKS
from codec.serve.state import State

DATE_BYTES = len("date: Fri, 27 Nov 2026 12:00:00 GMT\r\n")
"""uvicorn adds this header to a reply, behind the application."""


class Counting:
    """An application whose requests are counted.

    Args:
        app: the application.
        state: whose metrics count.
    """

    def __init__(self, app: ASGIApp, state: State) -> None:
        self._app, self._state = app, state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and count it when its reply has been sent."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start_s = time.perf_counter()
        n_up, n_down, status = _request_bytes(scope), 0, 0

        async def counted_receive() -> Message:
            nonlocal n_up
            message = await receive()
            n_up += len(message.get("body", b""))
            return message

        async def counted_send(message: Message) -> None:
            nonlocal n_down, status
            if message["type"] == "http.response.start":
                status = message["status"]
                n_down += _status_bytes(status) + _header_bytes(message.get("headers", ()))
            n_down += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, counted_receive, counted_send)
        except Exception:
            status = status or 500
            raise
        finally:
            if status:  # else the client went away before there was a reply
                self._count(scope, status, n_up, n_down, time.perf_counter() - start_s)

    def _count(self, scope: Scope, status: int, n_up: int, n_down: int, whole_s: float) -> None:
        metrics, path = self._state.metrics, scope.get("path_params", {})
        name, verb = path.get("codec", ""), path.get("verb", "")
        if name not in self._state.codecs:  # strangers could make any number of names
            if status >= 400:
                metrics.replied("", "", status)
            return
        metrics.replied(name, verb if verb in TASKS else "", status)
        metrics.exchanged("http", name, n_up, n_down)
        done = scope.get("state", {}).get("done")
        if done is not None:
            metrics.whole(name, whole_s, done)


def _request_bytes(scope: Scope) -> int:
    """The bytes of a request's first line and headers."""
    path = scope.get("raw_path") or scope["path"].encode()
    query = scope["query_string"]
    line = len(scope["method"]) + 1 + len(path) + len(query) + bool(query) + len(" HTTP/1.1\r\n")
    return line + _header_bytes(scope["headers"])


def _status_bytes(status: int) -> int:
    """The bytes of a reply's first line, and of the header that uvicorn adds."""
    return len(f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n") + DATE_BYTES


def _header_bytes(headers: Iterable[tuple[bytes, bytes]]) -> int:
    return sum(len(name) + len(value) + len(": \r\n") for name, value in headers) + len("\r\n")
