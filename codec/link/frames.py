"""blob <-> frame: the form of a blob on a link whose messages bring their own length and check.

    byte  bits  field
    0     7-4   format version, as in the blob
    0     3-0   quality, 0-15
    1-          payload

Both ends know the codec, and the link says how long a message is and whether it is whole (LoRaWAN's
integrity code, Sigfox' authentication code, Iridium's checksum): so nothing of the blob's header is
left but its first byte. The blob comes back byte for byte. What the link does not find, nothing
here does: a damaged frame mostly decodes, to a wrong picture of the image.
"""

from __future__ import annotations

from codec.coding.container import (
    HEADER_BYTES,
    MAX_BLOB_BYTES,
    RAW,
    BitstreamError,
    inspect,
    pack,
    unpack,
)

FRAME_HEADER_BYTES = 1
SPARED_BYTES = HEADER_BYTES - FRAME_HEADER_BYTES
"""How many bytes shorter a frame is than its blob."""


def to_frame(blob: bytes, fingerprint: bytes) -> bytes:
    """A blob -> its frame, 5 bytes shorter; `from_frame` is the inverse.

    Raises:
        BitstreamError: the blob is damaged or of another codec than the fingerprint's.
    """
    payload = unpack(blob, fingerprint).payload
    return bytes(blob)[:1] + payload


def from_frame(frame: bytes, fingerprint: bytes) -> bytes:
    """A frame -> the blob that it was made of.

    Raises:
        BitstreamError: not bytes, empty, too long, or of a format version that is none.
    """
    if not isinstance(frame, (bytes, bytearray, memoryview)):
        raise BitstreamError(f"a frame is bytes, not {type(frame).__name__}")
    n_bytes = memoryview(frame).nbytes
    if not FRAME_HEADER_BYTES <= n_bytes <= MAX_BLOB_BYTES - SPARED_BYTES:
        raise BitstreamError(
            f"a frame has {FRAME_HEADER_BYTES} to {MAX_BLOB_BYTES - SPARED_BYTES} bytes, "
            f"not {n_bytes}"
        )
    frame = bytes(frame)
    inspect(frame[:1] + bytes(HEADER_BYTES - 1))  # says what is wrong with a version
    version, quality = frame[0] >> 4, frame[0] & 15
    return pack(frame[1:], quality, fingerprint, raw=version == RAW)
