"""codecs -> an ASGI application: blobs and pictures come in over HTTP, answers go out.

    request -> token -> body -> checked blob -> queue -> batch -> tokens -> tail -> reply

`codec serve` runs it on uvicorn.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import FastAPI

import codec
from codec.serve import asking, keeping, problems, showing, watching
from codec.serve.counting import Counting
from codec.serve.guarding import Guarding
from codec.serve.memory import Memory, OwnMemory
from codec.serve.models import Served
from codec.serve.replies import Replies
from codec.serve.settings import Limits
from codec.serve.state import State, names_of
from codec.serve.tokens import Tokens

if TYPE_CHECKING:
    from codec.serve.mqtt import Mqtt

OPEN = Tokens({})
DEFAULT = Limits()


def create_app(
    codecs: Sequence[Served],
    tokens: Tokens = OPEN,
    limits: Limits = DEFAULT,
    replies: Replies | None = None,
    mqtt: Mqtt | None = None,
    memory: Memory | None = None,
) -> FastAPI:
    """The application.

    Args:
        codecs: what is served.
        tokens: of the devices that may ask; without any, everyone may.
        limits: what a request may take.
        replies: to requests that may come again; None for a store that ends with the
            application.
        mqtt: the broker that requests come from too, see `codec.serve.mqtt`.
        memory: that several applications share; it has their replies.

    Raises:
        ValueError: no codecs, or two of one name.
    """
    opened = contextlib.ExitStack()
    if memory is None:
        if replies is None:
            place = opened.enter_context(tempfile.TemporaryDirectory())
            replies = opened.enter_context(
                contextlib.closing(Replies(Path(place) / "replies.sqlite"))
            )
        memory = opened.enter_context(contextlib.closing(OwnMemory(limits, replies)))
    state = State(names_of(codecs), tokens, limits, memory)

    @contextlib.asynccontextmanager
    async def running(_app: FastAPI) -> AsyncIterator[None]:
        for _, queue in state.workers:
            queue.start()
        own = [asyncio.create_task(showing.tell(state.status))]
        if mqtt is not None:
            from codec.serve.mqtt import Listener

            own.append(asyncio.create_task(Listener(state, mqtt).run()))
        yield
        for task in own:
            task.cancel()
        await asyncio.gather(*own, return_exceptions=True)
        state.status.events.close()
        await state.shadow.stop()
        for _, queue in state.workers:
            queue.stop()
        opened.close()

    app = FastAPI(
        title="task-codec",
        version=codec.__version__,
        summary="Answers about pictures, from blobs of a few dozen bytes.",
        lifespan=running,
    )
    app.state.server = state
    problems.install(app)

    app.add_middleware(Guarding, state=state)
    app.add_middleware(Counting, state=state)
    for part in (keeping, asking, watching, showing):
        app.include_router(part.router)
    return app
