"""measured or made-up bandwidth over time -> when a number of bytes is through.

A trace repeats from its start when it ends. The file format is `time_s,kbytes_per_s`, a line for
each change; the last value lasts as long as the median step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

HEADER = "time_s,kbytes_per_s"
MAX_STEPS = 1_000_000
MAX_FILE_BYTES = 32 << 20
SYNTHETIC = (30, 300, 1e3, 3e3, 10e3, 30e3, 100e3, 250e3, 300e3, 500e3, 1e6, 10e6)
"""Bytes a second of the links at a fixed rate that are looked at: from 30 B/s to 10 MB/s."""


@dataclass(frozen=True)
class Trace:
    """What a link carries over time.

    Attributes:
        name: for people.
        times_s: when each rate starts, (N,), from 0 on, rising.
        rates: bytes a second, (N,); 0 is an outage.
        period_s: when the trace starts again.
    """

    name: str
    times_s: tuple[float, ...]
    rates: tuple[float, ...]
    period_s: float

    def __post_init__(self) -> None:
        times, rates = np.array(self.times_s), np.array(self.rates)
        if not 0 < len(times) == len(rates) <= MAX_STEPS:
            raise ValueError(f"{self.name}: as many times as rates, from 1 to {MAX_STEPS}")
        if times[0] != 0 or not np.all(np.diff([*times, self.period_s]) > 0):
            raise ValueError(f"{self.name}: times start at 0 and rise")
        if not (math.isfinite(self.period_s) and np.all(np.isfinite(rates) & (rates >= 0))):
            raise ValueError(f"{self.name}: rates are numbers from 0")

    @cached_property
    def _carried(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Corners of the bytes carried since the start: times and bytes, (N + 1,)."""
        corners = np.array([*self.times_s, self.period_s])
        return corners, np.concatenate([[0.0], np.cumsum(np.diff(corners) * self.rates)])

    @property
    def mean_rate(self) -> float:
        """Bytes a second, over the whole trace."""
        return float(self._carried[1][-1] / self.period_s)

    def through_s(
        self, start_s: NDArray[np.float64], n_bytes: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """When bytes that are sent from `start_s` on are through, seconds; infinite where the trace
        carries nothing at all. Both (...,) float64.
        """
        corners, carried = self._carried
        per_period = carried[-1]
        start_s, n_bytes = np.broadcast_arrays(start_s, n_bytes)
        if per_period <= 0:
            return np.where(n_bytes > 0, np.inf, start_s)
        rounds, within = np.divmod(start_s, self.period_s)
        wanted = np.interp(within, corners, carried) + n_bytes
        more = np.ceil(wanted / per_period) - 1  # so that 0 < rest <= per_period
        more = np.maximum(more, 0)
        rest = wanted - more * per_period
        place = np.clip(np.searchsorted(carried, rest, side="left"), 1, len(carried) - 1)
        rate = np.array(self.rates)[place - 1]
        missing = np.maximum(carried[place] - rest, 0.0)
        gone = np.divide(missing, rate, out=np.zeros_like(missing), where=rate > 0)
        end = (rounds + more) * self.period_s + corners[place] - gone
        return np.where(n_bytes > 0, np.maximum(end, start_s), start_s)


def fixed(bytes_per_s: float, period_s: float = 60.0) -> Trace:
    """A link whose rate never changes.

    Raises:
        ValueError: not a rate.
    """
    return Trace(f"fixed {shown_rate(bytes_per_s)}", (0.0,), (float(bytes_per_s),), period_s)


def with_outages(
    bytes_per_s: float, period_s: float = 60.0, outages: int = 2, outage_s: float = 5.0
) -> Trace:
    """A fixed rate with outages, evenly spread over a period.

    Raises:
        ValueError: outages that do not fit into the period.
    """
    every = period_s / max(outages, 1)
    if not 0 < outage_s < every:
        raise ValueError(f"{outages} outages of {outage_s:g} s do not fit into {period_s:g} s")
    times, rates = [], []
    for n in range(outages):
        times += [n * every, (n + 1) * every - outage_s]
        rates += [float(bytes_per_s), 0.0]
    name = f"{shown_rate(bytes_per_s)}, {outages} outages of {outage_s:g} s in {period_s:g} s"
    return Trace(name, tuple(times), tuple(rates), period_s)


def read_trace(path: Path) -> Trace:
    """A trace of a CSV file.

    Raises:
        OSError: no such file.
        ValueError: not a trace; the message says the line.
    """
    with path.open("rb") as file:
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise ValueError(f"{path} has more than {MAX_FILE_BYTES} bytes")
    lines = data.decode("utf-8", "replace").splitlines()
    if not lines or lines[0].strip() != HEADER:
        raise ValueError(f"{path} does not begin with the line {HEADER}")
    times, rates = [], []
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        try:
            time_s, kbytes_per_s = (float(cell) for cell in line.split(","))
        except ValueError:
            raise ValueError(f"{path}, line {number}: not two numbers") from None
        times.append(time_s)
        rates.append(1000 * kbytes_per_s)
    return Trace(path.stem, tuple(times), tuple(rates), _end(times))


def trace_of(text: str) -> Trace:
    """A trace by what a user writes: a CSV file, `fixed:BYTES_PER_S` or `outages:BYTES_PER_S`.

    Raises:
        OSError, ValueError: as `read_trace`; or not a rate.
    """
    kind, _, rate = text.partition(":")
    if kind not in ("fixed", "outages"):
        return read_trace(Path(text))
    try:
        bytes_per_s = float(rate)
    except ValueError:
        raise ValueError(f"{text}: {rate!r} is not a number of bytes a second") from None
    return fixed(bytes_per_s) if kind == "fixed" else with_outages(bytes_per_s)


def shown_rate(bytes_per_s: float) -> str:
    """A rate for people."""
    return f"{bytes_per_s / 1000:,g} KB/s"


def _end(times: Sequence[float]) -> float:
    if not times:
        raise ValueError("a trace has at least one line")
    step = float(np.median(np.diff(times))) if len(times) > 1 else 1.0
    return times[-1] + step
