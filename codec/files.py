"""bytes <-> files, whole or not at all: how every file is written, what names its content, and how
JSON is read that others wrote. Folders are swapped whole by `codec.model.saving`.

Part of the one file for devices: Python 3.6, standard library.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_JSON_BYTES = 1 << 20
"""A JSON file longer than this is refused before it is parsed."""


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


def read_json(path: str | Path) -> dict[str, Any]:
    """The object in a JSON file that may come from anyone: of at most 1 MiB, each key once.

    Raises:
        OSError: there is no such file.
        ValueError: it is too long, not UTF-8, not JSON, nested too deeply or not an object, or it
            holds a key twice, NaN, infinity, or an integer of more than 20 digits.
    """
    with open(path, "rb") as file:
        data = file.read(MAX_JSON_BYTES + 1)
    if len(data) > MAX_JSON_BYTES:
        raise ValueError(f"it has more than {MAX_JSON_BYTES} bytes")
    try:
        values = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_each_once,
            parse_int=_short_integer,
            parse_constant=_not_a_number,
        )
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(values, dict):
        raise ValueError("it is not an object")
    return values


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("it holds a key twice")
    return values


def _short_integer(text: str) -> int:
    if len(text) > 20:  # reading a long one takes time that grows with its square
        raise ValueError("it holds an integer of more than 20 digits")
    return int(text)


def _not_a_number(text: str) -> Any:
    raise ValueError(f"it holds {text}, which is not JSON")
