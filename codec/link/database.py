"""Changes <-> a file of SQLite, each whole or not at all: what outbox and replies are kept in.

The file is in WAL mode with `synchronous=FULL` (sqlite.org/wal.html, sqlite.org/pragma.html): a
change is on the disk when it is made, and a kill or a power cut at any point leaves those before
it. Several threads and processes may use one file.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

WAL_BYTES = 1 << 20
"""The log beside the file is written back when it has about so many bytes, and is cut to them."""
BUSY_S = 10.0
"""Seconds that a change waits for another process's."""
FORMAT = 1


class Database:
    """A file of SQLite for one purpose.

    Args:
        path: made, for its owner alone, where there is none.
        kind: what it is, in words for a person, such as "outbox".
        kind_id: the same as SQLite's `application_id`, a 32-bit integer.
        schema: the statements that make its tables.

    Raises:
        OSError: the file cannot be made or read, or the file system holds no WAL.
        ValueError: it is damaged, something else, or of a newer format; the message says which.
    """

    def __init__(self, path: str | Path, kind: str, kind_id: int, schema: list[str]) -> None:
        self.path, self.kind = Path(path), kind
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
        self._lock = threading.Lock()
        with self._named_errors():
            self._connection = sqlite3.connect(
                self.path, timeout=BUSY_S, isolation_level=None, check_same_thread=False
            )
        try:
            self._begin_log()
            self._make(kind_id, schema)
        except BaseException:
            self._connection.close()
            raise

    def _begin_log(self) -> None:
        with self._named_errors():
            for left in reversed(range(100)):  # SQLite itself does not wait for this change
                try:
                    (mode,) = self._connection.execute("PRAGMA journal_mode=WAL").fetchone()
                    break
                except sqlite3.OperationalError as error:
                    if "locked" not in str(error) or not left:
                        raise
                    time.sleep(BUSY_S / 100)
            if mode != "wal":
                raise OSError(f"{self.path}: the file system holds no write-ahead log")
            self._connection.execute("PRAGMA synchronous=FULL")
            page_bytes = self.pragma("page_size")
            self._connection.execute(f"PRAGMA wal_autocheckpoint={WAL_BYTES // page_bytes}")
            self._connection.execute(f"PRAGMA journal_size_limit={WAL_BYTES}")

    def _make(self, kind_id: int, schema: list[str]) -> None:
        """Make the tables where there are none; otherwise look whether they are ours."""
        with self.change() as connection:
            found = self.pragma("application_id"), self.pragma("user_version")
            n_tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            if found == (0, 0) and not n_tables:
                for statement in schema:
                    connection.execute(statement)
                connection.execute(f"PRAGMA application_id={kind_id}")
                connection.execute(f"PRAGMA user_version={FORMAT}")
            elif found[0] != kind_id:
                raise ValueError(f"{self.path} is no {self.kind}, but another database")
            elif found[1] != FORMAT:
                raise ValueError(f"{self.path} has format {found[1]}; this program reads {FORMAT}")

    def pragma(self, name: str) -> int:
        """A number that SQLite knows of the file, such as `page_count`."""
        value: int = self._connection.execute(f"PRAGMA {name}").fetchone()[0]
        return value

    def check(self) -> None:
        """Read the whole file; raises `ValueError` where it is damaged."""
        for (found,) in self.rows("PRAGMA quick_check(1)"):
            if found != "ok":
                raise self._damaged(found)

    def rows(self, query: str, *values: Any) -> list[Any]:
        """The rows that one query gives, all of the same moment; errors as `change`."""
        with self._alone(), self._named_errors():
            return self._connection.execute(query, values).fetchall()

    @contextlib.contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """One change: what is executed in it is on the disk afterwards, or nothing of it is.

        Raises:
            OSError: the disk is full, cannot be written, or another process, or threads of this one
                that wait for it, keep the file (`TimeoutError`).
            ValueError: the file is damaged.
        """
        with self._alone(), self._named_errors():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):  # SQLite may have rolled back itself
                    self._connection.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other threads out. Each waits `BUSY_S` itself where another process has the file:
        without a bound here the last one would wait for all before it.
        """
        if not self._lock.acquire(timeout=BUSY_S):
            raise TimeoutError(f"{self.path}: other threads have kept it for {BUSY_S:g} seconds")
        try:
            yield
        finally:
            self._lock.release()

    @contextlib.contextmanager
    def _named_errors(self) -> Iterator[None]:
        """Raise SQLite's errors as ours, with the file's name and what to do."""
        try:
            yield
        except sqlite3.OperationalError as error:  # the system's: full, locked, not writable
            if "locked" in str(error):
                raise TimeoutError(
                    f"{self.path}: another process has kept it for {BUSY_S:g} seconds"
                ) from error
            raise OSError(f"{self.path}: {error}") from error
        except sqlite3.ProgrammingError as error:
            raise ValueError(f"{self.path}: {error}") from error
        except sqlite3.DatabaseError as error:
            raise self._damaged(str(error)) from error

    def _damaged(self, why: str) -> ValueError:
        why = " ".join(why.split())
        return ValueError(
            f"{self.path} is damaged, or no {self.kind}: {why}; move it away to begin a new one"
        )

    def close(self) -> None:
        """Close the file; what was done is on the disk already."""
        with self._lock:
            self._connection.close()
