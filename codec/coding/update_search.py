"""wanted changes and a rate -> steps, symbols and payload: the common step and the price of a bit
are searched for, each tensor's step is fitted to its symbols, and each symbol is chosen for squared
error and bits.
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
FILLED, MOST_MOVED = 0.008, 0.4
"""A rate is met where so little of it is left, in the logarithm; and so far, in the logarithm too,
the price of a bit may be moved for the rest.
"""
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
        if not search.learn(_found(rate, coded, share)):
            break
    search.begin_again()
    best = least if least.relative_mse <= _bound(rate) else None
    for _ in range(20):
        coded = quantised(wants, search.exponent, offsets)
        best = _better(rate, coded, best)
        if not search.learn(_found(rate, coded, 1.0)):
            break
    if best is None:
        raise ValueError(f"no step keeps {rate}")
    return best if best is least else filled(wants, sample, rate, best, offsets)


def filled(
    wants: Wants,
    sample: Wants,
    rate: Budget | Distortion,
    best: Coded,
    offsets: NDArray[np.int32],
) -> Coded:
    """The best update of a rate at the same steps: from one common step to the next, bytes may go
    up by a sixth, and the price of a bit fills what is left.

    How much it does is seen on the sample. Two tries at most: each costs as much as decoding does.
    """
    left = _found(rate, best, 1.0)
    if left > -FILLED:
        return best
    at_price, cheaper = (quantised(sample, best.exponent, offsets, p) for p in (1.0, 0.9))
    here, price, found = 0.0, 0.0, left
    slope = (_found(rate, cheaper, 1.0) - _found(rate, at_price, 1.0)) / math.log(0.9)
    for _ in range(2):
        if -FILLED < found <= 0 or not slope or abs(found / slope) > MOST_MOVED:
            break
        here, price = price, price - (found + 0.4 * FILLED) / slope
        coded = quantised(wants, best.exponent, offsets, math.exp(price))
        before, found = found, _found(rate, coded, 1.0)
        best = _better(rate, coded, best) or best
        slope = (found - before) / (price - here)
    return best


def _bound(rate: Budget | Distortion) -> float:
    return math.inf if isinstance(rate, Budget) else rate.relative_mse


def _found(rate: Budget | Distortion, coded: Coded, share: float) -> float:
    """How far an update is from a rate: at most 0 where it keeps it. Logarithm of bytes over bytes,
    those of all weights `share` times those of the sample, or of error over error.
    """
    if isinstance(rate, Budget):
        return math.log((len(coded.payload) * share + HEADER_BYTES) / rate.n_bytes)
    return math.log(max(coded.relative_mse, 1e-12) / max(rate.relative_mse, 1e-12))


def _better(rate: Budget | Distortion, one: Coded, best: Coded | None) -> Coded | None:
    """The best update so far, after one more."""
    if _found(rate, one, 1.0) > 0:
        return best
    if best is None:
        return one
    if isinstance(rate, Budget):
        return one if one.relative_mse < best.relative_mse else best
    return one if len(one.payload) < len(best.payload) else best


class _Search:
    """Where the exponent of a rate lies: an interval that shrinks, by the secant of logarithms."""

    def __init__(self, rate: Budget | Distortion, guess: int, finest: int) -> None:
        self.rises, self.finest = isinstance(rate, Distortion), max(finest - 1, 0)
        self.exponent = min(max(guess, self.finest + 1), N_STEPS - 2)
        self.slope = 0.04 if self.rises else -0.03
        self.begin_again()

    def begin_again(self) -> None:
        """The interval is all there is once more; exponent and slope stay."""
        self.low, self.high, self.tries = self.finest, N_STEPS - 1, 0
        self.last: tuple[int, float] | None = None

    def learn(self, found: float) -> bool:
        """Choose the next exponent by what this one led to; whether it is worth a try."""
        fits, here = found <= 0, self.exponent
        if fits != self.rises:
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
        away = int(math.floor(move) if self.rises else math.ceil(move))
        wanted = here + (away or (1 if (found > 0) != self.rises else -1))
        if self.tries > 5:  # the secant does not get there: halve what is left
            wanted = (self.low + self.high) // 2
        self.exponent = min(max(wanted, self.low + 1), self.high - 1)
        return True


def quantised(wants: Wants, exponent: int, offsets: NDArray[np.int32], price: float = 1.0) -> Coded:
    """The update with these steps, at so many times `PRICE`."""
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
            prices[i] = int(price * PRICE * float(np.float32(steps()[exponent]) / steps_of[i]) ** 2)
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
