"""folder of pictures -> outbox -> server -> answers: every new picture is answered once, in order.

What is encoded waits on the disk until it is answered, so neither a kill nor a lost link loses or
repeats anything.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from codec.device.sources import pictures_in
from codec.link.client import SplitClient
from codec.link.queue import Outbox, QueueFull
from codec.link.session import BLOB_TYPE, question_header

STATE_FILE = ".codec-watch.sqlite"
MAX_BYTES, MAX_REPLIES = 1 << 28, 100_000
RETRIED = (408, 429, 500, 502, 503, 504)
"""Statuses that may be others the next time; any other is the answer that a request gets."""


class Seen(NamedTuple):
    """What became of a picture: the server's reply, or why there is none."""

    name: str
    reply: dict[str, Any] | None
    error: str | None


class Watch:
    """A folder whose new pictures are answered. One process at a time.

    Args:
        folder: of the pictures; the state is in a file in it. 100,000 answers are kept there: of
            more pictures, a new start answers the oldest again.
        client: to the server.
        questions: for a codec that answers questions.

    Raises:
        ValueError, OSError: the folder's state cannot be read or written.
    """

    def __init__(
        self, folder: str | os.PathLike[str], client: SplitClient, questions: Sequence[str] = ()
    ) -> None:
        self.folder, self._client, self._questions = Path(folder), client, questions
        self.outbox = Outbox(self.folder / STATE_FILE, MAX_BYTES, max_replies=MAX_REPLIES)
        self._sizes: dict[str, tuple[int, int]] = {}
        self._taken: set[str] = set()

    def look(self) -> list[Seen]:
        """Put the new pictures into the outbox, by time and then by name; gives those that are no
        pictures. One that has another size or time than at the last look is still being written,
        and waits.
        """
        try:
            found = [(path.stat(), path) for path in pictures_in(self.folder)]
        except FileNotFoundError:  # none, or one has gone meanwhile
            return []
        bad = []
        new = [(stat, path) for stat, path in found if path.name not in self._taken]
        before = self._sizes
        self._sizes = {path.name: (stat.st_size, stat.st_mtime_ns) for stat, path in new}
        for _, path in sorted(new, key=lambda one: (one[0].st_mtime_ns, one[1].name)):
            if before.get(path.name) != self._sizes[path.name]:
                break  # none goes before it
            try:
                self._put(path)
            except FileNotFoundError:
                continue
            except QueueFull:
                break
            except ValueError as error:
                bad.append(Seen(path.name, None, str(error)))
            self._taken.add(path.name)
            del self._sizes[path.name]
        return bad

    @property
    def n_unsettled(self) -> int:
        """How many pictures are still being written, or come behind such a one."""
        return len(self._sizes)

    def send(self) -> Iterator[Seen]:
        """Send what waits, in order, until the link fails or nothing waits.

        Raises:
            ValueError: the link failed, or the server has no time; what waits waits on.
        """
        while (item := self.outbox.next()) is not None:
            headers = dict(item.headers)
            name = headers.pop("Name")
            path = self._client.session.path("Question" in headers)
            own = {"Sequence": str(item.sequence), "Device": self.outbox.device_id}
            reply = self._client.session.connection.post(path, item.body, headers | own)
            if reply.status in RETRIED:
                raise ValueError(f"the server answered {reply.status}")
            self.outbox.done(item.sequence, reply.body)
            try:
                said = json.loads(reply.body)
            except ValueError:
                said = {"detail": "no JSON"}
            if reply.status == 200:
                yield Seen(name, said, None)
            else:
                yield Seen(name, None, f"{reply.status}: {said.get('detail')}")

    def _put(self, path: Path) -> None:
        """Encode a picture and put it into the outbox, unless it is there already."""
        name = f"{path.name} {path.stat().st_mtime_ns}"
        if name in self.outbox:
            return
        headers = {"Name": path.name, "Content-Type": BLOB_TYPE}
        headers |= question_header(self._questions)
        self.outbox.put(self._client.encoder(path), headers, name)
