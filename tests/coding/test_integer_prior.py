"""The frozen prior: symbols -> payloads -> symbols, in two coders that write the same bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from codec.coding.container import BitstreamError
from codec.coding.exact import LIMIT
from codec.coding.integer_prior import IntegerPrior
from codec.coding.tables import Tables

SIDE, N_CHANNELS, N_QUALITIES = 5, 3, 2


@pytest.fixture(scope="module")
def prior(make_prior: Callable[..., IntegerPrior]) -> IntegerPrior:
    return make_prior(SIDE, N_CHANNELS, N_QUALITIES, seed=4)


def symbols_like(n: int, seed: int, spread: float = 2.0) -> NDArray[np.int32]:
    draws = np.random.default_rng(seed).laplace(0, spread, (n, SIDE**2, N_CHANNELS))
    return np.rint(draws).clip(-LIMIT, LIMIT).astype(np.int32)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    quality=st.integers(0, 1),
    spread=st.sampled_from([0.2, 2.0, 30.0, 300.0]),
)
def test_symbols_come_back_escapes_included_and_both_coders_write_the_same_bytes(
    prior: IntegerPrior, seed: int, quality: int, spread: float
) -> None:
    symbols = symbols_like(3, seed, spread)
    payloads = prior.encode(symbols, quality)
    assert prior.encode(symbols, quality, portable=True) == payloads
    for portable in (False, True):
        back = prior.decode(payloads, quality, portable)
        assert back.dtype == np.int32
        np.testing.assert_array_equal(back, symbols)
    for image, payload in zip(symbols, payloads, strict=True):
        assert prior.encode(image[None], quality) == [payload], (
            "an image's payload depends on the batch it is in"
        )


def test_real_bytes_are_the_estimate_and_at_most_two_more(prior: IntegerPrior) -> None:
    for quality in range(N_QUALITIES):
        symbols = symbols_like(200, quality)
        sizes = np.array([len(payload) for payload in prior.encode(symbols, quality)])
        estimate = prior.bits(symbols, quality) / 8
        assert (sizes <= 1.0001 * estimate + 2).all()
        assert 0 < (sizes - estimate).mean() < 0.7


def test_a_payload_that_is_longer_than_its_symbols_take_is_refused(prior: IntegerPrior) -> None:
    for seed in range(30):
        payload = prior.encode(symbols_like(1, seed), 0)[0]
        for altered in (payload + b"\1\2\3\4", bytes(500), payload + b"\0"):
            with pytest.raises(
                BitstreamError,
                match=r"not written at quality 0, or is damaged: its .* hold symbols|decode",
            ):
                prior.decode([altered], 0)


@settings(max_examples=200, deadline=None)
@given(payload=st.binary(max_size=120), quality=st.integers(0, 1))
def test_any_bytes_are_refused_or_as_long_as_their_symbols_take(
    prior: IntegerPrior, payload: bytes, quality: int
) -> None:
    read = []
    for portable in (False, True):
        try:
            read.append(prior.decode([payload], quality, portable).tolist())
        except BitstreamError:
            read.append(None)
    assert read[0] == read[1]
    if read[0] is not None and np.abs(symbols := np.array(read[0])).max() <= LIMIT:
        assert abs(len(payload) - prior.bits(symbols, quality)[0] / 8) <= 2 or prior.encode(
            symbols, quality
        ) == [payload]


def test_payloads_that_end_in_zeros_are_whole(prior: IntegerPrior) -> None:
    """Zeros at the end are implied, so such a payload is shorter than its symbols are worth, and
    still what they are written to.
    """
    short = 0
    for seed in range(1500):
        symbols = symbols_like(1, seed)
        payload = prior.encode(symbols, 0)[0]
        short += len(payload) < prior.bits(symbols, 0)[0] / 8 - 1
        np.testing.assert_array_equal(prior.decode([payload], 0), symbols)
    assert short < 30


@pytest.mark.parametrize(
    ("symbols", "quality", "reason"),
    [
        (np.zeros((1, SIDE**2, N_CHANNELS), dtype=np.float32), 0, "integers"),
        (np.zeros((SIDE**2, N_CHANNELS), dtype=np.int32), 0, r"shape \(B, 25, 3\)"),
        (np.zeros((1, N_CHANNELS, SIDE**2), dtype=np.int32), 0, "shape"),
        (np.full((1, SIDE**2, N_CHANNELS), LIMIT + 1), 0, r"-127\.\.127"),
        (np.full((1, SIDE**2, N_CHANNELS), 2**40), 0, r"-127\.\.127"),
        (np.zeros((1, SIDE**2, N_CHANNELS), dtype=np.int32), 2, r"0\.\.1"),
        (np.zeros((1, SIDE**2, N_CHANNELS), dtype=np.int32), -1, r"0\.\.1"),
    ],
)
def test_symbols_of_another_kind_are_refused(
    prior: IntegerPrior, symbols: NDArray[np.generic], quality: int, reason: str
) -> None:
    for write in (prior.encode, prior.bits):
        with pytest.raises(ValueError, match=reason):
            write(symbols, quality)


def test_tables_of_another_number_are_refused(prior: IntegerPrior) -> None:
    with pytest.raises(ValueError, match="192 tables of 32 symbols"):
        replace(prior, tables=Tables(prior.tables.cdf[:5]))
