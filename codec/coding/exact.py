"""a prior's integer arrays -> accepted only where every machine gets the same integers of them.

An array of another dtype or shape, or weights whose sums leave what float32, float64 or int32 hold
exactly, would make C and numpy write different bytes. Part of the one file for devices: Python 3.6,
numpy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LIMIT = 127
"""Symbols are integers in -127..127; whoever quantises clips to that."""
N_SCALES, LEAST_SCALE, SCALE_STEP = 24, 0.05, 1.2
"""Scales of the tables: 0.05 * 1.2**i steps of the quantiser, i = 0 ... 23."""
EIGHTHS = 8
"""Fractions of a step that the tables know."""
N_TABLES = N_SCALES * EIGHTHS
FRACTION_BITS = 16
"""Fraction bits of `unit`, `factor` and `bias` below."""
MAX_SUM, MAX_RESULT = 1 << 24, 1 << 45
"""Bounds of the sums of the first layer, which float32 must hold, and of o * factor, which float64
and then int32 must.
"""
MAX_SHIFT = 24
_WIDE, _NARROW = ("unit", "hidden_bias", "shift", "out_bias", "factor", "bias"), ("hidden", "out")


@dataclass(frozen=True, eq=False)
class NetworkArrays:
    """A network of integers with one hidden layer: known symbols -> table and mean of the next one.
    `codec.model.freezing.freeze` makes it, `codec.coding.context` evaluates it.

    With v the known neighbours' symbols in the network's unit, of quality q and pass p: h =
    max(hidden[p] v + hidden_bias[q, p], 0) >> shift[p]; o = out[p] h + out_bias; in the first pass
    o = out_bias. Then, with 16 fraction bits, the mean in eighths of a symbol, plus 4, and the
    scale's index are o * factor[q] + bias[q].

    Attributes:
        side: side of the latent's square, M = side * side.
        unit: (Q, C) int32, a symbol in the network's unit, 16 fraction bits; v is rounded and
            clipped to -127..127.
        hidden: (2, H, 4 C) int8, for the second and the third pass.
        hidden_bias: (Q, 2, H) int32.
        shift: (2, H) int32.
        out: (2, 2 C, H) int8: C means, C scales.
        out_bias: (2 C, M) int32.
        factor, bias: (Q, 2 C) int32.

    Raises:
        ValueError: an array has another dtype or shape, or a sum could become too large to be
            exact, at any quality.
    """

    side: int
    unit: NDArray[np.int32]
    hidden: NDArray[np.int8]
    hidden_bias: NDArray[np.int32]
    shift: NDArray[np.int32]
    out: NDArray[np.int8]
    out_bias: NDArray[np.int32]
    factor: NDArray[np.int32]
    bias: NDArray[np.int32]

    def __post_init__(self) -> None:
        side = self.side
        if isinstance(side, bool) or not isinstance(side, (int, np.integer)) or side < 1:
            raise ValueError(f"the side of a prior's latent is a positive integer, not {side!r}")
        _check_dtypes(self)
        _check_shapes(self)
        if self.shift.min() < 0 or self.shift.max() > MAX_SHIFT:
            raise ValueError(f"a shift of the prior is not in 0..{MAX_SHIFT}")
        hidden, out = greatest_sums(self)
        # in floats, as int64 would wrap around where a sum is far too large
        result = out.astype(np.float64) * np.abs(self.factor.astype(np.float64))
        result += np.abs(self.bias.astype(np.float64))
        if hidden.max() >= MAX_SUM or result.max() > 2 * MAX_RESULT:
            raise ValueError("the sums of the prior's network are too large to be exact")

    @property
    def n_qualities(self) -> int:
        """Q."""
        return len(self.unit)

    @property
    def n_channels(self) -> int:
        """C."""
        return self.unit.shape[1]


def greatest_sums(network: NetworkArrays) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """What the sums of both layers can be at most, for any symbols and quality: before the shift
    (2, H), and of out (2 C,).
    """
    hidden_bias = np.abs(network.hidden_bias.astype(np.int64)).max(0)
    hidden = LIMIT * np.abs(network.hidden.astype(np.int64)).sum(2) + hidden_bias
    weights = np.abs(network.out.astype(np.int64))
    out = (weights * (hidden >> network.shift)[:, None]).sum(2).max(0)
    return hidden, out + np.abs(network.out_bias.astype(np.int64)).max(1)


def _check_dtypes(network: NetworkArrays) -> None:
    for names, dtype in ((_WIDE, np.dtype(np.int32)), (_NARROW, np.dtype(np.int8))):
        for name in names:
            array = getattr(network, name)
            if not isinstance(array, np.ndarray) or array.dtype != dtype:
                found = getattr(array, "dtype", type(array).__name__)
                raise ValueError(f"{name} of the prior is an array of {dtype}, not of {found}")


def _check_shapes(network: NetworkArrays) -> None:
    if network.unit.ndim != 2 or network.out.ndim != 3:
        raise ValueError("the prior's unit is (Q, C), its out (2, 2 C, H)")
    (q, c), h, m = network.unit.shape, network.out.shape[2], network.side**2
    if not q or not c or not h:
        raise ValueError("the prior has no qualities, no channels or no hidden units")
    shapes = {
        "hidden": (2, h, 4 * c),
        "hidden_bias": (q, 2, h),
        "shift": (2, h),
        "out": (2, 2 * c, h),
        "out_bias": (2 * c, m),
        "factor": (q, 2 * c),
        "bias": (q, 2 * c),
    }
    for name, shape in shapes.items():
        if getattr(network, name).shape != shape:
            raise ValueError(
                f"{name} of the prior has shape {getattr(network, name).shape}, not {shape}"
            )
