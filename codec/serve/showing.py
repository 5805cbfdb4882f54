"""GET / and /events: numbers of the server -> the status page, and the news that keep it fresh.

With tokens the page asks for one: a browser sends it as the password of HTTP Basic.
"""

from __future__ import annotations

import asyncio
import json
from functools import cache

from fastapi import APIRouter, Response
from fastapi.responses import HTMLResponse

from codec.serve import page
from codec.serve.events import EventStream
from codec.serve.problems import ProblemError
from codec.serve.state import Shared, Visitor
from codec.serve.status import EVERY_S, Point, Status

router = APIRouter(include_in_schema=False)

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@router.get("/")
def show(state: Shared, _visitor: Visitor) -> HTMLResponse:
    """The page."""
    text = page.page(state.status.numbers())
    return HTMLResponse(text, headers=HEADERS | {"Cache-Control": "no-store"})


@router.get("/events")
async def events(state: Shared, _visitor: Visitor) -> EventStream:
    """All points of the charts, and then each new one, with the page's numbers."""
    status = state.status
    return status.events.stream(lambda: news(status, list(status.points), all_of_them=True))


@router.get("/static/{name}")
async def static(name: str) -> Response:
    """A file beside the page. There is nothing of this server's in it, so anyone may have it."""
    if name not in page.FILES:
        raise ProblemError(404, "there is no such file")
    headers = HEADERS | {"Cache-Control": "max-age=31536000, immutable"}
    return Response(_read(name), media_type=page.FILES[name], headers=headers)


async def tell(status: Status, every_s: float = EVERY_S) -> None:
    """Take a point of the charts every few seconds, and tell those who listen; until cancelled."""
    while True:
        await asyncio.sleep(every_s)
        point = await asyncio.to_thread(status.sample)
        if status.events.n_listeners:
            text = await asyncio.to_thread(news, status, [point], False)
            status.events.publish(text)


def news(status: Status, points: list[Point], all_of_them: bool) -> str:
    """What a page is told, as JSON in one line: its parts, and points of the charts.

    Args:
        all_of_them: whether the points take the place of those that the page has.
    """
    numbers = status.numbers(at_last_sample=not all_of_them)
    parts = {"summary": page.summary(numbers), "details": page.details(numbers)}
    return json.dumps({"parts": parts, "points": points, "all": all_of_them})


@cache
def _read(name: str) -> bytes:
    return (page.STATIC / name).read_bytes()
