"""engine that `build_engine.py` built -> a folder that nobody else can write to -> the same engine.

An engine is native code, so it is kept where compiled coders are (`codec.coding.compiled`), by the
bundle that it was built of, and loaded from nowhere else: what lies in a bundle is never loaded.
Part of the one file for devices: Python 3.6.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from codec.coding.compiled import is_own_file, private_cache
from codec.files import read_json, whole_file

if TYPE_CHECKING:
    from typing import Any

AGAIN = "build it again with build_engine.py"
ENGINE_SUFFIX, RECORD_SUFFIX, TIMING_SUFFIX = ".engine", ".json", ".timing"


def engine_path(digest: str) -> Path:
    """Where the engine of a bundle is, or would be.

    Args:
        digest: of the bundle's manifest, which names all that the bundle holds.

    Raises:
        ValueError, OSError: there is no place that is this user's alone; the message says why.
    """
    return private_cache() / f"encoder-{digest}{ENGINE_SUFFIX}"


def is_built(path: Path) -> bool:
    """Whether there is an engine, or something else in its place."""
    return os.path.lexists(str(path))


def keep_engine(path: Path, serialized: bytes, facts: dict[str, Any]) -> None:
    """Keep an engine, and the record that says what it is and where it works.

    Raises:
        OSError: they cannot be written.
    """
    record = dict(facts, engine_sha256=hashlib.sha256(serialized).hexdigest())
    _put(path, serialized)
    _put(path.with_suffix(RECORD_SUFFIX), json.dumps(record, indent=2).encode())


def read_engine(path: Path, tensorrt: str, gpu: str) -> bytes:
    """The engine that was kept, where it is whole and of this device.

    Args:
        tensorrt, gpu: what this device has.

    Raises:
        ValueError: another user could have written it, it was cut or replaced, or it was built for
            another TensorRT or GPU.
    """
    record_path = path.with_suffix(RECORD_SUFFIX)
    for file in (path, record_path):
        if is_built(file) and not is_own_file(file):
            raise ValueError(f"{file} is not a file of this user alone: {AGAIN}")
    try:
        record = read_json(record_path)
        built = {key: str(record[key]) for key in ("tensorrt", "gpu", "engine_sha256")}
        serialized = path.read_bytes()
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{path} lacks a whole {RECORD_SUFFIX} beside it: {AGAIN}") from error
    if hashlib.sha256(serialized).hexdigest() != built["engine_sha256"]:
        raise ValueError(
            f"{path} was cut or replaced: its SHA-256 is not the one written down when it was "
            f"built; {AGAIN}"
        )
    for key, name, here in (("tensorrt", "TensorRT", tensorrt), ("gpu", "the GPU", gpu)):
        if built[key] != here:
            raise ValueError(
                f"{path.name} was built for another device: {name} was {built[key][:40]}, here it "
                f"is {here[:40]}; {AGAIN}"
            )
    return serialized


def read_timing(path: Path) -> bytes:
    """What the last build of this engine measured; nothing where it is not this user's own."""
    timing = path.with_suffix(TIMING_SUFFIX)
    try:
        return timing.read_bytes() if is_own_file(timing) else b""
    except OSError:
        return b""


def keep_timing(path: Path, timing: bytes) -> None:
    """Keep what a build measured for the next one.

    Raises:
        OSError: it cannot be written.
    """
    _put(path.with_suffix(TIMING_SUFFIX), timing)


def _put(path: Path, content: bytes) -> None:
    with whole_file(path) as file:
        file.write_bytes(content)
        file.chmod(0o600)
