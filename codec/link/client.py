"""picture -> blob -> a server -> answer: the device's end of split inference.

    client = SplitClient("http://host:8000", codec="bundles/vit-tiny-cifar10")
    client("photo.jpg").answer

No torch where the codec is a bundle's folder.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from codec.device.encoder import DeviceEncoder
from codec.device.taking import DeviceSession, Taking
from codec.link.http import Connection, Response

BLOB_TYPE = "application/octet-stream"
NO_SESSION = 404


@dataclass(frozen=True)
class Answer:
    """What came back for a picture.

    Attributes:
        answer: labels, best first, as dicts with `label` and `score`; a caption; or the answers to
            the questions, in order.
        quality: of the blob.
        n_blob_bytes: of what was sent as the body.
        n_bytes_up, n_bytes_down: on the wire, with headers; see `codec.link.http.Response`.
        stages_ms: milliseconds of `encode` on the device; `link`; and, as the server says, `queue`
            and `run`. Together they are the time from the picture to the answer.
    """

    answer: Any
    quality: int
    n_blob_bytes: int
    n_bytes_up: int
    n_bytes_down: int
    stages_ms: dict[str, float]


class SplitClient:
    """Encodes pictures here and has a server answer. One thread at a time.

    The first call opens a session, so that later blobs have 3 bytes fewer; where the server has
    forgotten it, another one is opened.

    Args:
        url: of the server.
        codec: a bundle's folder; a codec's name or folder, which takes torch; or an encoder, a
            `Device` or `DeviceEncoder`.
        token: of this device.
        timeout_s: seconds until a reply must be there.

    Raises:
        FileNotFoundError, ValueError: the codec cannot be loaded, or the address is none.
    """

    def __init__(
        self,
        url: str,
        codec: str | os.PathLike[str] | Taking,
        token: str | None = None,
        timeout_s: float = 30.0,
    ) -> None:
        self.connection = Connection(url, token, timeout_s)
        self.encoder = codec if isinstance(codec, Taking) else open_encoder(codec)
        self._short = DeviceSession(self.encoder)
        self._session: dict[str, Any] | None = None

    def __call__(
        self,
        image: Any,
        questions: str | Sequence[str] | None = None,
        *,
        quality: int | None = None,
        max_bytes: int | None = None,
        sequence: int | None = None,
    ) -> Answer:
        """A picture -> its label or caption; with questions, their answers.

        Args:
            image: a picture, as `Device` takes it.
            questions: for a codec that answers questions.
            quality, max_bytes: as `DeviceSession` takes them.
            sequence: a number that this device never uses for another request: if the reply is
                lost, the same call gets it again, and nothing is run twice.

        Raises:
            FileNotFoundError, ValueError: the picture is none; the server lacks the codec, refuses,
                or does not reply in time. The message says why.
        """
        start = time.perf_counter()
        blob = self._short(image, quality, max_bytes=max_bytes)
        encode_ms = 1000 * (time.perf_counter() - start)
        asked = [questions] if isinstance(questions, str) else questions
        headers = {"Content-Type": BLOB_TYPE}
        if asked is not None:
            headers["Question"] = ",".join(quote(one, safe="") for one in asked)
        if sequence is not None:
            headers["Sequence"] = str(sequence)
        reply = self._ask(blob, headers, asked is not None)
        said = _said(reply)
        link_ms = reply.latency_ms - sum(said.values())
        value = _value(reply)
        kind = next(key for key in ("labels", "caption", "answers") if key in value)
        return Answer(
            value[kind],
            value["quality"],
            len(blob),
            reply.n_bytes_up,
            reply.n_bytes_down,
            {"encode": encode_ms, "link": link_ms} | said,
        )

    def path(self, questions: bool) -> str:
        """Where the server answers questions, or classifies or captions. Errors as a call."""
        session = self._opened(False)
        verb = "answer" if questions else _verb(session["tasks"])
        return f"/v1/{quote(session['codec'])}/{verb}"

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()

    def _ask(self, blob: bytes, headers: dict[str, str], questions: bool) -> Response:
        """The server's reply to a shortened blob, in a session that it knows."""
        for again in (False, True):
            session = self._opened(again)
            own = headers | {"Session": session["session"]}
            reply = self.connection.post(self.path(questions), blob, own)
            if reply.status != NO_SESSION:
                break
        return reply

    def _opened(self, anew: bool) -> dict[str, Any]:
        """The session; opened where there is none."""
        if self._session is None or anew:
            body = json.dumps({"fingerprint": self.encoder.fingerprint.hex()}).encode()
            headers = {"Content-Type": "application/json"}
            self._session = _value(self.connection.post("/v1/sessions", body, headers))
        return self._session


def open_encoder(codec: str | os.PathLike[str]) -> Taking:
    """A bundle's folder -> its encoder, without torch; a codec's name or folder -> its `Device`.

    Raises:
        FileNotFoundError, ValueError: there is none, or it is not whole.
    """
    if os.path.isfile(os.path.join(codec, "manifest.json")) and not os.path.isfile(
        os.path.join(codec, "codec.safetensors")
    ):
        return DeviceEncoder(os.fspath(codec))
    try:
        from codec import Device
    except ImportError as error:
        raise ValueError(
            f"{codec} is no bundle's folder, and {error.name} is missing, which loading a codec "
            "takes: export a bundle of it"
        ) from error
    return Device.from_pretrained(codec)


def _verb(tasks: Sequence[str]) -> str:
    """What is asked where there are no questions."""
    for verb in ("classify", "caption"):
        if verb in tasks:
            return verb
    raise ValueError("the codec only answers questions: ask one")


def _value(reply: Response) -> dict[str, Any]:
    """The JSON of a reply.

    Raises:
        ValueError: the server refused; or this is no reply of such a server.
    """
    try:
        value = json.loads(reply.body)
    except ValueError as error:
        raise ValueError(f"the server answered {reply.status}, and no JSON") from error
    if not isinstance(value, dict):
        raise ValueError(f"the server answered {reply.status}, and no object")
    if reply.status >= 400:
        known = ", ".join(str(one.get("name")) for one in value.get("codecs", []))
        rest = f"; it has {known}" if known else ""
        raise ValueError(f"the server answered {reply.status}: {value.get('detail')}{rest}")
    return value


def _said(reply: Response) -> dict[str, float]:
    """Milliseconds by stage, as the header Server-Timing says them."""
    found = {}
    for part in reply.headers.get("server-timing", "").split(","):
        name, _, duration = part.strip().partition(";dur=")
        try:
            found[name] = float(duration)
        except ValueError:
            continue
    return found
