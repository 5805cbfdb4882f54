"""two curves of bytes and score -> the mean saving in bytes over all scores that both reach."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from eval.measuring.rates import front

N_POINTS = 1000


class BdRate(NamedTuple):
    """What a codec needs more (or, below zero, less) than another, in percent of its bytes, in the
    mean over scores from `low` to `high`.
    """

    percent: float
    low: float
    high: float


def bd_rate(
    ours: Iterable[tuple[float, float]], other: Iterable[tuple[float, float]]
) -> BdRate | None:
    """The Bjontegaard delta rate (Bjontegaard 2001, "Calculation of average PSNR differences",
    VCEG-M33), over score in the place of PSNR.

    It is exp of the mean difference of log bytes at equal score, less 1. Of each curve the points
    count that none betters with as few bytes; between them log bytes are linear in the score. The
    cubic of the source can swing where a curve is flat, as curves of scores are at their ends.

    Args:
        ours, other: (mean bytes, score) of each quality.

    Returns:
        None where the curves share no range of scores.
    """
    (own_scores, own_logs), (scores, logs) = _front(ours), _front(other)
    low, high = max(own_scores[0], scores[0]), min(own_scores[-1], scores[-1])
    if low >= high:
        return None
    at = np.linspace(low, high, N_POINTS)
    difference = np.interp(at, own_scores, own_logs) - np.interp(at, scores, logs)
    return BdRate(100 * (float(np.exp(difference.mean())) - 1), float(low), float(high))


def _front(curve: Iterable[tuple[float, float]]) -> tuple[list[float], list[float]]:
    """Scores, rising, and log bytes of the points that no other betters."""
    points = list(curve)
    left = [points[i] for i in front(points)]
    return [score for _, score in left], [float(np.log(n_bytes)) for n_bytes, _ in left]
