"""ways of working, the link's state and a deadline -> the way to take, and why.

The rule, in this order:

1. A way's latency is predicted: device + network + server (`predicted_ms`).
2. With a deadline, the ways that are predicted to answer by it are left; if there are none, the
   fastest of all is taken. Without a deadline all ways are left.
3. Of those left, the ones whose score is within `tolerance` points of their best score are left.
4. Of these, the one with the least cost: predicted milliseconds and `ms_per_byte` for each byte on
   the link, which is where money or airtime enters.
5. Hysteresis: the last way stays if steps 2 and 3 leave it and it costs at most 2% and 0.5 ms more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from codec.link.estimate import LinkState

TOLERANCE = 0.2
"""Points of score that a faster way may lose."""
STAY_SHARE, STAY_MS = 0.02, 0.5
ALONE = "device alone"


@dataclass(frozen=True)
class Way:
    """One way to get an answer.

    Attributes:
        name: "picture:webp@224 q50", "blob q5" or "device alone".
        n_bytes_up, n_bytes_down: on the link, headers included, in the mean; 0 and 0 where nothing
            is sent.
        device_ms, server_ms: of computing, a picture.
        score: of the task, in points; what can be expected, not of this picture.
    """

    name: str
    n_bytes_up: float
    n_bytes_down: float
    device_ms: float
    server_ms: float
    score: float

    @property
    def n_bytes(self) -> float:
        """Bytes on the link, both directions."""
        return self.n_bytes_up + self.n_bytes_down


class Choice(NamedTuple):
    """The way to take, the milliseconds that are expected, and the reason in words."""

    way: Way
    predicted_ms: float
    why: str


def predicted_ms(way: Way, link: LinkState) -> float:
    """Milliseconds from picture to answer; what sends nothing needs no link."""
    own = way.device_ms + way.server_ms
    return own + 1000 * link.network_s(way.n_bytes_up, way.n_bytes_down) if way.n_bytes else own


def choose(
    ways: Sequence[Way],
    link: LinkState,
    deadline_ms: float | None = None,
    last: Way | None = None,
    tolerance: float = TOLERANCE,
    ms_per_byte: float = 0.0,
) -> Choice:
    """The way to take for the next picture.

    Args:
        deadline_ms: when the answer has to be there, from the picture on; None for as soon as it
            can be.
        last: the way that was taken before.
        tolerance: points of score that may be given up for speed.
        ms_per_byte: milliseconds that one is ready to wait longer to save a byte.

    Raises:
        ValueError: no ways, or a negative number.
    """
    if not ways:
        raise ValueError("there is no way to choose from")
    check_numbers(deadline_ms, tolerance, ms_per_byte)
    ms = {way: predicted_ms(way, link) for way in ways}
    cost = {way: ms[way] + ms_per_byte * way.n_bytes for way in ways}
    left = [way for way in ways if deadline_ms is None or ms[way] <= deadline_ms]
    if not left:
        way = min(ways, key=lambda one: ms[one])
        return Choice(way, ms[way], _late(way, ms[way], link, deadline_ms or 0.0))
    best = max(way.score for way in left)
    close = [way for way in left if way.score >= best - tolerance]
    way = min(close, key=lambda one: (cost[one], -one.score))
    stays = last in close and last != way
    if stays and last is not None and cost[last] <= cost[way] * (1 + STAY_SHARE) + STAY_MS:
        return Choice(last, ms[last], _said(last, ms[last], link) + f"; {way.name} gains little")
    ranked = "cheapest" if ms_per_byte else "fastest"
    by = "" if deadline_ms is None else f" that answer by {deadline_ms:g} ms"
    one = "" if len(close) == 1 else f"the {ranked} of {len(close)} within {tolerance:g} points of "
    best_of = f"; {one}the best score, {best:.2f}, of {len(left)} ways{by}"
    return Choice(way, ms[way], _said(way, ms[way], link) + best_of)


def check_numbers(deadline_ms: float | None, tolerance: float, ms_per_byte: float) -> None:
    """Raise `ValueError` where one of them is negative, infinite or NaN."""
    if not all(0 <= one < math.inf for one in (tolerance, ms_per_byte, deadline_ms or 0.0)):
        raise ValueError("tolerance, price and deadline are numbers from 0")


def _late(way: Way, ms: float, link: LinkState, deadline_ms: float) -> str:
    return f"{_said(way, ms, link)}; no way answers by {deadline_ms:g} ms, this is the fastest"


def _said(way: Way, ms: float, link: LinkState) -> str:
    """A way, its milliseconds, and the link that they are expected of."""
    if not way.n_bytes:
        return f"{way.name}: {ms:.3g} ms, nothing is sent"
    known = "as assumed, nothing was sent yet" if link.age_s == float("inf") else ""
    if not known and link.loss >= 0.01:
        known = f"{link.loss:.0%} of exchanges lost"
    rate = link.bytes_per_s_up
    shown = f"{rate / 1000:.3g} KB/s" if rate >= 1000 else f"{rate:.3g} B/s"
    at = f"{shown} and {1000 * link.round_trip_s:.3g} ms round trip"
    return f"{way.name}: {ms:.3g} ms at {at}{', ' if known else ''}{known}"
