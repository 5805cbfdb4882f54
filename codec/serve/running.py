"""application -> a server that listens: uvicorn, with bounds on what a connection may take before
the application sees a request.

    connection --bounded head, bounded time--> request --> application

uvicorn's own timeouts begin with the first reply. Here a connection that brings no whole head of a
request in time is closed, also after the first one; and where there are too many connections, the
one that has been idle longest makes room, or reads no reply. Where there is none such, one of the
address with most connections does, whose request has not come whole; where no address has more than
the new one's, the new one is refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import socket
import time
from collections import Counter, defaultdict
from http import HTTPStatus
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from codec.link.properties import PROBLEM_TYPE
from codec.serve.problems import ProblemError, busy, crowding

HEAD_BYTES = 1 << 16
HEAD_S = 10.0
IDLE_S = 75.0
CONNECTIONS = 900
"""Fewer than the 1,024 open files that a process mostly may have."""
STOP_S = 30
"""Requests that run when the server is told to end have so long."""


class Connection(H11Protocol):
    """A connection with bounds. h11 itself bounds the bytes of a head."""

    def connection_made(self, transport: Any) -> None:
        """It is open; where there are too many, one of the others is closed, or this one where none
        of them may go.
        """
        super().connection_made(transport)
        self._late: asyncio.TimerHandle | None = None
        self._since_s = time.monotonic()
        if len(self.connections) > CONNECTIONS:
            self._make_room()
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Bytes came: the head of a request, or more of its body."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is closed."""
        self._unwatch()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """A reply went out; from now on the connection is idle."""
        self._since_s = time.monotonic()
        super().on_response_complete()

    @property
    def _waits(self) -> bool:
        """Whether no request of this connection is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def _make_room(self) -> None:
        others = (one for one in self.connections if isinstance(one, Connection))
        may_go = [one for one in others if one is not self and one._may_go]
        idle = min(may_go, key=lambda one: one._since_s, default=None)
        if idle is None:
            open_now = f"{CONNECTIONS} connections are open"
            if (gone := self._of_most()) is None:
                self._refuse(busy(f"{open_now}, each with a request"))
            else:
                gone._refuse(crowding(f"{open_now}, most of them from this address"))
            return
        idle._refuse(busy(f"{CONNECTIONS} connections are open; this one was idle for longest"))
        if idle.transport.get_write_buffer_size():  # nobody there reads: it would never close
            idle.transport.abort()

    def _of_most(self) -> Connection | None:
        """The newest connection whose request has not come whole, of the address that has most of
        them; None where that has no more than the address of this one.
        """
        n_open, coming = Counter[str](), defaultdict[str, list[Connection]](list)
        for one in self.connections:
            if isinstance(one, Connection) and not one.transport.is_closing():
                n_open[one._address] += 1
                if one.cycle is not None and one.cycle.more_body:
                    coming[one._address].append(one)
        most = max(coming, key=lambda address: n_open[address], default=self._address)
        if n_open[most] <= n_open[self._address]:
            return None
        return max(coming[most], key=lambda one: one._since_s)

    @property
    def _address(self) -> str:
        return self.client[0] if self.client else ""

    @property
    def _may_go(self) -> bool:
        """Whether it can make room: no request of it is being answered, or nobody reads the reply;
        and it is not closed already.
        """
        unsent = self.transport.get_write_buffer_size() > 0
        closed = self.transport.is_closing() and not unsent
        return (self._waits or self.flow.write_paused) and not closed

    def _watch(self) -> None:
        if not self._waits:
            self._unwatch()
        elif self._late is None:
            self._late = self.loop.call_later(HEAD_S, self._end)

    def _unwatch(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _end(self) -> None:
        """Its time is over; whoever still sends hears why."""
        self._refuse(ProblemError(408, f"no whole request came within {HEAD_S:g} seconds"))

    def send_400_response(self, msg: str) -> None:
        """What came is no HTTP/1.1."""
        self._refuse(ProblemError(400, msg))

    def _refuse(self, problem: ProblemError) -> None:
        self._unwatch()
        if self.transport.is_closing():
            return
        body = json.dumps(problem.members()).encode()
        status, later = HTTPStatus(problem.status), problem.retry_after_s
        retry = "" if later is None else f"Retry-After: {later}\r\n"
        self.transport.write(
            f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: {PROBLEM_TYPE}\r\n{retry}"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
            + body
        )
        self.transport.close()


class Stopping(uvicorn.Server):
    """A server that ends the streams of the status page when it stops. uvicorn would wait for them:
    its application learns of the end only when all replies are over.
    """

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the streams, and then as uvicorn does."""
        app: Any = self.config.app
        app.state.server.status.events.close()
        await super().shutdown(sockets)


def configured(app: FastAPI, host: str, port: int, **tls: str) -> uvicorn.Config:
    """How uvicorn runs an application.

    Args:
        app: the application.
        host, port: where to listen; port 0 for any.
        tls: `ssl_certfile` and `ssl_keyfile`.
    """
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        http=Connection,
        ws="none",
        access_log=False,
        log_level="error",
        server_header=False,
        timeout_keep_alive=int(IDLE_S),
        timeout_graceful_shutdown=STOP_S,
        h11_max_incomplete_event_size=HEAD_BYTES,
        **tls,  # type: ignore[arg-type]
    )


def run(app: FastAPI, host: str, port: int, **tls: str) -> None:
    """Serve until SIGINT or SIGTERM; requests that run then are still answered. Arguments as
    `configured`.

    Raises:
        OSError: the server could not start; its log says why.
    """
    gc.collect()
    gc.freeze()  # models and libraries stay: a collection that walks over them takes half a second
    server = Stopping(configured(app, host, port, **tls))
    with contextlib.suppress(KeyboardInterrupt):
        server.run()
    if not server.started:
        raise OSError(f"{host}, port {port}: the server did not start")
