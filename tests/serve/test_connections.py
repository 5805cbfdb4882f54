"""Connections as an adversary makes them: each ends in a refusal or is closed, in bounded time, and
others are still answered.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from email.message import Message
from typing import Any, NamedTuple

import pytest
import uvicorn
from PIL import Image

from codec.model import FeatureCodec
from codec.pipeline import Device, Server
from codec.serve import running
from codec.serve.app import create_app
from codec.serve.models import Served
from codec.serve.settings import Limits

HEAD_S, BODY_S = 1.0, 1.0
PATH = "/v1/tiny/classify"
BEGIN = f"POST {PATH} HTTP/1.1\r\nHost: a\r\nContent-Type: application/octet-stream\r\n".encode()


class Heard(NamedTuple):
    """What came back before the server closed."""

    status: int
    headers: Message
    body: bytes
    seconds: float

    @property
    def problem(self) -> str:
        members = json.loads(self.body)
        assert members["status"] == self.status
        return str(members["detail"])


@contextlib.contextmanager
def listening(codec: FeatureCodec, connections: int = 100) -> Iterator[tuple[uvicorn.Server, int]]:
    """A server that `codec serve` would run, with short times, and its port."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(running, "HEAD_S", HEAD_S)
        patch.setattr(running, "CONNECTIONS", connections)
        app = create_app([Served(Server(codec))], limits=Limits(body_s=BODY_S, blob_bytes=1000))
        server = uvicorn.Server(running.configured(app, "127.0.0.1", 0))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        end = time.monotonic() + 30
        while not server.started and time.monotonic() < end:
            time.sleep(0.01)
        yield server, server.servers[0].sockets[0].getsockname()[1]
        server.should_exit = True
        thread.join(10)


@pytest.fixture(scope="module")
def port(tiny_codec: FeatureCodec) -> Iterator[int]:
    """Where such a server listens."""
    with listening(tiny_codec) as (_, port):
        yield port


def opened(port: int, address: str = "") -> socket.socket:
    """A connection, from an address of this machine's loopback."""
    return socket.create_connection(
        ("127.0.0.1", port), timeout=15, source_address=(address, 0) if address else None
    )


def heard(sock: socket.socket, start: float) -> Heard:
    """The reply, and what the connection took until it was closed."""
    reply = http.client.HTTPResponse(sock)
    reply.begin()
    body = reply.read()
    return Heard(reply.status, reply.headers, body, time.monotonic() - start)


def heard_first(sock: socket.socket) -> int:
    """The status of the first reply on a connection that stays open."""
    reply = http.client.HTTPResponse(sock)
    reply.begin()
    return reply.status


def said(port: int, *parts: bytes, pause_s: float = 0.0) -> Heard:
    """The reply to what is sent, in parts; those that the server no longer takes are lost."""
    start = time.monotonic()
    with opened(port) as sock:
        with contextlib.suppress(OSError):
            for part in parts:
                sock.sendall(part)
                time.sleep(pause_s)
        return heard(sock, start)


def alive(port: int) -> None:
    """Somebody else is answered, soon."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("GET", "/healthz")
    assert connection.getresponse().status == 200
    connection.close()


@pytest.mark.long
def test_a_head_that_never_ends_is_cut_off_however_it_trickles(port: int) -> None:
    trickle = [BEGIN, *(f"X-{i}: a\r\n".encode() for i in range(100))]
    reply = said(port, *trickle, pause_s=0.1)
    assert reply.status == 408
    assert "no whole request" in reply.problem
    reply = said(port, b"")
    assert reply.status == 408, "nor may it bring nothing at all"
    assert HEAD_S <= reply.seconds < HEAD_S + 5


def test_a_second_head_is_bounded_as_the_first_one(port: int) -> None:
    start = time.monotonic()
    with opened(port) as sock:
        sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        first = http.client.HTTPResponse(sock)
        first.begin()
        first.read()
        assert first.status == 200
        sock.sendall(b"GET /healthz HTTP/1.1\r\nX: ")
        assert heard(sock, start).status == 408


@pytest.mark.long
def test_a_body_that_never_ends_is_cut_off(port: int) -> None:
    reply = said(port, BEGIN + b"Content-Length: 900\r\n\r\n", b"abc", pause_s=0.1)
    assert reply.status == 408
    assert "not whole" in reply.problem
    chunks = [b"1\r\na\r\n"] * 100
    reply = said(port, BEGIN + b"Transfer-Encoding: chunked\r\n\r\n", *chunks, pause_s=0.05)
    assert reply.status == 408
    json_too = BEGIN.replace(b"octet-stream", b"json").replace(PATH.encode(), b"/v1/sessions")
    assert said(port, json_too + b"Content-Length: 90\r\n\r\n{").status == 408


def test_a_body_that_is_too_long_is_refused_before_it_has_come(port: int) -> None:
    for path, kind in (
        (PATH, b"octet-stream"),
        ("/v1/sessions", b"json"),
        ("/v1/tiny/batch/classify", b"json"),
    ):
        begin = BEGIN.replace(b"octet-stream", kind).replace(PATH.encode(), path.encode())
        assert said(port, begin + b"Content-Length: 99999999999999999999\r\n\r\n").status == 413
        endless = [b"10000\r\n" + bytes(1 << 16) + b"\r\n"] * 100
        reply = said(port, begin + b"Transfer-Encoding: chunked\r\n\r\n", *endless)
        assert reply.status == 413, path
    alive(port)


def test_what_is_no_http_gets_a_problem(port: int) -> None:
    for words in (
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100) + b"\r\n\r\n",  # TLS
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * (1 << 20),  # a giant header
        BEGIN + b"Content-Length: -1\r\n\r\n",
        BEGIN + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        BEGIN + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST / HTTP/1.1\r\n\r\n",  # no Host
    ):
        reply = said(port, words)
        assert (reply.status, bool(reply.problem)) == (400, True), words[:60]
    prior = said(port, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")  # HTTP/2 with prior knowledge
    assert (prior.status, bool(prior.problem)) == (404, True)
    alive(port)


def test_half_open_connections_make_room_for_others(port: int) -> None:
    with contextlib.ExitStack() as stack:
        for i in range(300):
            sock = stack.enter_context(opened(port))
            if i % 2:
                sock.sendall(BEGIN)
            if i % 50 == 0:
                alive(port)
        alive(port)


def until(done: Callable[[], bool]) -> None:
    end_s = time.monotonic() + 20
    while not done():
        assert time.monotonic() < end_s
        time.sleep(0.01)


def test_the_connection_that_was_idle_for_longest_hears_why_it_makes_room(
    tiny_codec: FeatureCodec,
) -> None:
    with listening(tiny_codec, 3) as (server, port), contextlib.ExitStack() as stack:
        idle = []
        for n in range(1, 4):
            idle.append(stack.enter_context(opened(port)))
            until(lambda n=n: len(server.server_state.connections) == n)
        alive(port)
        reply = heard(idle[0], time.monotonic())
        assert (reply.status, reply.headers["Retry-After"]) == (503, "1")
        assert reply.problem == "3 connections are open; this one was idle for longest"


def test_where_no_connection_is_idle_a_new_one_hears_that_there_are_too_many(
    tiny_codec: FeatureCodec, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, ask = threading.Event(), Served.__call__

    def slow(served: Served, jobs: list[Any]) -> list[Any]:
        assert gate.wait(30)
        return ask(served, jobs)

    monkeypatch.setattr(Served, "__call__", slow)
    blob = Device(tiny_codec)(Image.new("RGB", (32, 32)))
    asked = BEGIN + f"Content-Length: {len(blob)}\r\n\r\n".encode() + blob
    with listening(tiny_codec, 3) as (server, port), contextlib.ExitStack() as stack:
        try:
            busy = [stack.enter_context(opened(port)) for _ in range(3)]
            for one in busy:
                one.sendall(asked)
            until(lambda: sum(not one._waits for one in server.server_state.connections) == 3)
            reply = said(port)
            assert (reply.status, reply.headers["Retry-After"]) == (503, "1")
            assert reply.problem == "3 connections are open, each with a request"
        finally:
            gate.set()
        assert [heard_first(one) for one in busy] == [200] * 3
        alive(port)


def test_an_address_with_most_unfinished_requests_leaves_room_to_others(
    tiny_codec: FeatureCodec,
) -> None:
    trickling = BEGIN + b"Content-Length: 900\r\n\r\nabc"
    asked = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
    with listening(tiny_codec, 3) as (server, port), contextlib.ExitStack() as stack:
        many = [stack.enter_context(opened(port)) for _ in range(3)]
        for n, one in enumerate(many, 1):
            one.sendall(trickling)
            until(lambda n=n: sum(not c._waits for c in server.server_state.connections) == n)
        same = heard(stack.enter_context(opened(port)), time.monotonic())
        assert (same.status, same.problem) == (503, "3 connections are open, each with a request")
        try:
            other = stack.enter_context(opened(port, "127.0.0.2"))
        except OSError:
            pytest.skip("this machine has one address of its own")
        other.sendall(asked)
        assert heard_first(other) == 200
        newest = heard(many[2], time.monotonic())
        assert (newest.status, newest.headers["Retry-After"]) == (429, "1")
        assert newest.problem == "3 connections are open, most of them from this address"
        assert newest.seconds < BODY_S
        assert [heard_first(one) for one in many[:2]] == [408] * 2, "these had all their time"


def test_connections_that_read_no_reply_make_room_for_others(tiny_codec: FeatureCodec) -> None:
    many = b"GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n" * 1000
    with listening(tiny_codec, 3) as (server, port), contextlib.ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(opened(port)).sendall(many)
        until(lambda: sum(one.flow.write_paused for one in server.server_state.connections) == 3)
        alive(port)
        until(lambda: len(server.server_state.connections) < 3)


def test_requests_in_one_packet_are_answered_in_order(port: int) -> None:
    one = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
    with opened(port) as sock:
        sock.sendall(one * 200 + one.replace(b"healthz", b"nowhere"))
        stream = sock.makefile("rb")
        for expected in [200] * 200 + [404]:
            status = int(stream.readline().split()[1])
            length = 0
            while (line := stream.readline()) != b"\r\n":
                name, _, value = line.partition(b":")
                length = int(value) if name.lower() == b"content-length" else length
            stream.read(length)
            assert status == expected


def test_who_hangs_up_harms_nobody(port: int) -> None:
    for sent in (b"", BEGIN, BEGIN + b"Content-Length: 9\r\n\r\nab", BEGIN + b"\r\n"):
        for _ in range(20):
            with opened(port) as sock:
                sock.sendall(sent)
    alive(port)


def test_a_server_that_is_told_to_end_answers_what_runs_and_closes_the_rest(
    tiny_codec: FeatureCodec, picture: Callable[..., Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    ask, runs = Served.__call__, threading.Event()

    def slow(served: Served, jobs: list[Any]) -> list[Any]:
        runs.set()
        time.sleep(1)
        return ask(served, jobs)

    monkeypatch.setattr(Served, "__call__", slow)
    blob = Device(tiny_codec)(picture(1))
    with listening(tiny_codec) as (server, port), opened(port) as asking, opened(port) as idle:
        asking.sendall(BEGIN + f"Content-Length: {len(blob)}\r\n\r\n".encode() + blob)
        assert runs.wait(10)
        server.should_exit = True  # what SIGTERM does
        assert heard(asking, time.monotonic()).status == 200
        assert idle.recv(1000) == b""
        with pytest.raises(OSError, match=r"refused|reset"):
            said(port, b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
