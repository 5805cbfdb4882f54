"""python -m eval.report FILE.jsonl: the rows of a sweep as a markdown table, and how many more
bytes picture codecs need.

A file with rows of several tasks gets a table for each.
"""

from __future__ import annotations

import argparse
import itertools
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from eval.measuring.rows import SCORES, by_task, read_rows
from eval.methods.method import BASELINES, BOTTLENECK, UNCUT

LOSSY = {"jpeg": "JPEG", "webp": "WebP", "avif": "AVIF"}
LOSSLESS = {"png": "PNG", "webp-lossless": "Lossless WebP"}


class Rate(NamedTuple):
    """Bytes a codec needs for a drop; `bound` is "<=" or ">" where its qualities lie all on one
    side of that drop, else "".
    """

    n_bytes: float
    bound: str


def rate_at(rows: Sequence[dict[str, Any]], drop: float) -> Rate:
    """Bytes at which a codec's drop is `drop`, linear in log bytes between its two qualities around
    it.

    Where the curve crosses more than once, the crossing at the most bytes counts: above it the drop
    stays below.
    """
    points = sorted(((row["bytes_mean"], row["drop"]) for row in rows), reverse=True)
    if points[0][1] > drop:
        return Rate(points[0][0], ">")
    for (more, below), (fewer, above) in itertools.pairwise(points):
        if above > drop:
            share = (drop - below) / (above - below)
            return Rate(math.exp((1 - share) * math.log(more) + share * math.log(fewer)), "")
    return Rate(points[-1][0], "<=")


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Rows as the table of the README."""
    headings = (
        "codec",
        "quality",
        "bytes",
        "drop, points",
        "agreement, %",
        "device MACs",
        "encode, ms",
        "decode, ms",
    )
    lines = ["| " + " | ".join(headings) + " |", "|---" + "|--:" * (len(headings) - 1) + "|"]
    for row in rows:
        quality = "" if row["quality"] is None else row["quality"]
        cells = [
            row["codec"],
            quality,
            f"{row['bytes_mean']:,.1f}",
            f"{row['drop']:.2f}",
            f"{row['agreement']:.2f}",
        ]
        cells += [_short(row["device_macs"]), f"{row['encode_ms']:.2f}", f"{row['decode_ms']:.2f}"]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def ratios(rows: Sequence[dict[str, Any]], drop: float) -> list[str]:
    """For each codec, lines with the bytes that it, picture codecs and the bottleneck need for the
    same drop; rows are of one task.
    """
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row["codec"], []).append(row)
    pictures = {
        title: rate_at(groups[name], drop) for name, title in LOSSY.items() if name in groups
    }
    usual = (
        {"The linear bottleneck": rate_at(groups[BOTTLENECK], drop)} if BOTTLENECK in groups else {}
    )
    lines = []
    for name, own in groups.items():
        if name in (UNCUT, BOTTLENECK, *BASELINES) or name.startswith("factorised"):
            continue
        ours = rate_at(own, drop)
        lines.append(f"For a drop of {drop:g} points {name} needs {_bytes(ours)} bytes.")
        for title, rate in (pictures | usual).items():
            lines.append(f"{title} needs {_bytes(rate)} bytes: {_times(rate, ours)}.")
        reached = {title: rate for title, rate in pictures.items() if rate.bound != ">"}
        if reached:
            best = min(reached, key=lambda title: reached[title].n_bytes)
            lines.append(f"The best picture codec is {best}: {_times(reached[best], ours)}.")
        for lossless in (name for name in LOSSLESS if name in groups):
            whole = Rate(groups[lossless][0]["bytes_mean"], "")
            lines.append(
                f"{LOSSLESS[lossless]} takes {_bytes(whole)} bytes: {_times(whole, ours)}."
            )
    return lines


def section(rows: Sequence[dict[str, Any]], drop: float) -> str:
    """Everything about the rows of one task."""
    first = rows[0]
    counted = (
        f"{first['data']}, {first['n_images']:,} images, uncut score {first['score_uncut']:.2f}"
    )
    return "\n\n".join(
        [
            f"{first['task']} ({SCORES[first['task']]}): {counted}.",
            markdown(rows),
            *ratios(rows, drop),
        ]
    )


def _times(rate: Rate, ours: Rate) -> str:
    """The ratio, with what it is a bound of: more than, at most, or unknown where both are bounds
    of different kinds.
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
        "no ratio, as the measured qualities lie all on one side of this drop"
        if kind is None
        else f"{kind}{rate.n_bytes / ours.n_bytes:.1f} times as many"
    )


def _bytes(rate: Rate) -> str:
    return {"": "", ">": "more than ", "<=": "at most "}[rate.bound] + f"{rate.n_bytes:,.0f}"


def _short(count: int) -> str:
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return str(count)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="eval.report", description=__doc__)
    parser.add_argument("rows", type=Path, help="file of eval.sweep")
    parser.add_argument(
        "--drop",
        type=float,
        default=0.5,
        help="points below the uncut score at which codecs are compared; default: %(default)g",
    )
    args = parser.parse_args(argv)
    try:
        print(
            *(section(rows, args.drop) for rows in by_task(read_rows(args.rows)).values()),
            sep="\n\n\n",
        )
    except (ValueError, KeyError, TypeError) as error:
        print(f"eval.report: {str(error).splitlines()[0]}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
