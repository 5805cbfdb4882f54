"""Which table codes a symbol: chosen by known symbols, in integers, the same on every machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from codec.coding.context import ContextNetwork
from codec.coding.exact import FRACTION_BITS, LIMIT, N_SCALES
from codec.coding.integer_prior import IntegerPrior
from codec.coding.passes import passes
from codec.coding.places import REACH

SIDE, N_CHANNELS, N_QUALITIES = 5, 3, 2


@pytest.fixture(scope="module")
def prior(make_prior: Callable[..., IntegerPrior]) -> IntegerPrior:
    return make_prior(SIDE, N_CHANNELS, N_QUALITIES, seed=4)


@pytest.fixture(scope="module")
def network(prior: IntegerPrior) -> ContextNetwork:
    return prior.network


def symbols_like(seed: int, spread: float) -> NDArray[np.int32]:
    draws = np.random.default_rng(seed).laplace(0, spread, (1, SIDE**2, N_CHANNELS))
    return np.rint(draws).clip(-LIMIT, LIMIT).astype(np.int32)


def test_every_position_is_coded_once_and_sees_only_what_came_before() -> None:
    for side in range(1, 9):
        seen: set[int] = set()
        for positions, neighbours in passes(side):
            assert set(neighbours.ravel()) <= seen | {side**2}
            for position, near in zip(positions, neighbours, strict=True):
                assert all(
                    abs(n // side - position // side) <= 1 and abs(n % side - position % side) <= 1
                    for n in near
                    if n < side**2
                )
            assert not seen & set(positions)
            seen |= set(positions.tolist())
        assert seen == set(range(side**2))
    assert [len(p.positions) for p in passes(4)] == [4, 4, 8]
    assert (passes(4)[1].neighbours[0] < 16).all()  # the inner ones see all four


def test_a_symbol_changes_the_tables_of_its_later_neighbours_alone(prior: IntegerPrior) -> None:
    symbols = symbols_like(0, 2.0)
    _, _, before = prior.places(symbols, 1)
    changed = symbols.copy()
    changed[0, 0] += 5
    _, _, after = prior.places(changed, 1)
    differ = np.flatnonzero((before != after).reshape(SIDE**2, N_CHANNELS).any(1))
    assert set(prior.network.order[differ]) == {1, SIDE, SIDE + 1}


def integers(
    network: ContextNetwork, symbols: NDArray[np.int32], quality: int
) -> Iterator[tuple[list[int], list[int]]]:
    """Tables and means of one image's symbols, pass by pass, in Python integers: the definition in
    the docstring.
    """
    c = network.n_channels
    v = [
        [
            max(-LIMIT, min(LIMIT, (int(s) * int(u) + (1 << FRACTION_BITS - 1)) >> FRACTION_BITS))
            for s, u in zip(row, network.unit[quality], strict=True)
        ]
        for row in symbols
    ]
    v.append([0] * c)
    for p, (positions, neighbours) in enumerate(passes(network.side)):
        tables, means = [], []
        for position, near in zip(positions, neighbours, strict=True):
            o = [int(b) for b in network.out_bias[:, position]]
            if p:
                seen = [x for n in near for x in v[n]]
                for j, row in enumerate(network.hidden[p - 1]):
                    total = sum(int(w) * x for w, x in zip(row, seen, strict=True)) + int(
                        network.hidden_bias[quality, p - 1, j]
                    )
                    h = max(total, 0) >> int(network.shift[p - 1, j])
                    o = [value + int(network.out[p - 1, k, j]) * h for k, value in enumerate(o)]
            z = [
                (value * int(f) + int(b)) >> FRACTION_BITS
                for value, f, b in zip(
                    o, network.factor[quality], network.bias[quality], strict=True
                )
            ]
            means += [eighths >> 3 for eighths in z[:c]]
            tables += [
                8 * max(0, min(N_SCALES - 1, scale)) + (eighths & 7)
                for eighths, scale in zip(z[:c], z[c:], strict=True)
            ]
        yield tables, means


def test_the_tables_are_those_of_the_definition_in_plain_integers(prior: IntegerPrior) -> None:
    for quality in range(N_QUALITIES):
        symbols = symbols_like(7 + quality, 6.0)
        ordered, places, tables = prior.places(symbols, quality)
        np.testing.assert_array_equal(ordered[0], symbols[0][prior.network.order].reshape(-1))
        expected = list(integers(prior.network, symbols[0], quality))
        assert tables[0].tolist() == [t for some, _ in expected for t in some]
        means = [mean for _, some in expected for mean in some]
        near_first = [0] + [d for n in range(1, REACH + 1) for d in (-n, n)]
        distances = (ordered[0] - means).tolist()
        assert places[0].tolist() == [
            near_first.index(d) if abs(d) <= REACH else 2 * REACH + 1 for d in distances
        ]
        assert len(set(tables[0].tolist())) > 8, "the test needs a prior whose choices differ"


@pytest.mark.parametrize("change", ["hidden_bias", "factor", "shift"])
def test_a_network_whose_sums_would_not_be_exact_is_refused(
    network: ContextNetwork, change: str
) -> None:
    array = getattr(network, change).copy()
    array.flat[0] = {"hidden_bias": 1 << 24, "factor": 2**31 - 1, "shift": -1}[change]
    with pytest.raises(ValueError, match=r"exact|0\.\.24"):
        replace(network, **{change: array})


def test_arrays_of_another_shape_are_refused(network: ContextNetwork) -> None:
    with pytest.raises(ValueError, match="out of the prior has shape"):
        replace(network, out=network.out[:, :-1])
    with pytest.raises(ValueError, match=r"unit is \(Q, C\)"):
        replace(network, unit=network.unit[0])


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"unit": np.float32}, "unit of the prior is an array of int32, not of float32"),
        ({"hidden": np.int32}, "hidden of the prior is an array of int8, not of int32"),
        ({"out": np.float64}, "out of the prior is an array of int8"),
        ({"factor": np.int64}, "factor of the prior is an array of int32, not of int64"),
        ({"bias": np.uint32}, "bias of the prior is an array of int32, not of uint32"),
        ({"shift": ">i4"}, "shift of the prior is an array of int32, not of >i4"),
    ],
)
def test_arrays_of_another_dtype_are_refused(
    network: ContextNetwork, change: dict[str, Any], named: str
) -> None:
    for name, dtype in change.items():
        with pytest.raises(ValueError, match=named):
            replace(network, **{name: getattr(network, name).astype(dtype)})
    with pytest.raises(ValueError, match="unit of the prior is an array of int32, not of float64"):
        replace(network, unit=np.full(network.unit.shape, np.nan))
    with pytest.raises(ValueError, match="unit of the prior is an array of int32, not of list"):
        replace(network, unit=network.unit.tolist())


@pytest.mark.parametrize("quality", range(N_QUALITIES))
@pytest.mark.parametrize("name", ["factor", "bias", "hidden_bias"])
def test_sums_too_large_are_refused_whichever_quality_has_them(
    network: ContextNetwork, quality: int, name: str
) -> None:
    """Also where int64 would wrap around."""
    array = getattr(network, name).copy()
    array[quality].flat[-1] = -(2**31)
    changes = {name: array}
    if name == "bias":  # alone it is never too large
        changes = {"bias": array, "factor": np.full_like(network.factor, 2**31 - 1)}
    elif name == "factor":
        changes["out"] = np.full_like(network.out, -128)
    with pytest.raises(ValueError, match="too large to be exact"):
        replace(network, **changes)


@pytest.mark.parametrize("side", [0, -5, 5.0, True, "5"])
def test_a_side_is_a_positive_integer(network: ContextNetwork, side: Any) -> None:
    with pytest.raises(ValueError, match="the side of a prior's latent is a positive integer"):
        replace(network, side=side)


def test_arrays_without_entries_are_refused(network: ContextNetwork) -> None:
    with pytest.raises(ValueError, match="no qualities, no channels or no hidden units"):
        replace(network, unit=network.unit[:0])


def test_sums_are_exact_in_any_batch(network: ContextNetwork) -> None:
    """Products of the network's integers hold in float32, so another BLAS or batch cannot change
    them.
    """
    rng = np.random.default_rng(0)
    known = rng.integers(-LIMIT, LIMIT + 1, (SIDE**2 + 1, 9, N_CHANNELS)).astype(np.float32)
    known[-1] = 0
    for i in (1, 2):
        seen = (
            known.astype(np.int64)[network.passes[i].neighbours]
            .swapaxes(1, 2)
            .reshape(-1, 9, 4 * N_CHANNELS)
        )
        exact = seen @ network.hidden[i - 1].T.astype(np.int64) + network.hidden_bias[1, i - 1]
        np.testing.assert_array_equal(
            network.sums(known, 1, i, i + 1), exact / 2.0 ** network.shift[i - 1]
        )
        np.testing.assert_array_equal(
            network.sums(known[:, 4:5], 1, i, i + 1)[:, 0],
            exact[:, 4] / 2.0 ** network.shift[i - 1],
        )


def test_passes_chosen_together_are_as_chosen_one_by_one(network: ContextNetwork) -> None:
    known = (
        np.random.default_rng(1).integers(-9, 10, (SIDE**2 + 1, 4, N_CHANNELS)).astype(np.float32)
    )
    together = network.choose(known, 0, 1, 3)
    alone = [network.choose(known, 0, i, i + 1) for i in (1, 2)]
    for both, parts in zip(together, zip(*alone, strict=True), strict=True):
        np.testing.assert_array_equal(both, np.concatenate(parts))
