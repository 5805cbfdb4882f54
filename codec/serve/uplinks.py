"""LoRaWAN uplink -> frame -> blob -> the same path as HTTP -> an answer for the application.

A device and the number of its frame are the key, so an uplink that comes twice is run once. Nothing
goes down to the device: a downlink takes the gateway's airtime from everyone, and the device sent
its picture for the application to know.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple, TypeVar, cast
from urllib.parse import quote
from weakref import WeakValueDictionary

from codec.coding.container import BitstreamError
from codec.link.broker import answer_topic
from codec.link.frames import from_frame
from codec.link.properties import CONTENT_TYPE
from codec.link.session import BLOB_TYPE
from codec.link.uplinks import Uplink, addressed, read_uplink
from codec.serve.answering import Asked, Reply, answer
from codec.serve.bodies import JSON_TYPE, too_long
from codec.serve.counters import Counters, Placed
from codec.serve.memory import remembered
from codec.serve.messages import Letter, Message, failed
from codec.serve.models import Served, Verb
from codec.serve.problems import ProblemError
from codec.serve.shapes import AskHeaders
from codec.serve.state import State
from codec.serve.storing import Storing

T = TypeVar("T")

MAX_BYTES = 1 << 16
"""The longest message of a network server that is read."""
ATTEMPTS, WAIT_S = 10, 1.0
"""An uplink is not sent again by anyone: while the server is busy, or a store fails, it waits."""
_FORM = re.compile(r"(?:(?P<port>\d{1,3})=)?(?P<codec>[^:=]+)(?::(?P<verb>[a-z]+)(?::(?P<q>.+))?)?")


class Rule(NamedTuple):
    """What is asked of the frames of a port.

    Attributes:
        port: LoRaWAN's FPort; None for every port that has no rule of its own.
        codec: its name.
        verb: what is asked.
        question: for `answer`.
    """

    port: int | None
    codec: str
    verb: Verb
    question: str | None


def rule_in(text: str, codecs: Mapping[str, Served]) -> Rule:
    """`[PORT=]NAME[:TASK[:QUESTION]]` -> the rule.

    Raises:
        ValueError: it is none, or of a codec that is not served or does not do that.
    """
    found = _FORM.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not [PORT=]NAME[:TASK[:QUESTION]]")
    port = None if found["port"] is None else int(found["port"])
    if port is not None and not 1 <= port <= 223:
        raise ValueError(f"an FPort of applications is 1 to 223, not {port}")
    if found["codec"] not in codecs:
        raise ValueError(f"{found['codec']} is not served; there are: {', '.join(codecs)}")
    verbs = codecs[found["codec"]].verbs
    verb = found["verb"] or verbs[0]
    if verb not in verbs:
        raise ValueError(f"{found['codec']} does not {verb}: it can {' and '.join(verbs)}")
    if (verb == "answer") != (found["q"] is not None):
        raise ValueError(f"{text!r}: a question belongs to `answer`, and to it alone")
    return Rule(port, found["codec"], cast(Verb, verb), found["q"])


class Uplinks:
    """Answers the uplinks of a server.

    Args:
        rules: what the frames of each port are.
        counters: of the devices' frames.
        storing: makes the calls of the counters.

    Raises:
        ValueError: two rules for one port.
    """

    def __init__(
        self, state: State, rules: Sequence[Rule], counters: Counters, storing: Storing
    ) -> None:
        self._state, self._counters, self._storing = state, counters, storing
        self._rules = {rule.port: rule for rule in rules}
        if len(self._rules) != len(rules):
            raise ValueError("there are two uplink codecs for one port")
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def answer(self, message: Message) -> Letter:
        """The answer to an uplink, or why there is none. Uplinks of one device are answered in the
        order in which they came.
        """
        address = addressed(message.topic)
        said: dict[str, object] = address._asdict()
        status, repeated, n_bytes = 200, False, 0
        rule: Rule | None = None
        async with self._locks.setdefault(address.name, asyncio.Lock()):
            try:
                uplink = self._read(message)
                said |= {"counter": uplink.counter, "port": uplink.port}
                said |= {"received_s": uplink.at_s, "airtime_s": uplink.airtime_s}
                n_bytes = uplink.n_bytes
                placed = await _patiently(lambda: self._place(uplink))
                self._count(uplink, placed)
                rule = self._rule(uplink)
                reply = await self._answer(uplink, rule, placed.sequence)
                said["reply"], repeated = json.loads(reply.body), reply.done is None
            except Exception as error:  # the next message is another one's
                problem = error if isinstance(error, ProblemError) else failed(error)
                said["problem"], status = problem.members(), problem.status
        codec, verb = ("", "") if rule is None else (rule.codec, rule.verb)
        self._state.metrics.replied(codec, verb, status)
        if codec and not repeated:
            self._state.metrics.exchanged("lorawan", codec, n_bytes, 0)
        topic, headers = (
            answer_topic(address.application, address.device),
            {CONTENT_TYPE: JSON_TYPE},
        )
        return Letter(topic, json.dumps(said).encode(), headers, None, status, repeated)

    def _read(self, message: Message) -> Uplink:
        if message.refused is not None:
            raise message.refused
        if message.retained:
            raise ProblemError(400, "an uplink is not to be retained: it would come again")
        if len(message.body) > MAX_BYTES:
            raise too_long(MAX_BYTES)
        try:
            return read_uplink(message.topic, message.body)
        except ValueError as error:
            raise ProblemError(400, str(error)) from error

    def _rule(self, uplink: Uplink) -> Rule:
        rule = self._rules.get(uplink.port, self._rules.get(None))
        if rule is None:
            raise ProblemError(404, f"no codec is set for FPort {uplink.port}")
        return rule

    async def _place(self, uplink: Uplink) -> Placed:
        call = self._storing.call(uplink.owner, self._counters.place, uplink)
        return await remembered(call)

    async def _answer(self, uplink: Uplink, rule: Rule, sequence: int) -> Reply:
        served = self._state.served(rule.codec)
        if not uplink.frame:
            raise ProblemError(400, "the frame carried nothing")
        try:
            blob = from_frame(uplink.frame, served.codec.fingerprint)
        except BitstreamError as error:
            raise ProblemError(400, str(error)) from error
        headers = AskHeaders(sequence=sequence, device=uplink.device)
        if rule.question is not None:
            headers.question = quote(rule.question, safe="")
        asked = Asked(
            rule.codec, rule.verb, uplink.owner, BLOB_TYPE, f"uplink/{rule.verb}", headers
        )
        return await _patiently(lambda: answer(self._state, asked, blob))

    def _count(self, uplink: Uplink, placed: Placed) -> None:
        """Count a frame, and once its time on the air: it took that whatever becomes of it."""
        if uplink.airtime_s is not None and not placed.repeated:
            told = self._state.status.uplink
            told(uplink.name, uplink.airtime_s, uplink.budget_s, uplink.at_s)
        count = self._state.metrics.frames
        count("placed", 1)
        count("missing", placed.n_missing)
        for what in ("late", "repeated", "restarted"):
            count(what, int(getattr(placed, what)))


async def _patiently(call: Callable[[], Awaitable[T]]) -> T:
    """What a call gives; it is made again while the problem is one that passes."""
    for _ in range(ATTEMPTS - 1):
        try:
            return await call()
        except ProblemError as problem:
            if problem.retry_after_s is None:
                raise
        await asyncio.sleep(WAIT_S)
    return await call()
