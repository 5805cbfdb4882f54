"""Symbols <-> blobs: any mix of qualities, errors that name the blob, one form for each picture."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from codec.coding.blobs import read_blobs, write_blobs
from codec.coding.container import BitstreamError, pack, unpack
from codec.coding.exact import LIMIT
from codec.coding.integer_prior import IntegerPrior
from codec.coding.opening import CODERS, open_prior

SIDE, N_CHANNELS, N_QUALITIES = 4, 3, 2
FINGERPRINT = bytes(range(32))


@pytest.fixture(scope="module", params=CODERS)
def prior(make_prior: Callable[..., IntegerPrior], request: pytest.FixtureRequest) -> IntegerPrior:
    made = make_prior(SIDE, N_CHANNELS, N_QUALITIES, seed=3)
    try:
        return open_prior(made.network, made.tables, request.param)
    except ValueError as error:
        pytest.skip(str(error))


def symbols_like(n: int, spread: float, seed: int = 0) -> NDArray[np.int32]:
    draws = np.random.default_rng(seed).laplace(0, spread, (n, SIDE**2, N_CHANNELS))
    return np.rint(draws).clip(-LIMIT, LIMIT).astype(np.int32)


def test_a_mix_of_qualities_and_raw_ones_is_read_in_its_order(prior: IntegerPrior) -> None:
    parts = [(symbols_like(2, 1.0), 1), (symbols_like(1, 500.0), 0), (symbols_like(2, 2.0, 1), 0)]
    blobs = [blob for part, q in parts for blob in write_blobs(prior, FINGERPRINT, part, q)]
    assert [unpack(blob, FINGERPRINT).raw for blob in blobs] == [False, False, True, False, False]
    shuffled = [3, 0, 2, 4, 1]
    symbols, qualities = read_blobs(prior, FINGERPRINT, [blobs[i] for i in shuffled])
    expected = np.concatenate([part for part, _ in parts])
    np.testing.assert_array_equal(symbols, expected[shuffled])
    assert qualities.tolist() == [[1, 1, 0, 0, 0][i] for i in shuffled]
    assert (symbols.dtype, qualities.dtype) == (np.int32, np.int64)
    symbols, qualities = read_blobs(prior, FINGERPRINT, [])
    assert (symbols.shape, qualities.shape) == ((0, SIDE**2, N_CHANNELS), (0,))


def test_an_error_names_the_blob_where_there_are_several(prior: IntegerPrior) -> None:
    whole = write_blobs(prior, FINGERPRINT, symbols_like(3, 1.0), 1)
    longer = pack(unpack(whole[1], FINGERPRINT).payload + b"\1", 1, FINGERPRINT)
    for wrong, reason in ((whole[1][:-1], "damaged"), (longer, "not written at quality 1")):
        with pytest.raises(BitstreamError, match=f"^blob 2 of 3: .*{reason}"):
            read_blobs(prior, FINGERPRINT, [whole[0], wrong, whole[2]])
        with pytest.raises(BitstreamError, match=f"^[^1-3]*{reason}"):
            read_blobs(prior, FINGERPRINT, [wrong])


def refused(prior: IntegerPrior, payload: bytes, quality: int, raw: bool = False) -> str:
    with pytest.raises(BitstreamError) as error:
        read_blobs(prior, FINGERPRINT, [pack(payload, quality, FINGERPRINT, raw)])
    return str(error.value)


def test_only_what_the_encoder_writes_is_read(prior: IntegerPrior) -> None:
    """Each payload here leads to the symbols, and has a right check."""
    for seed in range(20):
        (payload,) = prior.encode(symbols_like(1, 1.5, seed), 1)
        for tail in (b"\1", b"\1\1", b"\0", b"\xff"):
            assert "hold symbols that take" in refused(prior, payload + tail, 1)
        last = int.from_bytes(payload, "big") + 1
        other = last.to_bytes(len(payload), "big")  # another point, of the same interval or not
        if other != payload:
            try:
                symbols, _ = read_blobs(prior, FINGERPRINT, [pack(other, 1, FINGERPRINT)])
            except BitstreamError:
                continue
            assert prior.encode(symbols, 1) == [other]


def test_any_payload_that_is_read_is_the_one_that_is_written(prior: IntegerPrior) -> None:
    rng, read = np.random.default_rng(5), 0
    for _ in range(300):
        payload = rng.bytes(int(rng.integers(0, 12)))
        blob = pack(payload, 1, FINGERPRINT)
        try:
            symbols, _ = read_blobs(prior, FINGERPRINT, [blob])
        except BitstreamError:
            continue
        read += 1
        assert write_blobs(prior, FINGERPRINT, symbols, 1) == [blob]
    assert read


def test_a_raw_payload_is_read_only_where_coding_takes_more(prior: IntegerPrior) -> None:
    quiet, wild = symbols_like(1, 1.0), symbols_like(1, 500.0)
    assert "takes only" not in refused(prior, wild.astype(np.int8).tobytes()[:-1], 0, raw=True)
    assert "bytes when coded" in refused(prior, quiet.astype(np.int8).tobytes(), 0, raw=True)
    below = wild.astype(np.int8)
    below[0, 0, 0] = -128
    assert "holds -128" in refused(prior, below.tobytes(), 0, raw=True)


def test_an_escape_for_a_symbol_that_its_table_reaches_is_refused(prior: IntegerPrior) -> None:
    """Crafted with the coder itself: zeros, of which the first is written as an escape."""
    zeros = np.zeros((1, SIDE**2, N_CHANNELS), dtype=np.int32)
    ordered, places, tables = prior.places(zeros, 1)
    coder = open_prior(prior.network, prior.tables, "numpy")._coder(True).encoder(prior.tables)
    n = prior.network.rows[0].stop * N_CHANNELS
    changed = places[0].copy()
    changed[0] = 31
    coder.write(changed[:n], tables[0][:n])
    coder.write_bytes(np.array([128], dtype=np.uint8))
    coder.write(changed[n:], tables[0][n:])
    assert "hold symbols that take" in refused(prior, coder.finish(), 1)
