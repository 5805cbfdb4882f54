"""positions of the latent -> the order in which they are coded, and the neighbours each one then
knows.

    0 2 0 2     the pass of each position of a latent of side 4: pass 0 sees nothing, pass 1 its
    2 1 2 1     four diagonal neighbours, pass 2 the four adjacent ones
    0 2 0 2
    2 1 2 1

A checkerboard in two levels (He et al. 2021, "Checkerboard context model for efficient learned
image compression", arXiv 2103.15306). Part of the one file for devices: Python 3.6, numpy.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Pass(NamedTuple):
    """Positions that are coded together: `positions` (n,) and, for each, its four known neighbours
    (n, 4), M where there is none.
    """

    positions: NDArray[np.intp]
    neighbours: NDArray[np.intp]


def passes(side: int) -> tuple[Pass, ...]:
    """The order in which the side * side positions are coded.

    First the positions at even rows and columns, which see nothing; then those at odd rows and
    columns, which see their diagonal neighbours; then the rest, which see the adjacent ones. A pass
    without positions is left out.
    """
    y, x = np.divmod(np.arange(side * side), side)
    straight, diagonal = ((-1, 0), (0, -1), (0, 1), (1, 0)), ((-1, -1), (-1, 1), (1, -1), (1, 1))
    made, known = [], np.zeros(side * side + 1, dtype=bool)
    for chosen, steps in (
        ((y % 2 == 0) & (x % 2 == 0), diagonal),
        ((y % 2 == 1) & (x % 2 == 1), diagonal),
        ((y + x) % 2 == 1, straight),
    ):
        positions = np.flatnonzero(chosen)
        rows = np.stack([y[positions] + dy for dy, _ in steps], axis=1)
        columns = np.stack([x[positions] + dx for _, dx in steps], axis=1)
        inside = (rows >= 0) & (rows < side) & (columns >= 0) & (columns < side)
        places = np.where(inside, rows * side + columns, side * side)
        if len(positions):
            made.append(Pass(positions, np.where(known[places], places, side * side)))
        known[positions] = True
    return tuple(made)


class CodingOrder:
    """The passes of a latent, and the place of each position in them. A place is counted in the
    order of coding, a position in reading order.

    Attributes:
        passes: with neighbours as places.
        order: positions in the order of coding, (M,).
        inverse: the place of each position, (M,).
        rows: the places of each pass.
    """

    def __init__(self, side: int) -> None:
        made = passes(side)
        self.order: NDArray[np.intp] = np.concatenate([positions for positions, _ in made])
        self.inverse: NDArray[np.intp] = np.argsort(self.order)
        place = np.append(self.inverse, side**2)
        self.passes = tuple(Pass(positions, place[near]) for positions, near in made)
        ends = np.cumsum([len(positions) for positions, _ in made]).tolist()
        self.rows = [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]
