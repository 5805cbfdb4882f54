"""the context network's arrays -> accepted only where every machine gets the same integers of them.

An array of another dtype or shape, or weights whose sums leave what float32, float64 or int32 hold
exactly, would make C and numpy write different bytes. Part of the one file for devices: Python 3.6,
numpy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from codec.coding.context import ContextNetwork

LIMIT = 127
"""Symbols are integers in -127..127; whoever quantises clips to that."""
MAX_SUM, MAX_RESULT = 1 << 24, 1 << 45
"""Bounds of the sums of the first layer, which float32 must hold, and of o * factor, which float64
and then int32 must.
"""
MAX_SHIFT = 24
WIDE, NARROW = ("unit", "hidden_bias", "shift", "out_bias", "factor", "bias"), ("hidden", "out")
"""The network's arrays of int32, and those of int8."""


def check_network(network: ContextNetwork) -> None:
    """Check the arrays of a context network, of every quality.

    Raises:
        ValueError: an array has another dtype or shape, or a sum could become too large to be
            exact.
    """
    side = network.side
    if isinstance(side, bool) or not isinstance(side, (int, np.integer)) or side < 1:
        raise ValueError(f"the side of a prior's latent is a positive integer, not {side!r}")
    _check_shapes(network)
    if network.shift.min() < 0 or network.shift.max() > MAX_SHIFT:
        raise ValueError(f"a shift of the prior is not in 0..{MAX_SHIFT}")
    hidden, out = greatest_sums(network)
    # in floats, as int64 would wrap around where a sum is far too large
    result = out.astype(np.float64) * np.abs(network.factor.astype(np.float64))
    result += np.abs(network.bias.astype(np.float64))
    if hidden.max() >= MAX_SUM or result.max() > 2 * MAX_RESULT:
        raise ValueError("the sums of the prior's network are too large to be exact")


def greatest_sums(network: ContextNetwork) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """What the sums of both layers can be at most, for any symbols and quality: before the shift
    (2, H), and of out (2 C,).
    """
    hidden_bias = np.abs(network.hidden_bias.astype(np.int64)).max(0)
    hidden = LIMIT * np.abs(network.hidden.astype(np.int64)).sum(2) + hidden_bias
    weights = np.abs(network.out.astype(np.int64))
    out = (weights * (hidden >> network.shift)[:, None]).sum(2).max(0)
    return hidden, out + np.abs(network.out_bias.astype(np.int64)).max(1)


def _check_shapes(network: ContextNetwork) -> None:
    dtypes: dict[str, np.dtype[Any]] = {name: np.dtype(np.int32) for name in WIDE}
    dtypes.update((name, np.dtype(np.int8)) for name in NARROW)
    for name, dtype in dtypes.items():
        array = getattr(network, name)
        if not isinstance(array, np.ndarray) or array.dtype != dtype:
            found = getattr(array, "dtype", type(array).__name__)
            raise ValueError(f"{name} of the prior is an array of {dtype}, not of {found}")
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
