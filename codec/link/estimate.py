"""bytes and seconds of past exchanges -> what the link is like now: rates, round trip, loss, age.

An exchange of u bytes up and d bytes down takes

    seconds = round trip + u / rate up + d / rate down

without the time of device and server. One exchange does not say which of the three it was, so the
estimate is Bayes' rule on a grid of links: each link is as likely as the prior and the last
exchanges make it. The likelihood is Student's t of the logarithm of the seconds (3 degrees of
freedom): one exchange that took a hundred times as long moves the estimate little, a few in a row
move it for good. The last three exchanges of each size are kept, a size being a power of two:
where one way is always taken, what another size has taught stays until it is too old. Old exchanges
fade, with newer ones and with time in which nothing is sent; in the end the prior is left.

The mean is taken of seconds and of seconds a byte, as these add up: what `policy` predicts is the
expected latency. Time is passed in and never read.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

ROUND_TRIPS_S = np.geomspace(0.0005, 4.0, 31)
RATES = np.geomspace(8.0, 32e6, 77)
"""Bytes a second up: from the slowest radio to a wired network, in steps of a fifth."""
DOWN_TO_UP = np.array([1.0, 3.0])
DEGREES = 3.0
SPREAD, LEAST_SPREAD, MOST_SPREAD = 0.25, 0.05, 0.4
"""How far seconds lie from a link's own, as the scale of their logarithm: at first, and within what
it is learned from how far the last exchanges lay from what was expected of them.
"""
KEPT_EACH = 0.8
"""What of the losses and of the spread is kept when one more exchange has come."""
FORGOTTEN = 0.5
"""What is forgotten with each exchange, times the spread: more of an unsteady link."""
KEPT_OF_A_SIZE = 3
MOST_KEPT = 12
KEPT_S = 30.0
"""Seconds without traffic in which what is known shrinks to 1/e."""
LEAST_S = 1e-4


class LinkState(NamedTuple):
    """What a link is like, as far as its traffic tells.

    Attributes:
        bytes_per_s_up: bytes a second from the device; the inverse of the mean seconds a byte.
        round_trip_s: seconds of an exchange of no bytes.
        loss: the share of exchanges that fail, 0 to below 1.
        age_s: seconds since the last exchange, whole or failed; infinite where there was none.
        bytes_per_s_down: bytes a second to the device.
    """

    bytes_per_s_up: float
    round_trip_s: float
    loss: float
    age_s: float
    bytes_per_s_down: float

    def network_s(self, n_bytes_up: float, n_bytes_down: float) -> float:
        """Seconds that an exchange is expected to take; a lost one is tried again at once."""
        return self.once_s(n_bytes_up, n_bytes_down) / (1.0 - self.loss)

    def once_s(self, n_bytes_up: float, n_bytes_down: float) -> float:
        """Seconds of an exchange that is not lost."""
        up_s, down_s = n_bytes_up / self.bytes_per_s_up, n_bytes_down / self.bytes_per_s_down
        return self.round_trip_s + up_s + down_s


class _Exchange(NamedTuple):
    """What is kept of an exchange: its size, its number, when it was, in seconds without traffic,
    and how far it is from each link's seconds.
    """

    size: int
    number: int
    idle_s: float
    off: NDArray[np.float64]


class Estimate:
    """What is known of one link. Starts with a prior: 100 KB/s and 50 ms, give or take a lot."""

    def __init__(self) -> None:
        rates, trips = np.log(RATES / 100e3), np.log(ROUND_TRIPS_S / 0.05)
        down = np.array([0.0, -0.5])  # log-weights: mostly like up, or faster
        self._prior = (
            -0.5 * (trips[:, None, None] / 1.5) ** 2
            - 0.5 * (rates[None, :, None] / 4.0) ** 2
            + down[None, None, :]
        )
        self._kept: list[_Exchange] = []
        self._number, self._idle_s = 0, 0.0
        self._losses, self._exchanges = 0.0, 0.0
        self._spread = SPREAD
        self._last_s: float | None = None

    def add(self, n_bytes_up: int, n_bytes_down: int, seconds: float, at_s: float) -> None:
        """An exchange that was whole.

        Args:
            n_bytes_up, n_bytes_down: whole, headers included.
            seconds: from the first byte sent to the last received, less the server's own time.
            at_s: when it ended, on a clock of the caller's that does not jump.

        Raises:
            ValueError: a negative or infinite value.
        """
        _check(n_bytes_up=n_bytes_up, n_bytes_down=n_bytes_down, seconds=seconds)
        self._pass(at_s, seconds)
        as_up = n_bytes_up + n_bytes_down / DOWN_TO_UP
        expected = ROUND_TRIPS_S[:, None, None] + as_up / RATES[:, None]
        seconds = max(seconds, LEAST_S)
        self._learn_spread(seconds / self.state(at_s).once_s(n_bytes_up, n_bytes_down))
        off = np.log(seconds / expected) ** 2 / DEGREES
        self._number += 1
        size = int(n_bytes_up + n_bytes_down).bit_length()
        same = [one for one in self._kept if one.size == size]
        gone = {one.number for one in same[: max(0, len(same) - KEPT_OF_A_SIZE + 1)]}
        kept = [one for one in self._kept if one.number not in gone]
        self._kept = [*kept, _Exchange(size, self._number, self._idle_s, off)][-MOST_KEPT:]
        self._count(0.0)

    def failed(self, at_s: float) -> None:
        """An exchange that was not whole in its time, or was refused by the link.

        Raises:
            ValueError: an infinite time.
        """
        self._pass(at_s, 0.0)
        self._count(1.0)

    def state(self, at_s: float) -> LinkState:
        """What the link is like at a time; asking changes nothing."""
        idle_s = self._idle_to(at_s, 0.0)
        steady = 1 - FORGOTTEN * self._spread
        log_weight = self._prior.copy()
        for one in self._kept:
            counts = math.exp(-(idle_s - one.idle_s) / KEPT_S)
            counts *= steady ** (self._number - one.number)
            log_weight -= 0.5 * (DEGREES + 1) * counts * np.log1p(one.off / self._spread**2)
        weight = np.exp(log_weight - log_weight.max())
        weight /= weight.sum()
        kept = math.exp(-(idle_s - self._idle_s) / KEPT_S)
        by_trip = weight.sum(axis=(1, 2))
        s_per_byte_up = (weight.sum(axis=(0, 2)) / RATES).sum()
        down = weight.sum(axis=0) / (RATES[:, None] * DOWN_TO_UP[None, :])
        age_s = math.inf if self._last_s is None else max(0.0, at_s - self._last_s)
        # one exchange that was whole is the prior of the losses
        loss = kept * self._losses / (kept * self._exchanges + 1.0)
        return LinkState(
            float(1.0 / s_per_byte_up),
            float((by_trip * ROUND_TRIPS_S).sum()),
            loss,
            age_s,
            float(1.0 / down.sum()),
        )

    def _pass(self, at_s: float, busy_s: float) -> None:
        if not math.isfinite(at_s):
            raise ValueError(f"a time is a number of seconds, not {at_s}")
        idle_s = self._idle_to(at_s, busy_s)
        kept = math.exp(-(idle_s - self._idle_s) / KEPT_S)
        self._losses, self._exchanges = kept * self._losses, kept * self._exchanges
        self._idle_s = idle_s
        self._last_s = at_s if self._last_s is None else max(at_s, self._last_s)

    def _idle_to(self, at_s: float, busy_s: float) -> float:
        """Seconds until a time in which nothing was sent; a clock that goes back adds none."""
        if self._last_s is None:
            return 0.0
        return self._idle_s + max(0.0, at_s - self._last_s - busy_s)

    def _learn_spread(self, ratio: float) -> None:
        """`ratio` is what an exchange took to what was expected; one outlier counts little."""
        off = min(abs(math.log(ratio)), 2 * MOST_SPREAD)
        spread = KEPT_EACH * self._spread + (1 - KEPT_EACH) * off
        self._spread = min(max(spread, LEAST_SPREAD), MOST_SPREAD)

    def _count(self, lost: float) -> None:
        self._losses = KEPT_EACH * self._losses + lost
        self._exchanges = KEPT_EACH * self._exchanges + 1.0


def _check(**values: float) -> None:
    for name, value in values.items():
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"{name} is a number from 0, not {value}")
