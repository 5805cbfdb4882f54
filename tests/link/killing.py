"""Two devices and a server on loopback, killed again and again, until every request is answered:

    python -m tests.link.killing FOLDER --requests 10000 --seconds 600

Prints what happened as one line of JSON; raises where a request is lost, answered in two ways, or
out of order. Each life of a device or the server is a process that ends by `kill -9`: at any time,
just before a chosen statement of SQLite, when its disk is full (files may grow no further), or when
all is done. Connections are cut before and after a request is run; the clock jumps all the time.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import resource
import secrets
import signal
import socket
import sqlite3
import time
import traceback
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from codec.link.clock import Moment
from codec.link.queue import Item, Outbox
from codec.serve.replies import Replies

DEVICES = ("north", "south")
CUT = 0.02
"""The share of connections that the server cuts before a request is run, and again after it."""


class Killed(sqlite3.Connection):
    """A connection whose process is killed just before one of its statements."""

    left = -1
    """How many statements come before it; below 0: none kills."""

    def execute(self, *arguments: Any) -> sqlite3.Cursor:
        if Killed.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        Killed.left -= 1
        return super().execute(*arguments)


def start(life: Callable[[], None], n_statements: int = -1, file_bytes: int = -1) -> int:
    """Begin a life as a process of its own; gives its id.

    Args:
        n_statements: it is killed after so many statements of SQLite; below 0: it is not.
        file_bytes: it cannot write behind so many bytes of any file; below 0: it can.
    """
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        Killed.left = n_statements
        sqlite3.connect = partial(sqlite3.connect, factory=Killed)  # type: ignore[assignment]
        if file_bytes >= 0:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
        life()
        code = 0
    except OSError:
        code = 2
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def serve(listener: socket.socket, folder: Path, seed: int) -> None:
    """Answer for ever: with the body's digest, and with a number that is drawn for each run."""
    rng = random.Random(seed)
    replies = Replies(folder / "replies", window=50)
    with (folder / "sent").open("ab", buffering=0) as sent:
        while True:
            connection, _ = listener.accept()
            try:
                with connection:
                    _answer(connection, replies, sent, rng)
            except OSError:
                pass  # the connection was cut, or the disk is full: the device comes again


def _answer(connection: socket.socket, replies: Replies, sent: Any, rng: random.Random) -> None:
    connection.settimeout(2)
    with connection.makefile("rb") as stream:
        head = json.loads(stream.readline() or "{}")
        body = stream.read(head.get("n_bytes", 0))
    if not head or len(body) < head["n_bytes"] or rng.random() < CUT:
        return
    key = head["device"], head["sequence"], hashlib.sha256(body).digest()
    reply = replies.begin(*key)
    if reply is None:
        reply = replies.store(*key, f"{key[2].hex()} {secrets.token_hex(8)}".encode())
    sent.write(f"{head['device']} {head['sequence']} {reply.decode()}\n".encode())
    if rng.random() >= CUT:
        connection.sendall(reply)


def body_of(device: str, number: int) -> bytes:
    """What a device has to send as its request `number`; up to 20 kB, mostly a few bytes."""
    rng = random.Random(f"{device} {number}")
    n_bytes = rng.choice([5, 47, 47, 47, 900, 20_000])
    return f"{device} {number} ".encode() + bytes(n_bytes)


def send(port: int, outbox: Outbox, item: Item) -> bytes:
    """The server's reply; empty where the connection was cut."""
    with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
        head = {
            "device": outbox.device_id,
            "sequence": item.sequence,
            "n_bytes": len(item.body),
        }
        connection.sendall(json.dumps(head).encode() + b"\n" + item.body)
        connection.shutdown(socket.SHUT_WR)
        with connection.makefile("rb") as stream:
            return stream.read()


def device(port: int, folder: Path, name: str, n_requests: int, seed: int) -> None:
    """Put and send until all requests are answered."""
    rng = random.Random(seed)

    def clock() -> Moment:
        return Moment(rng.uniform(0, 2e9), rng.uniform(0, 1e6), rng.choice(["", "a", "b"]))

    outbox = Outbox(folder / name, max_replies=n_requests, clock=clock)
    noted = folder / f"{name}.put"  # what the camera knows of; behind the outbox after a kill
    n_put = int(noted.read_text() or 0) if noted.exists() else 0
    while True:
        item = outbox.next()
        assert outbox.oldest_age_s >= 0
        if n_put < n_requests and (item is None or rng.random() < 0.5):
            outbox.put(body_of(name, n_put), name=f"{n_put}.jpg")
            n_put += 1
            noted.with_suffix(".new").write_text(str(n_put))
            noted.with_suffix(".new").replace(noted)
        elif item is None:
            return
        else:
            reply = b""
            try:
                reply = send(port, outbox, item)
            except OSError:
                time.sleep(0.005)
            if len(reply) == 81:
                outbox.done(item.sequence, reply)


def check(folder: Path, n_requests: int) -> int:
    """Whether every request was answered in one way, none is lost, and the order was kept; gives
    how often a reply was sent again.
    """
    n_again = 0
    lines = [line.split(" ", 2) for line in (folder / "sent").read_text().splitlines()]
    for name in DEVICES:
        outbox = Outbox(folder / name, max_replies=n_requests)
        assert (outbox.n_waiting, outbox.n_dropped, outbox.n_refused) == (0, 0, 0)
        sent = [(int(number), reply) for who, number, reply in lines if who == outbox.device_id]
        first = dict(reversed(sent))
        for number, reply in sent:
            assert reply == first[number], f"{name}: request {number} was answered in two ways"
        assert list(dict(sent)) == list(range(n_requests)), f"{name}: out of order, or lost"
        for number in range(n_requests):
            digest = hashlib.sha256(body_of(name, number)).hexdigest()
            assert first[number].startswith(digest), f"{name}: {number} has another's reply"
            assert outbox.reply(number) == first[number].encode(), f"{name}: {number} differs"
        assert outbox.put(b"") == n_requests, f"{name}: something was put twice"
        outbox.close()
        n_again += len(sent) - n_requests
    return n_again


def run(folder: Path, n_requests: int, seconds: float, seed: int, calm_s: float) -> dict[str, Any]:
    """Kill devices and server until `n_requests` of each device are answered.

    Args:
        calm_s: mean seconds between two kills.
    """
    rng, ends, begin = random.Random(seed), Counter[str](), time.monotonic()
    listener = socket.create_server(("127.0.0.1", 0), backlog=16)
    port = listener.getsockname()[1]
    lives: dict[str, int] = {}
    finished: set[str] = set()

    def begin_life(who: str) -> None:
        life_seed = rng.randrange(1 << 30)
        life: Callable[[], None] = (
            partial(serve, listener, folder, life_seed)
            if who == "server"
            else partial(device, port, folder, who, n_requests, life_seed)
        )
        fault = rng.random()
        n_statements = rng.randrange(100) if fault < 0.4 else -1
        file_bytes = rng.randrange(1 << 18) if 0.4 <= fault < 0.5 else -1
        lives[who] = start(life, n_statements, file_bytes)

    def ended(who: str, status: int) -> None:
        del lives[who]
        code = os.waitstatus_to_exitcode(status)
        ends[{-signal.SIGKILL: "killed", 0: "done", 2: "disk full"}.get(code, "failed")] += 1
        if code == 0:
            finished.add(who)
        assert code in (0, 2, -signal.SIGKILL), f"{who} ended with {code}"

    try:
        while finished != set(DEVICES):
            assert time.monotonic() - begin < seconds, f"not done: {dict(ends)}"
            for who in ("server", *DEVICES):
                if who not in lives and who not in finished:
                    begin_life(who)
            until = time.monotonic() + rng.expovariate(1 / calm_s)
            while time.monotonic() < until:
                time.sleep(0.002)
                for who, pid in list(lives.items()):
                    found, status = os.waitpid(pid, os.WNOHANG)
                    if found:
                        ended(who, status)
                if len(lives) + len(finished) < 1 + len(DEVICES):
                    break
            else:
                who = rng.choice(list(lives))
                os.kill(lives[who], signal.SIGKILL)
                ended(who, os.waitpid(lives[who], 0)[1])
    finally:
        for pid in lives.values():
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        listener.close()
    n_again = check(folder, n_requests)
    return {
        "requests": n_requests * len(DEVICES),
        "seconds": round(time.monotonic() - begin, 1),
        "ends of lives": dict(ends),
        "replies sent again": n_again,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="a folder that holds nothing yet")
    parser.add_argument("--requests", type=int, default=10_000, help="of both devices together")
    parser.add_argument("--seconds", type=float, default=600, help="at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--calm", type=float, default=0.1, help="mean seconds between two kills")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    n_each = given.requests // len(DEVICES)
    print(json.dumps(run(given.folder, n_each, given.seconds, given.seed, given.calm)))


if __name__ == "__main__":
    main()
