"""symbols <-> payload by C that the device's own compiler makes of `codec.native_c`: the bytes of `PortableEncoder`, sooner.

Part of the one file for devices. Whatever keeps the C away (no compiler, no place to write, another result than the portable coder's)
is a reason that is reported and no error: the portable coder does the same without.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING, Any

import numpy as np

from codec.bitstream import BitstreamError
from codec.native_c import SOURCE
from codec.rangecoder import (
    BYTE_TABLES,
    INVALID,
    PORTABLE,
    Coder,
    PortableDecoder,
    PortableEncoder,
    Tables,
    constriction_coder,
    shortest,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from codec.rangecoder import Integers

FLAGS = ("-std=c99", "-O2", "-shared", "-fPIC")
CODERS = ("constriction", "c", "numpy")
"""Names of the coders, the one that is taken first."""
_WIDEST = (1 << 64) - 1


class _Rows:
    """Tables as C takes them: where they are, how many, and their symbols."""

    def __init__(self, cdf: Integers) -> None:
        self.kept = np.ascontiguousarray(cdf, dtype=np.uint32)
        self.arguments = ctypes.c_void_p(self.kept.ctypes.data), len(self.kept), self.kept.shape[1] - 1


_BYTES = _Rows(BYTE_TABLES)


class NativeEncoder:
    """`PortableEncoder` with its loop in C: the same bytes."""

    def __init__(self, library: Any, tables: Tables) -> None:
        self._library, self._rows = library, _Rows(tables.cdf)
        self._settled, self._n_words = 0, 0
        self._state = (ctypes.c_uint64 * 2)(0, _WIDEST)

    def write(self, symbols: NDArray[np.int32], table: Integers | int) -> None:
        """As `Encoder.write`. Raises ValueError for a symbol or a table that there is not."""
        self._write(symbols, np.full(len(symbols), table) if isinstance(table, int) else table, self._rows)

    def write_bytes(self, values: NDArray[np.uint8]) -> None:
        """As `Encoder.write_bytes`."""
        if len(values):
            self._write(values, np.zeros(len(values), dtype=np.int32), _BYTES)

    def _write(self, symbols: Integers, table: Integers, rows: _Rows) -> None:
        places, chosen = np.ascontiguousarray(symbols, dtype=np.int32), np.ascontiguousarray(table, dtype=np.int32)
        n, carry = len(places), ctypes.c_uint32(0)
        if len(chosen) != n:
            raise ValueError(f"{n} symbols, but tables for {len(chosen)}")
        words = ctypes.create_string_buffer(4 * n + 1)
        n_new = self._library.coder_write(
            self._state, words, ctypes.byref(carry), places.ctypes.data, chosen.ctypes.data, n, *rows.arguments
        )
        if n_new < 0:
            raise ValueError("a symbol, or its table, is out of range")
        self._settled = ((self._settled + carry.value) << 32 * n_new) + int.from_bytes(ctypes.string_at(words, 4 * n_new), "big")
        self._n_words += n_new

    def finish(self) -> bytes:
        """As `Encoder.finish`."""
        low, width = self._state
        return shortest((self._settled << 64) + low, width, 32 * self._n_words + 64)


class NativeDecoder:
    """`PortableDecoder` with its loop in C: the same symbols."""

    def __init__(self, library: Any, payload: bytes, tables: Tables) -> None:
        self._library, self._payload, self._rows = library, bytes(payload), _Rows(tables.cdf)
        self._state = (ctypes.c_uint64 * 3)(int.from_bytes(payload[:8].ljust(8, b"\0"), "big"), _WIDEST, 8)

    def read(self, table: Integers | int, n: int | None = None) -> NDArray[np.int32]:
        """As `Decoder.read`."""
        return self._read(np.full(n or 0, table) if isinstance(table, int) else table, self._rows)

    def read_bytes(self, n: int) -> NDArray[np.uint8]:
        """As `Decoder.read_bytes`."""
        return self._read(np.zeros(n, dtype=np.int32), _BYTES).astype(np.uint8)

    def _read(self, table: Integers, rows: _Rows) -> NDArray[np.int32]:
        chosen, places = np.ascontiguousarray(table, dtype=np.int32), np.empty(len(table), dtype=np.int32)
        code = self._library.coder_read(
            self._state, self._payload, len(self._payload), places.ctypes.data, chosen.ctypes.data, len(places), *rows.arguments
        )
        if code:
            raise BitstreamError(INVALID)
        return places


def open_coder(name: str, folder: str) -> Coder:
    """The coder of that name. The one in C is compiled when it is first asked for, into `__pycache__` in `folder`.

    Raises:
        ValueError: it cannot be had here, or is none of `CODERS`; the message says why.
    """
    if name == "numpy":
        return PORTABLE
    if name == "constriction":
        return constriction_coder()
    if name != "c":
        raise ValueError(f"unknown coder {name!r}; there are: {', '.join(CODERS)}")
    library = _library(os.path.abspath(folder))
    return Coder("c", functools.partial(NativeEncoder, library), functools.partial(NativeDecoder, library))


def first_coder(folder: str) -> Coder:
    """The first of `CODERS` that can be had here."""
    for name in CODERS[:-1]:
        try:
            return open_coder(name, folder)
        except ValueError:
            continue
    return PORTABLE


@functools.cache
def _library(folder: str) -> Any:
    """The C code, loaded: from the folder's cache, else compiled into it."""
    about = f"{SOURCE} {FLAGS} {platform.machine()} {sys.maxsize} {sys.platform}"
    cache = os.path.join(folder, "__pycache__")
    path = os.path.join(cache, f"coder-{hashlib.sha256(about.encode()).hexdigest()[:16]}.so")
    if not os.path.isfile(path):
        _compile(cache, path)
    try:
        library = ctypes.CDLL(path)
        count, pointer, size = ctypes.c_long, ctypes.c_void_p, ctypes.c_int
        library.coder_write.argtypes = [pointer, pointer, pointer, pointer, pointer, count, pointer, size, size]
        library.coder_read.argtypes = [pointer, ctypes.c_char_p, ctypes.c_uint64, pointer, pointer, count, pointer, size, size]
        library.coder_write.restype = library.coder_read.restype = count
    except (OSError, AttributeError) as error:
        raise ValueError(f"{path} cannot be loaded: {error}; delete it, and it is compiled again") from error
    if not _agrees(library):
        raise ValueError(f"{path} gives other bytes than the portable coder")
    return library


def _compile(cache: str, path: str) -> None:
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise ValueError("no C compiler: neither cc, gcc nor clang is there")
    try:
        os.makedirs(cache, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as place:
            source, made = os.path.join(place, "coder.c"), os.path.join(place, "coder.so")
            with open(source, "w") as file:
                file.write(SOURCE)
            command = [compiler, *FLAGS, source, "-o", made]
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, check=False)
            if done.returncode:
                raise ValueError(f"{compiler} failed: {done.stdout.decode('utf-8', 'replace')[:300]}")
            os.replace(made, path)
    except (OSError, subprocess.SubprocessError) as error:
        raise ValueError(f"the coder cannot be compiled: {error}") from error


def _agrees(library: Any) -> bool:
    """Whether symbols and bytes, carries among them, are written as the portable coder writes them, and read back."""
    tables = Tables(np.array([[0, 1, 1 << 23, (1 << 24) - 1, 1 << 24], [0, 1 << 24 - 1, (1 << 24) - 2, (1 << 24) - 1, 1 << 24]], np.uint32))
    draws = np.arange(4000) * 2654435761 >> 7
    symbols, rows, values = (draws & 3).astype(np.int32), (draws >> 2 & 1).astype(np.int32), (draws[:200] >> 3).astype(np.uint8)
    coders = NativeEncoder(library, tables), PortableEncoder(tables)
    for coder in coders:
        coder.write(symbols, rows)
        coder.write_bytes(values)
    payload = coders[1].finish()
    if coders[0].finish() != payload:
        return False
    back, theirs = NativeDecoder(library, payload, tables), PortableDecoder(payload, tables)
    return bool((back.read(rows) == theirs.read(rows)).all() and (back.read_bytes(200) == values).all())
