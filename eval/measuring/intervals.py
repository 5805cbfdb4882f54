"""how right each answer is, with a codec and uncut -> how far the measured drop may be off."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Z = 1.96
"""A normal variable lies within so many standard deviations of its mean in 95% of all cases."""
N_RESAMPLINGS = 1000


def paired_margin(
    right: NDArray[np.float64], right_uncut: NDArray[np.float64], pictures: NDArray[np.int64]
) -> float:
    """Half the 95% interval of the drop in points: paired, clustered by picture, by normal
    approximation.

    With r the drop as a share, d_i what answer i loses, and c the pictures, the standard error is

        sqrt( sum_c ( sum_(i in c) (d_i - r) )^2 ) / n

    (Miller 2024, "Adding error bars to evals", arXiv 2411.00640: clustered standard errors, of
    paired differences). The answers about one picture err together, and pictures are drawn at
    random, not questions: so what a picture's answers lose is summed first. With one answer a
    picture this is the usual paired interval.

    Args:
        right, right_uncut: how right each answer of the codec and of the uncut model is, (n,) in
            0..1.
        pictures: which picture each answer is about, (n,).
    """
    lost, n = np.bincount(pictures, right_uncut - right), np.bincount(pictures)
    around_mean = lost - n * lost.sum() / n.sum()
    return 100 * Z * float(np.sqrt(np.sum(around_mean**2))) / float(n.sum())


def bootstrap_margin(
    own: NDArray[np.int64],
    uncut: NDArray[np.int64],
    score: Callable[[NDArray[np.int64]], NDArray[np.float64]],
) -> float:
    """Half the 95% interval of a drop, for a score that is no mean over pictures: by a paired
    bootstrap over pictures.

    It is 1.96 standard deviations of the drop over the resamplings; in each of them codec and uncut
    model answer the same pictures (Koehn 2004, aclanthology.org/W04-3250).

    Args:
        own, uncut: counts of each picture, (n, K); those of several pictures are their sum.
        score: counts (R, K) -> scores (R,) in percent.
    """
    times = resamplings(len(own))
    return Z * float((score(times @ uncut) - score(times @ own)).std())


def resamplings(n: int, seed: int = 0) -> NDArray[np.int64]:
    """How often each of `n` pictures is drawn when `n` are drawn with replacement: (1000, n), by
    row.
    """
    return np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=N_RESAMPLINGS)
