"""symbols of a change of weights <-> payload by codec/coding/updates.c: the bytes of
`codec.coding.update_portable`, sooner.
"""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from codec.coding.compiled import library
from codec.coding.container import BitstreamError
from codec.coding.update_tables import ELSEWHERE, NO_STEP, OTHER_FORM, TOO_LARGE, update_tables

if TYPE_CHECKING:
    from numpy.typing import NDArray

SOURCE = (Path(__file__).parent / "updates.c").read_text(encoding="utf-8")
KIND_BYTES = 1 << 14
"""Room for `struct kind`."""
NO_ROOM, SPARE = -1, 4096
WHY = {-2: ELSEWHERE, -3: TOO_LARGE, -4: NO_STEP, -5: OTHER_FORM}
"""What the codes of updates.c mean."""


class _Models(ctypes.Structure):
    _fields_ = [(name, ctypes.c_void_p) for name in ("stretch", "squash", "cost", "rates")]


@functools.lru_cache(maxsize=1)
def library_code() -> Any:
    """`update_code` of updates.c.

    Raises:
        ValueError: there is no C here.
    """
    found = library(SOURCE).update_code
    number, size, pointer = ctypes.c_int, ctypes.c_longlong, ctypes.c_void_p
    arrays, given, written = (pointer,) * 4, (pointer, size), (pointer, size)
    found.argtypes = [number, pointer, pointer, number, *arrays, *given, *written, *(pointer,) * 3]
    found.restype = size
    return found


def run(
    writing: bool,
    tensors: NDArray[np.int64],
    steps: NDArray[np.int32],
    symbols: NDArray[np.int32],
    wanted: NDArray[np.int32] | None,
    prices: NDArray[np.int64],
    payload: bytes = b"",
) -> bytes:
    """Write or read an update -> its payload. One that is read is also written once more, as only
    the encoder's form of an update is taken.

    Raises:
        ValueError: there is no C here; or a symbol or step to be written is too large.
        BitstreamError: the payload is none of these tensors, holds too large a symbol or step, or
            has another form than the encoder's.
    """
    code, tables = library_code(), update_tables()
    models = _Models(*[table.ctypes.data for table in tables])
    # zeros at the end are written first and then left out: a payload may need more room than it has
    room = (symbols.size if writing else len(payload)) + SPARE
    widest = int(tensors[:, 1].max()) if len(tensors) else 1
    columns, rows = np.empty(3 * widest, dtype=np.uint32), np.empty(2, dtype=np.uint32)
    kinds = np.empty(4 * KIND_BYTES, dtype=np.uint8)
    while True:
        buffer = np.empty(room, dtype=np.uint8)
        n = code(
            int(writing),
            ctypes.addressof(models),
            tensors.ctypes.data,
            len(tensors),
            steps.ctypes.data,
            symbols.ctypes.data,
            None if wanted is None else wanted.ctypes.data,
            prices.ctypes.data,
            payload,
            len(payload),
            buffer.ctypes.data,
            room,
            kinds.ctypes.data,
            rows.ctypes.data,
            columns.ctypes.data,
        )
        if n >= 0:
            return buffer[:n].tobytes()
        if n != NO_ROOM:
            raise (ValueError if writing else BitstreamError)(WHY[n])
        room *= 4
