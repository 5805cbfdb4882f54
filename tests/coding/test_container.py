"""The container: what is packed comes back, and nothing else is taken for it."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codec.coding.container import (
    CODED,
    HEADER_BYTES,
    MAX_BLOB_BYTES,
    RAW,
    SESSION_HEADER_BYTES,
    BitstreamError,
    inspect,
    pack,
    restore,
    shorten,
    unpack,
)

OURS, THEIRS = bytes(range(32)), bytes(range(1, 33))


@given(payload=st.binary(max_size=300), quality=st.integers(0, 15), raw=st.booleans())
def test_what_is_packed_comes_back(payload: bytes, quality: int, raw: bool) -> None:
    blob = pack(payload, quality, OURS, raw)
    read = unpack(blob, OURS)
    assert (read.payload, read.quality, read.raw, read.version) == (
        payload,
        quality,
        raw,
        RAW if raw else CODED,
    )
    assert len(blob) - len(payload) == HEADER_BYTES <= 8


@settings(max_examples=30)
@given(payload=st.binary(min_size=1, max_size=60), quality=st.integers(0, 15))
def test_a_blob_with_any_bit_flipped_is_refused(payload: bytes, quality: int) -> None:
    blob = pack(payload, quality, OURS)
    for bit in range(8 * len(blob)):
        damaged = bytearray(blob)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(BitstreamError):
            unpack(bytes(damaged), OURS)


@settings(max_examples=30)
@given(payload=st.binary(min_size=1, max_size=200))
def test_a_blob_cut_at_any_byte_is_refused(payload: bytes) -> None:
    blob = pack(payload, 3, OURS)
    for n in range(len(blob)):
        with pytest.raises(BitstreamError):
            unpack(blob[:n], OURS)


@settings(max_examples=50)
@given(payload=st.binary(max_size=60), extra=st.binary(min_size=1, max_size=9))
def test_a_blob_longer_than_it_was_is_refused(payload: bytes, extra: bytes) -> None:
    with pytest.raises(BitstreamError, match="checksum"):
        unpack(pack(payload, 0, OURS) + extra, OURS)


def test_a_blob_of_another_codec_is_refused_by_name() -> None:
    with pytest.raises(
        BitstreamError,
        match="written by another codec: its fingerprint starts with 0102, this codec's with 0001",
    ):
        unpack(pack(b"abc", 0, THEIRS), OURS)


def test_a_codec_whose_fingerprint_starts_alike_is_still_refused() -> None:
    with pytest.raises(BitstreamError, match="checksum"):
        unpack(pack(b"abc", 0, OURS[:2] + THEIRS[2:]), OURS)


def test_a_blob_of_a_future_version_asks_for_an_update() -> None:
    blob = bytearray(pack(b"abc", 0, OURS))
    blob[0] = (RAW + 1) << 4
    with pytest.raises(
        BitstreamError, match=r"version 4; this library reads versions up to 3: update"
    ):
        unpack(bytes(blob), OURS)


@pytest.mark.parametrize(
    ("blob", "reason"),
    [
        (b"", "empty"),
        (b"\x10\x00\x01", "3 bytes, fewer than its header"),
        (bytes(40), "version 0"),
        (b"\x10" + bytes(40), "version 1, which this library no longer reads"),
        ("text", "is bytes, not str"),
        (None, "is bytes, not NoneType"),
    ],
)
def test_what_is_no_blob_is_refused_with_the_reason(blob: object, reason: str) -> None:
    with pytest.raises(BitstreamError, match=reason):
        inspect(blob)  # type: ignore[arg-type]


def test_an_enormous_blob_is_refused_before_memory_is_taken_for_it() -> None:
    huge = memoryview(bytearray(b"\x10") + bytearray(MAX_BLOB_BYTES))
    tracemalloc.start()
    with pytest.raises(BitstreamError, match="more than"):
        unpack(huge, OURS)  # type: ignore[arg-type]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


@given(junk=st.binary(max_size=100))
def test_junk_is_refused_and_nothing_else_is_raised(junk: bytes) -> None:
    with pytest.raises(BitstreamError):
        unpack(junk, OURS)


@pytest.mark.parametrize(("quality", "fingerprint"), [(16, OURS), (-1, OURS), (0, b"short")])
def test_packing_refuses_what_the_header_cannot_hold(quality: int, fingerprint: bytes) -> None:
    with pytest.raises(ValueError, match=r"quality|fingerprint"):
        pack(b"", quality, fingerprint)


def test_blobs_are_the_bytes_they_always_were() -> None:
    assert pack(b"payload", 2, OURS).hex() == "2200012899b87061796c6f6164"
    assert pack(b"payload", 2, OURS, raw=True).hex() == "3200018618507061796c6f6164"


@given(payload=st.binary(max_size=60), quality=st.integers(0, 15), raw=st.booleans())
def test_a_session_sends_three_bytes_fewer_and_gets_the_very_same_blob(
    payload: bytes, quality: int, raw: bool
) -> None:
    blob = pack(payload, quality, OURS, raw)
    short = shorten(blob, OURS)
    assert len(blob) - len(short) == HEADER_BYTES - SESSION_HEADER_BYTES == 3
    assert restore(short, OURS) == blob


def test_a_shortened_blob_is_what_it_was() -> None:
    assert shorten(pack(b"abc", 7, OURS), OURS).hex() == "2720ad616263"


@settings(max_examples=30)
@given(payload=st.binary(min_size=1, max_size=60), quality=st.integers(0, 15))
def test_a_shortened_blob_with_a_flipped_bit_is_refused(payload: bytes, quality: int) -> None:
    short = shorten(pack(payload, quality, OURS), OURS)
    for bit in range(8 * len(short)):
        damaged = bytearray(short)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(BitstreamError):
            restore(bytes(damaged), OURS)


def test_what_is_no_shortened_blob_of_the_sessions_codec_is_refused() -> None:
    blob = pack(b"abc", 3, OURS)
    with pytest.raises(BitstreamError, match="written by another codec"):
        shorten(blob, THEIRS)
    for wrong, reason in (
        (shorten(blob, OURS)[:-1], "check does not match"),
        (blob, "check does not match"),
        (b"ab", "has 3 to 16777216 bytes, not 2"),
        (bytes(MAX_BLOB_BYTES + 1), "not 16777217"),
        ("abc", "is bytes, not str"),
    ):
        with pytest.raises(BitstreamError, match=reason):
            restore(wrong, OURS)  # type: ignore[arg-type]
    with pytest.raises(BitstreamError, match="check does not match"):
        restore(shorten(blob, OURS), THEIRS)
    with pytest.raises(BitstreamError):
        unpack(shorten(blob, OURS), OURS)
