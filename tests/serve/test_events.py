"""Server-sent events: told at once, bounded, and over when the server stops."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
import urllib.request
from typing import Any

import pytest
import uvicorn

from codec.model import FeatureCodec
from codec.pipeline import Server
from codec.serve import events as module
from codec.serve.app import create_app
from codec.serve.events import Events
from codec.serve.models import Served
from codec.serve.running import Stopping
from codec.serve.settings import Limits


def served(
    codec: FeatureCodec, limits: Limits
) -> tuple[Stopping, threading.Thread, tuple[str, int]]:
    """A server in a thread, and where it listens."""
    app = create_app([Served(Server(codec))], limits=limits)
    server = Stopping(uvicorn.Config(app, port=0, log_level="critical"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return server, thread, server.servers[0].sockets[0].getsockname()


def first_event(stream: Any) -> dict[str, Any]:
    for line in stream:
        if line.startswith(b"data: "):
            found: dict[str, Any] = json.loads(line.removeprefix(b"data: "))
            return found
    raise AssertionError("the stream ended")


def test_streams_are_bounded_and_end_when_the_server_stops(tiny_codec: FeatureCodec) -> None:
    server, thread, (host, port) = served(tiny_codec, Limits(listeners=1))
    address = f"http://{host}:{port}/events"
    with urllib.request.urlopen(address, timeout=20) as stream:
        assert stream.headers["Content-Type"].startswith("text/event-stream")
        news = first_event(stream)
        assert tiny_codec.config.name in news["parts"]["details"]
        assert news["all"] is True
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(address, timeout=20)
        assert refused.value.code == 503
        assert refused.value.headers["Retry-After"]
        start = time.monotonic()
        server.should_exit = True
        assert stream.read() == b"\n", "the stream ends whole"
        thread.join(20)
        assert time.monotonic() - start < 5
        assert not thread.is_alive()


def test_a_listener_that_goes_away_makes_room(tiny_codec: FeatureCodec) -> None:
    server, thread, where = served(tiny_codec, Limits(listeners=1))
    for _ in range(3):
        deadline = time.monotonic() + 10
        while True:  # the server learns of it in its own time
            with socket.create_connection(where, timeout=10) as gone:
                gone.sendall(b"GET /events HTTP/1.1\r\nHost: here\r\n\r\n")
                if b" 200 " in gone.recv(100):
                    break
            assert time.monotonic() < deadline
            time.sleep(0.02)
    server.should_exit = True
    thread.join(20)
    assert not thread.is_alive()


def test_all_listeners_hear_the_same_news_until_their_time_is_over() -> None:
    async def heard(events: Events) -> list[str]:
        return [part async for part in events.listen(lambda: "first", 0.3)]

    async def both() -> list[list[str]]:
        events = Events(2)
        tasks = [asyncio.create_task(heard(events)) for _ in range(2)]
        await asyncio.sleep(0.05)
        events.publish("news")
        return await asyncio.gather(*tasks)

    one, other = asyncio.run(both())
    assert one == other
    assert "data: first\n\n" in one[0]
    assert one[1:] == ["event: status\ndata: news\n\n"]


def test_a_listener_that_does_not_read_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GRACE_S", 0.1)
    events = Events(1)

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(60)
        return {"type": "http.disconnect"}

    async def blocked(_message: Any) -> None:
        await asyncio.sleep(60)

    async def cut() -> None:
        stream = events.stream(lambda: "first", 0.1)
        scope = {"type": "http", "asgi": {"spec_version": "2.3"}}
        await asyncio.wait_for(stream(scope, receive, blocked), 5)

    asyncio.run(cut())
    assert events.n_listeners == 0
