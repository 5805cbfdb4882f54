"""Symbols -> payload -> symbols, in two implementations that write the same bytes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from codec.bitstream import BitstreamError
from codec.rangecoder import LIMIT, TOTAL, Tables, decode, decode_portable, encode, encode_portable


def random_tables(seed: int, n_channels: int, most: int = 24) -> Tables:
    """Tables of random lengths and shapes, from almost flat to almost certain."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(2, most + 1, n_channels).astype(np.int32)
    cdf = np.full((n_channels, int(lengths.max()) + 1), TOTAL, dtype=np.uint32)
    for row, n in zip(cdf, lengths, strict=True):
        share = rng.dirichlet(np.full(n, rng.choice([0.05, 0.5, 5.0])))
        frequency = np.maximum(np.floor(share * (TOTAL - n)), 1).astype(np.int64)
        frequency[np.argmax(frequency)] += TOTAL - frequency.sum()
        row[: n + 1] = np.concatenate([[0], np.cumsum(frequency)])
    return Tables(cdf=cdf, offset=(-lengths // 2).astype(np.int32), n_symbols=lengths)


def draw(tables: Tables, n: int, seed: int) -> NDArray[np.int32]:
    """Symbols that follow the tables, escapes included as far-off values."""
    rng = np.random.default_rng(seed)
    rows = []
    for cdf, offset, n_symbols in zip(tables.cdf, tables.offset, tables.n_symbols, strict=True):
        index = np.searchsorted(cdf[1 : n_symbols + 1], rng.integers(0, TOTAL, n), side="right")
        rows.append(np.where(index == n_symbols - 1, rng.integers(-LIMIT, LIMIT + 1, n), index + offset))
    return np.stack(rows).astype(np.int32)


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n_channels=st.integers(1, 9), n=st.integers(0, 70), wild=st.booleans())
def test_any_symbols_come_back_and_both_coders_write_the_same_bytes(seed: int, n_channels: int, n: int, wild: bool) -> None:
    tables = random_tables(seed, n_channels)
    symbols = draw(tables, n, seed)
    if wild:
        symbols = np.random.default_rng(seed).integers(-LIMIT, LIMIT + 1, symbols.shape).astype(np.int32)
    payload = encode(symbols, tables)
    assert payload == encode_portable(symbols, tables)
    for decoder in (decode, decode_portable):
        back = decoder(payload, tables, n)
        assert back.dtype == np.int32
        np.testing.assert_array_equal(back, symbols)


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 400))
def test_a_payload_is_at_most_two_bytes_over_the_ideal_length(seed: int, n: int) -> None:
    tables = random_tables(seed, 4)
    symbols = draw(tables, n, seed)
    assert len(encode(symbols, tables)) <= tables.bits(symbols) / 8 * 1.0001 + 2


def test_payloads_are_on_average_less_than_a_byte_over_the_ideal_length() -> None:
    over = []
    for seed in range(200):
        tables = random_tables(seed, 4)
        symbols = draw(tables, 50, seed)
        over.append(len(encode(symbols, tables)) - tables.bits(symbols) / 8)
    assert 0 < np.mean(over) < 0.7


@settings(max_examples=200, deadline=None)
@given(payload=st.binary(max_size=80), seed=st.integers(0, 50))
def test_any_bytes_decode_the_same_in_both_coders_or_are_refused_by_both(payload: bytes, seed: int) -> None:
    tables = random_tables(seed, 5)
    results = []
    for decoder in (decode, decode_portable):
        try:
            results.append(decoder(payload, tables, 20).tolist())
        except BitstreamError:
            results.append(None)
    assert results[0] == results[1]


def test_the_shortest_tail_leaves_nothing_to_drop() -> None:
    tables = random_tables(3, 6)
    for seed in range(40):
        symbols = draw(tables, 30, seed)
        payload = encode(symbols, tables)
        assert not payload.endswith(b"\0")
        assert not np.array_equal(decode_or_nothing(payload[:-1], tables, 30), symbols)


def decode_or_nothing(payload: bytes, tables: Tables, n: int) -> NDArray[np.int32]:
    try:
        return decode(payload, tables, n)
    except BitstreamError:
        return np.empty(0, dtype=np.int32)


GOLDEN = {
    0: "0f2a60f0b978e5d47f0b34f7c3509c84adc71787ffffffffff3ffffff0c02ecf4b751742f20b0df4e8bd1c",
    1: "10d598f0ba69dad41037a9c2b06c70a544abc4cbd8b8e517fbd55753ff468b47af166e12a2b3abed6071923e",
    2: "f59d10fff7d2bb313ba6bc2840b05b41f2b02387ff340079baffffffffffffffea8c1040422e1040bdd218f6e66882",
}


@pytest.mark.parametrize("seed", GOLDEN)
def test_payloads_are_the_bytes_they_always_were(seed: int) -> None:
    tables = golden_tables()
    symbols = (np.arange(24).reshape(3, 8) * (seed + 3) % 7 - 3).astype(np.int32)
    if seed == 2:
        symbols[0, 0], symbols[2, 7] = LIMIT, -1000
    assert encode(symbols, tables).hex() == GOLDEN[seed]
    assert encode_portable(symbols, tables).hex() == GOLDEN[seed]
    np.testing.assert_array_equal(decode(bytes.fromhex(GOLDEN[seed]), tables, 8), symbols)


def golden_tables() -> Tables:
    """Three fixed channels: flat, peaked, and with symbols that must be escaped."""
    rows = [[2097152] * 8, [1, 1000, 1000000, 14776214, 999000, 1000, 1], [100, 16777000, 116]]
    cdf = np.full((3, 9), TOTAL, dtype=np.uint32)
    for line, row in zip(cdf, rows, strict=True):
        line[: len(row) + 1] = np.concatenate([[0], np.cumsum(row)])
    return Tables(cdf=cdf, offset=np.array([-3, -3, -1], dtype=np.int32), n_symbols=np.array([8, 7, 3], dtype=np.int32))


@pytest.mark.parametrize(
    ("symbols", "reason"),
    [
        (np.zeros((3, 8), dtype=np.float32), "integers"),
        (np.zeros((2, 8), dtype=np.int32), "3 channels"),
        (np.zeros(8, dtype=np.int32), "3 channels"),
        (np.full((3, 8), LIMIT + 1, dtype=np.int64), "-32767..32767"),
    ],
)
def test_symbols_of_another_kind_are_refused(symbols: NDArray[np.generic], reason: str) -> None:
    for encoder in (encode, encode_portable):
        with pytest.raises(ValueError, match=reason):
            encoder(symbols, golden_tables())


@pytest.mark.parametrize("change", ["start", "end", "flat", "short"])
def test_malformed_tables_are_refused(change: str) -> None:
    good = golden_tables()
    cdf, n_symbols = good.cdf.copy(), good.n_symbols.copy()
    if change == "start":
        cdf[0, 0] = 5
    elif change == "end":
        cdf[0, -1] = 5
    elif change == "flat":
        cdf[0, 2] = cdf[0, 1]
    else:
        n_symbols[0] = 1
    with pytest.raises(ValueError, match="table"):
        Tables(cdf=cdf, offset=good.offset, n_symbols=n_symbols)
