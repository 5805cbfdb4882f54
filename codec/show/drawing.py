"""what became of pictures with labels -> a picture of it, by matplotlib: each picture with its
answer and bytes, and the rate-score curve beside them.

Colours mean one thing everywhere: green is true, red is false, and no colour says that nothing
tells. The mark ≠ stands before what the uncut model says, where that is something else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from codec.device.preprocess import to_rgb
from codec.show.demo import RatePoint, Sent, mean_bytes_as, summary
from codec.show.plot import INK, check_installed, draw_rate_score, save_figure, style_axis

if TYPE_CHECKING:
    from codec.model import FeatureCodec

COLOURS = {True: "#2e7d32", False: "#c62828", None: INK}
"""Of a text that is true, false, or of which nothing says so."""
KEY = "green: true, red: false; ≠: what the uncut model says instead"
PALE, GREY = "#8a8a8a", "#666666"


def check_out(out: Path) -> None:
    """Say before any work whether a picture can be written at `out`.

    Raises:
        ValueError: matplotlib is missing, or does not write that format.
        FileNotFoundError: there is no such folder.
    """
    check_installed()
    from matplotlib.backend_bases import FigureCanvasBase

    kinds = FigureCanvasBase.get_supported_filetypes()
    if out.suffix.lower().lstrip(".") not in kinds:
        raise ValueError(
            f"{out} does not end in a picture's format; {', '.join(sorted(kinds))} can be written"
        )
    if not out.absolute().parent.is_dir():
        raise FileNotFoundError(f"no folder {out.parent} to write {out.name} into")


def draw_labels(
    codec: FeatureCodec,
    sent: Sequence[Sent],
    curve: Sequence[RatePoint],
    sweep: Sequence[dict[str, Any]],
    out: Path,
) -> None:
    """Draw the pictures with answers and bytes into the file `out`.

    Args:
        curve: of these pictures, drawn where there is no sweep.
        sweep: rows of the sweep on the test split, or none.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    n_columns = 8
    n_rows = max(6, math.ceil(len(sent) / n_columns))
    with rc_context(
        {"font.family": "DejaVu Sans", "font.size": 11, "text.color": INK, "axes.edgecolor": PALE}
    ):
        figure = Figure(figsize=(18, 11.5), facecolor="white")
        FigureCanvasAgg(figure)
        _write_titles(figure, codec, sent)
        grid = figure.add_gridspec(
            n_rows,
            n_columns,
            left=0.025,
            right=0.605,
            top=0.865,
            bottom=0.06,
            wspace=0.06,
            hspace=0.62,
        )
        for place, row in enumerate(sent):
            _draw_sent(figure.add_subplot(grid[place // n_columns, place % n_columns]), row)
        ax = figure.add_axes((0.665, 0.275, 0.315, 0.56))
        if sweep:
            _draw_sweep(ax, sweep)
        else:
            _draw_curve(ax, codec.config.name, curve, len(sent), summary(sent).uncut)
        save_figure(figure, out, dpi=110)


def _write_titles(figure: Any, codec: FeatureCodec, sent: Sequence[Sent]) -> None:
    config, whole = codec.config, summary(sent)
    title = (
        f"{_pictures(len(sent))}, {whole.bytes_mean:.0f} bytes each on average; "
        f"PNG needs {mean_bytes_as(sent, 'PNG'):,.0f}"
    )
    scores = (
        f"{config.name}, quality {config.default_quality} of 0-{config.n_qualities - 1}: "
        f"{whole.coded:.1f}% right after the trip, {whole.uncut:.1f}% uncut; "
        f"{whole.agreement:.1f}% of the answers are the uncut model's"
    )
    colours = KEY
    figure.text(0.025, 0.96, title, fontsize=27, fontweight="bold", va="center")
    figure.text(0.025, 0.918, scores, fontsize=14.5, color="#555555", va="center")
    figure.text(0.025, 0.89, colours, fontsize=12, color=GREY, va="center")


def _draw_sent(ax: Any, row: Sent) -> None:
    right = row.coded == row.sample.label
    ax.imshow(np.asarray(to_rgb(row.sample.path)), interpolation="nearest")
    ax.set(xticks=[], yticks=[], anchor="NW")
    for spine in ax.spines.values():
        spine.set(color=PALE if right else COLOURS[False], linewidth=0.6 if right else 3.5)
    below = [(row.coded, {"color": COLOURS[right], "fontsize": 11, "fontweight": "bold"})]
    if row.coded != row.uncut:
        below.append((f"≠ {row.uncut}", {"color": GREY, "fontsize": 9.5}))
    below.append((f"{row.n_bytes} bytes", {"color": GREY, "fontsize": 9.5}))
    for line, (text, style) in enumerate(below):
        place = {"xytext": (0, -4 - 13 * line), "textcoords": "offset points"}
        at = {"xycoords": "axes fraction", "va": "top", "annotation_clip": False}
        ax.annotate(text, (0, 0), **at, **place, **style)


def _draw_sweep(ax: Any, sweep: Sequence[dict[str, Any]]) -> None:
    draw_rate_score(ax, list(sweep), max_drop=15)
    n_images = sweep[0].get("n_images")
    on = f" on the {n_images:,} test images" if n_images else ""
    ax.set_title(f"accuracy and bytes{on}", loc="left")


def _draw_curve(ax: Any, name: str, curve: Sequence[RatePoint], n_sent: int, uncut: float) -> None:
    these = f"these {_pictures(n_sent)}"
    dashes = {"color": "#444444", "linestyle": (0, (5, 4)), "linewidth": 1.4}
    ax.axhline(uncut, label=f"uncut model, {these}", **dashes)
    x, y = [point.bytes_mean for point in curve], [point.score for point in curve]
    hollow = {
        "marker": "o",
        "markersize": 10,
        "markerfacecolor": "none",
        "markeredgecolor": "#00798c",
        "markeredgewidth": 1.8,
    }
    ax.plot(x, y, linestyle="none", zorder=6, label=these, **hollow)
    ax.set(ylabel="top-1 accuracy, %", ylim=(-3, 103), xlim=(0, 1.15 * max(x)))
    style_axis(ax)
    ax.set_title(
        f"accuracy and bytes on {these} alone:\nno sweep of the test split ships with {name}",
        loc="left",
    )


def _pictures(n: int) -> str:
    return "1 picture" if n == 1 else f"{n} pictures"
