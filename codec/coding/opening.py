"""a prior's arrays -> a prior that codes, with the fastest coder that this machine has.

All coders write the same bytes. A coder may be missing: no compiler, no package, or another result
than numpy's. That is an error only where the caller asked for this coder by its name.
Part of the one file for devices: Python 3.6, numpy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from codec.coding.coders import PORTABLE, constriction_coder
from codec.coding.container import BitstreamError
from codec.coding.context import ContextNetwork
from codec.coding.exact import LIMIT
from codec.coding.integer_prior import IntegerPrior
from codec.coding.native import NativeCoder

if TYPE_CHECKING:
    from codec.coding.tables import Tables

CODERS = ("c", "constriction", "numpy")
"""Names of the coders, the one that is taken first."""


def open_prior(network: ContextNetwork, tables: Tables, coder: str | None = None) -> IntegerPrior:
    """A prior whose payloads are written by the coder of that name, None for the first of `CODERS`
    that can be had.

    The one in C is compiled when it is first asked for (`codec.coding.compiled`).

    Raises:
        ValueError: it cannot be had here, or is none of `CODERS`; the message says why.
    """
    if coder is None:
        for name in CODERS[:-1]:
            try:
                return open_prior(network, tables, name)
            except ValueError:
                continue
        coder = CODERS[-1]
    if coder == "numpy":
        return IntegerPrior(network, tables, PORTABLE)
    if coder == "constriction":
        return IntegerPrior(network, tables, constriction_coder())
    if coder != "c":
        raise ValueError(f"unknown coder {coder!r}; there are: {', '.join(CODERS)}")
    prior = IntegerPrior(network, tables, native=NativeCoder(network, tables))
    if not _agrees(prior):
        raise ValueError("the coder in C gives other bytes than numpy's")
    return prior


def _agrees(prior: IntegerPrior) -> bool:
    """Whether the prior's payloads, at every quality, are those that numpy writes and reads: of
    symbols from none but zeros to none that a table reaches at the first and the last quality, of
    usual ones at the others.
    """
    network = prior.network
    shape = (4, network.side**2, network.n_channels)
    draws = (np.arange(int(np.prod(shape))) * 2654435761 >> 7) % (2 * LIMIT + 1) - LIMIT
    symbols = draws.reshape(shape) // np.array([LIMIT + 1, 32, 4, 1])[:, None, None]
    symbols[0] = 0
    for quality in range(network.n_qualities):
        some = symbols if quality in (0, network.n_qualities - 1) else symbols[1:2]
        payloads = prior.encode(some, quality, portable=True)
        try:
            if prior.encode(some, quality) != payloads or not np.array_equal(
                prior.decode(payloads, quality), some
            ):
                return False
        except BitstreamError:
            return False
    return True
