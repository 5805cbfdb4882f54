"""what went wrong -> the reply that says so: `application/problem+json` (RFC 9457)."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from codec.link.properties import PROBLEM_TYPE


class ProblemError(Exception):
    """A request that is refused; `detail` is for the caller and names the reason.

    Args:
        status: of HTTP, 4xx or 5xx.
        detail: the reason, without anything of the request's body.
        retry_after_s: when to try again, for 429 and 503.
        challenge: what would let in, for 401.
        facts: further members of the reply.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        retry_after_s: int | None = None,
        challenge: str = "Bearer",
        **facts: Any,
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.challenge = status, detail, challenge
        self.retry_after_s, self.facts = retry_after_s, facts

    def members(self) -> dict[str, Any]:
        """What the reply's JSON says."""
        title = HTTPStatus(self.status).phrase
        named = {"type": "about:blank", "title": title, "status": self.status}
        return named | {"detail": self.detail} | self.facts


def busy(detail: str) -> ProblemError:
    """The server has as much to do as it may have."""
    return ProblemError(503, detail, retry_after_s=1)


def crowding(detail: str) -> ProblemError:
    """The one who asks has as much of the server as it may have."""
    return ProblemError(429, detail, retry_after_s=1)


def reply_to(problem: ProblemError) -> JSONResponse:
    """The reply that says what a problem is."""
    headers = {}
    if problem.retry_after_s is not None:
        headers["Retry-After"] = str(problem.retry_after_s)
    if problem.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = problem.challenge
    return JSONResponse(problem.members(), problem.status, headers, PROBLEM_TYPE)


def install(app: FastAPI) -> None:
    """Let every failure of an application be such a reply."""

    @app.exception_handler(ProblemError)
    async def refused(_request: Request, error: ProblemError) -> JSONResponse:
        return reply_to(error)

    @app.exception_handler(RequestValidationError)
    async def misformed(_request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        # never the input itself: it may be a question or a token
        place = ".".join(str(part) for part in first["loc"])
        return reply_to(ProblemError(422, f"{place}: {first['msg']}"))

    @app.exception_handler(HTTPException)
    async def not_found(request: Request, error: HTTPException) -> JSONResponse:
        detail = f"{request.method} {request.scope['path']}: {error.detail}"
        reply = reply_to(ProblemError(error.status_code, detail))
        reply.headers.update(error.headers or {})
        return reply

    @app.exception_handler(Exception)
    async def broken(_request: Request, _error: Exception) -> JSONResponse:
        return reply_to(ProblemError(500, "the server failed; its log says why"))
