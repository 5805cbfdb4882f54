"""codecs -> an ASGI application: blobs and pictures come in over HTTP, answers go out.

    request -> token -> body -> checked blob -> queue -> batch -> tokens -> tail -> reply

`codec serve` runs it on uvicorn.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import codec
from codec.serve import asking, keeping, problems, watching
from codec.serve.models import Served
from codec.serve.problems import busy
from codec.serve.replies import Replies
from codec.serve.settings import Limits
from codec.serve.state import State, names_of
from codec.serve.tokens import Tokens

OPEN = Tokens({})
DEFAULT = Limits()


def create_app(
    codecs: Sequence[Served],
    tokens: Tokens = OPEN,
    limits: Limits = DEFAULT,
    replies: Replies | None = None,
) -> FastAPI:
    """The application.

    Args:
        codecs: what is served.
        tokens: of the devices that may ask; without any, everyone may.
        limits: what a request may take.
        replies: to requests that may come again; None for a store that ends with the
            application.

    Raises:
        ValueError: no codecs, or two of one name.
    """
    place = tempfile.TemporaryDirectory() if replies is None else None
    if place is not None:
        replies = Replies(Path(place.name) / "replies.sqlite")
    assert replies is not None
    state = State(names_of(codecs), tokens, limits, replies)

    @contextlib.asynccontextmanager
    async def running(_app: FastAPI) -> AsyncIterator[None]:
        for queue in state.queues.values():
            queue.start()
        yield
        for queue in state.queues.values():
            queue.stop()
        if place is not None:
            state.replies.close()
            place.cleanup()

    app = FastAPI(
        title="task-codec",
        version=codec.__version__,
        summary="Answers about pictures, from blobs of a few dozen bytes.",
        lifespan=running,
    )
    app.state.server = state
    problems.install(app)
    app.add_middleware(Guarding, state=state)

    for part in (keeping, asking, watching):
        app.include_router(part.router)
    return app


class Guarding:
    """An ASGI middleware that counts the replies of each codec, and bounds the bodies of all
    requests together.

    FastAPI's own kind would start a task group for each request.
    """

    def __init__(self, app: ASGIApp, state: State) -> None:
        self._app, self._state = app, state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on.

        Raises:
            ProblemError: from what the request receives: 503, all bodies together are too long.
        """
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        state, n_bytes = self._state, 0

        async def bounded() -> Message:
            nonlocal n_bytes
            message = await receive()
            n = len(message.get("body", b""))
            n_bytes += n
            state.n_bytes_in += n
            if state.n_bytes_in > state.limits.bodies_bytes:
                raise busy("the bodies of other requests fill the memory for them")
            return message

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                path: dict[str, Any] = scope.get("path_params", {})
                name, verb = path.get("codec", ""), path.get("verb", "")
                if name in state.codecs:  # of other names strangers could make any number
                    state.metrics.replied(name, verb, message["status"])
            await send(message)

        try:
            await self._app(scope, bounded, counted)
        finally:
            state.n_bytes_in -= n_bytes
