"""measured rows -> the table that a sweep prints, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from codec.coding.container import HEADER_BYTES
from eval.measuring.rows import SCORES, Row


def overspent(row: Row) -> bool:
    """Whether real payloads take more than 1% + 2 bytes above the ideal code length, in the
    mean.
    """
    return (
        row.bits_estimated is not None
        and row.bytes_mean - HEADER_BYTES > 1.01 * row.bits_estimated / 8 + 2
    )


def table_of(rows: Sequence[Row]) -> Table:
    """Rows of one task as a table for people."""
    first = rows[0]
    counted = f"{first.n_images} images"
    if first.n_answers not in (None, first.n_images):
        counted += f", {first.n_answers} answers"
    uncut = f"uncut score {first.score_uncut:.2f} ({SCORES[first.task]})"
    table = Table(title=f"{first.task}, {first.data}, {counted}, {uncut}")
    for heading in (
        "codec",
        "quality",
        "bytes",
        "p50",
        "p95",
        "ideal",
        "score",
        "drop (95%)",
        "agreement",
        "encode ms",
        "decode ms",
    ):
        table.add_column(heading, justify="left" if heading == "codec" else "right")
    table.add_column("device params", justify="right")
    table.add_column("device MACs", justify="right")
    for row in rows:
        ideal = "" if row.bits_estimated is None else f"{row.bits_estimated / 8:.1f}"
        cells = [row.codec, "" if row.quality is None else str(row.quality)]
        cells += [
            f"{row.bytes_mean:.1f}",
            f"{row.bytes_p50:.0f}",
            f"{row.bytes_p95:.0f}",
            ideal,
            f"{row.score:.2f}",
        ]
        cells += [
            f"{row.drop:+.2f}" + margin_text(row.drop_margin),
            f"{row.agreement:.2f}",
            f"{row.encode_ms:.2f}",
            f"{row.decode_ms:.2f}",
        ]
        table.add_row(*cells, f"{row.device_params:,}", f"{row.device_macs:,}")
    return table


def margin_text(margin: float | None) -> str:
    """Half an interval as it stands behind its value; nothing where it was not kept."""
    return "" if margin is None else f" ± {margin:.2f}"


def interval(row: Row) -> str:
    """The 95% interval of a row's drop as text."""
    margin = row.drop_margin or 0.0
    return f"95% {row.drop - margin:+.2f} to {row.drop + margin:+.2f}"


def overspent_text(row: Row) -> str:
    """What is wrong with a row that is `overspent`."""
    ideal, real = (row.bits_estimated or 0) / 8, row.bytes_mean - HEADER_BYTES
    return (
        f"{row.codec} quality {row.quality}: payloads of {real:.1f} bytes where {ideal:.1f} are "
        "ideal, over 1% + 2 bytes more"
    )
