"""request -> reply over a connection that stays open, with every byte on the wire counted.

Standard library only: what a device asks a server with.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import NamedTuple
from urllib.parse import urlsplit

from codec.link.wire import tcp_bytes

MAX_REPLY_BYTES = 1 << 20


class UnansweredError(ValueError):
    """A request has no answer, for a reason that is not the request's: later it may have one.

    Args:
        reason: for people.
        retry_after_s: so long the server asks to wait; 0 where it asks for nothing.
    """

    def __init__(self, reason: str, retry_after_s: float = 0.0) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


class NoReplyError(UnansweredError):
    """No whole reply came."""


class Response(NamedTuple):
    """What came back.

    Attributes:
        status: of HTTP.
        headers: by lower-case name.
        body: the reply.
        n_bytes_up, n_bytes_down: that the request and its reply took on the wire: headers, TLS
            records and the handshake of a new connection too; what TCP and IP put around them is
            not counted.
        latency_ms: from the first byte sent to the last one that came, with connecting.
    """

    status: int
    headers: dict[str, str]
    body: bytes
    n_bytes_up: int
    n_bytes_down: int
    latency_ms: float


class _Asked(NamedTuple):
    """A request: when it began (`time.perf_counter`), and whether it is `late`, over both its
    tries.
    """

    method: str
    path: str
    body: bytes | None
    headers: dict[str, str]
    start: float
    late: threading.Event


class Connection:
    """A connection to a server. It is opened by the first request, kept, and opened anew where the
    server closed it meanwhile. One thread at a time.

    Args:
        url: http://host:port or https://host:port.
        token: a bearer token.
        timeout_s: seconds until a whole reply must be there, however it trickles in.
        context: of TLS; None for the system's certificates.

    Raises:
        ValueError: the address is none.
    """

    shortens = True
    """Blobs go in a session, 3 bytes shorter."""

    def __init__(
        self,
        url: str,
        token: str | None = None,
        timeout_s: float = 30.0,
        context: ssl.SSLContext | None = None,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url} is not an http or https address")
        self.url, self._timeout_s = url.rstrip("/"), timeout_s
        self._path = parts.path.rstrip("/")
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        if parts.scheme == "http":
            self._http = HTTPConnection(parts.hostname, parts.port, timeout=timeout_s)
        else:
            self._http = HTTPSConnection(
                parts.hostname, parts.port, timeout=timeout_s, context=context
            )

    def post(self, path: str, body: bytes, headers: dict[str, str]) -> Response:
        """Post a body to a path below the address; gives the reply, whatever its status.

        Raises:
            NoReplyError: no whole reply in time, or one of more than 1 MiB; the message says why.
            ValueError: a header that cannot be sent.
        """
        return self._ask("POST", path, body, headers)

    def get(self, path: str) -> Response:
        """Get a path below the address. Errors as `post`."""
        return self._ask("GET", path, None, {})

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        self._http.close()

    def _ask(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Response:
        late, start = threading.Event(), time.perf_counter()
        asked = _Asked(method, self._path + path, body, self._headers | headers, start, late)
        watch = threading.Timer(self._timeout_s, self._cut, (late,))
        watch.daemon = True
        watch.start()
        try:
            return self._once_or_again(asked)
        except (OSError, HTTPException, ValueError) as error:
            self._http.close()
            if late.is_set() or isinstance(error, TimeoutError):
                raise NoReplyError(
                    f"no reply from {self.url}: not whole after {self._timeout_s:g} seconds"
                ) from error
            if isinstance(error, ValueError):
                raise
            reason = str(error) or type(error).__name__
            raise NoReplyError(f"no reply from {self.url}: {reason}") from error
        finally:
            watch.cancel()

    def _once_or_again(self, asked: _Asked) -> Response:
        """The reply; once more over a new connection where the kept one was closed meanwhile, but
        not where this end closed it because it was late.
        """
        kept = self._http.sock is not None
        try:
            return self._exchange(asked)
        except (ConnectionError, HTTPException):  # RemoteDisconnected is one of them
            if not kept or asked.late.is_set():
                raise
            self._http.close()
            return self._exchange(asked)

    def _exchange(self, asked: _Asked) -> Response:
        method, path, body, headers, start, late = asked
        up, down = (0, 0) if self._http.sock is None else tcp_bytes(self._http.sock)
        left_s = max(start + self._timeout_s - time.perf_counter(), 0.001)
        if self._http.sock is None:
            self._http.timeout = left_s
            self._http.connect()
        self._http.sock.settimeout(left_s)
        if late.is_set():  # while there was no connection to cut
            raise TimeoutError
        self._http.request(method, path, body, headers)
        wire = self._http.sock
        reply = self._http.getresponse()
        found = _body(reply, self.url)
        latency_ms = 1000 * (time.perf_counter() - start)
        after = tcp_bytes(wire)
        if after == (0, 0):  # this system does not count: at least what was said
            said = sum(len(name) + len(value) + 4 for name, value in headers.items())
            heard = sum(len(name) + len(value) + 4 for name, value in reply.getheaders())
            after = (up + len(method) + len(path) + 13 + said + len(body or b""), down + heard)
            after = (after[0], after[1] + 17 + len(found))
        kept = {name.lower(): value for name, value in reply.getheaders()}
        return Response(reply.status, kept, found, after[0] - up, after[1] - down, latency_ms)

    def _cut(self, late: threading.Event) -> None:
        """End a request that takes too long, whatever it waits for."""
        late.set()
        sock = self._http.sock
        if sock is not None:
            with contextlib.suppress(OSError):  # it may have ended meanwhile
                sock.shutdown(socket.SHUT_RDWR)


def _body(reply: HTTPResponse, url: str) -> bytes:
    """
    Raises:
        NoReplyError: it is too long, or not whole. Of a reply that does not say how long it is,
            nobody knows that.
    """
    if reply.length is None and not reply.chunked:
        raise NoReplyError(f"the reply from {url} does not say how long it is")
    found = reply.read(MAX_REPLY_BYTES + 1)
    if len(found) > MAX_REPLY_BYTES:
        raise NoReplyError(f"the reply from {url} has more than {MAX_REPLY_BYTES} bytes")
    if reply.length:
        raise NoReplyError(f"the reply from {url} broke off")
    return found
