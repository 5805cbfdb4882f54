"""Blob <-> frame: nothing is lost but what the link brings itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec.coding.container import BitstreamError, pack
from codec.link.frames import SPARED_BYTES, from_frame, to_frame

FINGERPRINT = bytes(range(32))


@given(st.binary(max_size=60), st.integers(0, 15), st.booleans())
def test_a_blob_comes_back_byte_for_byte(payload: bytes, quality: int, raw: bool) -> None:
    blob = pack(payload, quality, FINGERPRINT, raw=raw)
    frame = to_frame(blob, FINGERPRINT)
    assert len(frame) == len(blob) - SPARED_BYTES == len(payload) + 1
    assert from_frame(frame, FINGERPRINT) == blob


@given(st.binary(max_size=40))
def test_any_bytes_are_a_frame_or_are_refused(data: bytes) -> None:
    try:
        blob = from_frame(data, FINGERPRINT)
    except BitstreamError:
        assert not data or data[0] >> 4 not in (2, 3)
    else:
        assert to_frame(blob, FINGERPRINT) == data


def test_a_blob_of_another_codec_makes_no_frame() -> None:
    blob = pack(b"abc", 3, FINGERPRINT)
    with pytest.raises(BitstreamError, match="another codec"):
        to_frame(blob, bytes(32))
    with pytest.raises(BitstreamError, match="damaged"):
        to_frame(blob[:-1] + b"x", FINGERPRINT)


@pytest.mark.parametrize(
    ("frame", "reason"),
    [(b"", "1 to"), ("abc", "bytes, not str"), (b"\x10a", "version 1"), (b"\x50a", "version 5")],
)
def test_what_is_no_frame_is_refused_with_its_reason(frame: bytes, reason: str) -> None:
    with pytest.raises(BitstreamError, match=reason):
        from_frame(frame, FINGERPRINT)
