"""bytes or JSON -> the same, as an adversary would change them."""

from __future__ import annotations

import copy
import random
import struct
import zlib
from collections.abc import Sequence
from typing import Any

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 3, 17, 255, 4096, 65537, 2**31, 2**32 + 1, 2**63, 10**18),
    *(0.5, -0.5, 1e-9, 1e308, float("nan"), float("inf"), -float("inf")),
    *("", "0", "../../x", "/etc/passwd", "~", "a" * 5000, "\0", "é", "student", "blocks"),
    *([], {}, [0], [[]], [1, 2, 3], [0.5] * 3, [-1] * 16, [1] * 100_000, {"a": 1}, [None]),
)
"""What a value of JSON is replaced with."""


def some_bytes(rng: random.Random, data: bytes, others: Sequence[bytes] = (b"",)) -> bytes:
    """Flips, cuts, longer ones, splices, repeats and runs of one byte; one to three of these."""
    made = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        kind, n = rng.randrange(8), len(made)
        at = rng.randrange(n) if n else 0
        length = min(1 << rng.randrange(10), n - at)
        if kind == 0 and n:
            for _ in range(rng.choice((1, 1, 2, 8))):
                made[rng.randrange(n)] ^= 1 << rng.randrange(8)
        elif kind == 1 and n:
            made[at] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))
        elif kind == 2:
            del made[at if rng.random() < 0.5 else max(n - rng.randrange(1, 9), 0) :]
        elif kind == 3:
            made += rng.randbytes(rng.choice((1, 1, 2, 4, 100)))
        elif kind == 4:
            other = rng.choice(others)
            cut = rng.randrange(len(other) + 1)
            made[at:] = other[cut:]
        elif kind == 5:
            made[at:at] = made[at : at + length]
        elif kind == 6:
            del made[at : at + length]
        else:
            made[at : at + length] = bytes([rng.choice((0, 255, rng.randrange(256)))]) * length
    return bytes(made)


def some_json(rng: random.Random, values: Any) -> Any:
    """A few values, anywhere inside, replaced, removed, or put in again under another name."""
    made = copy.deepcopy(values)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        holder, key = made, None
        while True:
            inner = holder if key is None else holder[key]
            if not isinstance(inner, (dict, list)) or not inner or (key is not None and _coin(rng)):
                break
            holder = inner
            key = rng.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
        if key is None:
            continue
        kind = rng.randrange(5)
        if kind == 0:
            del holder[key]
        elif kind == 1 and isinstance(holder, dict):
            holder[rng.choice((f"{key}x", "", "../x"))] = holder[key]
        elif kind == 2 and isinstance(holder[key], (int, float)):
            holder[key] += rng.choice((1, -1, 0.5, 1000))
        else:
            holder[key] = copy.deepcopy(rng.choice(VALUES))
    return made


def _coin(rng: random.Random) -> bool:
    return rng.random() < 0.15


def png_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """A whole PNG file -> its chunks, as (kind, content)."""
    chunks, at = [], 8
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    return chunks


def png_file(chunks: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Chunks -> a PNG file whose lengths and checks are right."""
    parts = [
        struct.pack(">I", len(content)) + kind + content
        + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    ]  # fmt: skip
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def some_png(rng: random.Random, data: bytes) -> bytes:
    """A PNG file with a chunk that is changed, moved or put in twice, and right checks."""
    chunks = png_chunks(data)
    at = rng.randrange(len(chunks))
    kind, content = chunks[at]
    if kind == b"IDAT" and rng.random() < 0.5:  # what is packed inside, not the packed bytes
        chunks[at] = (kind, zlib.compress(some_bytes(rng, zlib.decompress(content))))
    elif rng.random() < 0.7:
        chunks[at] = (kind, some_bytes(rng, content))
    elif rng.random() < 0.5:
        chunks.insert(rng.randrange(len(chunks)), chunks.pop(at))
    else:
        chunks.insert(at, (rng.choice((b"acTL", b"iCCP", b"tRNS", b"eXIf", kind)), content))
    return png_file(chunks)
