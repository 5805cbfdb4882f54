"""session and frame counter of a LoRaWAN device -> a number that is never used twice, kept on the
server's disk; and what the counter says of frames that did not come.

    sequence = epoch * 2**32 + frame counter

The epoch grows with each join, and where a counter goes back within a session. It begins at the
minute of the first frame, so one that is forgotten is never used again either.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from codec.link.database import Database
from codec.link.uplinks import Uplink

KIND_ID = 0x74634643  # "tcFC"
SCHEMA = [
    """CREATE TABLE devices (
        name TEXT PRIMARY KEY, session TEXT NOT NULL, epoch INTEGER NOT NULL,
        highest INTEGER NOT NULL, newest_s REAL NOT NULL, digest BLOB NOT NULL,
        turn INTEGER NOT NULL)""",
    "CREATE INDEX oldest ON devices (turn)",
]


class Placed(NamedTuple):
    """Where a frame stands.

    Attributes:
        sequence: of the frame's key; the same for the same frame.
        n_missing: frames between the newest one before it and this one.
        late: a newer frame of the device came before it.
        repeated: it is the newest frame once more.
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
        clock: seconds since 1970, for frames whose network does not say when they came.

    Raises:
        OSError, ValueError: as `codec.link.database.Database`.
    """

    def __init__(
        self, path: str | Path, max_devices: int = 10_000, clock: Callable[[], float] = time.time
    ) -> None:
        self._max_devices, self._clock = max_devices, clock
        self._database = Database(path, "store of frame counters", KIND_ID, SCHEMA)

    def place(self, uplink: Uplink, digest: bytes) -> Placed:
        """Where a frame stands, in one change.

        Args:
            digest: of the frame and what it asks.

        Raises:
            OSError: the file cannot be read or written; the frame is to come again.
        """
        at_s = self._clock() if uplink.at_s is None else uplink.at_s
        with self._database.change() as connection:
            row = connection.execute(
                "SELECT session, epoch, highest, newest_s, digest FROM devices WHERE name = ?",
                (uplink.name,),
            ).fetchone()
            placed, kept = _place(uplink, digest, at_s, row)
            (turn,) = connection.execute("SELECT ifnull(max(turn), 0) + 1 FROM devices").fetchone()
            connection.execute(
                "INSERT OR REPLACE INTO devices VALUES (?, ?, ?, ?, ?, ?, ?)",
                (uplink.name, *kept, turn),
            )
            connection.execute(
                "DELETE FROM devices WHERE turn IN "
                "(SELECT turn FROM devices ORDER BY turn DESC LIMIT -1 OFFSET ?)",
                (self._max_devices,),
            )
        return placed

    def close(self) -> None:
        """Close the file; nothing is lost without it."""
        self._database.close()


def _place(uplink: Uplink, digest: bytes, at_s: float, row: Any) -> tuple[Placed, tuple[Any, ...]]:
    """Where a frame stands, and what is to be kept of its device."""
    counter, minute = uplink.counter, max(int(at_s // 60), 0) & 0x3FFFFFFF
    if row is None:
        first = (uplink.session, minute, counter, at_s, digest)
        return Placed((minute << 32) + counter), first
    session, epoch, highest, newest_s, before = row
    same, newer = session == uplink.session, at_s > newest_s
    if same and counter == highest and digest == before:
        return Placed((epoch << 32) + counter, repeated=True), tuple(row)
    if (same and counter <= highest and newer) or (not same and newer):
        epoch = max(epoch + 1, minute)
        again = Placed((epoch << 32) + counter, restarted=True)
        return again, (uplink.session, epoch, counter, at_s, digest)
    if not same:  # of the session before: too old for the store of replies, mostly
        return Placed(((epoch - 1) << 32) + counter, late=True), tuple(row)
    if counter <= highest:
        return Placed((epoch << 32) + counter, late=True), tuple(row)
    placed = Placed((epoch << 32) + counter, n_missing=counter - highest - 1)
    return placed, (session, epoch, counter, max(at_s, newest_s), digest)
