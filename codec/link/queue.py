"""blob -> outbox -> reply: what the device has to send waits on its disk until it is answered.

    put -> [waiting, in order] -> next -> (the link, a server) -> done -> [replies] -> reply

A request stays in the outbox until its reply is in it, and has one number for all attempts. With a
server that answers a repeated number from what it keeps (`codec.serve.replies`), at least once here
is exactly once in effect.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from codec.link.clock import Moment, age_s, now
from codec.link.database import Database

KIND_ID = 0x74634F42  # "tcOB"
MIN_FILE_BYTES = 1 << 20
SPARE_PAGES = 8
"""Pages that the trees of tables may take for one more request, besides the request's own."""
SCHEMA = [
    """CREATE TABLE requests (
        sequence INTEGER PRIMARY KEY, name TEXT UNIQUE, body BLOB NOT NULL, headers TEXT NOT NULL,
        unix_s REAL NOT NULL, since_boot_s REAL NOT NULL, boot TEXT NOT NULL,
        reply BLOB, n_reply_bytes INTEGER)""",
    "CREATE INDEX waiting ON requests (sequence) WHERE reply IS NULL",
    "CREATE INDEX answered ON requests (sequence, n_reply_bytes) WHERE reply IS NOT NULL",
    """CREATE TABLE state (device_id TEXT NOT NULL, next_sequence INTEGER NOT NULL,
        n_dropped INTEGER NOT NULL, n_refused INTEGER NOT NULL)""",
]


class QueueFull(ValueError):  # noqa: N818 - a state, not a mistake of this program
    """There is no room for a request; the message says how much there is."""


class Forgotten(ValueError):  # noqa: N818 - a state, not a mistake of this program
    """A request was dropped before it was answered, or its reply is no longer kept."""


class Item(NamedTuple):
    """What will be sent, whole."""

    sequence: int
    body: bytes
    headers: dict[str, str]


class Outbox:
    """Requests on the device's disk: in order, each until it is answered, over kills and restarts.

    Every call is on the disk when it returns. Threads and processes may share a file; two that send
    from it may send the same request, which the server answers once.

    Args:
        path: a file of SQLite; made where there is none. Beside it lie `-wal` and `-shm`.
        max_bytes: what the file may take on the disk, at least 1 MiB: three quarters for requests,
            the rest for replies. The log beside it takes 1 MiB and the longest request more.
        when_full: "refuse" raises `QueueFull` for a new request; "drop-oldest" forgets the oldest
            that wait. Both are counted.
        max_replies: how many replies are kept; their bytes are at most an eighth of `max_bytes`.
        clock: gives this moment; ages come from it, the order never does.

    Raises:
        OSError: the file cannot be made, read or written, or another process keeps it.
        ValueError: a wrong argument, or the file is damaged or no outbox; the message says why.
    """

    def __init__(
        self,
        path: str | Path,
        max_bytes: int = 64 << 20,
        when_full: Literal["refuse", "drop-oldest"] = "refuse",
        max_replies: int = 1000,
        clock: Callable[[], Moment] = now,
    ) -> None:
        if max_bytes < MIN_FILE_BYTES:
            raise ValueError(f"an outbox takes at least {MIN_FILE_BYTES} bytes, not {max_bytes}")
        if when_full not in ("refuse", "drop-oldest"):
            raise ValueError(f"when_full is 'refuse' or 'drop-oldest', not {when_full!r}")
        if max_replies < 1:
            raise ValueError(f"an outbox keeps at least one reply, not {max_replies}")
        self.max_bytes, self.when_full, self.max_replies = max_bytes, when_full, max_replies
        self.max_reply_bytes = max_bytes // 8
        self._clock = clock
        first = f"INSERT INTO state VALUES ('{secrets.token_hex(8)}', 0, 0, 0)"
        self._database = Database(path, "outbox", KIND_ID, [*SCHEMA, first])
        try:
            self._database.check()
        except BaseException:
            self._database.close()
            raise
        self._page_bytes = self._database.pragma("page_size")

    def put(
        self, body: bytes, headers: Mapping[str, str] | None = None, name: str | None = None
    ) -> int:
        """Add a request behind all others; gives its sequence number, from 0 on.

        Args:
            headers: what goes with the body; no token, for it would lie in the file.
            name: what the request is about, such as a picture's file. A name that is in the outbox
                already, waiting or answered, is not added again: its number is given. So a caller
                that was killed before it had the number can put once more.

        Raises:
            QueueFull: there is no room, and the outbox refuses; or never can be for so long a body.
            OSError: the disk is full, or another process keeps the file; nothing was added.
        """
        body, text = bytes(memoryview(body)), json.dumps(dict(headers or {}))
        n_bytes = len(body) + len(text) + len(name or "")
        n_pages = n_bytes // (self._page_bytes - 4) + 1 + SPARE_PAGES
        with self._database.change() as connection:
            known = connection.execute("SELECT sequence FROM requests WHERE name = ?", (name,))
            if name is not None and (row := known.fetchone()):
                return int(row[0])
            if self._make_room(connection, n_pages):
                (sequence,) = connection.execute("SELECT next_sequence FROM state").fetchone()
                connection.execute(
                    "INSERT INTO requests VALUES (?, ?, ?, ?, ?, ?, ?, NULL, NULL)",
                    (sequence, name, body, text, *self._clock()),
                )
                connection.execute("UPDATE state SET next_sequence = next_sequence + 1")
                return int(sequence)
            connection.execute("UPDATE state SET n_refused = n_refused + 1")
        raise QueueFull(
            f"no room in {self._database.path} for a request of {n_bytes} bytes: it may take "
            f"{self.max_bytes} bytes, and {self.n_waiting} requests wait"
        )

    def _make_room(self, connection: sqlite3.Connection, n_pages: int) -> bool:
        """Whether `n_pages` fit into the file, after the oldest were dropped where that is the
        choice.
        """
        limit = self.max_bytes * 3 // 4 // self._page_bytes
        pragma = self._database.pragma
        can_drop = self.when_full == "drop-oldest" and n_pages <= limit // 2  # replies have a part
        while pragma("page_count") - pragma("freelist_count") + n_pages > limit:
            oldest = "SELECT min(sequence) FROM requests WHERE reply IS NULL"
            (sequence,) = connection.execute(oldest).fetchone()
            if sequence is None or not can_drop:
                return False
            connection.execute("DELETE FROM requests WHERE sequence = ?", (sequence,))
            connection.execute("UPDATE state SET n_dropped = n_dropped + 1")
        return True

    def next(self) -> Item | None:
        """The oldest request that waits, which stays; None where none waits."""
        rows = self._database.rows(
            "SELECT sequence, body, headers FROM requests WHERE reply IS NULL "
            "ORDER BY sequence LIMIT 1"
        )
        return Item(rows[0][0], rows[0][1], json.loads(rows[0][2])) if rows else None

    def done(self, sequence: int, reply: bytes) -> None:
        """Keep the reply to a request, which waits no longer, in one change.

        A second reply to the same request, or one to a request that was dropped, changes nothing.

        Raises:
            ValueError: no request has had this number, or the reply is too long.
            OSError: the disk is full, or another process keeps the file; the request waits on.
        """
        reply = bytes(memoryview(reply))
        if len(reply) > self.max_reply_bytes:
            raise ValueError(
                f"a reply of {len(reply)} bytes; this outbox keeps up to {self.max_reply_bytes}"
            )
        with self._database.change() as connection:
            (next_sequence,) = connection.execute("SELECT next_sequence FROM state").fetchone()
            _check_number(sequence, next_sequence)
            connection.execute(
                "UPDATE requests SET reply = ?, n_reply_bytes = ?, body = x'', headers = '' "
                "WHERE sequence = ? AND reply IS NULL",
                (reply, len(reply), sequence),
            )
            while True:
                n_replies, n_bytes, oldest = connection.execute(
                    "SELECT count(*), sum(n_reply_bytes), min(sequence) FROM requests "
                    "WHERE reply IS NOT NULL"
                ).fetchone()
                if n_replies <= self.max_replies and (n_bytes or 0) <= self.max_reply_bytes:
                    return
                connection.execute("DELETE FROM requests WHERE sequence = ?", (oldest,))

    def reply(self, sequence: int) -> bytes | None:
        """The reply to a request; None while it waits.

        Raises:
            Forgotten: it was dropped, or its reply has made room for later ones.
            ValueError: no request has had this number.
        """
        _check_number(sequence, self._one("SELECT next_sequence FROM state"))
        rows = self._database.rows("SELECT reply FROM requests WHERE sequence = ?", sequence)
        if not rows:
            raise Forgotten(f"request {sequence} was dropped, or its reply is no longer kept")
        found: bytes | None = rows[0][0]
        return found

    @property
    def device_id(self) -> str:
        """16 hex digits, drawn when the file was made: with a sequence number, a request's key."""
        return str(self._one("SELECT device_id FROM state"))

    @property
    def n_waiting(self) -> int:
        """How many requests wait for their reply."""
        return int(self._one("SELECT count(*) FROM requests WHERE reply IS NULL"))

    @property
    def n_dropped(self) -> int:
        """How many were forgotten unanswered, because newer ones took their room."""
        return int(self._one("SELECT n_dropped FROM state"))

    @property
    def n_refused(self) -> int:
        """How often a request was refused, because there was no room."""
        return int(self._one("SELECT n_refused FROM state"))

    @property
    def oldest_age_s(self) -> float:
        """Seconds that the oldest request has waited, never negative; 0 where none waits."""
        rows = self._database.rows(
            "SELECT unix_s, since_boot_s, boot FROM requests WHERE reply IS NULL "
            "ORDER BY sequence LIMIT 1"
        )
        return age_s(Moment(*rows[0]), self._clock()) if rows else 0.0

    def __contains__(self, name: object) -> bool:
        """Whether a request of this name waits, or was answered and is still kept."""
        return bool(self._database.rows("SELECT 1 FROM requests WHERE name = ?", name))

    def _one(self, query: str) -> Any:
        return self._database.rows(query)[0][0]

    def close(self) -> None:
        """Close the file; nothing is lost without it."""
        self._database.close()


def _check_number(sequence: int, next_sequence: int) -> None:
    if not 0 <= sequence < next_sequence:
        raise ValueError(f"no request has had the number {sequence}: the next is {next_sequence}")
