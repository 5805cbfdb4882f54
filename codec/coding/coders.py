"""symbols <-> payload: which range coder does it. All write the same bytes.

Part of the one file for devices: Python 3.6, numpy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from codec.coding.constriction import (
    ConstrictionDecoder,
    ConstrictionEncoder,
    constriction_package,
)
from codec.coding.portable import PortableDecoder, PortableEncoder

if TYPE_CHECKING:
    from collections.abc import Callable

    from codec.coding.tables import Tables


class Coder(NamedTuple):
    """Classes for both directions; all coders write the same bytes and read the same symbols.

    Attributes:
        name: what a user calls it.
        encoder: tables -> `PortableEncoder`, or what stands for it.
        decoder: payload, tables -> `PortableDecoder`, or what stands for it.
    """

    name: str
    encoder: Callable[[Tables], Any]
    decoder: Callable[[bytes, Tables], Any]


PORTABLE = Coder("numpy", PortableEncoder, PortableDecoder)
"""The coder that needs nothing but numpy."""


def constriction_coder() -> Coder:
    """The coder that is constriction's.

    Raises:
        ValueError: it is not installed.
    """
    if constriction_package() is None:
        raise ValueError("constriction is not installed")
    return Coder("constriction", ConstrictionEncoder, ConstrictionDecoder)


def usual() -> Coder:
    """The coder for a computer: constriction's where that is installed."""
    return PORTABLE if constriction_package() is None else constriction_coder()
