"""Payloads of updates for the coders in C and in Python, and for the one in C once more with
sanitizers: all accept the same payloads, for the same reasons, and read the same symbols.

Input: the payload of an update of `TENSORS`.
"""

from __future__ import annotations

import random
import shutil
import struct
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codec.coding import update_native, update_portable
from codec.coding.container import BitstreamError
from codec.coding.update_tables import update_tables
from tests.attacks.mutate import some_bytes
from tests.attacks.sanitized import Driver, built

DRIVER = Path(__file__).parent / "sanitize_updates.c"
TENSORS = np.array([(4, 18, 9, 1), (3, 7, 1, 0), (1, 5, 1, 2), (1, 2, 1, 3), (1, 0, 1, 3)])
"""Rows, columns, kernel and kind of each tensor: a convolution, a matrix, a vector, integers, and
none."""
N = int((TENSORS[:, 0] * TENSORS[:, 1]).sum())
Read = tuple[NDArray[np.int32], NDArray[np.int32]]


class Updates:
    """The target. `note` says whether the sanitizers are there."""

    def __init__(self) -> None:
        folder = Path(tempfile.mkdtemp())
        (folder / "updates.c").write_text(update_native.SOURCE)
        program, why = built(folder, DRIVER)
        self.note = f"coders: C, Python; sanitizers: {why or 'yes'}"
        tables = b"".join(table.tobytes() for table in update_tables())
        start = struct.pack("=i", len(TENSORS)) + TENSORS.astype("=i8").tobytes() + tables
        self._driver = Driver(program, start) if program else None
        shutil.rmtree(folder)
        rng = np.random.default_rng(0)
        self._seeds = [_written(rng, spread) for spread in (0, 0.1, 0.3, 1, 5, 100, 1e5) * 3]

    def make(self, rng: random.Random) -> bytes:
        if rng.random() < 0.1:
            return rng.randbytes(rng.randrange(80))
        return some_bytes(rng, rng.choice(self._seeds), self._seeds)

    def check(self, data: bytes) -> None:
        ours, why = _read(update_native.run, data)
        other, other_why = _read(update_portable.run, data)
        assert why == other_why, f"C says {why!r}, Python {other_why!r}"
        assert _same(ours, other), "C and Python read other symbols"
        if self._driver is not None:
            assert _same(ours, _asked(self._driver, data)), "with sanitizers C reads other symbols"
        if ours is None:
            raise BitstreamError(why)

    def close(self) -> None:
        """End the program with the sanitizers."""
        if self._driver is not None:
            self._driver.close()


def _asked(driver: Driver, data: bytes) -> Read | None:
    said = driver.ask(struct.pack("=i", len(data)) + data, lambda _: 4 * (len(TENSORS) + N))
    if said is None:
        return None
    numbers = np.frombuffer(said, np.int32)
    return numbers[: len(TENSORS)], numbers[len(TENSORS) :]


def _written(rng: np.random.Generator, spread: float) -> bytes:
    """The payload of symbols from none to some that take many bits."""
    symbols = np.rint(rng.laplace(0, spread, N)).clip(-(2**23), 2**23).astype(np.int32)
    offsets = rng.integers(-1, 512, len(TENSORS)).astype(np.int32)
    prices = np.zeros(len(TENSORS), dtype=np.int64)
    return update_native.run(True, TENSORS, offsets, symbols, None, prices)


def _read(run: Any, data: bytes) -> tuple[Read | None, str]:
    offsets, symbols = np.zeros(len(TENSORS), np.int32), np.zeros(N, np.int32)
    try:
        run(False, TENSORS, offsets, symbols, None, np.zeros(len(TENSORS), np.int64), data)
    except BitstreamError as error:
        return None, str(error)
    return (offsets, symbols), ""


def _same(one: Read | None, other: Read | None) -> bool:
    if one is None or other is None:
        return one is other
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
