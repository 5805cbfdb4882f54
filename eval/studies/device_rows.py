"""right answers of a codec and of the device alone -> rows, table, verdict and picture of the
device's study.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from codec.show.plot import save_figure
from eval.measuring.intervals import resamplings
from eval.measuring.rates import value_at
from eval.studies.counting import Counted

BUDGETS = (12, 51, 222)
"""Bytes of a message on Sigfox, and on LoRaWAN's slowest and fastest rates in Europe."""


@dataclass(frozen=True)
class DeviceRow:
    """One size of encoder.

    Attributes:
        name: of the size; `command`: the training of its codec.
        macs: multiply-accumulates of the device alone, for one image.
        n_images: test images.
        uncut, alone: score in percent.
        codec: score in percent at each of `BUDGETS` and at the finest quality, by its name; none
            where there is no codec of that size, or none of its blobs is so small.
        ahead: by the same names, points that the codec is ahead of the device alone, and their 95%
            interval, from 1,000 resamplings of the test images, paired.
    """

    name: str
    command: str
    macs: int
    n_images: int
    uncut: float
    alone: float
    codec: dict[str, float]
    ahead: dict[str, tuple[float, float, float]]


def row_of(
    name: str,
    command: str,
    macs: int,
    alone: NDArray[np.float64],
    counted: Counted | None,
    seed: int = 0,
) -> DeviceRow:
    """A row of what was counted, image by image; `alone` (n,) says where the device is right."""
    n = len(alone)
    score = float(100 * alone.mean())
    if counted is None:
        return DeviceRow(name, command, macs, n, float("nan"), score, {}, {})
    weights = np.vstack([np.ones(n), resamplings(n, seed)]) / n
    n_bytes, right = weights @ counted.n_bytes.T, 100 * (weights @ counted.right.T)
    by_itself = 100 * (weights @ alone)
    codec, ahead = {}, {}
    for budget in (*BUDGETS, None):
        key = "finest" if budget is None else f"{budget} bytes"
        limits = n_bytes[:, -1] if budget is None else np.full(len(weights), float(budget))
        if n_bytes[0].min() > limits[0]:
            continue
        at = np.array(
            [
                -value_at([*zip(b, -r, strict=True)], limit)
                for b, r, limit in zip(n_bytes, right, limits, strict=True)
            ]
        )
        difference = at - by_itself
        codec[key] = float(at[0])
        low, high = np.nanpercentile(difference[1:], (2.5, 97.5))
        ahead[key] = float(difference[0]), float(low), float(high)
    uncut = float(100 * counted.uncut.mean())
    return DeviceRow(name, command, macs, n, uncut, score, codec, ahead)


def markdown(rows: Sequence[DeviceRow]) -> str:
    """Rows as the table of the documentation."""
    keys = [*(f"{budget} bytes" for budget in BUDGETS), "finest"]
    lines = [
        "| encoder | MACs | device alone | " + " | ".join(f"codec, {key}" for key in keys) + " |",
        "|---|--:|--:|" + "--:|" * len(keys),
    ]
    for row in rows:
        cells = [_cell(row, key) for key in keys]
        lines.append(
            f"| {row.name} | {row.macs / 1e6:.1f} M | {row.alone:.2f} | {' | '.join(cells)} |"
        )
    return "\n".join(lines)


def _cell(row: DeviceRow, key: str) -> str:
    if key not in row.codec:
        return ""
    points, low, high = row.ahead[key]
    return f"{row.codec[key]:.2f} ({points:+.1f}, {low:+.1f} to {high:+.1f})"


def verdict(rows: Sequence[DeviceRow]) -> str:
    """From which cost down the split pays, by how much, in a sentence for each budget."""
    said = []
    for key in dict.fromkeys(key for row in rows for key in row.ahead):
        paying = [row for row in rows if key in row.ahead and row.ahead[key][1] > 0]
        if not paying:
            said.append(f"At {key}: the split pays at none of these costs.")
            continue
        dearest = max(paying, key=lambda row: row.macs)
        best = max(paying, key=lambda row: row.ahead[key][0])
        said.append(
            f"At {key}: the split pays up to {dearest.macs / 1e6:.1f} M multiply-accumulates "
            f"({dearest.ahead[key][0]:+.1f} points there), and most at {best.macs / 1e6:.1f} M "
            f"({best.ahead[key][0]:+.1f} points)."
        )
    return "\n".join(said)


def draw(rows: Sequence[DeviceRow], out: Path) -> None:
    """Draw score against the device's multiply-accumulates."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(figsize=(9, 6), layout="constrained")
    sized = sorted((row for row in rows if row.codec), key=lambda row: row.macs)
    macs = [row.macs / 1e6 for row in sized]
    ax.plot(macs, [row.alone for row in sized], "s--", color="#d1495b", label="device alone")
    for key, colour in zip(
        [*(f"{budget} bytes" for budget in BUDGETS), "finest"],
        ("#8ecae6", "#219ebc", "#126782", "#023047"),
        strict=True,
    ):
        points = [
            (m, row.codec[key]) for m, row in zip(macs, sized, strict=True) if key in row.codec
        ]
        if points:
            ax.plot(*zip(*points, strict=True), "o-", color=colour, label=f"codec, {key}")
    for row in rows:
        if not row.codec:
            ax.plot(row.macs / 1e6, row.alone, "*", color="#d1495b", markersize=14, label=row.name)
    ax.axhline(sized[0].uncut, color="#b0b8c4", linewidth=1, label="uncut model")
    ax.set_xscale("log")
    ax.set_xlabel("multiply-accumulates on the device, millions", fontsize=12)
    ax.set_ylabel("score, percent", fontsize=12)
    ax.legend(frameon=False, fontsize=11)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    save_figure(figure, out, dpi=120)
    plt.close(figure)
