"""requests -> the application, with their bodies counted among all that are held."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from codec.serve.state import State


class Guarding:
    """An application that refuses bodies while others fill the memory for them.

    Args:
        app: the application.
        state: says how much is being held, and how much may be.
    """

    def __init__(self, app: ASGIApp, state: State) -> None:
        self._app, self._state = app, state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on.

        Raises:
            ProblemError: from what the request receives: 503, as `Bodies.check`.
        """
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        said = dict(scope["headers"]).get(b"authorization", b"").decode("latin-1")
        # without a token it is refused before any of its body is read
        held = self._state.bodies.held(self._state.tokens.device(said) or "")

        async def bounded() -> Message:
            message = await receive()
            held.add(len(message.get("body", b"")))
            return message

        try:
            await self._app(scope, bounded, send)
        finally:
            held.end()
