"""symbols <-> blobs: the prior's payload, or the symbols as they are where that is longer, in the
container; for device and server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from codec.coding.container import BitstreamError, Blob, pack, unpack

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from codec.coding.integer_prior import IntegerPrior


def write_blobs(
    prior: IntegerPrior, fingerprint: bytes, symbols: NDArray[np.int32], quality: int
) -> list[bytes]:
    """Symbols (B, M, C) int32 of one quality -> a blob each.

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
        BitstreamError: damaged, of another codec, of a quality it lacks, or of another length than
            its symbols can have.
    """
    read, network = unpack(blob, fingerprint), prior.network
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


def read_blob(
    prior: IntegerPrior, fingerprint: bytes, blob: bytes
) -> tuple[NDArray[np.int32], int]:
    """Blob -> symbols (M, C) int32, and their quality: the inverse of `write_blobs`. Errors as
    `open_blob`.
    """
    read, network = open_blob(prior, fingerprint, blob), prior.network
    if read.raw:
        values = np.frombuffer(read.payload, dtype=np.int8).astype(np.int32)
        return values.reshape(network.side**2, network.n_channels), read.quality
    return prior.decode([read.payload], read.quality)[0], read.quality
