"""Symbols with a table each -> payload -> symbols, in two implementations that write the same
bytes.
"""

from __future__ import annotations

import gc
import pickle
import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from codec.coding import constriction
from codec.coding.constriction import ConstrictionDecoder, ConstrictionEncoder
from codec.coding.container import BitstreamError
from codec.coding.portable import PortableDecoder, PortableEncoder
from codec.coding.tables import TOTAL, Tables

PAIRS = ((ConstrictionEncoder, ConstrictionDecoder), (PortableEncoder, PortableDecoder))


def random_tables(seed: int, n_tables: int = 5, n_symbols: int = 12) -> Tables:
    """Tables of random shapes, from almost flat to almost certain."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(n_tables):
        share = rng.dirichlet(np.full(n_symbols, rng.choice([0.05, 0.5, 5.0])))
        frequency = np.maximum(np.floor(share * (TOTAL - n_symbols)), 1).astype(np.int64)
        frequency[np.argmax(frequency)] += TOTAL - frequency.sum()
        rows.append(np.concatenate([[0], np.cumsum(frequency)]))
    return Tables(np.array(rows, dtype=np.uint32))


def draw(tables: Tables, n: int, seed: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Random tables, and symbols that follow them."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, len(tables.cdf), n)
    symbols = [
        np.searchsorted(tables.cdf[i, 1:], point, side="right")
        for i, point in zip(ids, rng.integers(0, TOTAL, n), strict=True)
    ]
    return np.array(symbols, dtype=np.int32), ids


def payload_of(
    tables: Tables, symbols: NDArray[np.int32], ids: NDArray[np.int64], portable: bool = False
) -> bytes:
    coder = PAIRS[portable][0](tables)
    coder.write(symbols, ids)
    return coder.finish()


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(0, 300),
    values=st.binary(max_size=20),
    table=st.integers(0, 4),
)
def test_whatever_is_written_is_read_and_both_coders_write_the_same_bytes(
    seed: int, n: int, values: bytes, table: int
) -> None:
    tables = random_tables(seed)
    symbols, ids = draw(tables, n, seed)
    payloads = []
    for encoder, _ in PAIRS:
        coder = encoder(tables)
        coder.write(symbols[: n // 2], ids[: n // 2])
        coder.write_bytes(np.frombuffer(values, dtype=np.uint8))
        coder.write(symbols[: n // 3], table)
        coder.write(symbols[n // 2 :], ids[n // 2 :])
        payloads.append(coder.finish())
    assert payloads[0] == payloads[1]
    for _, decoder in PAIRS:
        reader = decoder(payloads[0], tables)
        np.testing.assert_array_equal(reader.read(ids[: n // 2]), symbols[: n // 2])
        assert reader.read_bytes(len(values)).tobytes() == values
        np.testing.assert_array_equal(reader.read(table, n // 3), symbols[: n // 3])
        np.testing.assert_array_equal(reader.read(ids[n // 2 :]), symbols[n // 2 :])


def test_one_table_for_all_is_the_same_as_that_table_for_each() -> None:
    tables = random_tables(1)
    symbols, _ = draw(tables, 50, 1)
    for encoder, _ in PAIRS:
        coders = encoder(tables), encoder(tables)
        coders[0].write(symbols, 3)
        coders[1].write(symbols, np.full(50, 3))
        assert coders[0].finish() == coders[1].finish()


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 400))
def test_a_payload_is_at_most_two_bytes_over_the_ideal_length(seed: int, n: int) -> None:
    tables = random_tables(seed)
    symbols, ids = draw(tables, n, seed)
    assert len(payload_of(tables, symbols, ids)) <= tables.cost[ids, symbols].sum() / 8 * 1.0001 + 2


def test_payloads_are_on_average_less_than_a_byte_over_the_ideal_length() -> None:
    over = []
    for seed in range(200):
        tables = random_tables(seed)
        symbols, ids = draw(tables, 200, seed)
        over.append(len(payload_of(tables, symbols, ids)) - tables.cost[ids, symbols].sum() / 8)
    assert 0 < np.mean(over) < 0.7


@settings(max_examples=200, deadline=None)
@given(payload=st.binary(max_size=80), seed=st.integers(0, 50))
def test_any_bytes_decode_the_same_in_both_coders_or_are_refused_by_both(
    payload: bytes, seed: int
) -> None:
    tables = random_tables(seed)
    _, ids = draw(tables, 100, seed)
    results = []
    for _, decoder in PAIRS:
        try:
            results.append(decoder(payload, tables).read(ids).tolist())
        except BitstreamError:
            results.append(None)
    assert results[0] == results[1]


def test_the_shortest_tail_leaves_nothing_to_drop() -> None:
    tables = random_tables(3)
    for seed in range(40):
        symbols, ids = draw(tables, 120, seed)
        payload = payload_of(tables, symbols, ids)
        assert not payload.endswith(b"\0")
        try:
            shorter = ConstrictionDecoder(payload[:-1], tables).read(ids)
        except BitstreamError:
            continue
        assert not np.array_equal(shorter, symbols)


GOLDEN = {
    0: "1ffff1bffdffc874be3c0e1ffd8013c781c4003ffd790070271d8abd5ef317c101d0beb4",
    1: "1ffff1bfff001071817b16cba6db7c257d002344289ec4060023728347c8e53636ceff4c004e",
}


@pytest.mark.parametrize("seed", GOLDEN)
@pytest.mark.parametrize("portable", [False, True])
def test_payloads_are_the_bytes_they_always_were(seed: int, portable: bool) -> None:
    rows = [
        [2097152] * 8,
        [1, 1000, 1000000, 14776213, 999000, 1000, 1, 1],
        [100, 16777000, 1, 1, 1, 1, 1, 111],
    ]
    tables = Tables(
        np.concatenate([np.zeros((3, 1), dtype=np.int64), np.cumsum(rows, axis=1)], axis=1).astype(
            np.uint32
        )
    )
    symbols, ids = (np.arange(24) * (seed + 3) % 8).astype(np.int32), np.arange(24) * 5 % 3
    assert payload_of(tables, symbols, ids, portable).hex() == GOLDEN[seed]
    np.testing.assert_array_equal(
        PAIRS[portable][1](bytes.fromhex(GOLDEN[seed]), tables).read(ids), symbols
    )


@pytest.mark.parametrize("change", ["start", "end", "flat", "empty", "type"])
def test_malformed_tables_are_refused(change: str) -> None:
    cdf = random_tables(0).cdf.copy()
    if change == "start":
        cdf[0, 0] = 5
    elif change == "end":
        cdf[0, -1] = 5
    elif change == "flat":
        cdf[0, 2] = cdf[0, 1]
    elif change == "empty":
        cdf = cdf[:, :1]
    else:
        cdf = cdf.astype(np.int64)  # type: ignore[assignment]
    with pytest.raises(ValueError, match="table"):
        Tables(cdf)


@pytest.mark.parametrize("n", [0, 1, 7, 60])
def test_a_payload_is_held_from_the_interval_s_start_to_just_before_its_end(n: int) -> None:
    tables = random_tables(n)
    coder = PortableEncoder(tables)
    coder.write(*draw(tables, n, n))
    coder.write_parts([3] * n, [2] * n, [1000] * n)
    n_bytes, start = 4 * coder._n_words + 8, (coder._settled << 64) + coder._low
    for point, held in (
        (start - 1, False),
        (start, True),
        (start + coder._width - 1, True),
        (start + coder._width, False),
    ):
        if 0 <= point < 1 << 8 * n_bytes:
            assert coder.holds(point.to_bytes(n_bytes, "big")) == held
            assert coder.holds(point.to_bytes(n_bytes, "big") + b"\1") == held
    assert coder.holds(coder.finish())


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(0, 300))
def test_parts_of_any_totals_come_back_between_symbols_of_tables(seed: int, n: int) -> None:
    tables, rng = random_tables(seed), np.random.default_rng(seed)
    symbols, ids = draw(tables, 20, seed)
    totals = rng.integers(1, 1 << rng.integers(1, 26), n).tolist()
    rows = [sorted({0, total, *rng.integers(0, total + 1, 3).tolist()}) for total in totals]
    chosen = [int(rng.integers(0, len(row) - 1)) for row in rows]
    coder = PortableEncoder(tables)
    coder.write(symbols, ids)
    coder.write_parts(
        [r[i] for r, i in zip(rows, chosen, strict=True)],
        [r[i + 1] - r[i] for r, i in zip(rows, chosen, strict=True)],
        totals,
    )
    coder.write(symbols, ids)
    decoder = PortableDecoder(coder.finish(), tables)
    np.testing.assert_array_equal(decoder.read(ids), symbols)
    assert decoder.read_parts(rows) == chosen
    np.testing.assert_array_equal(decoder.read(ids), symbols)


def test_what_constriction_makes_of_tables_is_made_once_and_goes_with_them() -> None:
    tables = random_tables(0)
    payload_of(tables, *draw(tables, 9, 0))
    made = constriction._MADE[tables]
    payload_of(tables, *draw(tables, 9, 1))
    assert constriction._MADE[tables] is made
    gc.collect()  # tables of other tests that nobody holds do not count
    kept, gone = len(constriction._MADE), weakref.ref(tables)
    pickle.dumps(tables)
    del tables, made
    gc.collect()
    assert gone() is None
    assert len(constriction._MADE) == kept - 1
