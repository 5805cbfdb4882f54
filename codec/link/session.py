"""body -> reply within a session: which codec the server has, under which path it answers, and what
its replies say.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Protocol
from urllib.parse import quote

from codec.link.http import Response, UnansweredError

BLOB_TYPE = "application/octet-stream"
FINAL = (400, 409, 413, 415, 422)
"""Statuses that are about a request itself: the same one gets them again. Any other refusal is of
the server, the token or what lies between, and may be over the next time."""
_NO_SESSION = 404
MAX_ALONE = 1_000_000
"""The most answers of a device's own that a request may tell the server of, in `Alone`."""


class Posting(Protocol):
    """A connection over which requests go, of `codec.link.http` or `codec.link.mqtt`."""

    shortens: bool

    def post(self, path: str, body: bytes, headers: dict[str, str]) -> Response:
        """Send a request; gives the reply."""


class LinkSession:
    """Requests about one codec over one connection. The session is opened by the first of them, and
    anew where the server has forgotten it.

    Args:
        connection: to the server.
        fingerprint: 32 bytes, of the device's codec.
    """

    def __init__(self, connection: Posting, fingerprint: bytes) -> None:
        self.connection, self._fingerprint = connection, fingerprint
        self._opened: dict[str, Any] | None = None

    def verb(self, questions: bool) -> str:
        """What is asked of the server: answer, or else classify or caption.

        Raises:
            ValueError: the server lacks the codec; or there are no questions, and it does neither.
        """
        tasks = self._open(False)["tasks"]
        verb = next((one for one in ("classify", "caption") if one in tasks), None)
        if questions or verb is None:
            if not questions:
                raise ValueError("the codec only answers questions: ask one")
            return "answer"
        return verb

    def path(self, questions: bool) -> str:
        """Where the server does that. Errors as `verb`."""
        verb = self.verb(questions)
        return f"/v1/{quote(self._open(False)['codec'])}/{verb}"

    def ask_blob(self, blob: bytes, headers: dict[str, str], questions: bool) -> Response:
        """The reply to a blob; a shortened one where the connection shortens. Errors as `verb` and
        those of the connection.
        """
        own = {"Content-Type": BLOB_TYPE}
        if not self.connection.shortens:
            return self.connection.post(self.path(questions), blob, headers | own)
        for again in (False, True):
            session = {"Session": self._open(again)["session"]}
            reply = self.connection.post(self.path(questions), blob, headers | own | session)
            if reply.status != _NO_SESSION:
                break
        return reply

    def ask_picture(
        self, file: bytes, kind: str, headers: dict[str, str], questions: bool
    ) -> Response:
        """The reply to a picture file of a media type. Errors likewise."""
        return self.connection.post(self.path(questions), file, headers | {"Content-Type": kind})

    def forget(self) -> None:
        """The next request opens the session anew, for the server has another codec by now."""
        self._opened = None

    def _open(self, anew: bool) -> dict[str, Any]:
        if self._opened is None or anew:
            body = json.dumps({"fingerprint": self._fingerprint.hex()}).encode()
            headers = {"Content-Type": "application/json"}
            self._opened = value_of(self.connection.post("/v1/sessions", body, headers))
        return self._opened


def question_header(questions: Sequence[str]) -> dict[str, str]:
    """The header that asks questions; none for none."""
    asked = ",".join(quote(one, safe="") for one in questions)
    return {"Question": asked} if questions else {}


def value_of(reply: Response) -> dict[str, Any]:
    """The JSON of a reply.

    Raises:
        UnansweredError: the server refused, or sends elsewhere; or this is no reply of such a
            server.
        ValueError: it refused the request itself, with a status of `FINAL`.
    """
    kind = ValueError if reply.status in FINAL else UnansweredError
    try:
        value = json.loads(reply.body)
    except ValueError as error:
        raise kind(f"the server answered {reply.status}, and no JSON") from error
    if not isinstance(value, dict):
        raise kind(f"the server answered {reply.status}, and no object")
    if not 200 <= reply.status < 300:
        known = ", ".join(str(one.get("name")) for one in value.get("codecs", []))
        rest = f"; it has {known}" if known else ""
        reason = f"the server answered {reply.status}: {value.get('detail')}{rest}"
        if reply.status in FINAL:
            raise ValueError(reason)
        raise UnansweredError(reason, _retry_after_s(reply))
    return value


def _retry_after_s(reply: Response) -> float:
    """Seconds that a server with no time (429, 503) asks to wait, at most a day; 0 for none."""
    said = reply.headers.get("retry-after", "").strip()
    return float(min(int(said[:9]), 86_400)) if said.isdecimal() else 0.0


def answer_in(value: dict[str, Any]) -> Any:
    """The labels, the caption or the answers of a reply's JSON.

    Raises:
        ValueError: it has none of them.
    """
    for kind in ("labels", "caption", "answers"):
        if kind in value:
            return value[kind]
    raise ValueError("the server's reply holds no answer")


def server_ms(reply: Response) -> dict[str, float]:
    """Milliseconds by stage, as the header Server-Timing says them."""
    found = {}
    for part in reply.headers.get("server-timing", "").split(","):
        name, _, duration = part.strip().partition(";dur=")
        try:
            found[name] = float(duration)
        except ValueError:
            continue
    return found
