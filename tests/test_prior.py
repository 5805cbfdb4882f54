"""Counts and densities -> integer tables that a coder can rely on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from codec.prior import MAX_SYMBOLS, Density, Histogram, freeze, tables_from_tensors, tables_to_tensors
from codec.rangecoder import TOTAL, decode, encode


def laplace_symbols(n: int, scales: tuple[float, ...], seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.stack([np.rint(rng.laplace(0, s, n)) for s in scales], axis=-1).astype(np.int32)[None]


def counted(symbols: np.ndarray) -> Histogram:
    histogram = Histogram(symbols.shape[-1])
    histogram.add(symbols)
    return histogram


def test_tables_cost_what_the_symbols_entropy_says() -> None:
    symbols = laplace_symbols(20000, (0.3, 1.0, 4.0))
    tables = freeze(counted(symbols))
    spent = tables.bits(symbols[0].T) / 20000
    entropy = 0.0
    for channel in symbols[0].T:
        share = np.unique(channel, return_counts=True)[1] / len(channel)
        entropy -= float((share * np.log2(share)).sum())
    assert entropy <= spent <= entropy + 0.01


def test_every_row_sums_to_the_total_and_gives_each_symbol_a_share() -> None:
    tables = freeze(counted(laplace_symbols(500, (0.01, 30.0))))
    for row, n in zip(tables.cdf, tables.n_symbols, strict=True):
        assert row[0] == 0
        assert row[n] == TOTAL
        assert (np.diff(row[: n + 1].astype(np.int64)) >= 1).all()


def test_values_never_seen_in_training_are_still_coded() -> None:
    tables = freeze(counted(np.zeros((1, 50, 2), dtype=np.int32)))
    wild = np.array([[0, 5, -32767], [32767, 0, 1]], dtype=np.int32)
    np.testing.assert_array_equal(decode(encode(wild, tables), tables, 3), wild)


def test_a_channel_that_never_speaks_costs_almost_nothing() -> None:
    tables = freeze(counted(np.zeros((1, 1000, 1), dtype=np.int32)))
    assert tables.bits(np.zeros((1, 1000), dtype=np.int32)) < 1


def test_empty_counts_still_give_valid_tables() -> None:
    tables = freeze(Histogram(3))
    assert encode(np.zeros((3, 4), dtype=np.int32), tables) is not None


def test_the_density_fills_in_where_counts_are_few() -> None:
    few = counted(np.zeros((1, 20, 1), dtype=np.int32))
    pmf = np.full((1, MAX_SYMBOLS), 1 / MAX_SYMBOLS)
    tables = freeze(few, pmf, weight=20.0)
    assert tables.n_symbols[0] == MAX_SYMBOLS + 1
    assert tables.offset[0] == -MAX_SYMBOLS // 2


def test_freezing_is_the_same_every_time() -> None:
    first, second = (freeze(counted(laplace_symbols(3000, (1.0, 2.0)))) for _ in range(2))
    np.testing.assert_array_equal(first.cdf, second.cdf)


def test_tables_survive_the_checkpoint() -> None:
    tables = [freeze(counted(laplace_symbols(3000, (1.0, 2.0 + q)))) for q in range(2)]
    for before, after in zip(tables, tables_from_tensors(tables_to_tensors(tables), 2), strict=True):
        for name in ("cdf", "offset", "n_symbols"):
            np.testing.assert_array_equal(getattr(before, name), getattr(after, name))
            assert getattr(before, name).dtype == getattr(after, name).dtype


def test_the_density_learns_the_entropy_of_what_it_sees() -> None:
    torch.manual_seed(0)
    density = Density(n_channels=2, n_qualities=2)
    optimizer = torch.optim.Adam(density.parameters(), lr=2e-2)
    rng = np.random.default_rng(0)
    scales = np.array([[0.5, 2.0], [1.0, 4.0]])  # quality x channel
    for _ in range(300):
        values = np.rint(rng.laplace(0, 1, (8, 64, 2)) * scales[np.arange(8) % 2][:, None])
        x = torch.from_numpy(values).float() + torch.rand(8, 64, 2) - 0.5
        loss = density.bits(x).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    values = np.rint(rng.laplace(0, 1, (400, 64, 2)) * scales[np.arange(400) % 2][:, None])
    bits = density.bits(torch.from_numpy(values).float()).detach().numpy()
    for q in range(2):
        entropy = 0.0
        for c in range(2):
            share = np.unique(values[q::2, :, c], return_counts=True)[1] / values[q::2, :, c].size
            entropy -= 64 * float((share * np.log2(share)).sum())
        assert bits[q::2].mean() == pytest.approx(entropy, rel=0.06)
    assert density.pmf(-128, 127).sum(axis=2) == pytest.approx(1, abs=1e-3)
