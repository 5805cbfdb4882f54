"""payload <-> blob: a header of 6 bytes that says which codec wrote it, at which quality, and
whether it arrived whole.

    byte  bits  field
    0     7-4   format version: 2, an entropy-coded payload; 3, a raw one, a byte for each symbol
    0     3-0   quality, 0-15
    1-2         first two bytes of the codec's fingerprint
    3-5         check: CRC-32 (IEEE 802.3) of the codec's whole fingerprint, bytes 0-2 and the
                payload; its low 24 bits, big-endian
    6-          payload

There is no length field: a blob is as long as it is, and a cut or longer one fails the check. The
check covers all 32 bytes of the fingerprint, so a blob of another codec is refused even where the
two bytes in the header happen to agree.

Two sides that have agreed on the codec, by its fingerprint, can leave out what both know:
`shorten` keeps byte 0, the last two bytes of the check, and the payload; `restore` makes the very
same blob of these.
"""

from __future__ import annotations

import zlib
from typing import NamedTuple

CODED, RAW = 2, 3
HEADER_BYTES, SESSION_HEADER_BYTES = 6, 3
MAX_QUALITIES = 16
MAX_BLOB_BYTES = 1 << 24
"""A blob longer than this is refused before anything is allocated for it."""


class BitstreamError(ValueError):
    """The bytes are not a blob this codec can decode; the message says why."""


class Blob(NamedTuple):
    """What a header says: `fingerprint` is the codec's first two bytes, in hex."""

    version: int
    quality: int
    fingerprint: str
    payload: bytes

    @property
    def raw(self) -> bool:
        """Whether the payload is symbols as they are."""
        return self.version == RAW


def pack(payload: bytes, quality: int, fingerprint: bytes, raw: bool = False) -> bytes:
    """payload -> blob.

    Args:
        payload: symbols of one image, entropy-coded or raw.
        quality: rate index, 0 to 15.
        fingerprint: 32 bytes that name the codec (`codec.model.networks.fingerprint_of`).
        raw: whether the payload is not entropy-coded.

    Raises:
        ValueError: the quality or the fingerprint is out of range.
    """
    if not 0 <= quality < MAX_QUALITIES:
        raise ValueError(f"quality {quality} is not in 0..{MAX_QUALITIES - 1}")
    if len(fingerprint) != 32:
        raise ValueError(f"a fingerprint has 32 bytes, not {len(fingerprint)}")
    start = bytes([(RAW if raw else CODED) << 4 | quality]) + fingerprint[:2]
    return start + _check(start, payload, fingerprint) + payload


def inspect(blob: bytes) -> Blob:
    """Read the header of a blob of any codec, without checking the payload.

    Raises:
        BitstreamError: not bytes, shorter than a header, longer than 16 MiB, or of another format
            version.
    """
    if not isinstance(blob, (bytes, bytearray, memoryview)):
        raise BitstreamError(f"a blob is bytes, not {type(blob).__name__}")
    n_bytes = memoryview(blob).nbytes
    if not n_bytes:
        raise BitstreamError("the blob is empty")
    if n_bytes < HEADER_BYTES:
        raise BitstreamError(
            f"the blob has {n_bytes} bytes, fewer than its header of {HEADER_BYTES}"
        )
    if n_bytes > MAX_BLOB_BYTES:
        raise BitstreamError(
            f"the blob has {n_bytes} bytes, more than the {MAX_BLOB_BYTES} a blob may have"
        )
    blob = bytes(blob)
    version = blob[0] >> 4
    if version > RAW:
        known = f"this library reads versions up to {RAW}"
        raise BitstreamError(
            f"the blob is of format version {version}; {known}: update it, if this is a blob at all"
        )
    if version == 1:
        raise BitstreamError(
            "the blob is of format version 1, which this library no longer reads: its codecs had "
            "another prior"
        )
    if version < 1:
        raise BitstreamError("these bytes are not a blob: format version 0 does not exist")
    return Blob(
        version=version,
        quality=blob[0] & 15,
        fingerprint=blob[1:3].hex(),
        payload=blob[HEADER_BYTES:],
    )


def unpack(blob: bytes, fingerprint: bytes) -> Blob:
    """blob -> payload and quality, checked against the codec's fingerprint.

    Raises:
        BitstreamError: as `inspect`, or the blob is of another codec, or it is damaged.
    """
    read = inspect(blob)
    if read.fingerprint != fingerprint[:2].hex():
        raise BitstreamError(
            "the blob was written by another codec: its fingerprint starts with "
            f"{read.fingerprint}, "
            f"this codec's with {fingerprint[:2].hex()}"
        )
    blob = bytes(blob)
    if blob[3:HEADER_BYTES] != _check(blob[:3], read.payload, fingerprint):
        raise BitstreamError(
            "the blob is damaged: its checksum does not match (cut, altered, or of another codec)"
        )
    return read


def shorten(blob: bytes, fingerprint: bytes) -> bytes:
    """blob -> its form in a session whose two sides have agreed on the codec: 3 bytes fewer;
    `restore` is the inverse.

    Raises:
        BitstreamError: as `unpack`.
    """
    unpack(blob, fingerprint)
    blob = bytes(blob)
    return blob[:1] + blob[HEADER_BYTES - SESSION_HEADER_BYTES + 1 :]


def restore(short: bytes, fingerprint: bytes) -> bytes:
    """What `shorten` made of a blob -> the blob.

    Two bytes check it, where a blob has three: a damaged one is taken for whole with a chance of
    2**-16.

    Raises:
        BitstreamError: not bytes, shorter than its header, of another codec than the session's, or
            damaged.
    """
    if not isinstance(short, (bytes, bytearray, memoryview)):
        raise BitstreamError(f"a shortened blob is bytes, not {type(short).__name__}")
    n_bytes = memoryview(short).nbytes
    if not SESSION_HEADER_BYTES <= n_bytes <= MAX_BLOB_BYTES:
        raise BitstreamError(
            f"a shortened blob has {SESSION_HEADER_BYTES} to {MAX_BLOB_BYTES} bytes, not {n_bytes}"
        )
    short = bytes(short)
    start, payload = short[:1] + fingerprint[:2], short[SESSION_HEADER_BYTES:]
    check = _check(start, payload, fingerprint)
    if short[1:SESSION_HEADER_BYTES] != check[1:]:
        raise BitstreamError(
            "the shortened blob is damaged, or not of this session's codec: its check does not "
            "match"
        )
    blob = start + check + payload
    inspect(blob)
    return blob


def is_of(blob: bytes, fingerprint: bytes) -> bool:
    """Whether a blob is whole and of the codec with this fingerprint."""
    try:
        unpack(blob, fingerprint)
    except BitstreamError:
        return False
    return True


def _check(start: bytes, payload: bytes, fingerprint: bytes) -> bytes:
    return (zlib.crc32(fingerprint + start + payload) & 0xFFFFFF).to_bytes(3, "big")
