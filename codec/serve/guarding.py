"""requests -> the application, with the bodies of all of them together bounded."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from codec.serve.problems import busy
from codec.serve.state import State


class Guarding:
    """An application that refuses bodies while those of other requests fill the memory for them.

    Args:
        app: the application.
        state: says how much is being held, and how much may be.
    """

    def __init__(self, app: ASGIApp, state: State) -> None:
        self._app, self._state = app, state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on.

        Raises:
            ProblemError: from what the request receives: 503, all bodies together are too long.
        """
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
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

        try:
            await self._app(scope, bounded, send)
        finally:
            state.n_bytes_in -= n_bytes
