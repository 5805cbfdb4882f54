"""folder of pictures -> outbox -> server -> answers: every new picture is answered once, in order.

What is encoded waits on the disk until it is answered, so neither a kill nor a lost link loses or
repeats anything. While the server is away the device may answer by itself; the server's answers
replace these when the link is back.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from codec.device.sources import pictures_in
from codec.link.client import SplitClient
from codec.link.http import UnansweredError
from codec.link.queue import Forgotten, Outbox, QueueFull
from codec.link.session import BLOB_TYPE, question_header, value_of

STATE_FILE = ".codec-watch.sqlite"
MAX_BYTES, MAX_REPLIES = 1 << 28, 100_000


class Seen(NamedTuple):
    """What became of a picture: the server's reply, or why there is none. A provisional reply is
    the device's own; the server's follows under the same name.
    """

    name: str
    reply: dict[str, Any] | None
    error: str | None
    provisional: bool = False


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
        self._taken: dict[str, int] = {}
        self._without: dict[int, Path] = {}  # what waits, without an answer of the device's own

    def look(self) -> list[Seen]:
        """Put the new pictures into the outbox, by time and then by name; gives those that are no
        pictures. One that has another size or time than at the last look is still being written,
        and waits. A name that has another time than when it was taken is a new picture.
        """
        found = {path.name: (stat, path) for stat, path in _files(self.folder)}
        self._taken = {name: at for name, at in self._taken.items() if name in found}
        new = [
            (stat, path)
            for name, (stat, path) in found.items()
            if self._taken.get(name) != stat.st_mtime_ns
        ]
        bad = []
        before = self._sizes
        self._sizes = {path.name: (stat.st_size, stat.st_mtime_ns) for stat, path in new}
        for stat, path in sorted(new, key=lambda one: (one[0].st_mtime_ns, one[1].name)):
            if before.get(path.name) != self._sizes[path.name]:
                break  # none goes before it
            try:
                self._put(path, stat.st_mtime_ns)
            except FileNotFoundError:
                continue
            except QueueFull:
                break
            except ValueError as error:
                bad.append(Seen(path.name, None, str(error)))
            self._taken[path.name] = stat.st_mtime_ns
            del self._sizes[path.name]
        return bad

    @property
    def n_unsettled(self) -> int:
        """How many pictures are still being written, or come behind such a one."""
        return len(self._sizes)

    def send(self) -> Iterator[Seen]:
        """Send what waits, in order, until the link fails or nothing waits. A request has been
        settled when the next one is asked for: who is killed before that gets its reply again.

        Raises:
            UnansweredError: the link failed, or the server refuses for a reason that is not the
                picture's: a token, a codec that it lacks, no time. What waits waits on.
            ValueError: the codec only answers questions, and there are none.
        """
        session = self._client.session
        while (item := self.outbox.next()) is not None:
            headers = dict(item.headers)
            name = headers.pop("Name")
            own = {"Sequence": str(item.sequence), "Device": self.outbox.device_id}
            own |= self._client.told()
            path = session.path("Question" in headers)
            reply = session.connection.post(path, item.body, headers | own)
            try:
                seen = Seen(name, value_of(reply), None)
            except UnansweredError:
                session.forget()
                raise
            except ValueError as error:
                seen = Seen(name, None, str(error))
            else:
                self._client.was_told()
            self._without.pop(item.sequence, None)
            yield seen
            self.outbox.done(item.sequence, reply.body)

    def by_itself(self, error: UnansweredError) -> Iterator[Seen]:
        """The device's own answers about the pictures that wait, once each and in order, where the
        client has `alone` and nothing is asked; `send` has the server's when the link is back.

        Args:
            error: of `send`: why the server does not answer.
        """
        while self._without:
            number = next(iter(self._without))
            path = self._without.pop(number)
            with suppress(UnansweredError, Forgotten, FileNotFoundError):
                if self.outbox.reply(number) is None:
                    yield self._own(path, error)

    def _own(self, path: Path, error: UnansweredError) -> Seen:
        """The device's own answer about a picture, or why it has none after all."""
        try:
            found = self._client.provisional(path, self._questions, error)
        except UnansweredError:
            raise
        except ValueError as wrong:
            return Seen(path.name, None, str(wrong), True)
        return Seen(path.name, {"task": "classify", "labels": found.answer}, None, True)

    def _put(self, path: Path, mtime_ns: int) -> None:
        """Encode a picture and put it into the outbox, unless it is there already."""
        name = f"{path.name} {mtime_ns}"
        headers = {"Name": path.name, "Content-Type": BLOB_TYPE}
        headers |= question_header(self._questions)
        body = b"" if name in self.outbox else self._client.encoder(path)
        number = self.outbox.put(body, headers, name)
        if self.outbox.reply(number) is None:
            self._without[number] = path


def _files(folder: Path) -> Iterator[tuple[os.stat_result, Path]]:
    """The pictures that are in a folder, without those that go meanwhile."""
    with suppress(FileNotFoundError):
        for path in pictures_in(folder):
            with suppress(FileNotFoundError):
                yield path.stat(), path
