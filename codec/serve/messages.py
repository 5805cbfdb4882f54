"""message of a device over MQTT -> the same path as HTTP -> the message that goes back.

The topic names codec, device and what is asked; user properties are HTTP's headers, and `keep`,
`blob` and `top_k` of its query. Refusals are HTTP's too, as `application/problem+json`.
"""

from __future__ import annotations

import json
import logging
import time
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError

from codec.link.broker import NO_USER, OPEN, PREFIX, SESSIONS, is_name, reply_topic
from codec.link.properties import CONTENT_TYPE, PROBLEM_TYPE, packet_bytes, read, written
from codec.serve.answering import Asked, Reply, answer, timing
from codec.serve.keeping import session_for
from codec.serve.models import TASKS
from codec.serve.problems import ProblemError
from codec.serve.shapes import AskHeaders, AskQuery, SessionRequest
from codec.serve.state import State

logger = logging.getLogger(__name__)
T = TypeVar("T", bound=BaseModel)

TOPIC_BYTES = 1 << 10
"""The longest topic of a reply; a request's is shorter."""


class Message(NamedTuple):
    """What came.

    Attributes:
        retained: also where its sender wanted it to be retained.
        refused: why it is to be refused whatever it asks; None where it is not.
    """

    topic: str
    body: bytes
    properties: Any
    retained: bool
    refused: ProblemError | None = None


class Letter(NamedTuple):
    """What goes out.

    Attributes:
        status: the status that the same reply would have over HTTP.
        repeated: nothing was run: the reply was kept from before.
    """

    topic: str
    body: bytes
    headers: dict[str, str]
    correlation: bytes | None
    status: int = 200
    repeated: bool = False


async def reply_to_message(state: State, message: Message) -> Letter:
    """The reply to a request of a device. Whatever the message is, there is one."""
    start_s = time.perf_counter()
    codec, device, verb = message.topic.removeprefix(f"{PREFIX}/").split("/")
    said, reply = read(message.properties), None
    topic = reply_topic(message.topic)
    try:
        if message.refused is not None:
            raise message.refused
        if message.retained:
            raise ProblemError(400, "a request is not to be retained: it would come again")
        if len(topic.encode()) > TOPIC_BYTES:
            raise ProblemError(400, f"a topic has at most {TOPIC_BYTES:,} bytes, its reply's too")
        if not is_name(device):
            raise ProblemError(400, "a device's name has 1 to 64 letters, digits, dots, - or _")
        who = f"mqtt:{device}"
        if device != NO_USER:
            state.status.devices.seen(who)
        if (codec, verb) == (SESSIONS, OPEN):
            opened = await session_for(_parsed(SessionRequest, message.body), state, who)
            return Letter(topic, opened.model_dump_json().encode(), {}, said.correlation)
        if verb not in TASKS:
            raise ProblemError(404, f"what is asked is one of {', '.join(TASKS)}")
        headers, query = _of(AskHeaders, said.headers), _of(AskQuery, said.headers)
        target = f"{message.topic}\0{query.model_dump_json()}"
        asked = Asked(codec, verb, who, said.kind, target, headers, query)
        reply = await answer(state, asked, message.body)
        letter = _letter(topic, reply, said.correlation)
    except ProblemError as problem:
        letter = refusal(topic, problem, said.correlation)
    except Exception as error:  # the next message is another one's
        letter = refusal(topic, failed(error), said.correlation)
    known = codec if codec in state.codecs else ""
    state.metrics.replied(known, verb if known and verb in TASKS else "", letter.status)
    if known:
        up = packet_bytes(message.topic, message.properties, len(message.body))
        back = written(letter.headers, letter.correlation)
        down = packet_bytes(letter.topic, back, len(letter.body))
        state.metrics.exchanged("mqtt", known, up, down)
    if reply is not None and reply.done is not None:
        state.metrics.whole(known, time.perf_counter() - start_s, reply.done)
    return letter


def failed(error: Exception) -> ProblemError:
    """What is said of a fault of the server's own; its log has the kind and place of the error, and
    nothing of the message.
    """
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = "?" if trace is None else f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
    logger.error("a message could not be answered: %s at %s", type(error).__name__, place)
    return ProblemError(500, "the server failed; its log says why")


def refusal(topic: str, problem: ProblemError, correlation: bytes | None) -> Letter:
    """The letter that says what a problem is."""
    headers = {CONTENT_TYPE: PROBLEM_TYPE}
    if problem.retry_after_s is not None:
        headers["Retry-After"] = str(problem.retry_after_s)
    body = json.dumps(problem.members()).encode()
    return Letter(topic, body, headers, correlation, problem.status)


def _letter(topic: str, reply: Reply, correlation: bytes | None) -> Letter:
    if reply.done is None:
        return Letter(topic, reply.body, {}, correlation, repeated=True)
    return Letter(topic, reply.body, {"Server-Timing": timing(reply.done)}, correlation)


def _of(shape: type[T], headers: dict[str, str]) -> T:
    """The members of a shape, from user properties.

    Raises:
        ProblemError: 422, they are not of the shape; nothing of them is in the message.
    """
    try:
        return shape.model_validate(headers)
    except ValidationError as error:
        raise _misformed(error) from error


def _parsed(shape: type[T], body: bytes) -> T:
    """A body of JSON, likewise."""
    try:
        return shape.model_validate_json(body)
    except ValidationError as error:
        raise _misformed(error) from error


def _misformed(error: ValidationError) -> ProblemError:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    return ProblemError(422, f"{place}: {first['msg']}")
