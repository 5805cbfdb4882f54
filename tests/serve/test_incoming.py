"""Messages that wait for the server: bounded in number and bytes, whatever their QoS."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from codec.serve.holding import Bodies

aiomqtt = pytest.importorskip("aiomqtt")

from codec.serve.incoming import MOST, Incoming  # noqa: E402


def message(qos: int, n_bytes: int = 10, topic: str = "codec/v1/tiny/cam-1/classify") -> Any:
    return aiomqtt.Message(topic, bytes(n_bytes), qos, False, 0, None)


def test_messages_of_qos_0_beyond_the_memory_are_dropped() -> None:
    bodies = Bodies(70)
    waiting = Incoming(bodies)
    for _ in range(3):
        waiting.put_nowait(message(0))
    with pytest.raises(asyncio.QueueFull):  # its share is full
        waiting.put_nowait(message(0))
    waiting.put_nowait(message(0, topic="codec/v1/tiny/cam-2/classify"))
    assert (waiting.qsize(), bodies.n_bytes) == (4, 40)
    first = waiting.get_nowait()
    assert bodies.n_bytes == 40, "it is being worked on"
    waiting.done(first)
    assert bodies.n_bytes == 30
    waiting.put_nowait(message(0))


def test_a_message_of_qos_1_beyond_the_memory_waits_without_its_body() -> None:
    bodies = Bodies(60)
    waiting = Incoming(bodies)
    for _ in range(4):
        waiting.put_nowait(message(1))
    assert bodies.n_bytes == 30
    found = [waiting.get_nowait() for _ in range(4)]
    assert [len(one.payload) for one in found] == [10, 10, 10, 0]
    reasons = [waiting.refusal(one) for one in found]
    assert reasons[:3] == [None] * 3
    assert reasons[3] is not None
    assert (reasons[3].status, reasons[3].retry_after_s) == (429, 1)
    waiting.done(found[3])
    assert waiting.refusal(found[3]) is None


def test_too_many_messages_of_qos_0_are_dropped_however_short() -> None:
    waiting = Incoming(Bodies(60))
    for _ in range(MOST):
        waiting.put_nowait(message(0, 0))
    with pytest.raises(asyncio.QueueFull):
        waiting.put_nowait(message(0, 0))
    waiting.put_nowait(message(1, 0))


def test_a_connection_that_ends_gives_back_what_waited_and_what_was_in_work() -> None:
    bodies = Bodies(60)
    waiting = Incoming(bodies)
    for topic in ("v3/a@b/devices/d/up", "application/a/device/d/event/up", "v3//devices/x/up"):
        waiting.put_nowait(message(1, topic=topic))
    taken = waiting.get_nowait()
    waiting.close()
    waiting.done(taken)
    assert bodies.n_bytes == 0


def test_an_application_owns_the_messages_of_its_devices() -> None:
    waiting = Incoming(Bodies(60))
    for device in "abc":
        waiting.put_nowait(message(0, topic=f"v3/app@t/devices/{device}/up"))
    with pytest.raises(asyncio.QueueFull):
        waiting.put_nowait(message(0, topic="v3/app@t/devices/d/up"))
    waiting.put_nowait(message(0, topic="v3/other@t/devices/d/up"))
