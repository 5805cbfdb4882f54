"""Load: what is sent is counted, at the pace that is asked for; and a soak's memory is judged after
its warm-up.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from eval.link.load import Load, load, request
from eval.link.soak import Minute, growth

REPLY = (
    b"HTTP/1.1 %d A\r\nContent-Length: 2\r\nserver-timing: queue;dur=0.5, run;dur=0.25\r\n\r\n{}"
)


class Answering:
    """A server of one thread that answers each request with a status, and keeps what came."""

    def __init__(self) -> None:
        self.status, self.came = 200, []
        self._loop = asyncio.new_event_loop()
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(started,), daemon=True)
        self._thread.start()
        assert started.wait(10)

    def _run(self, started: threading.Event) -> None:
        async def serve() -> None:
            server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
            self.port = server.sockets[0].getsockname()[1]
            started.set()

        self._loop.run_until_complete(serve())
        self._loop.run_forever()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readline():
            while (line := await reader.readline()) != b"\r\n":
                head += line
            self.came.append((head, await reader.readexactly(3)))
            writer.write(REPLY % self.status)
        writer.close()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)


@pytest.fixture
def server() -> Iterator[Answering]:
    server = Answering()
    yield server
    server.stop()


REQUESTS = [request("/a", "text/plain", body, "X: y\r\n") for body in (b"abc", b"def")]


def test_each_reply_is_counted_with_what_the_server_says_of_it(server: Answering) -> None:
    found = load(server.port, REQUESTS, 4, 0.3)
    assert found.n == len(server.came) == len(found.latencies_ms) > 4
    assert found.n_failed == 0
    assert found.per_s == pytest.approx(found.n / found.seconds)
    assert {body for _, body in server.came} == {b"abc", b"def"}
    assert server.came[0][0].startswith(b"POST /a HTTP/1.1\r\nHost: localhost\r\n")
    for latency, around in zip(found.latencies_ms, found.around_ms, strict=True):
        assert around == pytest.approx(latency - 0.75)


def test_requests_come_at_the_rate_that_is_asked_for(server: Answering) -> None:
    found = load(server.port, REQUESTS, 4, 0.5, per_s=40)
    assert found.n == len(server.came) == 20


def test_refusals_are_no_answers(server: Answering) -> None:
    server.status = 503
    with pytest.raises(ValueError, match="none of"):
        load(server.port, REQUESTS, 2, 0.2)


def test_the_median_is_of_all_latencies() -> None:
    assert Load(3, 0, 1.0, [1.0, 9.0, 2.0], [], 0.0).latency_ms == 2.0


def test_memory_is_held_against_the_end_of_the_warm_up() -> None:
    minutes = [Minute(9, 0, 1.0, 2.0, rss) for rss in (50.0, 100.0, 104.0, 103.0)]
    assert growth(minutes, 1) == pytest.approx(0.04)
    assert growth(minutes, 3) == 0
