"""blob -> Opened: blobs are read and decoded, one, a list, or each with a result of its own; and
the server's end of a session.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codec.coding.blobs import open_blob
from codec.coding.container import BitstreamError, is_of, restore
from codec.device.taking import Result, each_of
from codec.model import checkpoint
from codec.model.chunks import chunks
from codec.model.codec import FeatureCodec
from codec.model.opened import Opened, Tails

ONE = (bytes, bytearray, memoryview)
"""What is one blob, and not a list of them."""


class Reader:
    """Reads a codec's blobs: the part of `Server` that opens them.

    Args:
        codec: a loaded codec.

    Raises:
        TypeError: it is a name.
    """

    def __init__(self, codec: FeatureCodec) -> None:
        check_loaded(codec, type(self).__name__)
        self.codec = codec
        self._tails = Tails(codec, codec.tails)
        checkpoint.shipped_fingerprints()  # read now, so that a foreign blob is refused at once

    def open(self, blobs: bytes | Sequence[bytes]) -> Opened:
        """A blob, or a list of blobs in any mix of qualities -> what can be asked of them.

        Raises:
            BitstreamError: a blob is damaged, shortened, or of another codec; where that ships, the
                message says what it serves.
            ValueError: no blobs.
        """
        single = isinstance(blobs, ONE)
        many: Any = [blobs] if single else list(blobs)
        if not many:
            raise ValueError("no blobs to decode")
        return self._decoded(*self._read(many), single)

    def ask(self, blobs: bytes | Sequence[bytes], asked: Callable[[Opened, slice], Any]) -> Any:
        """What is asked of a blob, or of a list of blobs in one list.

        All of a list are read first, so that a damaged one costs no answer. Then they are decoded
        and asked in chunks, of which nothing is held but the answers.

        Args:
            asked: a blob, or some of the list, opened, and their places -> the answer, or a list of
                answers in order.

        Raises:
            BitstreamError: as `open`.
            ValueError: no blobs.
        """
        if isinstance(blobs, ONE):
            return asked(self.open(blobs), slice(1))
        many = list(blobs)
        if not many:
            raise ValueError("no blobs to decode")
        symbols, qualities = self._read(many)
        return [
            answer
            for some in chunks(len(many))
            for answer in asked(self._decoded(symbols[some], qualities[some]), some)
        ]

    def each(self, blobs: Iterable[bytes]) -> Iterator[Result]:
        """Blobs -> a `Result` for each, in order: the opened blob, or the `BitstreamError` that is
        this blob's own. 32 are decoded, and go through the vision blocks, at once.
        """
        return each_of(_one_by_one(blobs), self.checked, self._symbols, self._opened)

    def session(self, fingerprint: bytes) -> ServerSession:
        """The server's end of a session with a device, which sent its codec's fingerprint (32
        bytes).

        Raises:
            BitstreamError: it is that of another codec; where that ships, the message names it.
        """
        return ServerSession(self, fingerprint)

    def _read(self, blobs: list[bytes]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        try:
            return self.codec.read(blobs)
        except BitstreamError as error:
            raise _naming_writer(error, blobs, self.codec.fingerprint) from error

    def checked(self, blob: bytes) -> bytes:
        """The blob, whose header and check are right; its payload may be wrong."""
        try:
            open_blob(self.codec.prior, self.codec.fingerprint, blob)
        except BitstreamError as error:
            raise _naming_writer(error, [blob], self.codec.fingerprint) from error
        return blob

    def _symbols(self, blobs: list[bytes]) -> list[Any]:
        return list(zip(*self._read(blobs), strict=True))

    def _opened(self, read: list[Any]) -> list[Opened]:
        symbols, qualities = (np.stack(some) for some in zip(*read, strict=True))
        opened = self._decoded(symbols, qualities)
        return [opened[i] for i in range(len(read))]

    def _decoded(
        self, symbols: NDArray[np.int32], qualities: NDArray[np.int64], single: bool = False
    ) -> Opened:
        tokens = self.codec.decode_symbols(symbols, qualities)
        return Opened(self._tails, tokens, qualities, single)


class ServerSession:
    """The server's end of a session: it takes the blobs that the device's end shortened.

    Args:
        fingerprint: 32 bytes, from `DeviceSession.fingerprint`. Errors as `Server.session`.
    """

    def __init__(self, server: Reader, fingerprint: bytes) -> None:
        own = server.codec.fingerprint
        if bytes(fingerprint) != own:
            known = checkpoint.shipped_fingerprints().items()
            name = next((name for name, one in known if one == fingerprint), "none that ships")
            raise BitstreamError(
                f"the device's codec has the fingerprint {bytes(fingerprint).hex()} ({name}), and "
                f"this server's {server.codec.config.name} has {own.hex()}"
            )
        self.server, self.fingerprint = server, own

    def open(self, shorts: bytes | Sequence[bytes]) -> Opened:
        """A shortened blob, or a list of them -> what can be asked of them. Errors as `restore` and
        `Server.open`.
        """
        if isinstance(shorts, ONE):
            return self.server.open(restore(bytes(shorts), self.fingerprint))
        return self.server.open([restore(short, self.fingerprint) for short in shorts])

    def each(self, shorts: Iterable[bytes]) -> Iterator[Result]:
        """Shortened blobs -> a `Result` for each, as `Server.each`."""
        server = self.server
        return each_of(
            _one_by_one(shorts),
            lambda short: restore(short, self.fingerprint),
            server._symbols,
            server._opened,
        )


def check_loaded(codec: object, caller: str) -> None:
    """
    Raises:
        TypeError: a name, or a folder, where a loaded codec is wanted.
    """
    if isinstance(codec, (str, os.PathLike)):
        raise TypeError(
            f"{caller} takes a loaded codec, not its name: {caller}.from_pretrained({str(codec)!r})"
        )


def _one_by_one(blobs: Iterable[bytes]) -> Iterable[bytes]:
    """Blobs to be taken one after another; one blob is one of one."""
    return [bytes(blobs)] if isinstance(blobs, ONE) else blobs


def _naming_writer(
    error: BitstreamError, blobs: Sequence[bytes], fingerprint: bytes
) -> BitstreamError:
    """The error about one of several blobs, with the name of the shipped codec that wrote it."""
    refused = next((blob for blob in blobs if not is_of(blob, fingerprint)), None)
    name = None if refused is None else checkpoint.named_by(refused)
    if name is None:
        return error
    task = _task_of(checkpoint.shipped_root() / name)
    return BitstreamError(f"{error}; it is of {name}, which serves {task}")


@functools.cache
def _task_of(folder: Path) -> str:
    """What a shipped codec serves, from its configuration."""
    return str(json.loads((folder / checkpoint.CONFIG).read_text())["task"])
