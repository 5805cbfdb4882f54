"""When bytes are through, over measured and made-up traces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from codec.link.traces import SYNTHETIC, Trace, fixed, read_trace, trace_of, with_outages


def through(trace: Trace, start_s: float, n_bytes: float) -> float:
    return float(trace.through_s(np.array(start_s), np.array(n_bytes)))


def test_a_fixed_rate_takes_bytes_by_rate() -> None:
    for rate in SYNTHETIC:
        trace = fixed(rate)
        assert through(trace, 1000.25, 12345) == pytest.approx(1000.25 + 12345 / rate)
        assert trace.mean_rate == rate


def test_bytes_wait_for_the_end_of_an_outage() -> None:
    trace = with_outages(100.0, period_s=60, outages=2, outage_s=5)  # 25 to 30 and 55 to 60 s
    assert through(trace, 24.5, 100) == pytest.approx(30.5)
    assert through(trace, 26, 1) == pytest.approx(30.01)
    assert through(trace, 57, 100) == pytest.approx(61)
    assert through(trace, 24, 100) == pytest.approx(25)  # through before the outage
    assert through(trace, 5, 5000) == pytest.approx(65)  # a period carries 5,000 bytes


def test_a_trace_starts_again_where_it_ends() -> None:
    trace = Trace("two rates", (0.0, 1.0), (10.0, 30.0), 2.0)
    assert through(trace, 0.5, 5 + 30 + 10 + 15) == pytest.approx(3.5)
    assert through(trace, 2000.5, 5 + 30 + 10 + 15) == pytest.approx(2003.5)
    assert through(trace, 0, 40 * 1000) == pytest.approx(2000)


def test_it_agrees_with_counting_in_small_steps() -> None:
    rng = np.random.default_rng(1)
    rates = rng.choice([0.0, 5.0, 80.0, 2000.0], 30)
    trace = Trace("random", tuple(float(n) for n in range(30)), tuple(rates), 30.0)
    for start_s, n_bytes in zip(rng.uniform(0, 60, 50), rng.uniform(1, 9000, 50), strict=True):
        step = 1e-3
        grid = start_s + step * np.arange(100_000)
        sent = np.cumsum(rates[np.floor(grid % 30).astype(int)]) * step
        counted = grid[np.searchsorted(sent, n_bytes)]
        assert through(trace, start_s, n_bytes) == pytest.approx(counted, abs=5e-3)


def test_nothing_takes_no_time_and_a_dead_link_for_ever() -> None:
    dead = fixed(0.0)
    assert through(dead, 5, 0) == 5
    assert through(dead, 5, 1) == np.inf
    assert through(with_outages(10.0), 26.0, 0) == 26


def test_a_file_is_read_and_a_line_that_is_none_is_named(tmp_path: Path) -> None:
    path = tmp_path / "walk.csv"
    path.write_text("time_s,kbytes_per_s\n0,1.5\n2,0\n4,3\n")
    trace = read_trace(path)
    assert trace == Trace("walk", (0.0, 2.0, 4.0), (1500.0, 0.0, 3000.0), 6.0)
    for text, reason in (
        ("0,1\n", "begin"),
        ("time_s,kbytes_per_s\n", "at least one"),
        ("time_s,kbytes_per_s\n0,1\n1,x\n", "line 3"),
        ("time_s,kbytes_per_s\n0,1\n0,2\n", "rise"),
        ("time_s,kbytes_per_s\n0,-1\n", "from 0"),
        ("time_s,kbytes_per_s\n0,nan\n", "from 0"),
        ("time_s,kbytes_per_s\n1,1\n", "start at 0"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=reason):
            read_trace(path)


def test_a_trace_may_be_named_by_its_rate(tmp_path: Path) -> None:
    assert trace_of("fixed:300").rates == (300.0,)
    assert trace_of("outages:300").rates == (300.0, 0.0, 300.0, 0.0)
    with pytest.raises(ValueError, match="bytes a second"):
        trace_of("fixed:fast")
    with pytest.raises(FileNotFoundError):
        trace_of(str(tmp_path / "none.csv"))
    with pytest.raises(ValueError, match="do not fit"):
        with_outages(10.0, period_s=8, outages=2, outage_s=5)
