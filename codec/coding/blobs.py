"""symbols <-> blobs: the prior's payload, or the symbols as they are where that is longer, in the
container.

For device and server: part of the one file for devices, Python 3.6, numpy.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import numpy as np

from codec.coding.container import BitstreamError, Blob, pack, restore, unpack
from codec.coding.exact import LIMIT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from codec.coding.integer_prior import IntegerPrior


def write_blobs(
    prior: IntegerPrior, fingerprint: bytes, symbols: NDArray[np.int32], quality: int
) -> list[bytes]:
    """Symbols (B, M, C) int32 of one quality -> a blob each; `read_blobs` is the inverse.

    Raises:
        ValueError: symbols of another shape, or beyond -127..127.
    """
    blobs = []
    for payload, image in zip(prior.encode(symbols, quality), symbols, strict=True):
        raw = len(payload) > image.size
        blobs.append(
            pack(image.astype(np.int8).tobytes() if raw else payload, quality, fingerprint, raw)
        )
    return blobs


def open_blob(prior: IntegerPrior, fingerprint: bytes, blob: bytes) -> Blob:
    """Blob -> its header and payload, checked against the codec.

    Raises:
        BitstreamError: damaged, shortened, of another codec, of a quality it lacks, or of another
            length than its symbols can have.
    """
    try:
        read, network = unpack(blob, fingerprint), prior.network
    except BitstreamError as error:
        raise _known_short(error, blob, fingerprint) from error
    if read.quality not in range(network.n_qualities):
        raise BitstreamError(
            f"quality {read.quality} is not one of this codec's 0..{network.n_qualities - 1}"
        )
    n_symbols = network.side**2 * network.n_channels
    if (read.raw and len(read.payload) != n_symbols) or len(read.payload) > n_symbols:
        raise BitstreamError(
            f"the payload has {len(read.payload)} bytes; this codec's take "
            f"{'' if read.raw else 'at most '}{n_symbols}"
        )
    return read


def _known_short(error: BitstreamError, blob: bytes, fingerprint: bytes) -> BitstreamError:
    """The error about a blob; where it is one that was shortened for a session, that."""
    try:
        restore(blob, fingerprint)
    except BitstreamError:
        return error
    return BitstreamError(
        "the blob was shortened for a session (a header of 3 bytes): restore it first, or open it "
        "in a session"
    )


def read_blobs(
    prior: IntegerPrior, fingerprint: bytes, blobs: Sequence[bytes]
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Blobs, in any mix of qualities -> their symbols (B, M, C) int32 and qualities (B,) int64: the
    inverse of `write_blobs`.

    A payload, raw or not, that `write_blobs` does not write for its symbols is refused.

    Raises:
        BitstreamError: as `open_blob`, or a payload is not what symbols are written to; of several
            blobs the message names the first that is wrong.
    """
    read, network, n = [], prior.network, len(blobs)
    for i, blob in enumerate(blobs):
        with _naming(i, n):
            read.append(open_blob(prior, fingerprint, blob))
    symbols = np.empty((n, network.side**2, network.n_channels), dtype=np.int32)
    for i, one in enumerate(read):
        if one.raw:
            with _naming(i, n):
                symbols[i] = _of_raw(prior, one)
    for q in sorted({one.quality for one in read if not one.raw}):
        places = [i for i, one in enumerate(read) if one.quality == q and not one.raw]
        try:
            symbols[places] = prior.decode([read[i].payload for i in places], q)
        except BitstreamError:
            for i in places:
                with _naming(i, n):
                    prior.decode([read[i].payload], q)
            raise
    return symbols, np.array([one.quality for one in read], dtype=np.int64)


def _of_raw(prior: IntegerPrior, blob: Blob) -> NDArray[np.int32]:
    """Symbols (M, C) of a raw payload, whose length is right."""
    network = prior.network
    symbols = np.frombuffer(blob.payload, dtype=np.int8).astype(np.int32)
    symbols = symbols.reshape(1, network.side**2, network.n_channels)
    if symbols.min() < -LIMIT:
        raise BitstreamError(f"the raw payload holds {symbols.min()}; symbols are -127..127")
    (coded,) = prior.encode(symbols, blob.quality)
    if len(coded) <= len(blob.payload):
        raise BitstreamError(
            f"the payload is raw, but its symbols take only {len(coded)} bytes when coded"
        )
    return symbols[0]


@contextlib.contextmanager
def _naming(place: int, n_blobs: int) -> Iterator[None]:
    """A `BitstreamError` inside says which of several blobs it is about."""
    try:
        yield
    except BitstreamError as error:
        if n_blobs == 1:
            raise
        raise BitstreamError(f"blob {place + 1} of {n_blobs}: {error}") from error
