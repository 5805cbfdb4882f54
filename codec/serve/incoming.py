"""broker -> messages that wait for the server or are worked on, bounded in number and bytes."""

from __future__ import annotations

import asyncio

import aiomqtt

from codec.link.broker import PREFIX
from codec.link.uplinks import addressed
from codec.serve.holding import Bodies, Held
from codec.serve.problems import ProblemError

MOST = 1024
"""Messages of QoS 0 that wait; the broker bounds those of QoS 1 by their acknowledgements."""


class Incoming(asyncio.Queue[aiomqtt.Message]):
    """The messages of one connection. Their bodies count from when they come until they are done
    with. A message that there is no memory for is dropped where it is of QoS 0; of QoS 1 it is to
    be answered, so it waits without its body.

    Args:
        bodies: of all requests.
    """

    def __init__(self, bodies: Bodies) -> None:
        super().__init__()
        self._bodies = bodies
        self._held: dict[aiomqtt.Message, Held] = {}
        self._refused: dict[aiomqtt.Message, ProblemError] = {}

    def put_nowait(self, item: aiomqtt.Message) -> None:
        """A message came.

        Raises:
            QueueFull: it is of QoS 0, and too many messages wait or too many bytes are held.
        """
        if item.qos == 0 and self.qsize() >= MOST:
            raise asyncio.QueueFull
        held = self._bodies.held(_owner(str(item.topic)))
        try:
            held.add(len(item.payload or b""))
        except ProblemError as problem:
            held.end()
            if item.qos == 0:
                raise asyncio.QueueFull from problem
            item.payload = b""
            self._refused[item] = problem
        self._held[item] = held
        super().put_nowait(item)

    def refusal(self, message: aiomqtt.Message) -> ProblemError | None:
        """Why a message waits without its body; None where it has it."""
        return self._refused.get(message)

    def done(self, message: aiomqtt.Message, _task: object = None) -> None:
        """A message was answered, or its answer was given up; whose task needs not be said."""
        self._refused.pop(message, None)
        if (held := self._held.pop(message, None)) is not None:
            held.end()

    def close(self) -> None:
        """The connection has ended: nothing of it is held any more."""
        for message in list(self._held):
            self.done(message)


def _owner(topic: str) -> str:
    """Whose a message is: a device's, or an application's, to which its devices belong."""
    if topic.startswith(f"{PREFIX}/"):
        _codec, _, rest = topic.removeprefix(f"{PREFIX}/").partition("/")
        return f"mqtt:{rest.partition('/')[0]}"
    try:
        return addressed(topic).owner
    except ValueError:  # it will be refused
        return "mqtt:"
