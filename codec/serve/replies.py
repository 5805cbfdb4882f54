"""A request's key -> the reply that it got: why a request that comes twice is answered once.

The key is (device, sequence number), of `codec.link.queue`. A device that has no reply sends the
same request again; the reply of the first time is sent again, and nothing is run.

             floor                      highest
    sequence   |--- replies are kept ------|
    refused    |  answered again, or run   |  run

A sequence below the floor may have been answered, and no one knows any more: it is refused. The
floor follows the highest by the window; where a device must make room for others it goes past it.

A token may send for many devices, `token/device`: it is their owner. Where there are too many
devices, the owner of most of them makes room: first with the replies of one, and where too many are
known by their floor alone, with the floors of those that were answered longest ago.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from codec.link.database import Database

KIND_ID = 0x74635250  # "tcRP"
MAX_SEQUENCE = (1 << 63) - 1
MAX_REPLY_BYTES = 1 << 20
KNOWN_PER_KEPT = 100
"""So many devices are known, with their floor alone, for each one whose replies are kept."""
SCHEMA = [
    """CREATE TABLE devices (
        id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,
        floor INTEGER NOT NULL, highest INTEGER NOT NULL, turn INTEGER NOT NULL)""",
    "CREATE INDEX kept ON devices (turn) WHERE floor <= highest",
    """CREATE TABLE replies (
        device INTEGER NOT NULL, sequence INTEGER NOT NULL, digest BLOB NOT NULL,
        reply BLOB NOT NULL, UNIQUE (device, sequence))""",
]
OWNER = "substr(name, 1, instr(name || '/', '/') - 1)"
OF_MOST = f"""SELECT id FROM devices WHERE {{0}} AND {OWNER} = (
        SELECT {OWNER} FROM devices WHERE {{0}}
        GROUP BY 1 ORDER BY count(*) DESC, min(turn) LIMIT 1)
    ORDER BY turn LIMIT ?"""
"""Of the owner that has most devices of a kind, those that were answered longest ago."""
CROWDED = OF_MOST.format("floor <= highest")
"""Of those with replies."""
FORGOTTEN = f"DELETE FROM devices WHERE id IN ({OF_MOST.format('floor > highest')})"
"""Those without; several at once, since finding the owner takes a look at all."""
FIND = """SELECT devices.id, floor, digest, reply FROM devices
    LEFT JOIN replies ON device = devices.id AND sequence = ? WHERE name = ?"""


class KeyReused(ValueError):  # noqa: N818 - the device's mistake
    """A key has come before with another request."""


class TooOld(ValueError):  # noqa: N818 - the device's mistake
    """A sequence number is below those whose replies are kept."""


class Replies:
    """The replies of a server, on its disk, over kills and restarts.

    Threads and processes may share a file. Two that run the same request at once get one reply:
    that which was stored first.

    Args:
        path: a file of SQLite; made where there is none.
        window: how many sequence numbers of a device are kept, below its highest.
        max_devices: of how many devices replies are kept. One more takes the place of a device of
            the owner that has most, the one that was answered longest ago; its requests so far are
            too old from then on. 100 times as many are known; where there are more, devices of the
            owner of most are forgotten wholly: an old request of theirs would be run again.

    Raises:
        OSError: the file cannot be made, read or written, or another process keeps it.
        ValueError: a wrong argument, or the file is damaged or no store of replies.
    """

    def __init__(self, path: str | Path, window: int = 100, max_devices: int = 1000) -> None:
        if window < 1 or max_devices < 1:
            raise ValueError(
                f"a window and a number of devices are at least 1, not {window} and {max_devices}"
            )
        self.window, self.max_devices = window, max_devices
        self._database = Database(path, "store of replies", KIND_ID, SCHEMA)

    def begin(self, device: str, sequence: int, digest: bytes) -> bytes | None:
        """The reply that a request got before; None where it is to be run, and then stored.

        Args:
            digest: SHA-256 of what is asked: of the target, the headers that count, the body.

        Raises:
            KeyReused: the key has come with another digest.
            TooOld: the sequence is below the window, so whether it was answered is not known.
            ValueError: the sequence is no integer from 0 to 2**63 - 1.
            OSError: the file cannot be read; nothing is to be run, the device will come again.
        """
        _check(sequence)
        return _reply_in(self._database.rows(FIND, sequence, device), device, sequence, digest)

    def store(self, device: str, sequence: int, digest: bytes, reply: bytes) -> bytes:
        """Keep the reply to a request with its key, in one change; gives the reply to send, which
        is an earlier one where the same request was run twice at once.

        Raises:
            As `begin`, and ValueError for a reply of more than 1 MiB. No reply is to be sent then;
            after an OSError the device comes again.
        """
        _check(sequence)
        if len(reply) > MAX_REPLY_BYTES:
            raise ValueError(f"a reply has at most {MAX_REPLY_BYTES} bytes, not {len(reply)}")
        with self._database.change() as connection:
            rows = connection.execute(FIND, (sequence, device)).fetchall()
            found = _reply_in(rows, device, sequence, digest)
            if found is not None:
                return found
            latest = "SELECT ifnull(max(turn), 0) + 1 FROM devices WHERE floor <= highest"
            (turn,) = connection.execute(latest).fetchone()
            if rows:
                number = rows[0][0]
            else:
                number = connection.execute(
                    "INSERT INTO devices (name, floor, highest, turn) VALUES (?, 0, ?, ?)",
                    (device, sequence, turn),
                ).lastrowid
            connection.execute(
                "INSERT INTO replies VALUES (?, ?, ?, ?)", (number, sequence, digest, reply)
            )
            connection.execute(
                "UPDATE devices SET turn = ?, highest = max(highest, ?), "
                "floor = max(floor, ? + 1) WHERE id = ?",
                (turn, sequence, sequence - self.window, number),
            )
            connection.execute(
                "DELETE FROM replies WHERE device = ? AND sequence < "
                "(SELECT floor FROM devices WHERE id = ?)",
                (number, number),
            )
            self._make_room(connection)
            if not rows:
                self._forget(connection)
        return bytes(reply)

    def _make_room(self, connection: sqlite3.Connection) -> None:
        """Forget the replies of a device, where there are too many."""
        count = "SELECT count(*) FROM devices WHERE floor <= highest"
        while connection.execute(count).fetchone()[0] > self.max_devices:
            row = connection.execute(CROWDED, (1,)).fetchone()
            connection.execute("DELETE FROM replies WHERE device = ?", row)
            connection.execute("UPDATE devices SET floor = highest + 1 WHERE id = ?", row)

    def _forget(self, connection: sqlite3.Connection) -> None:
        """Forget devices that are known by their floor alone, where too many are known."""
        most = KNOWN_PER_KEPT * self.max_devices
        if connection.execute("SELECT count(*) FROM devices").fetchone()[0] > most:
            connection.execute(FORGOTTEN, (max(1, most // 100),))

    def __len__(self) -> int:
        """How many replies are kept."""
        return int(self._database.rows("SELECT count(*) FROM replies")[0][0])

    def close(self) -> None:
        """Close the file; nothing is lost without it."""
        self._database.close()


def owner_of(device: str) -> str:
    """The token that sends for a device."""
    return device.partition("/")[0]


def _check(sequence: int) -> None:
    if not 0 <= sequence < MAX_SEQUENCE:
        raise ValueError(f"a sequence number is from 0 to {MAX_SEQUENCE - 1}, not {sequence}")


def _reply_in(rows: list[Any], device: str, sequence: int, digest: bytes) -> bytes | None:
    """The reply among the rows of `FIND`; None where the request has not been answered."""
    if not rows:
        return None
    _, floor, stored_digest, reply = rows[0]
    if sequence < floor:
        raise TooOld(
            f"request {sequence} of device {device} is too old: replies are kept from {floor} on"
        )
    if reply is None:
        return None
    if stored_digest != digest:
        raise KeyReused(f"request {sequence} of device {device} has come with another content")
    return bytes(reply)
