"""frame of a LoRaWAN device -> its number, the same whenever the network delivers that frame, kept
on the server's disk; and what the frame counter says of frames that did not come.

A frame is known by its session, counter, time of reception and content. One that is not known is a
new one, and has the next number of its device, wherever its counter stands. So a number never rests
on a guess: whether a device began to count anew, or a frame came late, is only counted. The first
number is the clock's, so a device that was forgotten never has a number again either.
"""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from codec.link.database import Database
from codec.link.uplinks import Uplink

KIND_ID = 0x74634652  # "tcFR"
SCHEMA = [
    """CREATE TABLE devices (
        id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, session TEXT NOT NULL,
        highest INTEGER NOT NULL, newest_s REAL, sequence INTEGER NOT NULL,
        turn INTEGER NOT NULL)""",
    "CREATE INDEX oldest ON devices (turn)",
    """CREATE TABLE frames (
        device INTEGER NOT NULL, digest BLOB NOT NULL, sequence INTEGER NOT NULL,
        PRIMARY KEY (device, digest)) WITHOUT ROWID""",
]
KNOWN = 100
"""So many frames of a device are known again: as many as it has replies in the store of them."""
NUMBERS_PER_MS = 1 << 20
"""A device that is forgotten and comes back begins above all numbers that it had."""


class Placed(NamedTuple):
    """Where a frame stands.

    Attributes:
        sequence: of the frame's key; the same for the same frame.
        n_missing: frames between the newest one before it and this one.
        late: a newer frame of the device came before it, and it comes for the first time.
        repeated: it came before.
        restarted: the counter began anew: the device joined, or went back within its session.
    """

    sequence: int
    n_missing: int = 0
    late: bool = False
    repeated: bool = False
    restarted: bool = False


class Counters:
    """The frame counters of devices, over kills and restarts. Threads may share it.

    Args:
        path: a file of SQLite; made where there is none.
        max_devices: that are remembered; the one that was silent for longest makes room.
        clock: seconds since 1970, for a device's first number; no frame counts as later.

    Raises:
        OSError, ValueError: as `codec.link.database.Database`.
    """

    def __init__(
        self, path: str | Path, max_devices: int = 10_000, clock: Callable[[], float] = time.time
    ) -> None:
        self._max_devices, self._clock = max_devices, clock
        self._database = Database(path, "store of frame counters", KIND_ID, SCHEMA)

    def place(self, uplink: Uplink) -> Placed:
        """Where a frame stands, in one change.

        Raises:
            OSError: the file cannot be read or written; the frame is to come again.
        """
        digest, now_s = _digest(uplink), self._clock()
        at_s = None if uplink.at_s is None else min(uplink.at_s, now_s)
        with self._database.change() as connection:
            (turn,) = connection.execute("SELECT ifnull(max(turn), 0) + 1 FROM devices").fetchone()
            row = connection.execute(
                "SELECT id, sequence, session, highest, newest_s FROM devices WHERE name = ?",
                (uplink.name,),
            ).fetchone()
            if row is None:
                placed = Placed(int(1000 * now_s) * NUMBERS_PER_MS)
                after = (uplink.session, uplink.counter, at_s)
                number = connection.execute(
                    "INSERT INTO devices (name, session, highest, newest_s, sequence, turn) "
                    "VALUES (?, ?, ?, ?, ?, ?)",
                    (uplink.name, *after, placed.sequence, turn),
                ).lastrowid
                self._make_room(connection)
            else:
                number, sequence, *before = row
                connection.execute("UPDATE devices SET turn = ? WHERE id = ?", (turn, number))
                known = "SELECT sequence FROM frames WHERE device = ? AND digest = ?"
                if found := connection.execute(known, (number, digest)).fetchone():
                    return Placed(found[0], repeated=True)
                placed, after = _place(uplink, at_s, sequence + 1, *before)
                connection.execute(
                    "UPDATE devices SET session = ?, highest = ?, newest_s = ?, sequence = ? "
                    "WHERE id = ?",
                    (*after, placed.sequence, number),
                )
            connection.execute(
                "INSERT INTO frames VALUES (?, ?, ?)", (number, digest, placed.sequence)
            )
            connection.execute(
                "DELETE FROM frames WHERE device = ? AND sequence <= ?",
                (number, placed.sequence - KNOWN),
            )
        return placed

    def _make_room(self, connection: sqlite3.Connection) -> None:
        """Forget the devices that are too many, with their frames."""
        oldest = "SELECT id FROM devices ORDER BY turn DESC LIMIT -1 OFFSET ?"
        for gone in connection.execute(oldest, (self._max_devices,)).fetchall():
            connection.execute("DELETE FROM frames WHERE device = ?", gone)
            connection.execute("DELETE FROM devices WHERE id = ?", gone)

    def close(self) -> None:
        """Close the file; nothing is lost without it."""
        self._database.close()


def _digest(uplink: Uplink) -> bytes:
    """Of all that tells a frame from the device's others."""
    known_by = (uplink.session, uplink.counter, uplink.at_s, uplink.port, uplink.frame)
    return hashlib.sha256(repr(known_by).encode()).digest()


def _place(
    uplink: Uplink,
    at_s: float | None,
    sequence: int,
    session: str,
    highest: int,
    newest_s: float | None,
) -> tuple[Placed, tuple[str, int, float | None]]:
    """Where a new frame of a known device stands, and the session, counter and time of its newest
    frame from now on. Where no time says otherwise, the frame that comes last is the newest.
    """
    goes_on = session == uplink.session and uplink.counter > highest
    late = (
        at_s is not None
        and newest_s is not None
        and (at_s < newest_s or (at_s == newest_s and not goes_on))
    )
    if late:
        return Placed(sequence, late=True), (session, highest, newest_s)
    after = (uplink.session, uplink.counter, newest_s if at_s is None else at_s)
    if goes_on:
        return Placed(sequence, n_missing=uplink.counter - highest - 1), after
    return Placed(sequence, restarted=True), after
