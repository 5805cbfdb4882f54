"""application -> a server on a port, until it is stopped."""

from __future__ import annotations

import contextlib
import socket
from typing import Any

import uvicorn
from fastapi import FastAPI

STOP_S = 15
"""So long a server that stops waits for its replies."""


class Stopping(uvicorn.Server):
    """A server that ends the streams of the status page when it stops. uvicorn would wait for them:
    its application learns of the end only when all replies are over.
    """

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the streams, and then as uvicorn does."""
        app: Any = self.config.app
        app.state.server.status.events.close()
        await super().shutdown(sockets)


def run(app: FastAPI, **settings: Any) -> None:
    """Serve an application until Ctrl-C or SIGTERM.

    Args:
        app: of `codec.serve.app.create_app`.
        settings: of `uvicorn.Config`.

    Raises:
        OSError: the server could not start; its log says why.
    """
    server = Stopping(uvicorn.Config(app, timeout_graceful_shutdown=STOP_S, **settings))
    with contextlib.suppress(KeyboardInterrupt):
        server.run()
    if not server.started:
        raise OSError("the server could not start")
