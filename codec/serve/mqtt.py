"""broker -> messages -> answers -> broker: the server's end of MQTT, in the event loop of HTTP.

    message -> task -> (codec.serve.messages | codec.serve.uplinks) -> reply stored -> published
            -> acknowledged, in the order in which the messages came (MQTT 5.0, sec. 4.6)

A message is acknowledged when its reply is with the broker, so whatever is killed before, the
broker sends it again: at least once, and the store of replies makes it once in effect. QoS 2 would
not spare that store, since a server that is killed between two of its four packets answers twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import logging
import random
import secrets
import socket
import ssl
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from codec.link.broker import PREFIX, REQUESTS, Broker
from codec.link.properties import written
from codec.link.uplinks import FILTERS
from codec.serve.counters import Counters
from codec.serve.incoming import Incoming
from codec.serve.messages import Letter, Message, failed, reply_to_message
from codec.serve.problems import ProblemError
from codec.serve.state import State
from codec.serve.storing import Storing
from codec.serve.uplinks import Rule, Uplinks

logger = logging.getLogger(__name__)

KEEPALIVE_S = 30
FIRST_WAIT_S, MAX_WAIT_S = 0.25, 30.0
"""Between two attempts to connect: twice as long each time, and never longer."""
PROCESS_SESSION_S, KEPT_SESSION_S = 60, 7 * 86_400
"""So long the broker keeps messages for a server that has gone: without and with a state file."""
MOST_BESIDE_BODY = 1 << 16
"""Bytes of a message besides its body: topic and properties."""


@dataclass(frozen=True)
class Mqtt:
    """How a server is on a broker.

    Attributes:
        broker: address and user.
        rules: what uplinks are; without any, none are read.
        state: the file that keeps replies over restarts. With it, the broker keeps messages for
            the server while that is away, and frame counters lie beside the file.
        inflight: messages that are worked on at once.
    """

    broker: Broker
    rules: Sequence[Rule] = ()
    state: Path | None = None
    inflight: int = 64

    @property
    def identity(self) -> str:
        """The client's name at the broker: the same again for the same state file."""
        if self.state is None:
            return f"codec-serve-{secrets.token_hex(6)}"
        place = f"{socket.gethostname()}\0{self.state.absolute()}"
        return f"codec-serve-{hashlib.sha256(place.encode()).hexdigest()[:12]}"


class Listener:
    """The server's end of MQTT.

    Args:
        state: of the server.
        settings: the broker and what is read.

    Raises:
        OSError, ValueError: the frame counters' file cannot be used.
    """

    def __init__(self, state: State, settings: Mqtt) -> None:
        self._state, self._settings = state, settings
        self._place: Any = None
        path = settings.state
        if path is None:
            self._place = tempfile.TemporaryDirectory()
            path = Path(self._place.name) / "state"
        self._counters = Counters(path.with_name(f"{path.name}-uplinks"))
        self._storing = Storing("frame counters")
        self._uplinks = Uplinks(state, settings.rules, self._counters, self._storing)
        self._identity, self._connected_before = settings.identity, False

    async def run(self) -> None:
        """Be on the broker until this is cancelled; connect again whenever the connection ends."""
        wait_s, said = FIRST_WAIT_S, ""
        try:
            while True:
                self._joined = False
                try:
                    with contextlib.closing(Incoming(self._state.bodies)) as incoming:
                        await self._connection(incoming)
                    why = "the connection ended"
                except (aiomqtt.MqttError, OSError) as error:
                    why = str(error) or type(error).__name__
                except Exception as error:  # what one message brought about is not to end the rest
                    why = f"a fault of this program: {type(error).__name__}"
                self._state.metrics.joined(False)
                wait_s = FIRST_WAIT_S if self._joined else min(2 * wait_s, MAX_WAIT_S)
                if why != said or self._joined:
                    logger.warning("%r: %s; connecting again", self._settings.broker, why)
                said = why
                await asyncio.sleep(wait_s * random.uniform(0.5, 1.0))
        finally:
            self._storing.close()
            self._counters.close()
            if self._place is not None:
                self._place.cleanup()

    async def _connection(self, incoming: Incoming) -> None:
        """One connection, until it ends."""
        client = self._client(incoming)
        async with client:
            await self._subscribe(client)
            self._joined = self._connected_before = True
            self._state.metrics.joined(True)
            order: asyncio.Queue[Any] = asyncio.Queue(self._settings.inflight)
            tasks: set[asyncio.Task[None]] = set()
            both = [
                asyncio.create_task(self._take(client, incoming, order, tasks)),
                asyncio.create_task(_acknowledge(client, order)),
            ]
            try:
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
                for one in both:
                    if one.done():
                        one.result()
            finally:
                ending = [*both, *tasks, *(order.get_nowait()[2] for _ in range(order.qsize()))]
                for one in ending:
                    one.cancel()
                await asyncio.gather(*ending, return_exceptions=True)

    def _client(self, incoming: Incoming) -> aiomqtt.Client:
        broker, limits, kept = self._settings.broker, self._state.limits, self._settings.state
        asked = Properties(PacketTypes.CONNECT)
        asked.SessionExpiryInterval = PROCESS_SESSION_S if kept is None else KEPT_SESSION_S
        asked.ReceiveMaximum = self._settings.inflight
        asked.MaximumPacketSize = max(limits.picture_bytes, limits.blob_bytes) + MOST_BESIDE_BODY
        client = aiomqtt.Client(
            broker.host,
            broker.port,
            username=broker.user,
            password=broker.password,
            identifier=self._identity,
            protocol=aiomqtt.ProtocolVersion.V5,
            clean_start=kept is None and not self._connected_before,
            properties=asked,
            keepalive=KEEPALIVE_S,
            queue_type=lambda maxsize: incoming,  # type: ignore[arg-type]
            socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
            tls_context=ssl.create_default_context() if broker.tls else None,
        )
        client.pending_calls_threshold = 2 * self._settings.inflight
        client._client.manual_ack_set(True)  # aiomqtt has no call for it
        return client

    async def _subscribe(self, client: aiomqtt.Client) -> None:
        options = SubscribeOptions(
            qos=1,
            noLocal=True,
            retainAsPublished=True,
            retainHandling=SubscribeOptions.RETAIN_DO_NOT_SEND,
        )
        filters = [REQUESTS, *(FILTERS if self._settings.rules else ())]
        for one in filters:
            for reason in await client.subscribe(one, options=options):
                if getattr(reason, "is_failure", False):
                    raise aiomqtt.MqttError(f"the broker refuses the topic {one}: {reason}")

    async def _take(
        self,
        client: aiomqtt.Client,
        incoming: Incoming,
        order: asyncio.Queue[Any],
        tasks: set[asyncio.Task[None]],
    ) -> None:
        """Begin with each message that comes, as long as there is room."""
        async for message in client.messages:
            refused = incoming.refusal(message)
            task = asyncio.create_task(self._answer(client, message, refused))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            # not in the task: one that is cancelled before it begins runs nothing of its own
            task.add_done_callback(functools.partial(incoming.done, message))
            await order.put((message.mid, message.qos, task))

    async def _answer(
        self, client: aiomqtt.Client, message: aiomqtt.Message, refused: ProblemError | None
    ) -> None:
        """One message -> its answer, with the broker when this returns. Where there can be none,
        the message is done with too: the broker would send it again without end.

        Raises:
            aiomqtt.MqttError: the connection has ended.
        """
        topic, body, outcome = str(message.topic), message.payload, ""
        came = Message(topic, bytes(body or b""), message.properties, bool(message.retain), refused)
        kind = "request" if topic.startswith(f"{PREFIX}/") else "uplink"
        try:
            if kind == "uplink":
                letter = await self._uplinks.answer(came)
            else:
                letter = await reply_to_message(self._state, came)
            outcome = _outcome(letter)
            said = written(letter.headers, letter.correlation)
            await client.publish(letter.topic, letter.body, qos=1, properties=said)
        except aiomqtt.MqttError:
            raise
        except Exception as error:
            outcome = "failed"
            failed(error)
        finally:
            if outcome:
                self._state.metrics.message(kind, outcome)


async def _acknowledge(client: aiomqtt.Client, order: asyncio.Queue[Any]) -> None:
    """Acknowledge each message when its answer is with the broker, in the order they came."""
    while True:
        number, qos, task = await order.get()
        await task
        client._client.ack(number, qos)


def _outcome(letter: Letter) -> str:
    if letter.repeated:
        return "repeated"
    return "answered" if letter.status < 400 else "refused" if letter.status < 500 else "failed"
