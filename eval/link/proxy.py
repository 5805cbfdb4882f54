"""python -m eval.link.proxy: TCP connections -> the same, over a link with a rate, a delay, outages
and losses.

Conditions come as lines of JSON on stdin and are answered by a line; before the first ones, and
after `null`, bytes pass at once. Losses are what TCP makes of them: a pause of a retransmission, or
a connection that breaks.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np

from codec.link.traces import Trace

CHUNK_BYTES = 1448
"""What is passed on at once: a segment of TCP."""
LONGEST_S = 3600.0
UP, DOWN = "up", "down"


@dataclass(frozen=True)
class Conditions:
    """What a link is like.

    Attributes:
        trace: rates in both directions; None for no limit.
        start_s: when the trace starts, on the clock of `time.monotonic`.
        delay_ms: of each direction.
        stall_share, stall_ms: of the segments, how many come late, and how late.
        cut_share: of the segments, how many end the connection.
        seed: of stalls and cuts.
    """

    trace: Trace | None = None
    start_s: float = 0.0
    delay_ms: float = 0.0
    stall_share: float = 0.0
    stall_ms: float = 300.0
    cut_share: float = 0.0
    seed: int = 0


class Link:
    """A link that connections share: bytes of a direction go one after another."""

    def __init__(self) -> None:
        self.set(None)

    def set(self, conditions: Conditions | None) -> None:
        """Change what the link is like; nothing is under way."""
        self._conditions = conditions
        self._free_s = {UP: 0.0, DOWN: 0.0}
        self._random = random.Random(0 if conditions is None else conditions.seed)

    def arrives_s(self, direction: str, n_bytes: int, now_s: float) -> float | None:
        """When bytes are through that come now, on the same clock; None where the link breaks."""
        link = self._conditions
        if link is None:
            return now_s
        if self._random.random() < link.cut_share:
            return None
        at_s = max(self._free_s[direction], now_s - link.start_s)
        if link.trace is not None:
            at_s = float(link.trace.through_s(np.array(max(at_s, 0.0)), np.array(float(n_bytes))))
        if self._random.random() < link.stall_share:
            at_s += link.stall_ms / 1000
        self._free_s[direction] = at_s
        return min(link.start_s + at_s + link.delay_ms / 1000, now_s + LONGEST_S)


async def _pump(
    link: Link, direction: str, source: asyncio.StreamReader, sink: asyncio.StreamWriter
) -> None:
    """Pass bytes on in order, each when it is through, until one end closes or the link breaks."""
    waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def deliver() -> None:
        while True:
            at_s, data = await waiting.get()
            await asyncio.sleep(max(0.0, at_s - time.monotonic()))
            if not data:
                break
            sink.write(data)
            await sink.drain()

    delivering = asyncio.create_task(deliver())
    try:
        while data := await source.read(CHUNK_BYTES):
            at_s = link.arrives_s(direction, len(data), time.monotonic())
            if at_s is None:
                break
            waiting.put_nowait((at_s, data))
        else:
            waiting.put_nowait((0.0, b""))
            await delivering
    finally:
        delivering.cancel()
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await delivering
        sink.close()


async def serve(link: Link, host: str, port: int, to: tuple[str, int]) -> asyncio.Server:
    """A server that passes every connection on to another address over the link."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(*to)
        except OSError:
            writer.close()
            return
        with contextlib.suppress(OSError):
            await asyncio.gather(
                _pump(link, UP, reader, far_writer),
                _pump(link, DOWN, far_reader, writer),
                return_exceptions=True,
            )

    return await asyncio.start_server(connected, host, port)


@contextlib.contextmanager
def running(link: Link, to: tuple[str, int]) -> Iterator[int]:
    """A proxy in a thread of this process; gives its port on 127.0.0.1."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    server = asyncio.run_coroutine_threadsafe(serve(link, "127.0.0.1", 0, to), loop).result(10)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        asyncio.run_coroutine_threadsafe(_end(server), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)


async def _end(server: asyncio.Server) -> None:
    """Close a server and what it passes on."""
    server.close()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def written(conditions: Conditions | None) -> str:
    """Conditions as the line of JSON that the command reads."""
    return json.dumps(None if conditions is None else asdict(conditions))


def read(line: str) -> Conditions | None:
    """Conditions of a line of JSON."""
    value = json.loads(line)
    if value is None:
        return None
    if value["trace"] is not None:
        trace = value["trace"]
        rates, times = tuple(trace["rates"]), tuple(trace["times_s"])
        value["trace"] = Trace(trace["name"], times, rates, trace["period_s"])
    return Conditions(**value)


def main() -> None:
    parser = argparse.ArgumentParser(prog="eval.link.proxy", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=0, help="0 for a free one")
    parser.add_argument("--to", type=int, required=True, help="port on 127.0.0.1 to pass on to")
    args = parser.parse_args()
    link = Link()

    async def run() -> None:
        server = await serve(link, args.host, args.port, ("127.0.0.1", args.to))
        print(server.sockets[0].getsockname()[1], flush=True)
        loop = asyncio.get_running_loop()
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            link.set(read(line))
            print("set", flush=True)

    asyncio.run(run())


if __name__ == "__main__":
    main()
