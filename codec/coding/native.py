"""symbols (B, M, C) <-> payloads by C that the machine's own compiler makes of
`codec.coding.native_c`: the bytes of numpy's way, sooner.

Part of the one file for devices. Whatever keeps the C away (no compiler, no place to write, another
result than numpy's) is a reason that is reported and no error: the other coders do the same
without.
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

from codec.coding.container import BitstreamError
from codec.coding.context import EIGHTHS, FRACTION_BITS, LIMIT, N_SCALES, ContextNetwork
from codec.coding.integer_prior import REACH, IntegerPrior
from codec.coding.native_c import SOURCE
from codec.coding.rangecoder import INVALID, PORTABLE, Tables, constriction_coder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from codec.coding.rangecoder import Integers

_KNOWN = {
    "LIMIT": LIMIT,
    "REACH": REACH,
    "N_SCALES": N_SCALES,
    "EIGHTHS": EIGHTHS,
    "FRACTION_BITS": FRACTION_BITS,
}
FLAGS = (
    "-std=c99",
    "-O3",
    "-shared",
    "-fPIC",
    *[f"-D{name}={value}" for name, value in sorted(_KNOWN.items())],
)
CODERS = ("c", "constriction", "numpy")
"""Names of the coders, the one that is taken first."""
_SHORT, _INT = 1 << 15, 1 << 31

_POINTERS = (
    "order",
    "ends",
    "near",
    "network",
    "unit",
    "hidden",
    "hidden_bias",
    "shift",
    "out",
    "out_bias",
    "factor",
    "bias",
    "cdf",
)


class _Prior(ctypes.Structure):
    """`struct prior`."""

    _fields_ = [(name, ctypes.c_int) for name in ("m", "c", "h", "n_passes")] + [
        (name, ctypes.c_void_p) for name in _POINTERS
    ]


class NativeCoder:
    """Writes and reads the payloads of one prior.

    Args:
        network, tables: the prior's.
        folder: where the compiled code is, or is put.

    Raises:
        ValueError: there is no C here, or the network's sums do not fit its integers; the message
            says why.
    """

    def __init__(self, network: ContextNetwork, tables: Tables, folder: str) -> None:
        self._made_of, self._library = (network, tables, folder), _library(folder)
        hidden = LIMIT * np.abs(network.hidden.astype(np.int64)).sum(2) + np.abs(
            network.hidden_bias.astype(np.int64)
        ).max(0)
        most = (
            (np.abs(network.out.astype(np.int64)) * (hidden >> network.shift)[:, None])
            .sum(2)
            .max(0)
        )
        if (hidden >> network.shift).max() >= _SHORT or (
            most + np.abs(network.out_bias.astype(np.int64)).max(1)
        ).max() >= _INT:
            raise ValueError(
                "the sums of the prior's network do not fit the integers of the coder in C"
            )
        passes, (m, c, h) = (
            network.passes,
            (network.side**2, network.n_channels, network.hidden.shape[1]),
        )
        arrays = {
            "order": network.order,
            "ends": np.cumsum([len(positions) for positions, _ in passes]),
            "near": np.concatenate([neighbours for _, neighbours in passes]),
            "network": np.concatenate(
                [np.full(len(positions), i) for i, (positions, _) in enumerate(passes)]
            ),
            "out_bias": network.out_bias.T[network.order],
            **{
                name: getattr(network, name)
                for name in ("unit", "hidden_bias", "shift", "factor", "bias")
            },
        }
        self._kept = {
            name: np.ascontiguousarray(array, dtype=np.int32) for name, array in arrays.items()
        }
        self._kept["hidden"] = np.ascontiguousarray(network.hidden.swapaxes(1, 2), dtype=np.int16)
        self._kept["out"] = np.ascontiguousarray(network.out, dtype=np.int16)
        self._kept["cdf"] = np.ascontiguousarray(tables.cdf, dtype=np.uint32)
        self._struct = _Prior(
            m, c, h, len(passes), *[self._kept[name].ctypes.data for name in _POINTERS]
        )
        self._prior = ctypes.addressof(self._struct)
        self._n_symbols, self._shape = m * c, (m, c)
        # Parts of the memory for work, in bytes from its start: symbols' raw bytes or nothing,
        # payload, network's integers, known symbols.
        self._payload, self._numbers = m * c, m * c + 4 * m * c + 16
        self._numbers += -self._numbers % 4
        self._known = self._numbers + 4 * (h + 2 * c)
        self._n_work = self._known + 2 * ((m + 1) * c + h)

    def __reduce__(self) -> Any:
        """In another process, or on another machine, it is opened there; where that cannot be, the
        prior goes on without.
        """
        return _reopened, self._made_of

    def encode(self, symbols: Integers, quality: int) -> list[bytes]:
        """Symbols (B, M, C) in -127..127, of a quality that there is -> a payload each."""
        images = np.ascontiguousarray(symbols, dtype=np.int32)
        work, at, payloads = np.empty(self._n_work, dtype=np.uint8), images.ctypes.data, []
        raw = work.ctypes.data
        for place in range(at, at + 4 * images.size, 4 * self._n_symbols):
            n = self._library.prior_write(
                self._prior,
                quality,
                place,
                raw + self._payload,
                raw + self._known,
                raw + self._numbers,
                raw,
            )
            payloads.append(ctypes.string_at(raw + self._payload, n))
        return payloads

    def decode(
        self, payloads: Sequence[bytes], quality: int
    ) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
        """Payloads -> symbols, their places in their tables, and these tables, each (B, M * C) in
        the order of coding.

        Raises:
            BitstreamError: a payload leads beyond a table.
        """
        work, n = np.empty(self._n_work, dtype=np.uint8), len(payloads) * self._n_symbols
        read = np.empty((3, len(payloads), self._n_symbols), dtype=np.int32)
        at, raw = read.ctypes.data, work.ctypes.data
        for i, payload in enumerate(payloads):
            place = at + 4 * i * self._n_symbols
            if self._library.prior_read(
                self._prior,
                quality,
                payload,
                len(payload),
                place,
                place + 4 * n,
                place + 8 * n,
                raw + self._known,
                raw + self._numbers,
            ):
                raise BitstreamError(INVALID)
        return read[0], read[1], read[2]


def _reopened(network: ContextNetwork, tables: Tables, folder: str) -> NativeCoder | None:
    try:
        return NativeCoder(network, tables, folder)
    except ValueError:
        return None


def open_prior(
    network: ContextNetwork, tables: Tables, coder: str | None = None, folder: str | None = None
) -> IntegerPrior:
    """A prior whose payloads are written by the coder of that name, None for the first of `CODERS`
    that can be had.

    The one in C is compiled when it is first asked for, into `folder`; None for a folder of the
    user's cache.

    Raises:
        ValueError: it cannot be had here, or is none of `CODERS`; the message says why.
    """
    if coder is None:
        for name in CODERS[:-1]:
            try:
                return open_prior(network, tables, name, folder)
            except ValueError:
                continue
        coder = CODERS[-1]
    if coder == "numpy":
        return IntegerPrior(network, tables, PORTABLE)
    if coder == "constriction":
        return IntegerPrior(network, tables, constriction_coder())
    if coder != "c":
        raise ValueError(f"unknown coder {coder!r}; there are: {', '.join(CODERS)}")
    prior = IntegerPrior(
        network,
        tables,
        native=NativeCoder(network, tables, os.path.abspath(folder or cache_folder())),
    )
    if not _agrees(prior):
        raise ValueError("the coder in C gives other bytes than numpy's")
    return prior


def _agrees(prior: IntegerPrior) -> bool:
    """Whether the prior's payloads, of symbols from none but zeros to none that a table reaches,
    are those that numpy writes and reads.
    """
    network = prior.network
    shape = (4, network.side**2, network.n_channels)
    draws = (np.arange(int(np.prod(shape))) * 2654435761 >> 7) % (2 * LIMIT + 1) - LIMIT
    symbols = draws.reshape(shape) // np.array([LIMIT + 1, 32, 4, 1])[:, None, None]
    symbols[0] = 0
    for quality in {0, network.n_qualities - 1}:
        payloads = prior.encode(symbols, quality, portable=True)
        try:
            if prior.encode(symbols, quality) != payloads or not np.array_equal(
                prior.decode(payloads, quality), symbols
            ):
                return False
        except BitstreamError:
            return False
    return True


def cache_folder() -> str:
    """Where a computer keeps the compiled coder: in XDG_CACHE_HOME, or `.cache` of the home
    folder.
    """
    return os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache"),
        "task-codec",
    )


@functools.cache
def _library(folder: str) -> Any:
    """The C code, loaded from the folder, else compiled into it."""
    about = f"{SOURCE} {FLAGS} {platform.machine()} {sys.maxsize} {sys.platform}"
    path = os.path.join(folder, f"coder-{hashlib.sha256(about.encode()).hexdigest()[:16]}.so")
    if not os.path.isfile(path):
        _compile(folder, path)
    try:
        library = ctypes.CDLL(path)
        number, size, pointer = ctypes.c_int, ctypes.c_longlong, ctypes.c_void_p
        library.prior_write.argtypes = [
            pointer,
            number,
            pointer,
            pointer,
            pointer,
            pointer,
            pointer,
        ]
        library.prior_read.argtypes = [
            pointer,
            number,
            ctypes.c_char_p,
            size,
            pointer,
            pointer,
            pointer,
            pointer,
            pointer,
        ]
        library.prior_write.restype = library.prior_read.restype = size
    except (OSError, AttributeError) as error:
        raise ValueError(
            f"{path} cannot be loaded: {error}; delete it, and it is compiled again"
        ) from error
    return library


def _compile(folder: str, path: str) -> None:
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise ValueError("no C compiler: neither cc, gcc nor clang is there")
    try:
        os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as place:
            source, made = os.path.join(place, "coder.c"), os.path.join(place, "coder.so")
            with open(source, "w") as file:
                file.write(SOURCE)
            command = [compiler, *FLAGS, source, "-o", made]
            done = subprocess.run(
                command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, check=False
            )
            if done.returncode:
                raise ValueError(
                    f"{compiler} failed: {done.stdout.decode('utf-8', 'replace')[:300]}"
                )
            os.replace(made, path)
    except (OSError, subprocess.SubprocessError) as error:
        raise ValueError(f"the coder cannot be compiled: {error}") from error
