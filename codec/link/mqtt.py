"""request -> reply over an MQTT broker, with every byte on the wire counted: the same calls as
`codec.link.http.Connection`, for devices whose link is a broker's.

A request is a message of QoS 1; its reply comes on a topic of the device's own. At least once each
way, and with a number of its own (header `Sequence`) a request is answered once in effect. Needs
paho-mqtt (extra `mqtt`). No thread: what the broker sends between two requests waits.
"""

from __future__ import annotations

import secrets
import select
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any

from codec.link.broker import broker_at, reply_filter, request_topic
from codec.link.http import MAX_REPLY_BYTES, NoReplyError, Response, UnansweredError
from codec.link.properties import packet_bytes, read, status_of, written
from codec.link.wire import tcp_bytes

KEEPALIVE_S = 600
"""A connection that is silent for half as long again is closed by the broker; the next request
opens another."""
FIRST_WAIT_S, MAX_WAIT_S = 0.1, 5.0
"""Between two attempts to connect again: twice as long each time, and never longer."""
HANDSHAKE_S = 10.0
"""The longest that each part of TLS's handshake is waited for."""
_NOBODY, _REFUSED = 16, 128
"""Reasons of a PUBACK: nobody subscribes; the first that refuses (MQTT 5.0, sec. 3.4.2.1)."""
_PUBACK_BYTES = 4
"""Of the PUBACK that goes with each message, where the system does not count."""


class _LostError(Exception):
    """The connection to the broker ended."""


class _PromptSocket(ssl.SSLSocket):
    """A TLS socket that never waits as long as paho-mqtt would: for its keepalive."""

    def settimeout(self, value: float | None) -> None:
        super().settimeout(None if value is None else min(value, HANDSHAKE_S))


class MqttConnection:
    """A connection to a broker. It is opened by the first request, kept, and opened anew where it
    broke off. One thread at a time.

    Args:
        url: mqtt://user@host:port, or mqtts:// for TLS.
        token: the user's password.
        timeout_s: seconds until a reply must be there, with all attempts.
        context: of TLS; None for the system's certificates, or those of SSL_CERT_FILE.

    Raises:
        ValueError: the address is none, or paho-mqtt is missing.
    """

    shortens = False
    """Blobs go whole: to name a session takes more bytes than it spares."""

    def __init__(
        self,
        url: str,
        token: str | None = None,
        timeout_s: float = 30.0,
        context: ssl.SSLContext | None = None,
    ) -> None:
        try:
            import paho.mqtt.client
        except ImportError as error:
            raise ValueError("paho-mqtt is missing: pip install 'task-codec[mqtt]'") from error
        self._paho = paho.mqtt.client
        self.broker = broker_at(url, token)
        self.url, self._timeout_s = str(self.broker), timeout_s
        self._context = context or (ssl.create_default_context() if self.broker.tls else None)
        if self._context is not None:
            self._context.sslsocket_class = _PromptSocket
        self._client: Any = None
        self._lost: str | None = None
        self._subscribed = False
        self._wanted, self._reply = b"", None
        self._acked: dict[int, int] = {}
        self._past = (0, 0)

    def post(self, path: str, body: bytes, headers: dict[str, str]) -> Response:
        """Send a request to the server behind the broker; gives the reply, whatever its status.

        Args:
            path: of the HTTP server, such as /v1/NAME/classify.

        Raises:
            NoReplyError: no reply in time, or one of more than 1 MiB; no server listens; the
                broker cannot be reached. UnansweredError: it refuses. The message says why.
        """
        topic, start = request_topic(path, self.broker.device), time.perf_counter()
        before, deadline = self._bytes(), start + self._timeout_s
        try:
            found = self._once_or_again(topic, body, headers, deadline)
        except BaseException:
            self.close()
            raise
        latency_ms = 1000 * (time.perf_counter() - start)
        after = self._bytes()
        up, down = after[0] - before[0], after[1] - before[1]
        if after == (0, 0):  # this system does not count: at least what was said
            up, down = found.n_bytes_up + _PUBACK_BYTES, found.n_bytes_down + _PUBACK_BYTES
        return found._replace(n_bytes_up=up, n_bytes_down=down, latency_ms=latency_ms)

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self._client is not None:
            self._past, client, self._client = self._bytes(), self._client, None
            client.disconnect()
            if (sock := client.socket()) is not None:
                sock.close()

    def _once_or_again(
        self, topic: str, body: bytes, headers: dict[str, str], deadline: float
    ) -> Response:
        """The reply; where a connection ends on the way, the request goes again over another."""
        was_open, wait_s = False, FIRST_WAIT_S
        correlation = secrets.token_bytes(4)
        while True:
            try:
                self._open(deadline)
                was_open = True
                return self._exchange(topic, correlation, body, headers, deadline)
            except _LostError as error:
                self.close()
                if not was_open or deadline - time.perf_counter() <= wait_s:
                    raise NoReplyError(f"no reply from {self.url}: {error}") from error
            time.sleep(wait_s)
            wait_s = min(2 * wait_s, MAX_WAIT_S)

    def _bytes(self) -> tuple[int, int]:
        """Sent and received since the beginning, over all connections."""
        up, down = tcp_bytes(None if self._client is None else self._client.socket())
        return self._past[0] + up, self._past[1] + down

    def _open(self, deadline: float) -> None:
        """Connect and subscribe, where that is not so already."""
        if self._client is not None:
            self._turn(0.0)  # what came meanwhile, also that the broker has gone
            if self._lost is None:
                return
            self.close()
        paho, broker = self._paho, self.broker
        client = paho.Client(
            paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5, reconnect_on_failure=False
        )
        if broker.user is not None:
            client.username_pw_set(broker.user, broker.password)
        if self._context is not None:
            client.tls_set_context(self._context)
        client.connect_timeout = max(deadline - time.perf_counter(), 0.1)
        client.on_connect, client.on_disconnect = self._on_connect, self._on_disconnect
        client.on_subscribe, client.on_message = self._on_subscribe, self._on_message
        client.on_publish = self._on_publish
        self._lost, self._subscribed = None, False
        try:
            client.connect(broker.host, broker.port, KEEPALIVE_S, clean_start=True)
        except OSError as error:  # TLS's errors are some of them
            raise _LostError(str(error) or type(error).__name__) from error
        client.socket().setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._client = client
        self._wait(lambda: self._subscribed, deadline)

    def _exchange(
        self, topic: str, correlation: bytes, body: bytes, headers: dict[str, str], deadline: float
    ) -> Response:
        self._wanted, self._reply = correlation, None
        self._acked.clear()
        said = written(headers, correlation, self._timeout_s)
        sent = self._client.publish(topic, body, qos=1, properties=said)

        def answered() -> bool:
            reason = self._acked.get(sent.mid, 0)
            if reason == _NOBODY:
                raise NoReplyError(f"no reply from {self.url}: no server listens there")
            if reason >= _REFUSED:
                raise UnansweredError(f"{self.url} refuses messages on {topic}")
            return self._reply is not None and sent.mid in self._acked

        self._wait(answered, deadline)
        message: Any = self._reply
        if len(message.payload) > MAX_REPLY_BYTES:
            raise NoReplyError(f"the reply from {self.url} has more than {MAX_REPLY_BYTES} bytes")
        found = read(message.properties)
        status = status_of(found.kind, message.payload)
        up = packet_bytes(topic, said, len(body))
        down = packet_bytes(message.topic, message.properties, len(message.payload))
        return Response(status, found.headers, message.payload, up, down, 0.0)

    def _wait(self, done: Callable[[], bool], deadline: float) -> None:
        """Let the connection work until something is done.

        Raises:
            _LostError: the connection ended.
            NoReplyError: it took too long.
        """
        while not done():
            left_s = deadline - time.perf_counter()
            if left_s <= 0:
                raise NoReplyError(
                    f"no reply from {self.url}: not there after {self._timeout_s:g} seconds"
                )
            if self._lost is not None:
                raise _LostError(self._lost)
            self._turn(left_s)

    def _turn(self, most_s: float) -> None:
        """Read and write what can be, after at most so long."""
        client, sock = self._client, self._client.socket()
        if sock is None:
            self._lost = self._lost or "the connection broke off"
            return
        held = isinstance(sock, ssl.SSLSocket) and sock.pending() > 0  # select does not see it
        writes = [sock] if client.want_write() else []
        ready, can, _ = select.select([sock], writes, [], 0 if held else min(most_s, 1.0))
        if ready or held:
            client.loop_read()
        if can:
            client.loop_write()
        client.loop_misc()

    def _on_connect(self, client: Any, _data: Any, _flags: Any, reason: Any, _rest: Any) -> None:
        if reason.is_failure:
            self._lost = f"the broker refuses: {reason}"
        else:
            client.subscribe(reply_filter(self.broker.device), qos=1)

    def _on_disconnect(self, _c: Any, _data: Any, _flags: Any, reason: Any, _rest: Any) -> None:
        self._lost = self._lost or f"the connection broke off: {reason}"

    def _on_subscribe(self, _c: Any, _data: Any, _mid: int, reasons: Any, _rest: Any) -> None:
        if reasons[0].is_failure:
            self._lost = f"the broker refuses replies to {self.broker.device}: {reasons[0]}"
        self._subscribed = True

    def _on_publish(self, _c: Any, _data: Any, mid: int, reason: Any, _rest: Any) -> None:
        self._acked[mid] = int(reason.value)

    def _on_message(self, _client: Any, _data: Any, message: Any) -> None:
        """Keep the reply that is waited for; any other was to a request that is over."""
        if read(message.properties).correlation == self._wanted:
            self._reply = message
