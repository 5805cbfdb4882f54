"""frames on the air -> which of them a LoRa gateway receives: collisions, the stronger of two, and
the frames that a gateway can follow at once.

The model of LoRaSim (Bor, Roedig, Voigt, Alonso: Do LoRa Low-Power Wide-Area Networks Scale?, MSWiM
2016, sec. 4): two frames meet when they overlap in time on one channel. A frame survives where it
is stronger than each other one by a threshold, or where the other one ends before the last five
symbols of its preamble, which are enough to lock on to. Frames are compared two by two; what
several weak ones add up to is not.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

SPREADING_FACTORS = (7, 8, 9, 10, 11, 12)
PATHS = 8
"""Frames that an SX1301, the chip in most gateways, demodulates at once (Semtech, SX1301 datasheet,
sec. 1)."""


class Frames(NamedTuple):
    """Frames in the order in which they begin, (F,) each.

    Attributes:
        start_s, end_s: when a frame is on the air.
        channel: its number.
        spreading_factor: 7 to 12.
        power_dbm: at the gateway.
        answer: the number of the answer that it belongs to.
        part: which of the answer's frames it is; the same for a repetition.
    """

    start_s: Floats
    end_s: Floats
    channel: Ints
    spreading_factor: Ints
    power_dbm: Floats
    answer: Ints
    part: Ints


@dataclass(frozen=True)
class Interference:
    """When a frame survives another one on its channel.

    Attributes:
        least_db: how much stronger a frame has to be, (6, 6), by its own spreading factor and the
            other one's; infinite for never, minus infinity for always.
        spared_symbols: symbols at a frame's start that another one may spoil.
    """

    least_db: tuple[tuple[float, ...], ...]
    spared_symbols: float

    def __post_init__(self) -> None:
        n = len(SPREADING_FACTORS)
        if len(self.least_db) != n or any(len(row) != n for row in self.least_db):
            raise ValueError(f"thresholds are a table of {n} x {n}")
        if not 0 <= self.spared_symbols <= 8:
            raise ValueError("a preamble has 8 symbols: 0 to 8 of them may be spoilt")


def _only_same(least_db: float) -> tuple[tuple[float, ...], ...]:
    rows = range(len(SPREADING_FACTORS))
    return tuple(tuple(least_db if a == b else -np.inf for b in rows) for a in rows)


NO_CAPTURE = Interference(_only_same(np.inf), 0)
"""Both frames are lost, as in pure ALOHA; spreading factors do not disturb each other."""
CAPTURE = Interference(_only_same(6.0), 3)
"""LoRaSim's: 6 dB, and 3 of 8 symbols; spreading factors do not disturb each other."""
IMPERFECT = Interference(
    (
        (6, -16, -18, -19, -19, -20),
        (-24, 6, -20, -22, -22, -22),
        (-27, -27, 6, -23, -25, -25),
        (-30, -30, -30, 6, -26, -28),
        (-33, -33, -33, -33, 6, -29),
        (-36, -36, -36, -36, -36, 6),
    ),
    3,
)
"""As `CAPTURE`, and a frame is lost to a far stronger one of another spreading factor too (Goursaud
and Gorce: Dedicated networks for IoT, EAI Endorsed Transactions on IoT 1(1), 2015; the table as the
lorawan module of ns-3 has it)."""


def received(frames: Frames, interference: Interference, n_paths: int | None = PATHS) -> Bools:
    """Which frames a gateway receives, (F,) bool.

    Args:
        n_paths: frames that it follows at once; None for no limit. A frame takes a path from its
            start to its end, also where it is lost to another one.
    """
    lost = _collided(frames, interference)
    if n_paths is not None:
        lost |= _without_path(frames, n_paths)
    return ~lost


def _collided(frames: Frames, interference: Interference) -> Bools:
    """Frames that others on their channel spoil: each frame is compared with the next one on its
    channel, with the one after that, ... until none overlaps any more.
    """
    order = np.lexsort((frames.start_s, frames.channel))
    start, end, channel, factor, power, _, _ = (column[order] for column in frames)
    locked = start + interference.spared_symbols * 2.0**factor / 125_000
    least = np.array(interference.least_db)
    row = factor - SPREADING_FACTORS[0]
    lost = np.zeros(len(start), dtype=bool)
    first, step = np.arange(len(start)), 1
    while True:
        first = first[first + step < len(start)]
        later = first + step
        near = (channel[later] == channel[first]) & (start[later] < end[first])
        first, later = first[near], later[near]
        if not len(first):
            break
        stronger_db = power[first] - power[later]
        lost[first] |= (stronger_db < least[row[first], row[later]]) & (end[later] > locked[first])
        lost[later] |= (-stronger_db < least[row[later], row[first]]) & (end[first] > locked[later])
        step += 1
    found = np.empty_like(lost)
    found[order] = lost
    return found


def _without_path(frames: Frames, n_paths: int) -> Bools:
    """Frames that begin while all paths are taken; those take none."""
    start, end = frames.start_s, frames.end_s
    lost = np.zeros(len(start), dtype=bool)
    before = np.arange(len(start)) - np.searchsorted(np.sort(end), start, side="right")
    if not len(start) or before.max() < n_paths:
        return lost
    taken: list[float] = []
    for place, (begins, ends) in enumerate(zip(start.tolist(), end.tolist(), strict=True)):
        while taken and taken[0] <= begins:
            heapq.heappop(taken)
        if len(taken) < n_paths:
            heapq.heappush(taken, ends)
        else:
            lost[place] = True
    return lost
