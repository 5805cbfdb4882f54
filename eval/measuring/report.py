"""rows of a sweep -> a markdown table, and how many more bytes others need for the same loss."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from eval.measuring.bd_rate import bd_rate
from eval.measuring.best import curve
from eval.measuring.rates import Rate, bytes_of, least, rate_at, times_as_many, value_at
from eval.measuring.rows import SCORES
from eval.measuring.table import margin_text
from eval.methods.method import BOTTLENECK, UNCUT, baseline_of

Rows = Sequence[dict[str, Any]]

LOSSY = {"jpeg": "JPEG", "webp": "WebP", "avif": "AVIF", "jxl": "JPEG XL"}
LOSSLESS = {"png": "PNG", "webp-lossless": "Lossless WebP"}


def section(rows: Rows, drop: float) -> str:
    """Everything about the rows of one task."""
    first = rows[0]
    counted = (
        f"{first['data']}, {first['n_images']:,} images, uncut score {first['score_uncut']:.2f}"
    )
    title = f"{first['task']} ({SCORES[first['task']]}): {counted}."
    return "\n\n".join([title, markdown(rows), *comparisons(rows, drop)])


def markdown(rows: Rows) -> str:
    """Rows as the table of the README; a drop has half its 95% interval behind it where the sweep
    kept that.
    """
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
        cells = (
            row["codec"],
            "" if row["quality"] is None else row["quality"],
            f"{row['bytes_mean']:,.1f}",
            f"{row['drop']:.2f}{margin_text(row.get('drop_margin'))}",
            f"{row['agreement']:.2f}",
            _short(row["device_macs"]),
            f"{row['encode_ms']:.2f}",
            f"{row['decode_ms']:.2f}",
        )
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def comparisons(rows: Rows, drop: float) -> Iterator[str]:
    """For each codec, lines with the bytes that it, picture codecs and the bottleneck need: for the
    same drop, and for the agreement that the codec has there. Rows are of one task.
    """
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row["codec"], []).append(row)
    for name, own in groups.items():
        if name in (UNCUT, BOTTLENECK) or baseline_of(name) is not None:
            continue
        ours = rate_at(curve(own, "drop"), drop)
        yield f"For a drop of {drop:g} points {name} needs {bytes_of(ours)} bytes."
        yield from _others(groups, "drop", drop, ours)
        for lossless, title in LOSSLESS.items():
            if lossless in groups:
                whole = Rate(groups[lossless][0]["bytes_mean"], "")
                yield f"{title} takes {bytes_of(whole)} bytes: {times_as_many(whole, ours)}."
        agreement = value_at(curve(own, "agreement"), ours.n_bytes)
        yield f"There {name} agrees with the uncut model in {agreement:.2f}%. For that agreement:"
        yield from _others(groups, "disagreement", 100 - agreement, ours)
        yield from _savings(name, own, rows)


def _savings(name: str, own: Rows, rows: Rows) -> Iterator[str]:
    """A line with the mean saving against the best picture files of all formats and sizes."""
    files = [row for row in rows if baseline_of(row["codec"]) in LOSSY]
    found = bd_rate(curve(own, "score"), curve(files, "score")) if files else None
    if found:
        yield (
            f"BD-rate of {name} against the best picture files: {found.percent:+.1f}% bytes, over "
            f"the scores that both reach, {found.low:.2f} to {found.high:.2f}."
        )


def _others(
    groups: dict[str, list[dict[str, Any]]], loss: str, limit: float, ours: Rate
) -> Iterator[str]:
    """Lines with the bytes that picture codecs and the bottleneck need for a loss; a picture codec
    takes the size of pictures that needs the fewest.
    """
    pictures: dict[str, Rate] = {}
    for base, title in LOSSY.items():
        sizes = [own for name, own in groups.items() if baseline_of(name) == base]
        if sizes:
            pictures[title] = least([rate_at(curve(own, loss), limit) for own in sizes])
    usual = {}
    if BOTTLENECK in groups:
        usual["The linear bottleneck"] = rate_at(curve(groups[BOTTLENECK], loss), limit)
    for title, rate in (pictures | usual).items():
        yield f"{title} needs {bytes_of(rate)} bytes: {times_as_many(rate, ours)}."
    reached = {title: rate for title, rate in pictures.items() if rate.bound != ">"}
    if reached:
        best = min(reached, key=lambda title: reached[title])
        yield f"The best picture codec is {best}: {times_as_many(reached[best], ours)}."


def _short(count: int) -> str:
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return str(count)
