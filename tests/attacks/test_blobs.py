"""Blobs made by an adversary who knows the codec: whatever has a right check and is not what the
encoder writes is refused, by every decoder alike.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from codec.coding.blobs import read_blobs, write_blobs
from codec.coding.container import BitstreamError, pack, restore, shorten, unpack
from codec.coding.integer_prior import IntegerPrior
from codec.coding.opening import CODERS, open_prior
from tests.attacks.fuzz_blobs import with_rare_escapes

SIDE, CHANNELS, QUALITIES = 4, 3, 2
PRINT = bytes(range(32))


@pytest.fixture(scope="module")
def plain(make_prior: Callable[..., IntegerPrior]) -> IntegerPrior:
    return make_prior(SIDE, CHANNELS, QUALITIES, seed=3)


@pytest.fixture(scope="module", params=CODERS)
def prior(plain: IntegerPrior, request: pytest.FixtureRequest) -> IntegerPrior:
    try:
        return open_prior(plain.network, plain.tables, request.param)
    except ValueError as error:
        pytest.skip(str(error))


def symbols_like(spread: float, seed: int = 0) -> NDArray[np.int32]:
    draws = np.random.default_rng(seed).laplace(0, spread, (1, SIDE**2, CHANNELS))
    return np.rint(draws).clip(-127, 127).astype(np.int32)


def zeros() -> NDArray[np.int8]:
    return np.zeros(SIDE**2 * CHANNELS, dtype=np.int8)


def wild() -> NDArray[np.int8]:
    return symbols_like(500.0).astype(np.int8).reshape(-1)


def with_least(array: NDArray[np.int8]) -> bytes:
    array[5] = -128
    return array.tobytes()


# payload of a quiet picture at quality 1 -> the blob an adversary makes of it
ATTACKS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "longer by a zero": (lambda p: pack(p + b"\0", 1, PRINT), "not written at quality 1"),
    "longer by a one": (lambda p: pack(p + b"\1", 1, PRINT), "not written at quality 1"),
    "longer by two": (lambda p: pack(p + b"\xff\xff", 1, PRINT), "not written at quality 1"),
    "as long as can be": (lambda p: pack(p.ljust(48, b"\1"), 1, PRINT), "not written at quality 1"),
    "longer than can be": (lambda p: pack(p.ljust(49, b"\1"), 1, PRINT), "take at most 48"),
    "of 16 MB": (lambda p: pack(bytes(1 << 24), 1, PRINT), "more than the"),
    "all ones": (lambda p: pack(b"\xff" * 20, 1, PRINT), "not decode|not written"),
    "of a quality there is not": (lambda p: pack(p, 2, PRINT), "not one of this codec's 0..1"),
    "of quality 15": (lambda p: pack(p, 15, PRINT), "not one of this codec's 0..1"),
    "raw, of another length": (lambda p: pack(p, 1, PRINT, True), "take 48"),
    "raw where coded is shorter": (lambda p: pack(zeros().tobytes(), 1, PRINT, True), "when coded"),
    "raw with -128": (lambda p: pack(with_least(wild()), 1, PRINT, True), "holds -128"),
    "version 0": (lambda p: b"\1" + pack(p, 1, PRINT)[1:], "version 0"),
    "version 1": (lambda p: b"\x11" + pack(p, 1, PRINT)[1:], "version 1"),
    "version 15": (lambda p: b"\xf1" + pack(p, 1, PRINT)[1:], "version 15"),
    "a wrong check": (lambda p: pack(p, 1, PRINT)[:3] + b"\0\0\0" + p, "damaged"),
    "of a codec that begins alike": (lambda p: pack(p, 1, PRINT[:2] + bytes(30)), "damaged"),
    "of another codec": (lambda p: pack(p, 1, bytes(32)), "another codec"),
    "a header alone": (lambda p: pack(p, 1, PRINT)[:6], "damaged"),
    "five bytes": (lambda p: pack(p, 1, PRINT)[:5], "fewer than its header"),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_only_what_the_encoder_writes_is_read(prior: IntegerPrior, name: str) -> None:
    make, reason = ATTACKS[name]
    (payload,) = prior.encode(symbols_like(1.0), 1)
    with pytest.raises(BitstreamError, match=reason):
        read_blobs(prior, PRINT, [make(payload)])


@pytest.mark.parametrize("of_bits", [1, 2])
def test_flipped_bits_with_a_right_check_are_another_picture_or_refused(
    prior: IntegerPrior, of_bits: int
) -> None:
    (payload,) = prior.encode(symbols_like(1.0), 1)
    for at in range(8 * len(payload) - of_bits + 1):
        other = int.from_bytes(payload, "big") ^ ((1 << of_bits) - 1) << at
        check_only_form(prior, other.to_bytes(len(payload), "big"), 1)


def test_what_is_cut_or_said_to_be_of_another_quality_is_another_picture_or_refused(
    prior: IntegerPrior,
) -> None:
    for seed in range(20):
        (payload,) = prior.encode(symbols_like(1.0, seed), 1)
        check_only_form(prior, payload, 0)
        for n in range(len(payload)):
            check_only_form(prior, payload[:n], 1)


def check_only_form(prior: IntegerPrior, payload: bytes, quality: int) -> None:
    """A payload is refused, or is what its symbols are written to."""
    blob = pack(payload, quality, PRINT)
    with contextlib.suppress(BitstreamError):
        symbols, _ = read_blobs(prior, PRINT, [blob])
        assert write_blobs(prior, PRINT, symbols, quality) == [blob]


def test_views_of_wider_numbers_are_counted_in_bytes(prior: IntegerPrior) -> None:
    (blob,) = write_blobs(prior, PRINT, symbols_like(1.0), 1)
    padded = np.frombuffer(blob.ljust(8 * 3, b"\0")[:24], dtype=np.int64)
    wide = np.zeros((1 << 21) + 1, dtype=np.int64)
    for view in (memoryview(padded), memoryview(wide), memoryview(np.array(7))):
        for read in (unpack, restore):
            with pytest.raises(BitstreamError):
                read(view, PRINT)  # type: ignore[operator]


def test_a_shortened_blob_is_refused_as_the_blob_is(prior: IntegerPrior) -> None:
    (payload,) = prior.encode(symbols_like(1.0), 1)
    short = shorten(pack(payload + b"\1", 1, PRINT), PRINT)
    with pytest.raises(BitstreamError, match="not written at quality 1"):
        read_blobs(prior, PRINT, [restore(short, PRINT)])


@pytest.mark.parametrize("coder", CODERS)
def test_the_longest_payloads_fit(plain: IntegerPrior, coder: str) -> None:
    """Each symbol is an escape of 24 bits, and a byte."""
    try:
        rare = with_rare_escapes(plain)
        prior = open_prior(rare.network, rare.tables, coder)
    except ValueError as error:
        pytest.skip(str(error))
    for value in (-127, 127):
        symbols = np.full((1, SIDE**2, CHANNELS), value, dtype=np.int32)
        (payload,) = prior.encode(symbols, 1)
        assert len(payload) > 3 * symbols.size
        np.testing.assert_array_equal(prior.decode([payload], 1), symbols)
        (blob,) = write_blobs(prior, PRINT, symbols, 1)
        assert unpack(blob, PRINT).raw
