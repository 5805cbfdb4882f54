"""logits <-> probabilities, bits and rates of learning: the integer tables of `updates.c`, the same
on every machine.

`decimal` rounds exp and ln correctly everywhere, which no libm promises.
"""

from __future__ import annotations

import functools
from decimal import Decimal, localcontext
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FAR = 2815
"""The greatest logit, in 1/256."""
N_STEPS = 2048
ELSEWHERE = "the payload does not decode to an update of these weights"
TOO_LARGE = "no symbol of an update is larger than 8388609"
NO_STEP = "the offset of a tensor's step is in 0..511"
OTHER_FORM = "the payload is not what the encoder writes for its symbols"


@functools.lru_cache(maxsize=1)
def steps() -> NDArray[np.float32]:
    """Steps by their exponent, (N_STEPS,) float32: 2**(exponent / 32 - 44), rounded once."""
    with localcontext() as context:
        context.prec = 25
        octave = [int(Decimal(2) ** (Decimal(k) / 32) * 2**23 + Decimal("0.5")) for k in range(32)]
    exponents = np.arange(N_STEPS)
    mantissas = np.array(octave, dtype=np.float32)[exponents % 32]
    return np.ldexp(mantissas, (exponents // 32 - 67).astype(np.int32)).astype(np.float32)


class UpdateTables(NamedTuple):
    """`struct models` of updates.c.

    Attributes:
        stretch: (16384,) int16, the logit of a probability in 1/16384.
        squash: (2 FAR + 1,) uint16, the probability of a logit, in 1/65536.
        cost: (4097,) uint16, the bits of a probability in 1/4096, in 1/256 of a bit.
        rates: (1024,) int32, what share of an error is learned after a count of events.
    """

    stretch: NDArray[np.int16]
    squash: NDArray[np.uint16]
    cost: NDArray[np.uint16]
    rates: NDArray[np.int32]


@functools.lru_cache(maxsize=1)
def update_tables() -> UpdateTables:
    """The tables, made once."""
    with localcontext() as context:
        context.prec = 25
        upper = [
            int(65536 / (1 + (Decimal(-logit) / 256).exp()) + Decimal("0.5"))
            for logit in range(FAR + 1)
        ]
        cost = [int(-(Decimal(p) / 4096).ln() / Decimal(2).ln() * 256) for p in range(1, 4097)]
    upper_half = np.minimum(np.array(upper), 65535)
    squash = np.concatenate([65536 - upper_half[:0:-1], upper_half])
    stretch = np.searchsorted(squash, np.arange(16384) * 4 + 2).clip(0, 2 * FAR) - FAR
    rates = 65536 * 2 // (2 * np.arange(1024) + 3)
    return UpdateTables(
        stretch.astype(np.int16),
        squash.astype(np.uint16),
        np.array([cost[0] + 256, *cost], dtype=np.uint16),
        rates.astype(np.int32),
    )
