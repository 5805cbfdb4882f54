"""What a caller asks for -> the quality of each blob: a rate index, a budget in bytes, or points of
score that may be lost.

Used by `FeatureCodec` and by the device's runtime, so both choose alike and refuse in the same
words. Part of the one file for devices: Python 3.6, numpy.
"""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Rate(NamedTuple):
    """What pictures are coded at: a quality, or the best that fits a budget; the other is None.

    Attributes:
        spared: bytes of a blob that are not sent, and that no budget counts.
    """

    quality: int | None
    max_bytes: int | None
    spared: int = 0


def chosen_rate(
    quality: Any,
    max_bytes: Any,
    target_drop: Any,
    drops: Sequence[float],
    default: int,
    n_qualities: int,
) -> Rate:
    """The rate that is asked for by one of `quality`, `max_bytes` and `target_drop`, or by none.
    Arguments and errors as `check_rate`, `check_budget` and `chosen_quality`.
    """
    check_rate(quality, max_bytes, target_drop)
    if max_bytes is not None:
        return Rate(None, check_budget(max_bytes))
    return Rate(chosen_quality(quality, target_drop, drops, default, n_qualities), None)


def check_rate(quality: Any, max_bytes: Any, target_drop: Any) -> None:
    """Refuse a rate that is given twice.

    Raises:
        ValueError: more than one of the three is not None.
    """
    if sum(value is not None for value in (quality, max_bytes, target_drop)) > 1:
        raise ValueError("quality, max_bytes and target_drop each set the rate: give one of them")


def check_quality(quality: Any, n_qualities: int) -> int:
    """A rate index as an int.

    Raises:
        ValueError: not an integer in 0..n_qualities - 1.
    """
    if (
        isinstance(quality, bool)
        or not isinstance(quality, (int, np.integer))
        or quality not in range(n_qualities)
    ):
        raise ValueError(f"quality {quality!r} is not an integer in 0..{n_qualities - 1}")
    return int(quality)


def check_budget(max_bytes: Any) -> int:
    """A budget in bytes as an int.

    Raises:
        ValueError: not an integer of at least 1.
    """
    if isinstance(max_bytes, bool) or not isinstance(max_bytes, (int, np.integer)) or max_bytes < 1:
        raise ValueError(f"max_bytes {max_bytes!r} is not a positive number of bytes")
    return int(max_bytes)


def chosen_quality(
    quality: Any, target_drop: Any, drops: Sequence[float], default: int, n_qualities: int
) -> int:
    """The quality that is asked for: by its index, by the drop it may cost, or the default.

    Args:
        quality: rate index, or None.
        target_drop: points of score that may be lost in the mean, or None; the smallest quality
            that loses no more.
        drops: points that each quality loses in the codec's calibration; empty where the codec was
            not calibrated.
        default: the quality where neither is given.

    Raises:
        ValueError: no such quality; or `target_drop` is not a number, no quality loses so little,
            or the codec was not calibrated.
    """
    if target_drop is None:
        return default if quality is None else check_quality(quality, n_qualities)
    if (
        isinstance(target_drop, bool)
        or not isinstance(target_drop, (int, float))
        or math.isnan(target_drop)
    ):
        raise ValueError(f"target_drop {target_drop!r} is not a number of points")
    if not len(drops):
        raise ValueError("this codec carries no calibration: choose a quality, or max_bytes")
    fitting = [q for q in range(n_qualities) if drops[q] <= target_drop]
    if not fitting:
        best = min(range(n_qualities), key=lambda q: drops[q])
        raise ValueError(
            f"no quality drops by at most {target_drop:g} points; the least is "
            f"{drops[best]:.2f}, at quality {best}"
        )
    return fitting[0]


def best_that_fits(
    write: Callable[[int, list[int]], list[bytes]],
    n_pictures: int,
    qualities: Sequence[int],
    max_bytes: Any,
    spared: int = 0,
    what: str = "image",
) -> list[bytes]:
    """Each picture's blob of the best quality that takes at most `max_bytes`, header included.

    Args:
        write: codes the pictures at the given places at a quality, a blob each.
        n_pictures: how many pictures there are.
        qualities: rate indices, rising; tried from the last one on.
        spared: bytes of each blob that the budget does not count.
        what: what a picture is called in the error.

    Raises:
        ValueError: `max_bytes` is not a positive integer, or no quality fits: the message says
            which picture, and what its smallest blob takes.
    """
    budget = check_budget(max_bytes)
    blobs = [b""] * n_pictures
    too_long, smallest = list(range(n_pictures)), [sys.maxsize] * n_pictures
    for q in reversed(qualities):
        for i, blob in zip(too_long, write(q, too_long), strict=True):
            blobs[i], smallest[i] = blob, min(smallest[i], len(blob) - spared)
        too_long = [i for i in too_long if len(blobs[i]) - spared > budget]
        if not too_long:
            return blobs
    worst = max(too_long, key=smallest.__getitem__)
    which = f"{what} {worst + 1} of {n_pictures}" if n_pictures > 1 else f"this {what}"
    raise ValueError(
        f"no quality fits into {budget} bytes: {which} takes at least {smallest[worst]}"
    )
