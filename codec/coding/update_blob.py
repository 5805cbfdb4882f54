"""an update's payload <-> its blob: a header of 23 bytes that says of which weights it is, of which
round, and whether it arrived whole.

    byte   field
    0      format version, 1
    1-4    first four bytes of the fingerprint of the weights that it changes
    5-8    round, big-endian
    9-10   exponent of the common step, big-endian: the step is 2**(exponent / 32 - 44)
    11-14  check: CRC-32 of the whole fingerprint, bytes 0-10 and what follows
    15-22  first eight bytes of the fingerprint of the weights after it
    23-    payload
"""

from __future__ import annotations

import zlib
from typing import NamedTuple

from codec.coding.container import BitstreamError
from codec.coding.update_tables import N_STEPS

VERSION, HEADER_BYTES = 1, 23
MAX_ROUND = (1 << 32) - 1


class UpdateBlob(NamedTuple):
    """What an update says: `result` is the first eight bytes of the fingerprint after it."""

    round_number: int
    exponent: int
    result: bytes
    payload: bytes


def pack_update(update: UpdateBlob, fingerprint: bytes) -> bytes:
    """An update of the weights with this fingerprint, 32 bytes -> its blob."""
    start = bytes([VERSION]) + fingerprint[:4] + update.round_number.to_bytes(4, "big")
    start += update.exponent.to_bytes(2, "big")
    rest = update.result[:8] + update.payload
    return start + _check(start, rest, fingerprint) + rest


def unpack_update(
    blob: bytes, fingerprint: bytes, n_weights: int, round_number: int | None
) -> UpdateBlob:
    """Blob -> the update, checked against the weights' fingerprint and number.

    Args:
        round_number: the round that is expected; None takes any.

    Raises:
        BitstreamError: not bytes, too short or too long, of another version, foreign, damaged, of
            another round.
    """
    if not isinstance(blob, (bytes, bytearray, memoryview)):
        raise BitstreamError(f"an update is bytes, not {type(blob).__name__}")
    n_bytes = memoryview(blob).nbytes
    if n_bytes < HEADER_BYTES:
        raise BitstreamError(
            f"the update has {n_bytes} bytes, fewer than its header of {HEADER_BYTES}"
        )
    if n_bytes > max_bytes(n_weights):
        raise BitstreamError(
            f"the update has {n_bytes} bytes; one of {n_weights} weights takes at most "
            f"{max_bytes(n_weights)}"
        )
    blob = bytes(blob)
    if blob[0] != VERSION:
        raise BitstreamError(f"the update is of format version {blob[0]}, not {VERSION}")
    if blob[1:5] != fingerprint[:4]:
        raise BitstreamError(
            "the update is foreign: it was made for other weights than these; their fingerprint "
            f"starts with {blob[1:5].hex()}, that of these with {fingerprint[:4].hex()}"
        )
    start, rest = blob[:11], blob[15:]
    if blob[11:15] != _check(start, rest, fingerprint):
        raise BitstreamError("the update is damaged: its check does not match")
    found, exponent = int.from_bytes(blob[5:9], "big"), int.from_bytes(blob[9:11], "big")
    if round_number is not None and found != round_number:
        raise BitstreamError(
            f"the update is of round {found}, not of round {round_number}: sent again, or late"
        )
    if exponent >= N_STEPS:
        raise BitstreamError(f"the exponent {exponent} is not one of 0..{N_STEPS - 1}")
    return UpdateBlob(found, exponent, rest[:8], rest[8:])


def max_bytes(n_weights: int) -> int:
    """No update of so many weights is longer."""
    return HEADER_BYTES + 4096 + 8 * n_weights


def _check(start: bytes, rest: bytes, fingerprint: bytes) -> bytes:
    return zlib.crc32(fingerprint + start + rest).to_bytes(4, "big")
