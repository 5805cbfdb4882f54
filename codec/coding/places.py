"""symbols, with the mean that is predicted for each <-> their places in the tables.

A table holds the mean's nearest symbol and REACH on both sides of it, nearest first: 0, -1, 1, -2,
2, ... (constriction looks a symbol up from the start of its table). Its last place is the escape,
for a symbol that is further away. Part of the one file for devices: Python 3.6, numpy.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

REACH = 15
TABLE_SYMBOLS = 2 * REACH + 2
ESCAPE = TABLE_SYMBOLS - 1
DISTANCES = np.array(
    [-(place + 1) // 2 if place % 2 else place // 2 for place in range(ESCAPE)], dtype=np.int32
)
"""Symbol minus mean, by place in a table."""
AWAY = np.append(DISTANCES, 0).astype(np.int32)
"""The same, with 0 for the escape."""
# by distance + REACH + 1, clipped
_PLACES = np.array([ESCAPE, *np.argsort(DISTANCES), ESCAPE], dtype=np.int32)


def places_of(symbols: NDArray[np.int32], means: NDArray[np.int32]) -> NDArray[np.int32]:
    """Symbols and their means, of one shape -> the symbols' places in their tables."""
    distances = symbols - means
    distances += REACH + 1
    return _PLACES.take(distances, mode="clip")


def rising(cdf: NDArray[np.uint32]) -> NDArray[np.int64]:
    """Cumulative frequencies (K, 2 REACH + 2) of tables (K, 2 REACH + 3), with symbols from -REACH
    to REACH in their own order, without the escape.
    """
    frequency = np.diff(cdf.astype(np.int64), axis=1)[:, np.argsort(DISTANCES)]
    start = np.zeros((len(frequency), 1), dtype=np.int64)
    return np.concatenate([start, np.cumsum(frequency, axis=1)], axis=1)


def upto(
    of: NDArray[np.int64], tables: NDArray[np.int64], distances: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Frequency of all symbols below one at that distance from the mean, up to a constant; each
    beyond a table's reach counts 1. `of` is what `rising` gives.
    """
    place = distances + REACH
    inside = of[tables, place.clip(0, 2 * REACH + 1)]
    return inside + np.minimum(place, 0) + np.maximum(place - (2 * REACH + 1), 0)
