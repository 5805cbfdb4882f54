"""requests -> the application, with the device that asks, and their bodies counted among all that
are held.
"""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from codec.serve.state import State


class Guarding:
    """An application that refuses bodies while others fill the memory for them. In the state of a
    request is its `device`, the one of its token; None where it has none of this server's.

    Args:
        app: the application.
        state: says how much is being held, and how much may be.
    """

    def __init__(self, app: ASGIApp, state: State) -> None:
        self._app, self._state = app, state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on.

        Raises:
            ProblemError: from what the request receives: 429 or 503, as `Bodies.check`.
        """
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        device = self._state.tokens.device(Headers(scope=scope).get("authorization"))
        scope.setdefault("state", {})["device"] = device
        # without a token it is refused before any of its body is read
        held = self._state.bodies.held(device or "")

        async def bounded() -> Message:
            message = await receive()
            held.add(len(message.get("body", b"")))
            return message

        try:
            await self._app(scope, bounded, send)
        finally:
            held.end()
