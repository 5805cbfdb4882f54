"""The coder in C: the portable coder's bytes and symbols, nothing it can be fed breaks it, and a reason wherever it cannot be had."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codec import native, rangecoder
from codec.bitstream import BitstreamError
from codec.blobs import read_blob, write_blobs
from codec.coding import IntegerPrior
from codec.native import first_coder, open_coder
from codec.rangecoder import PORTABLE, Coder
from tests.test_rangecoder import draw, random_tables

NEEDS_CC = pytest.mark.skipif(not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="no C compiler here")
SIDE, N_CHANNELS = 4, 5


@pytest.fixture(scope="module")
def coder(tmp_path_factory: pytest.TempPathFactory) -> Coder:
    return open_coder("c", str(tmp_path_factory.mktemp("coder")))


@pytest.fixture(scope="module")
def priors(make_prior: Callable[..., IntegerPrior], coder: Coder) -> tuple[IntegerPrior, IntegerPrior]:
    """A prior that codes with numpy, and the same one that codes with C."""
    prior = make_prior(SIDE, N_CHANNELS, 2, seed=7)
    return replace(prior, coder=PORTABLE), replace(prior, coder=coder)


@pytest.fixture
def unloaded() -> Any:
    """What was loaded stays with the test that loaded it."""
    native._library.cache_clear()
    yield
    native._library.cache_clear()


@NEEDS_CC
@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(0, 300), values=st.binary(max_size=20), table=st.integers(0, 4))
def test_whatever_is_written_has_the_portable_coders_bytes_and_is_read_back(
    coder: Coder, seed: int, n: int, values: bytes, table: int
) -> None:
    tables = random_tables(seed)
    symbols, ids = draw(tables, n, seed)
    payloads = []
    for one in (PORTABLE, coder):
        writer = one.encoder(tables)
        writer.write(symbols[: n // 2], ids[: n // 2])
        writer.write_bytes(np.frombuffer(values, dtype=np.uint8))
        writer.write(symbols[: n // 3], table)
        writer.write(symbols[n // 2 :], ids[n // 2 :])
        payloads.append(writer.finish())
    assert payloads[0] == payloads[1]
    reader = coder.decoder(payloads[1], tables)
    np.testing.assert_array_equal(reader.read(ids[: n // 2]), symbols[: n // 2])
    assert reader.read_bytes(len(values)).tobytes() == values
    np.testing.assert_array_equal(reader.read(table, n // 3), symbols[: n // 3])
    np.testing.assert_array_equal(reader.read(ids[n // 2 :]), symbols[n // 2 :])


@NEEDS_CC
def test_a_carry_goes_through_words_of_ones_and_into_what_an_earlier_call_settled(coder: Coder) -> None:
    """Symbols that follow the point 0.0111... settle words of ones; one from the upper end of its table then lifts them all."""
    inside = across = 0
    for seed in range(40):
        tables = random_tables(seed)
        _, ids = draw(tables, 80, seed)
        symbols = PORTABLE.decoder(b"\x7f" + b"\xff" * 60, tables).read(ids)
        for n in range(10, 60, 7):
            chosen = np.append(symbols[:n], [tables.n_symbols - 1] * 3).astype(np.int32)
            for first in (0, n):
                writers = PORTABLE.encoder(tables), coder.encoder(tables)
                for writer in writers:
                    writer.write(chosen[:first], ids[:first])
                settled, n_words = writers[0]._settled, writers[0]._n_words
                for writer in writers:
                    writer.write(chosen[first:], ids[first : len(chosen)])
                lifted = writers[0]._settled >> 32 * (writers[0]._n_words - n_words) != settled
                across += lifted and settled % 2**32 == 2**32 - 1
                inside += not first and b"\x80" + bytes(8) in writers[0].finish()
                assert writers[0].finish() == writers[1].finish()
                np.testing.assert_array_equal(coder.decoder(writers[1].finish(), tables).read(ids[: len(chosen)]), chosen)
    assert inside
    assert across


@NEEDS_CC
@settings(max_examples=300, deadline=None)
@given(payload=st.binary(max_size=80), seed=st.integers(0, 50), n_bytes=st.integers(0, 5))
def test_any_bytes_are_read_alike_or_refused_by_both(coder: Coder, payload: bytes, seed: int, n_bytes: int) -> None:
    tables = random_tables(seed)
    _, ids = draw(tables, 100, seed)
    results = []
    for one in (PORTABLE, coder):
        try:
            reader = one.decoder(payload, tables)
            results.append((reader.read(ids).tolist(), reader.read_bytes(n_bytes).tolist(), reader.read(2, 9).tolist()))
        except BitstreamError:
            results.append(([], [], []))
    assert results[0] == results[1]


@NEEDS_CC
@pytest.mark.parametrize(("symbol", "table"), [(-1, 0), (12, 0), (2**31 - 1, 0), (-(2**31), 0), (0, -1), (0, 5), (0, 2**31 - 1)])
def test_symbols_and_tables_that_there_are_not_are_refused(coder: Coder, symbol: int, table: int) -> None:
    tables = random_tables(0)
    with pytest.raises(ValueError, match="out of range"):
        coder.encoder(tables).write(np.array([0, symbol], dtype=np.int32), np.array([0, table]))
    with pytest.raises(ValueError, match="2 symbols, but tables for 1"):
        coder.encoder(tables).write(np.zeros(2, dtype=np.int32), np.zeros(1, dtype=np.int32))
    if not 0 <= table < 5:
        with pytest.raises(BitstreamError):
            coder.decoder(b"\1\2\3", tables).read(np.array([0, table]))


@NEEDS_CC
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), quality=st.integers(0, 1), spread=st.sampled_from([0.2, 2.0, 30.0, 300.0]), damage=st.data())
def test_a_priors_blobs_are_the_same_and_damaged_payloads_end_alike(
    priors: tuple[IntegerPrior, IntegerPrior], seed: int, quality: int, spread: float, damage: st.DataObject
) -> None:
    draws = np.rint(np.random.default_rng(seed).laplace(0, spread, (3, SIDE**2, N_CHANNELS))).clip(-127, 127).astype(np.int32)
    blobs = [write_blobs(prior, bytes(32), draws, quality) for prior in priors]
    assert blobs[0] == blobs[1]
    for prior in priors:
        np.testing.assert_array_equal(np.stack([read_blob(prior, bytes(32), blob)[0] for blob in blobs[0]]), draws)
    (payload, *_) = priors[0].encode(draws, quality)
    altered = bytearray(payload or b"\0")
    altered[damage.draw(st.integers(0, len(altered) - 1))] ^= damage.draw(st.integers(1, 255))
    for wrong in (bytes(altered), bytes(altered[: len(altered) // 2]), bytes(altered) + b"\xff" * 9):
        ends = []
        for prior in priors:
            try:
                ends.append(prior.decode([wrong], quality).tolist())
            except BitstreamError as error:
                ends.append(str(error))
        assert ends[0] == ends[1]


@NEEDS_CC
def test_it_is_compiled_once_and_leaves_nothing_else(tmp_path: Path, unloaded: None) -> None:
    open_coder("c", str(tmp_path))
    (made,) = (tmp_path / "__pycache__").iterdir()
    stamp = made.stat().st_mtime_ns
    native._library.cache_clear()
    open_coder("c", str(tmp_path))
    assert [file.stat().st_mtime_ns for file in (tmp_path / "__pycache__").iterdir()] == [stamp]


@NEEDS_CC
@pytest.mark.parametrize("change", [("low < start", "0"), ("<< 8 |", "<< 7 |"), ("shift -= 8", "shift -= 9")])
def test_code_that_gives_other_bytes_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unloaded: None, change: tuple[str, str]
) -> None:
    assert change[0] in native.SOURCE
    monkeypatch.setattr(native, "SOURCE", native.SOURCE.replace(*change))
    with pytest.raises(ValueError, match="gives other bytes than the portable coder"):
        open_coder("c", str(tmp_path))


def test_without_compiler_or_place_or_constriction_it_is_numpy_and_there_is_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unloaded: None
) -> None:
    (tmp_path / "cc").write_text("#!/bin/sh\necho no header; exit 1\n")
    (tmp_path / "cc").chmod(0o755)
    monkeypatch.setattr(rangecoder, "_constriction", lambda: None)
    for path, named in ((tmp_path, r"failed: no header"), (tmp_path / "nothing", "no C compiler")):
        monkeypatch.setenv("PATH", f"{path}")
        with pytest.raises(ValueError, match=named):
            open_coder("c", str(tmp_path / "bundle"))
        assert first_coder(str(tmp_path / "bundle")) is PORTABLE
    monkeypatch.setenv("PATH", f"{tmp_path}")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ValueError, match=r"cannot be compiled: .*file"):
        open_coder("c", str(tmp_path / "file"))
    with pytest.raises(ValueError, match="constriction is not installed"):
        open_coder("constriction", "")
    with pytest.raises(ValueError, match="unknown coder 'rust'; there are: constriction, c, numpy"):
        open_coder("rust", "")


@NEEDS_CC
def test_a_file_that_is_no_library_is_named(tmp_path: Path, unloaded: None) -> None:
    open_coder("c", str(tmp_path))
    (made,) = (tmp_path / "__pycache__").iterdir()
    elsewhere = tmp_path / "elsewhere" / "__pycache__"
    elsewhere.mkdir(parents=True)
    (elsewhere / made.name).write_bytes(made.read_bytes()[:3])
    with pytest.raises(ValueError, match=r"coder-.*\.so cannot be loaded"):
        open_coder("c", str(elsewhere.parent))
