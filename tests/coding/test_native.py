"""The coder in C: numpy's bytes and symbols, nothing it can be fed breaks it, and a reason wherever
it cannot be had.
"""

from __future__ import annotations

import copy
import pickle
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from codec.coding import coders, compiled
from codec.coding.blobs import read_blobs, write_blobs
from codec.coding.container import BitstreamError
from codec.coding.exact import LIMIT, N_TABLES
from codec.coding.integer_prior import IntegerPrior
from codec.coding.opening import open_prior
from codec.coding.places import TABLE_SYMBOLS
from codec.coding.portable import PortableDecoder
from codec.coding.tables import Tables

NEEDS_CC = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="no C compiler here"
)
SIDE, N_CHANNELS, N_SYMBOLS = 4, 5, 80
SPREADS = st.sampled_from([0.05, 0.2, 2.0, 30.0, 300.0])

Pair = tuple[IntegerPrior, IntegerPrior]


def in_numpy_and_in_c(prior: IntegerPrior) -> Pair:
    return tuple(open_prior(prior.network, prior.tables, name) for name in ("numpy", "c"))  # type: ignore[return-value]


@pytest.fixture(scope="module")
def priors(make_prior: Callable[..., IntegerPrior]) -> Pair:
    return in_numpy_and_in_c(make_prior(SIDE, N_CHANNELS, 2, seed=7))


@pytest.fixture
def unloaded() -> Iterator[None]:
    """What was loaded stays with the test that loaded it."""
    compiled._library.cache_clear()
    yield
    compiled._library.cache_clear()


def draw(seed: int, spread: float, side: int = SIDE) -> NDArray[np.int32]:
    draws = np.random.default_rng(seed).laplace(0, spread, (3, side**2, N_CHANNELS))
    return np.rint(draws).clip(-LIMIT, LIMIT).astype(np.int32)


def tables_of(seed: int) -> Tables:
    """Tables of any shape, near 0 and 1 too, so that intervals become narrow and carries long."""
    return Tables.from_mass(
        np.exp(np.random.default_rng(seed).normal(0, 3, (N_TABLES, TABLE_SYMBOLS)))
    )


@NEEDS_CC
@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), quality=st.integers(0, 1), spread=SPREADS)
def test_what_is_written_has_numpys_bytes_and_is_read_back(
    priors: Pair, seed: int, quality: int, spread: float
) -> None:
    symbols, tables = draw(seed, spread), tables_of(seed)
    for numpy, in_c in (
        priors,
        [replace(prior, tables=tables) for prior in priors[:1]] + [rebuilt(priors[1], tables)],
    ):
        payloads = in_c.encode(symbols, quality)
        assert payloads == numpy.encode(symbols, quality)
        np.testing.assert_array_equal(in_c.decode(payloads, quality), symbols)
        np.testing.assert_array_equal(numpy.decode(payloads, quality), symbols)
        assert in_c.encode(symbols[1:2].astype(np.int8), quality) == payloads[1:2]


def rebuilt(prior: IntegerPrior, tables: Tables) -> IntegerPrior:
    return open_prior(prior.network, tables, "c")


@NEEDS_CC
@pytest.mark.parametrize("side", [1, 2, 3, 6])
def test_any_side_has_its_own_passes(make_prior: Callable[..., IntegerPrior], side: int) -> None:
    numpy, in_c = in_numpy_and_in_c(make_prior(side, N_CHANNELS, 2, seed=side))
    for spread in (0.3, 40.0):
        symbols = draw(side, spread, side)
        payloads = in_c.encode(symbols, 1)
        assert payloads == numpy.encode(symbols, 1)
        np.testing.assert_array_equal(in_c.decode(payloads, 1), symbols)


@NEEDS_CC
def test_a_carry_goes_through_bytes_of_ones(priors: Pair) -> None:
    """Symbols that follow the point 0.0111... settle bytes of ones; the upper ends of the last
    tables then lift them all.
    """
    lifted = 0
    for seed in range(60):
        numpy, in_c = (
            replace(priors[0], tables=tables_of(seed)),
            rebuilt(priors[1], tables_of(seed)),
        )
        ordered, _, _ = numpy._read([PortableDecoder(b"\x7f" + b"\xff" * 120, numpy.tables)], 0)
        # of the last pass, which no table depends on
        for first in range(N_SYMBOLS // 2, N_SYMBOLS, 3):
            changed = ordered.clip(-LIMIT, LIMIT)
            changed[0, first:] = LIMIT
            symbols = changed.reshape(1, -1, N_CHANNELS).take(numpy.network.inverse, axis=1)
            (payload,) = numpy.encode(symbols, 0)
            assert in_c.encode(symbols, 0) == [payload]
            np.testing.assert_array_equal(in_c.decode([payload], 0), symbols)
            lifted += payload.startswith(b"\x80" + bytes(5))
    assert lifted > 20


@NEEDS_CC
@settings(max_examples=300, deadline=None)
@given(payload=st.binary(max_size=80), quality=st.integers(0, 1))
def test_any_bytes_are_read_alike_or_refused_alike(
    priors: Pair, payload: bytes, quality: int
) -> None:
    assert ends(priors[0], payload, quality) == ends(priors[1], payload, quality)


def ends(prior: IntegerPrior, payload: bytes, quality: int) -> Any:
    try:
        return prior.decode([payload], quality).tolist()
    except BitstreamError as error:
        return str(error)


@NEEDS_CC
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), quality=st.integers(0, 1), spread=SPREADS, damage=st.data())
def test_blobs_are_the_same_and_damaged_payloads_end_alike(
    priors: Pair, seed: int, quality: int, spread: float, damage: st.DataObject
) -> None:
    symbols = draw(seed, spread)
    blobs = [write_blobs(prior, bytes(32), symbols, quality) for prior in priors]
    assert blobs[0] == blobs[1]
    for prior in priors:
        np.testing.assert_array_equal(
            np.concatenate([read_blobs(prior, bytes(32), [blob])[0] for blob in blobs[0]]), symbols
        )
    (payload, *_) = priors[0].encode(symbols, quality)
    altered = bytearray(payload or b"\0")
    altered[damage.draw(st.integers(0, len(altered) - 1))] ^= damage.draw(st.integers(1, 255))
    for wrong in (
        bytes(altered),
        bytes(altered[: len(altered) // 2]),
        bytes(altered) + b"\xff" * 9,
    ):
        assert ends(priors[0], wrong, quality) == ends(priors[1], wrong, quality)


@NEEDS_CC
@pytest.mark.parametrize(
    ("symbols", "quality", "reason"),
    [
        (np.full((1, SIDE**2, N_CHANNELS), LIMIT + 1), 0, r"-127\.\.127"),
        (np.full((1, SIDE**2, N_CHANNELS), 2**40), 0, r"-127\.\.127"),
        (np.zeros((1, N_CHANNELS, SIDE**2), dtype=np.int32), 0, "shape"),
        (np.zeros((1, SIDE**2, N_CHANNELS), dtype=np.int32), 2, r"0\.\.1"),
    ],
)
def test_symbols_of_another_kind_never_reach_it(
    priors: Pair, symbols: NDArray[np.generic], quality: int, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        priors[1].encode(symbols, quality)


@NEEDS_CC
def test_a_network_whose_sums_need_wider_integers_is_left_to_the_others(
    priors: Pair,
) -> None:
    network = priors[0].network
    wide = replace(
        network,
        shift=np.zeros_like(network.shift),
        hidden=np.full_like(network.hidden, LIMIT),
        factor=network.factor * 0,
    )
    with pytest.raises(ValueError, match="do not fit the integers of the coder in C"):
        open_prior(wide, priors[0].tables, "c")
    assert open_prior(wide, priors[0].tables).coder_name in ("constriction", "numpy")


@NEEDS_CC
def test_copies_code_too_and_where_there_is_no_c_they_do_without(
    priors: Pair, monkeypatch: pytest.MonkeyPatch, unloaded: None
) -> None:
    symbols = draw(0, 2.0)
    payloads, sent = priors[1].encode(symbols, 1), pickle.dumps(priors[1])
    for copied in (copy.deepcopy(priors[1]), pickle.loads(sent)):
        assert copied.coder_name == "c"
        assert copied.encode(symbols, 1) == payloads
    compiled._library.cache_clear()
    monkeypatch.setattr(compiled, "SOURCE", "no C")
    elsewhere = pickle.loads(sent)
    assert elsewhere.coder_name != "c"
    assert elsewhere.encode(symbols, 1) == payloads


@NEEDS_CC
@pytest.mark.parametrize(
    "change",
    [
        ("if (w->low < more)", "if (0)"),
        ("r->ahead << 8 |", "r->ahead << 7 |"),
        ("shift -= 8", "shift -= 9"),
        ("-2 * away - 1", "-2 * away - 2"),
        ("point & ~(u64)0xffff", "point"),
        ("sums[j] += x", "sums[j] -= x"),
    ],
)
def test_code_that_gives_other_bytes_is_not_used(
    priors: Pair, monkeypatch: pytest.MonkeyPatch, unloaded: None, change: tuple[str, str]
) -> None:
    assert change[0] in compiled.SOURCE
    monkeypatch.setattr(compiled, "SOURCE", compiled.SOURCE.replace(*change))
    with pytest.raises(ValueError, match="gives other bytes than numpy's"):
        in_numpy_and_in_c(priors[0])


def test_without_compiler_or_place_or_constriction_it_is_numpy_and_there_is_a_reason(
    priors: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unloaded: None
) -> None:
    def opened(coder: str | None) -> IntegerPrior:
        return open_prior(priors[0].network, priors[0].tables, coder)

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "cc").write_text("#!/bin/sh\necho no header; exit 1\n")
    (tmp_path / "cc").chmod(0o755)
    monkeypatch.setattr(coders, "constriction_package", lambda: None)
    for path, named in ((tmp_path, r"failed: no header"), (tmp_path / "nothing", "no C compiler")):
        monkeypatch.setenv("PATH", f"{path}")
        with pytest.raises(ValueError, match=named):
            opened("c")
        assert opened(None).coder_name == "numpy"
    monkeypatch.setattr(compiled, "private_cache", lambda: tmp_path / "away")
    with pytest.raises(ValueError, match=r"cannot be compiled: .*away"):
        opened("c")
    with pytest.raises(ValueError, match="constriction is not installed"):
        opened("constriction")
    with pytest.raises(ValueError, match="unknown coder 'rust'; there are: c, constriction, numpy"):
        opened("rust")
