"""picture -> the way that suits the link -> answer: the device's end of split inference.

    client = SplitClient("http://host:8000", codec="vit-tiny-cifar10", deadline_ms=200)
    client("photo.jpg").answer

No torch where the codec is a bundle's folder.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from codec.device.taking import DeviceSession, Taking
from codec.link.choosing import Choosing, Spent
from codec.link.connecting import connect
from codec.link.encoders import alone_of, as_picture_file, known_ways, open_encoder, preprocess_of
from codec.link.http import NoReplyError, Response, UnansweredError
from codec.link.policy import ALONE, TOLERANCE, Choice, Way
from codec.link.session import (
    BLOB_TYPE,
    MAX_ALONE,
    LinkSession,
    answer_in,
    question_header,
    server_ms,
    value_of,
)

ASKED_FOR, NO_WAYS = "as asked for", "no ways to choose from are known: a blob"
MAX_NUMBERS = 1000
"""Of a caller's own (`sequence`), the last ones, whose ways are known."""


@dataclass(frozen=True)
class Answer:
    """What came back for a picture.

    Attributes:
        answer: labels, best first, as dicts with `label` and `score`; a caption; or the answers to
            the questions, in order.
        way: "blob q5", "picture:webp@24 q50" or "device alone".
        why: why this way.
        provisional: whether the device answered because the server did not: ask again later.
        quality: of the blob; None where none was sent.
        n_body_bytes: of what was sent as the body.
        n_bytes_up, n_bytes_down: on the wire, with headers; see `codec.link.http.Response`.
        stages_ms: milliseconds of `device` and `link`, and, as the server says, of `queue` and
            `run`. Together they are the time from the picture to the answer.
    """

    answer: Any
    way: str
    why: str
    provisional: bool
    quality: int | None
    n_body_bytes: int
    n_bytes_up: int
    n_bytes_down: int
    stages_ms: dict[str, float]


class SplitClient:
    """Has a server answer about pictures, each by the way that suits the link. One thread at a
    time.

    Args:
        url: of the server, http:// or https://; or of its broker, mqtt:// or mqtts://.
        codec: a bundle's folder; a codec's name or folder, which takes torch; or an encoder, a
            `Device` or `DeviceEncoder`.
        token: of this device; over MQTT its password.
        deadline_ms: when an answer has to be there; None for as soon as it can be.
        ways: that there are, by what is asked (classify, caption, answer). None for those in the
            bundle, or of the sweep in the codec's folder; without, every picture goes as a blob.
        alone: what the device makes of a picture by itself: a list of labels as the server gives
            them. None for the bundle's own classifier, where it has one. It is a way of its own,
            and answers where the server does not; not where the request is wrong.
        timeout_s: seconds until a reply must be there.
        tolerance, ms_per_byte: as `codec.link.policy.choose` has them; a price of each byte.

    Raises:
        FileNotFoundError, ValueError: the codec or its sweep cannot be loaded, or the address is
            none.
    """

    def __init__(
        self,
        url: str,
        codec: str | os.PathLike[str] | Taking,
        token: str | None = None,
        deadline_ms: float | None = None,
        *,
        ways: Mapping[str, Sequence[Way]] | None = None,
        alone: Callable[[Any], Any] | None = None,
        timeout_s: float = 30.0,
        tolerance: float = TOLERANCE,
        ms_per_byte: float = 0.0,
    ) -> None:
        self.encoder = codec if isinstance(codec, Taking) else open_encoder(codec)
        self._connection = connect(url, token, timeout_s)
        self._encode = DeviceSession(self.encoder) if self._connection.shortens else self.encoder
        self.session = LinkSession(self._connection, self.encoder.fingerprint)
        self._alone, self._n_alone = alone or alone_of(self.encoder), 0
        if ways is None:
            ways = known_ways(self.encoder, self._alone is not None)
        self._numbered: dict[int, Choice] = {}
        wanted = deadline_ms, tolerance, ms_per_byte
        self._choosing = {verb: Choosing(some, *wanted) for verb, some in ways.items()}

    def __call__(
        self,
        image: Any,
        questions: str | Sequence[str] = (),
        *,
        quality: int | None = None,
        max_bytes: int | None = None,
        sequence: int | None = None,
    ) -> Answer:
        """A picture -> its label or caption; with questions, their answers.

        Args:
            image: a picture, as `Device` takes it.
            questions: for a codec that answers questions.
            quality, max_bytes: of a blob, as `DeviceSession` takes them; then no way is chosen.
            sequence: a number that this device never uses for another request: if the reply is
                lost, the same call gets it again, by the same way, and nothing is run twice.

        Raises:
            FileNotFoundError, ValueError: the picture is none, or the server refuses it.
            UnansweredError: the server lacks the codec, does not let this device in, has no time or
                does not reply in time, and the device cannot answer. The message says why.
        """
        asked = [questions] if isinstance(questions, str) else list(questions)
        headers = question_header(asked) | self.told()
        if sequence is not None:
            headers["Sequence"] = str(sequence)
        try:
            choosing = self._choosing.get(self.session.verb(bool(asked)))
        except UnansweredError as error:
            return self.provisional(image, asked, error)
        way, why = None, NO_WAYS if choosing is None else ASKED_FOR
        if quality is not None or max_bytes is not None:
            choosing, why = None, ASKED_FOR
        if choosing is not None:
            choice = self._choice(choosing, sequence)
            way, why = choice.way.name, choice.why
        if way == ALONE:
            return self._by_itself(image, why, False, choosing)
        start = time.perf_counter()
        body, kind, way = self._body(image, way, quality, max_bytes)
        device_ms = 1000 * (time.perf_counter() - start)
        try:
            if kind == BLOB_TYPE:
                reply = self.session.ask_blob(body, headers, bool(asked))
            else:
                reply = self.session.ask_picture(body, kind, headers, bool(asked))
            found = _answer(reply, way, len(body), device_ms, choosing, why)
        except UnansweredError as error:
            if choosing is not None and isinstance(error, NoReplyError):
                choosing.failed(time.monotonic())
            return self.provisional(image, asked, error)
        self.was_told()
        return found

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _choice(self, choosing: Choosing, sequence: int | None) -> Choice:
        """The way of a picture: of a number that was sent before the same, for its body has to be
        the same.
        """
        if sequence in self._numbered:
            return self._numbered[sequence]
        choice = choosing.next(time.monotonic())
        if sequence is not None and choice.way.name != ALONE:
            self._numbered[sequence] = choice
            if len(self._numbered) > MAX_NUMBERS:
                del self._numbered[next(iter(self._numbered))]
        return choice

    def _body(
        self, image: Any, way: str | None, quality: int | None, max_bytes: int | None
    ) -> tuple[bytes, str, str]:
        """What is sent by a way, None for a blob as asked for; its media type; and the way."""
        if way is not None and not way.startswith("blob q"):
            return *as_picture_file(image, preprocess_of(self.encoder), way), way
        chosen = quality if way is None else int(way.removeprefix("blob q"))
        blob = self._encode(image, chosen, max_bytes=max_bytes)
        return blob, BLOB_TYPE, f"blob q{blob[0] & 15}"

    def _by_itself(
        self, image: Any, why: str, provisional: bool, choosing: Choosing | None
    ) -> Answer:
        assert self._alone is not None
        start = time.perf_counter()
        answer = self._alone(image)
        self._n_alone += 1
        device_ms = 1000 * (time.perf_counter() - start)
        if choosing is not None:
            choosing.alone(device_ms)
        return Answer(answer, ALONE, why, provisional, None, 0, 0, 0, {"device": device_ms})

    def told(self) -> dict[str, str]:
        """The header that tells the server how often the device has answered by itself since."""
        return {"Alone": str(min(self._n_alone, MAX_ALONE))} if self._n_alone else {}

    def was_told(self) -> None:
        """The server has replied to a request with that header."""
        self._n_alone = 0

    def provisional(self, image: Any, asked: Sequence[str], error: UnansweredError) -> Answer:
        """The device's own answer where the server has none.

        Raises:
            UnansweredError: the error, where the device cannot answer: it has no `alone`, or
                questions are asked.
        """
        if self._alone is None or asked:
            raise error
        lost = isinstance(error, NoReplyError)
        why = f"the server did not answer: {error}" if lost else str(error)
        return self._by_itself(image, why, True, None)


def _answer(
    reply: Response,
    way: str,
    n_body_bytes: int,
    device_ms: float,
    choosing: Choosing | None,
    why: str,
) -> Answer:
    """What a reply says, and what it took."""
    value, at_server = value_of(reply), server_ms(reply)
    link_ms = max(reply.latency_ms - sum(at_server.values()), 0.0)
    up, down = reply.n_bytes_up, reply.n_bytes_down
    if choosing is not None:
        spent = Spent(n_body_bytes, up, down, device_ms, link_ms, sum(at_server.values()))
        choosing.sent(way, spent, time.monotonic())
    stages = {"device": device_ms, "link": link_ms} | at_server
    quality = value["quality"]
    return Answer(answer_in(value), way, why, False, quality, n_body_bytes, up, down, stages)
