"""curves of bytes and loss -> the bytes that a codec needs for a given loss."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np


class Rate(NamedTuple):
    """Bytes a codec needs for a loss; `bound` is "<=" or ">" where its qualities lie all on one
    side of that loss, else "".
    """

    n_bytes: float
    bound: str


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Places of the points (bytes, score) that are better than all with as few bytes, by bytes; of
    equal points the first.
    """
    best, places = -math.inf, []
    for i in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1])):
        if points[i][1] > best:
            best = points[i][1]
            places.append(i)
    return places


def rate_at(curve: Iterable[tuple[float, float]], limit: float) -> Rate:
    """Bytes at which the loss is `limit`, linear in log bytes between the two qualities around it.

    Where the curve crosses the limit more than once, the crossing at the most bytes counts: above
    it the loss stays below.

    Args:
        curve: mean bytes and loss of each quality, for instance the drop in points.
    """
    points = sorted(curve, reverse=True)
    if points[0][1] > limit:
        return Rate(points[0][0], ">")
    for (more, below), (fewer, above) in itertools.pairwise(points):
        if above > limit:
            share = (limit - below) / (above - below)
            return Rate(math.exp((1 - share) * math.log(more) + share * math.log(fewer)), "")
    return Rate(points[-1][0], "<=")


def value_at(curve: Iterable[tuple[float, float]], n_bytes: float) -> float:
    """The value of a curve (bytes, value) at `n_bytes`, linear in log bytes; beyond its ends, that
    of the end.
    """
    sizes, values = zip(*sorted(curve), strict=True)
    return float(np.interp(math.log(n_bytes), np.log(sizes), values))


def least(rates: Sequence[Rate]) -> Rate:
    """The best of several rates for one loss: the fewest bytes among those that reach it; where
    none does, the one that was measured furthest.
    """
    reached = [rate for rate in rates if rate.bound != ">"]
    return min(reached) if reached else max(rates)


def times_as_many(rate: Rate, ours: Rate) -> str:
    """The ratio of two rates in words, with what it is a bound of: more than, at most, or unknown
    where both are bounds of different kinds.
    """
    kinds = {
        ("", ""): "",
        (">", ""): "more than ",
        (">", "<="): "more than ",
        ("", "<="): "at least ",
        ("<=", ""): "at most ",
    }
    kind = kinds.get((rate.bound, ours.bound))
    return (
        "no ratio, as the measured qualities lie all on one side"
        if kind is None
        else f"{kind}{rate.n_bytes / ours.n_bytes:.1f} times as many"
    )


def bytes_of(rate: Rate) -> str:
    """A rate as text."""
    return {"": "", ">": "more than ", "<=": "at most "}[rate.bound] + f"{rate.n_bytes:,.0f}"
