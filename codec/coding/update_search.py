"""wanted changes and a rate -> steps, symbols and payload: the common step is searched for, each
tensor's step is fitted to its symbols, and each symbol is chosen for squared error and bits.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from codec.coding.update_blob import HEADER_BYTES
from codec.coding.update_tables import N_STEPS, steps
from codec.coding.update_wants import Wants, coder, sampled

PRICE = 500
"""What 1/256 of a bit costs, in squares of 1/1024 of the common step."""
MOST_STEPS = 1 << 19
"""The largest change is at most so many common steps: those of a tensor may be twice as fine, and
symbols that are wanted end at 2**20.
"""
OFFSET, EIGHTH = 256, 4
"""A tensor's step is `steps()[exponent + EIGHTH * (offset - OFFSET)]`."""


class Budget(NamedTuple):
    """A rate: the least distortion in at most so many bytes, header included."""

    n_bytes: int


class Distortion(NamedTuple):
    """A rate: the fewest bytes whose squared error, over the squared change, is at most this."""

    relative_mse: float


class Coded(NamedTuple):
    """An update: `offsets` is -1 where a tensor stays as it is."""

    exponent: int
    offsets: NDArray[np.int32]
    symbols: NDArray[np.int32]
    payload: bytes
    relative_mse: float


def searched(wants: Wants, rate: Budget | Distortion) -> Coded:
    """The update of a rate.

    Raises:
        ValueError: no update fits.
    """
    least = smallest(wants)
    if isinstance(rate, Budget) and len(least.payload) + HEADER_BYTES > rate.n_bytes:
        raise ValueError(
            f"no update fits into {rate.n_bytes} bytes: one that leaves all floats as they are "
            f"takes {len(least.payload) + HEADER_BYTES}"
        )
    floats = [c for c, t in zip(wants.changes, wants.tensors, strict=True) if t[3] != 3]
    size = sum(change.size for change in floats)
    energy = sum(float(np.square(change, dtype=np.float64).sum()) for change in floats)
    if not energy:
        return least
    sample = sampled(wants)
    share = sum(c.size for c in wants.changes) / max(sum(c.size for c in sample.changes), 1)
    guess = int(np.searchsorted(steps(), 2 * math.sqrt(energy / size)))
    largest = max(float(np.abs(change).max(initial=0)) for change in floats)
    finest = int(np.searchsorted(steps(), np.float32(largest / MOST_STEPS)))
    search = _Search(rate, guess, finest)
    offsets = np.full(len(wants.tensors), OFFSET, dtype=np.int32)
    for _ in range(9):
        coded = quantised(sample, search.exponent, offsets)
        offsets = fitted(sample, coded, offsets)
        if not search.learn(coded, share):
            break
    search.begin_again()
    best = least if least.relative_mse <= _bound(rate) else None
    for _ in range(20):
        coded = quantised(wants, search.exponent, offsets)
        if search.fits(coded) and (best is None or search.better(coded, best)):
            best = coded
        if not search.learn(coded, 1.0):
            break
    if best is None:
        raise ValueError(f"no step keeps {rate}")
    return best


def _bound(rate: Budget | Distortion) -> float:
    return math.inf if isinstance(rate, Budget) else rate.relative_mse


class _Search:
    """Where the exponent of a rate lies: an interval that shrinks, by the secant of logarithms."""

    def __init__(self, rate: Budget | Distortion, guess: int, finest: int) -> None:
        self.rate, self.finest = rate, max(finest - 1, 0)
        self.exponent = min(max(guess, self.finest + 1), N_STEPS - 2)
        self.slope = -0.03 if isinstance(rate, Budget) else 0.04
        self.begin_again()

    def begin_again(self) -> None:
        """The interval is all there is once more; exponent and slope stay."""
        self.low, self.high, self.tries = self.finest, N_STEPS - 1, 0
        self.last: tuple[int, float] | None = None

    def fits(self, coded: Coded) -> bool:
        if isinstance(self.rate, Budget):
            return len(coded.payload) + HEADER_BYTES <= self.rate.n_bytes
        return coded.relative_mse <= self.rate.relative_mse

    def better(self, one: Coded, other: Coded) -> bool:
        if isinstance(self.rate, Budget):
            return one.relative_mse < other.relative_mse
        return len(one.payload) < len(other.payload)

    def learn(self, coded: Coded, share: float) -> bool:
        """Choose the next exponent by what this one led to; whether it is worth a try."""
        budget = isinstance(self.rate, Budget)
        if isinstance(self.rate, Budget):
            found = math.log((len(coded.payload) * share + HEADER_BYTES) / self.rate.n_bytes)
        else:
            found = math.log(max(coded.relative_mse, 1e-12) / max(self.rate.relative_mse, 1e-12))
        fits, here = found <= 0, self.exponent
        if fits == budget:
            self.high = min(self.high, here)
        else:
            self.low = max(self.low, here)
        if self.last is not None and self.last[0] != here:
            slope = (found - self.last[1]) / (here - self.last[0])
            if slope * self.slope > 0:
                self.slope = math.copysign(min(max(abs(slope), 0.002), 0.3), self.slope)
        self.last = (here, found)
        # the next step would most likely not fit: whether it does costs as much as all of this
        near = -max(0.012, 0.75 * abs(self.slope))
        if self.high - self.low <= 1 or (fits and found > near):
            return False
        self.tries += 1
        move = -(found + 0.005) / self.slope
        away = int(math.floor(move) if not budget else math.ceil(move))
        wanted = here + (away or (1 if (found > 0) == budget else -1))
        if self.tries > 5:  # the secant does not get there: halve what is left
            wanted = (self.low + self.high) // 2
        self.exponent = min(max(wanted, self.low + 1), self.high - 1)
        return True


def quantised(wants: Wants, exponent: int, offsets: NDArray[np.int32]) -> Coded:
    """The update with these steps."""
    n = sum(change.size for change in wants.changes)
    wanted, prices = np.empty(n, dtype=np.int32), np.zeros(len(wants.tensors), dtype=np.int64)
    steps_of, at = tensor_steps(exponent, offsets), 0
    for i, change in enumerate(wants.changes):
        part = wanted[at : at + change.size]
        if wants.tensors[i, 3] == 3:
            part[:] = change * 1024
        else:
            scaled = change * np.float32(np.float32(1024) / steps_of[i])
            part[:] = np.rint(np.clip(scaled, -(2.0**30), 2.0**30, out=scaled), out=scaled)
            # the same price of squared error for all tensors: 2 eighths of an octave halve it
            prices[i] = int(PRICE * float(np.float32(steps()[exponent]) / steps_of[i]) ** 2)
        at += change.size
    symbols, offsets = np.zeros(n, dtype=np.int32), offsets.copy()
    offsets += 8 * wants.octaves
    payload = coder()(True, wants.tensors, offsets, symbols, wanted, prices)
    wrong = right = 0.0
    at = 0
    for i, change in enumerate(wants.changes):
        if wants.tensors[i, 3] != 3:
            off = change - symbols[at : at + change.size] * steps_of[i]
            wrong, right = wrong + float(np.vdot(off, off)), right + float(np.vdot(change, change))
        at += change.size
    return Coded(exponent, offsets, symbols, payload, wrong / right if right else 0.0)


def fitted(wants: Wants, coded: Coded, offsets: NDArray[np.int32]) -> NDArray[np.int32]:
    """The offsets whose steps are nearest to the least squares of each tensor's symbols."""
    found, at = offsets.copy(), 0
    for i, change in enumerate(wants.changes):
        part = coded.symbols[at : at + change.size].astype(np.float64)
        at += change.size
        square = float(np.vdot(part, part))
        if wants.tensors[i, 3] != 3 and square >= 8:
            step = float(np.vdot(part, change)) / square
            exponent = int(np.searchsorted(steps(), np.float32(step)))
            away = round((exponent - coded.exponent) / EIGHTH)
            found[i] = OFFSET + min(max(away, -8), 12)
    return found


def smallest(wants: Wants) -> Coded:
    """The update that leaves all floats as they are."""
    n = sum(change.size for change in wants.changes)
    offsets, symbols = np.full(len(wants.tensors), -1, dtype=np.int32), np.zeros(n, dtype=np.int32)
    at, energy = 0, 0.0
    for i, change in enumerate(wants.changes):
        if wants.tensors[i, 3] != 3:
            energy += float(np.vdot(change, change))
        elif change.any():
            offsets[i], symbols[at : at + change.size] = OFFSET, change
        at += change.size
    payload = coder()(True, wants.tensors, offsets, symbols, None, np.zeros(len(offsets), np.int64))
    return Coded(N_STEPS // 2, offsets, symbols, payload, float(energy > 0))


def tensor_steps(exponent: int, offsets: NDArray[np.int32]) -> NDArray[np.float32]:
    """The step of each tensor, by its offset."""
    away = np.where(offsets < 0, 0, offsets - OFFSET)
    return steps()[np.clip(exponent + EIGHTH * away, 0, N_STEPS - 1)]
