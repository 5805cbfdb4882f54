"""folder of files <-> one input: the files that differ from a whole folder's; and damaged JSON, npz
and safetensors, signed anew as an adversary would.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import random
import shutil
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from tests.attacks.mutate import some_bytes, some_json


class Workplace:
    """A copy of a folder in which files are changed and put back."""

    def __init__(self, whole: Path, work: Path) -> None:
        self._whole, self.work = whole, work
        shutil.copytree(whole, work)
        self._changed: set[str] = set()

    def put(self, data: bytes) -> Path:
        """Make the folder of an input."""
        for name in self._changed:
            shutil.copyfile(self._whole / name, self.work / name)
        files = {k: base64.b64decode(v) for k, v in json.loads(data).items()}
        self._changed = set(files)
        for name, content in files.items():
            (self.work / name).write_bytes(content)
        return self.work


def as_input(files: dict[str, bytes]) -> bytes:
    """The files that are changed -> an input."""
    return json.dumps({k: base64.b64encode(v).decode() for k, v in files.items()}).encode()


def json_bytes(rng: random.Random, values: Any) -> bytes:
    """A changed JSON file: values in it, or its bytes; at times a key twice."""
    if rng.random() < 0.8:
        return json.dumps(some_json(rng, values)).encode()
    text = json.dumps(values)
    if rng.random() < 0.2:
        text = text.replace("{", '{"format": 1, "format": 1, ', 1)
    return some_bytes(rng, text.encode())


def safetensors_bytes(rng: random.Random, data: bytes) -> bytes:
    """A changed safetensors file: its header's values, its header's length, or its bytes."""
    (length,) = struct.unpack("<Q", data[:8])
    kind = rng.random()
    if kind < 0.4:
        header = json.dumps(some_json(rng, json.loads(data[8 : 8 + length]))).encode()
        return struct.pack("<Q", len(header)) + header + data[8 + length :]
    if kind < 0.5:
        other = rng.choice((0, 1, length - 1, length + 1, 2**31, 2**63, 2**64 - 1))
        return struct.pack("<Q", other) + data[8:]
    if kind < 0.6:
        return data[:8] + some_bytes(rng, data[8 : 8 + length]) + data[8 + length :]
    start = rng.randrange(8 + length, len(data))
    return data[:start] + some_bytes(rng, data[start : start + 4096]) + data[start + 4096 :]


def npz_bytes(rng: random.Random, data: bytes) -> bytes:
    """A changed npz file: an array's values, shape or type, a bomb, a pickle, or its bytes."""
    if rng.random() < 0.3:
        return some_bytes(rng, data)
    with np.load(io.BytesIO(data)) as file:
        arrays: dict[str, Any] = dict(file)
    name, kind = rng.choice(sorted(arrays)), rng.randrange(8)
    array = arrays[name]
    if kind == 0:
        array.reshape(-1)[rng.randrange(array.size)] = rng.choice((0, 1, 100, 127))
    elif kind == 1:
        arrays[name] = array.astype(rng.choice(("f4", "f8", "i8", "u1", "c8", "U3", "O", "M8[s]")))
    elif kind == 2:
        arrays[name] = array[..., : rng.randrange(array.shape[-1])]
    elif kind == 3:
        arrays[name] = np.full_like(array, rng.choice((0, 127)))
    elif kind == 4:
        del arrays[name]
    elif kind == 5:
        arrays[name] = rng.choice((np.zeros(0), np.float64("nan"), np.array([{"a": 1}])))
    made = io.BytesIO()
    (np.savez_compressed if kind == 6 else np.savez)(made, **arrays)
    if kind != 7:
        return made.getvalue()
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(made.getvalue())) as old, zipfile.ZipFile(out, "w") as new:
        for part in old.infolist():
            content = old.read(part)
            if part.filename == f"{name}.npy":  # the header says another shape
                content = content.replace(b"'shape': (", b"'shape': (" + b"9" * rng.randrange(9), 1)
            new.writestr(part.filename, content)
    return out.getvalue()


def signed(files: dict[str, bytes], values: Any) -> Any:
    """A manifest's values, with the right SHA-256 of the changed files."""
    values = json.loads(json.dumps(values))
    for name in files:
        if isinstance(values.get("sha256"), dict) and name in values["sha256"]:
            values["sha256"][name] = hashlib.sha256(files[name]).hexdigest()
    return values
