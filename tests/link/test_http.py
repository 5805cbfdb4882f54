"""A connection that stays open: whole replies in time, every byte counted."""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from codec.link.http import MAX_REPLY_BYTES, Connection

REPLY = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Word: yes\r\n\r\nok"


@contextmanager
def server(*answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that handles one connection after another, each by a function."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)

        def run() -> None:
            for handle in answer:
                with listener.accept()[0] as taken:
                    taken.settimeout(10)
                    handle(taken)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.join(10)


def request(taken: socket.socket) -> bytes:
    """One whole request with its body."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += taken.recv(4096)
    head, _, body = data.partition(b"\r\n\r\n")
    n_bytes = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0] or 0)
    while len(body) < n_bytes:
        body += taken.recv(4096)
    return head + b"\r\n\r\n" + body


@pytest.mark.skipif(sys.platform != "linux", reason="Linux counts a socket's bytes")
def test_every_byte_of_a_request_and_its_reply_is_counted() -> None:
    seen: list[bytes] = []

    def twice(taken: socket.socket) -> None:
        for _ in range(2):
            seen.append(request(taken))
            taken.sendall(REPLY)
        taken.recv(1)  # until the client closes: an end of ours would count as a byte

    with server(twice) as url:
        connection = Connection(url, token="secret")
        replies = [connection.post("/a", b"x" * n, {"Sequence": "1"}) for n in (3, 40)]
        connection.close()
    assert [reply.n_bytes_up for reply in replies] == [len(one) for one in seen]
    assert [reply.n_bytes_down for reply in replies] == [len(REPLY)] * 2
    assert (replies[0].status, replies[0].body, replies[0].headers["x-word"]) == (200, b"ok", "yes")
    assert b"Authorization: Bearer secret" in seen[0]
    assert b"Sequence: 1" in seen[1]


def test_a_kept_connection_that_the_server_closed_is_opened_anew() -> None:
    def once(taken: socket.socket) -> None:
        request(taken)
        taken.sendall(REPLY)

    with server(once, once) as url:
        connection = Connection(url)
        assert connection.post("/", b"", {}).status == 200
        time.sleep(0.1)
        assert connection.post("/", b"", {}).status == 200
        connection.close()


@pytest.mark.parametrize("trickles", [False, True])
def test_a_request_over_a_kept_connection_that_is_late_is_not_sent_again(trickles: bool) -> None:
    bodies: list[bytes] = []

    def once(taken: socket.socket) -> None:
        request(taken)
        taken.sendall(REPLY)
        bodies.append(request(taken))
        with contextlib.suppress(OSError):  # until the client gives up
            for byte in b"HTTP/1.1 2" if trickles else b"":
                taken.sendall(bytes([byte]))
                time.sleep(0.1)
            while taken.recv(4096):
                pass

    firsts: list[bytes] = []

    def again(taken: socket.socket) -> None:
        firsts.append(taken.recv(1, socket.MSG_PEEK))
        if firsts[0] not in (b"", b"!"):
            bodies.append(request(taken))

    with server(once, again) as url:
        connection = Connection(url, timeout_s=0.5)
        connection.post("/", b"", {})
        start = time.monotonic()
        with pytest.raises(ValueError, match=r"not whole after 0\.5 seconds"):
            connection.post("/", b"abc", {})
        assert time.monotonic() - start < 2
        with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as own:
            own.sendall(b"!")
    assert len(bodies) == 1
    assert firsts == [b"!"], "the next connection is the test's own"


def test_both_tries_of_a_request_share_one_time() -> None:
    done = threading.Event()

    def closes(taken: socket.socket) -> None:
        request(taken)
        taken.sendall(REPLY)
        request(taken)
        done.wait(0.6)

    def silent(taken: socket.socket) -> None:
        request(taken)
        done.wait(5)

    with server(closes, silent) as url:
        connection = Connection(url, timeout_s=1.0)
        connection.post("/", b"", {})
        start = time.monotonic()
        with pytest.raises(ValueError, match="not whole after 1 seconds"):
            connection.post("/", b"abc", {})
        assert 0.9 < time.monotonic() - start < 1.5
        done.set()


def test_a_server_that_closes_at_once_is_named_and_not_asked_for_ever() -> None:
    with (
        server(lambda taken: None) as url,
        pytest.raises(ValueError, match=r"no reply from http://127\.0\.0\.1"),
    ):
        Connection(url, timeout_s=5).post("/", b"abc", {})


@pytest.mark.parametrize("part", [b"", b"HTTP/1.1 200 OK\r\n", REPLY[:-1]])
def test_a_reply_that_trickles_or_stops_ends_in_time(part: bytes) -> None:
    done = threading.Event()

    def slow(taken: socket.socket) -> None:
        request(taken)
        taken.sendall(part)
        for _ in range(40):  # a byte now and then, which resets a socket's own timeout
            if done.wait(0.1):
                return
            try:
                taken.sendall(b"X-A: b\r\n" if part[-1:] == b"\n" else b"")
            except OSError:
                return

    with server(slow) as url:
        start = time.monotonic()
        with pytest.raises(ValueError, match=r"not whole after 0\.5 seconds"):
            Connection(url, timeout_s=0.5).post("/", b"abc", {})
        assert time.monotonic() - start < 3
        done.set()


@pytest.mark.parametrize(
    ("reply", "reason"),
    [(REPLY[:-1], "broke off"), (REPLY.replace(b"Length", b"Size"), "how long it is")],
)
def test_a_reply_that_is_cut_is_never_taken_for_whole(reply: bytes, reason: str) -> None:
    def cut(taken: socket.socket) -> None:
        request(taken)
        taken.sendall(reply)

    with server(cut) as url, pytest.raises(ValueError, match=reason):
        Connection(url, timeout_s=5).post("/", b"abc", {})


def test_a_reply_without_end_is_refused() -> None:
    def long(taken: socket.socket) -> None:
        request(taken)
        n_bytes = MAX_REPLY_BYTES + 10
        try:
            taken.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % n_bytes)
            taken.sendall(bytes(n_bytes))
        except OSError:
            pass

    with server(long) as url, pytest.raises(ValueError, match="more than 1048576 bytes"):
        Connection(url).post("/", b"abc", {})


def test_no_server_and_no_address_are_named_without_the_token() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ValueError, match=r"no reply from .* refused") as caught:
        Connection(f"http://127.0.0.1:{port}", token="secret").post("/", b"", {})
    assert "secret" not in str(caught.value)
    for url in ("ftp://host", "host:80", "http://"):
        with pytest.raises(ValueError, match="not an http or https address"):
            Connection(url)
