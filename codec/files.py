"""bytes <-> files, whole or not at all: the one way that anything here writes a file, and what
names its content.

Part of the one file for devices: Python 3.6, standard library.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Write a file whole or not at all.

    Gives a temporary path beside `path`, of the same suffix. What is written there takes the place
    of `path` at the end; where something was raised, it is removed and `path` stays as it was.

    Raises:
        OSError: `path` is not a file's name, or cannot be written; the message says why.
    """
    path = Path(path)
    if not path.name or (path.exists() and not path.is_file()):
        raise OSError(
            f"cannot write {str(path)!r}: it is there and is not a file"
            if path.name
            else f"{str(path)!r} is not a file's name"
        )
    if not path.parent.is_dir():
        raise OSError(f"cannot write {path}: there is no folder {path.parent}")
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        yield temporary
        # on the disk before it is under its name: a power cut leaves the old file or the new one
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    except OSError as error:
        raise OSError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        if temporary.exists():
            temporary.unlink()


def sha256(path: str | Path) -> str:
    """SHA-256 of a file, in hex."""
    state = hashlib.sha256()
    with open(path, "rb") as file:
        for part in iter(lambda: file.read(1 << 20), b""):
            state.update(part)
    return state.hexdigest()
