"""request -> its body, of a bounded size and in a bounded time; and what its headers ask."""

from __future__ import annotations

import asyncio
from typing import TypeVar
from urllib.parse import unquote

from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect

from codec.serve.problems import ProblemError

Model = TypeVar("Model", bound=BaseModel)

JSON_TYPE = "application/json"
PICTURE_TYPES = ("image/jpeg", "image/png", "image/webp", "image/avif")


def content_type(request: Request) -> str:
    """The media type of a body, without parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_body(request: Request, max_bytes: int, max_s: float) -> bytes:
    """The whole body.

    Raises:
        ProblemError: 413, it is longer; 408, it took longer; 400, it broke off.
    """
    said = request.headers.get("content-length", "")
    if said.isdecimal() and (len(said) > 18 or int(said) > max_bytes):
        raise too_long(max_bytes)
    try:
        return await asyncio.wait_for(_read(request, max_bytes), max_s)
    except asyncio.TimeoutError as error:
        raise ProblemError(408, f"the body was not whole after {max_s:g} seconds") from error
    except ClientDisconnect as error:
        raise ProblemError(400, "the body broke off") from error


async def _read(request: Request, max_bytes: int) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > max_bytes:
            raise too_long(max_bytes)
    return bytes(body)


async def read_json(request: Request, model: type[Model], max_bytes: int, max_s: float) -> Model:
    """The whole body, which is JSON of a shape. Errors as `read_body`, and:

    Raises:
        ProblemError: 415, it is not said to be JSON; 422, it is none, or of another shape.
    """
    if content_type(request) != JSON_TYPE:
        raise ProblemError(415, f"the body is {JSON_TYPE}")
    body = await read_body(request, max_bytes, max_s)
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        # never the input itself
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in ("body", *first["loc"]))
        raise ProblemError(422, f"{place}: {first['msg']}") from None


def too_long(max_bytes: int) -> ProblemError:
    """A body is refused for its length."""
    return ProblemError(413, f"the body has more than {max_bytes:,} bytes")


def questions_in(header: str | None, most: int) -> tuple[str, ...]:
    """The questions of a `Question` header: percent-encoded UTF-8, separated by commas.

    Raises:
        ProblemError: 400, there are none, too many, or one is empty or no UTF-8.
    """
    try:
        found = tuple(unquote(part.strip(), errors="strict") for part in (header or "").split(","))
    except UnicodeDecodeError as error:
        raise ProblemError(400, "Question: not percent-encoded UTF-8") from error
    if not all(question.strip() for question in found):
        raise ProblemError(400, "Question: name at least one question, and no empty one")
    if len(found) > most:
        raise ProblemError(400, f"Question: at most {most} questions, not {len(found)}")
    return found
