"""rows of a sweep -> the image file with the fewest bytes for a loss, over formats and sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from eval.measuring.rates import Rate, least, rate_at
from eval.methods.method import baseline_of

Rows = Sequence[dict[str, Any]]

IMAGES = {
    "jpeg": "JPEG",
    "webp": "WebP",
    "avif": "AVIF",
    "jxl": "JPEG XL",
    "png": "PNG",
    "webp-lossless": "WebP",
}
"""Image files by the names that rows have; the last two are lossless."""


def rows_of(rows: Rows, name: str) -> list[dict[str, Any]]:
    """The rows of a codec or another method."""
    return [row for row in rows if row["codec"] == name]


def curve(rows: Rows, key: str) -> list[tuple[float, float]]:
    """Bytes and the values of a key, or of `disagreement`, which is the rest of the agreement."""
    if key == "disagreement":
        return [(row["bytes_mean"], 100 - row["agreement"]) for row in rows]
    return [(row["bytes_mean"], row[key]) for row in rows]


def best_image(
    tasks: Mapping[str, Rows], loss: str, limits: Mapping[str, float]
) -> tuple[Rate, str]:
    """The image file with the fewest bytes that keeps to the limit of each task, and its format.

    Args:
        tasks: rows by task.
        loss: `drop` or `disagreement`.
        limits: of that, by task.
    """
    names = {row["codec"] for rows in tasks.values() for row in rows}
    found = {}
    for name in sorted(names):
        if baseline_of(name) in IMAGES:
            rates = [rate_at(curve(rows_of(tasks[t], name), loss), limits[t]) for t in tasks]
            # a rate that is not reached in one task is not reached
            missed = [rate for rate in rates if rate.bound == ">"]
            found[max(missed or rates)] = IMAGES[str(baseline_of(name))]
    best = least(list(found))
    return best, found[best]
