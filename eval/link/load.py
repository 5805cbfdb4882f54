"""prepared requests -> a server on the loopback interface -> what became of them: many connections
that are kept, all in one thread.

It shares the machine's cores with the server, so it does as little as it can: requests are made
beforehand, and of a reply only status, Server-Timing and length are read. What it takes itself is
counted.
"""

from __future__ import annotations

import asyncio
import re
import statistics
import time
from collections.abc import Sequence
from typing import NamedTuple

_STAGES = re.compile(rb"queue;dur=([\d.]+), run;dur=([\d.]+)")


class Load(NamedTuple):
    """What a server did under a load.

    Attributes:
        n: requests that were answered with status 200.
        n_failed: requests that were answered otherwise.
        seconds: from the first request to the last reply.
        latencies_ms: of each answered request.
        around_ms: of each, what of it is neither waiting nor the model's time; none for a server
            that does not say.
        client_s: processor time of this end.
    """

    n: int
    n_failed: int
    seconds: float
    latencies_ms: list[float]
    around_ms: list[float]
    client_s: float

    @property
    def per_s(self) -> float:
        """Requests a second."""
        return self.n / self.seconds

    @property
    def latency_ms(self) -> float:
        """The median."""
        return statistics.median(self.latencies_ms)


def request(path: str, kind: str, body: bytes, headers: str = "") -> bytes:
    """The bytes of a POST; `headers` are lines that end with CR LF."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n{headers}"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def load(
    port: int,
    requests: Sequence[bytes],
    n_connections: int,
    seconds: float,
    per_s: float | None = None,
) -> Load:
    """Send requests over so many connections for so many seconds.

    Args:
        port: of a server at 127.0.0.1.
        requests: as `request` makes them; each connection takes every n-th in turn.
        per_s: at which rate, evenly in time, whatever is not answered yet; None: each connection
            sends the next one as soon as it has a reply.

    Raises:
        ValueError: no request was answered with 200.
        OSError: a connection broke.
    """
    return asyncio.run(_load(port, requests, n_connections, seconds, per_s))


async def _load(
    port: int, requests: Sequence[bytes], n_connections: int, seconds: float, per_s: float | None
) -> Load:
    latencies: list[float] = []
    around: list[float] = []
    failed = 0
    start, begun_s = time.perf_counter(), time.process_time()

    async def connection(first: int) -> None:
        nonlocal failed
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        place = first
        while (now := time.perf_counter() - start) < seconds:
            if per_s is not None:  # a connection's moments are n_connections / per_s apart
                if place / per_s >= seconds:
                    break
                await asyncio.sleep(max(0.0, place / per_s - now))
            sent = time.perf_counter()
            writer.write(requests[place % len(requests)])
            head = await reader.readuntil(b"\r\n\r\n")
            length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
            await reader.readexactly(int(length))
            latency = 1000 * (time.perf_counter() - sent)
            if head[9:12] == b"200":
                latencies.append(latency)
                if stages := _STAGES.search(head):
                    around.append(latency - float(stages[1]) - float(stages[2]))
            else:
                failed += 1
            place += n_connections
        writer.close()

    await asyncio.gather(*(connection(i) for i in range(n_connections)))
    if not latencies:
        raise ValueError(f"none of {failed} requests was answered")
    seconds, client_s = time.perf_counter() - start, time.process_time() - begun_s
    return Load(len(latencies), failed, seconds, latencies, around, client_s)
