"""what became of pictures with captions and questions -> a picture of it, by matplotlib. Colours
and marks as in `drawing`.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from codec.device.preprocess import to_rgb
from codec.show.demo_words import Line, Told, summary
from codec.show.drawing import COLOURS, GREY, KEY
from codec.show.plot import INK, save_figure

if TYPE_CHECKING:
    from codec.model import FeatureCodec

WIDTH = 50  # characters of a line below a picture


def draw_words(codec: FeatureCodec, told: Sequence[Told], out: Path) -> None:
    """Draw the pictures with what the blobs say of them into the file `out`."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    n_columns = 3 if len(told) <= 3 else 4
    n_rows = math.ceil(len(told) / n_columns)
    longest = max(len(_lines_below(row)) for row in told)
    height = 3.2 + 0.205 * longest  # inches, of a picture and what stands below it
    whole = 1.8 + n_rows * height
    with rc_context({"font.family": "DejaVu Sans", "font.size": 11, "text.color": INK}):
        figure = Figure(figsize=(4.4 * n_columns, whole), facecolor="white")
        FigureCanvasAgg(figure)
        blob = float(np.mean([row.n_bytes for row in told]))
        png = float(np.mean([row.picture_n_bytes["PNG"] for row in told]))
        unknown = any(line.true is None for row in told for line in row.lines)
        key = KEY + ("; no colour: nothing says which captions are true" if unknown else "")
        titles: tuple[tuple[str, dict[str, Any]], ...] = (
            (
                f"{codec.config.name}: {blob:.0f} bytes each on average; PNG needs {png:,.0f}",
                {"fontsize": 18, "fontweight": "bold"},
            ),
            (summary(told), {"fontsize": 12, "color": "#555555"}),
            (key, {"fontsize": 11, "color": GREY}),
        )
        for (text, style), inches in zip(titles, (0.45, 0.85, 1.15), strict=True):
            figure.text(0.02, 1 - inches / whole, text, va="center", **style)
        grid = figure.add_gridspec(
            n_rows, n_columns, left=0.02, right=0.99, top=1 - 1.7 / whole, bottom=0.01
        )
        for place, row in enumerate(told):
            cell = grid[place // n_columns, place % n_columns].subgridspec(
                2, 1, height_ratios=(3.0, height - 3.0), hspace=0.02
            )
            _draw_told(figure.add_subplot(cell[0]), figure.add_subplot(cell[1]), row)
        save_figure(figure, out, dpi=90)


def _draw_told(above: Any, below: Any, row: Told) -> None:
    above.imshow(np.asarray(to_rgb(row.asked.path)), interpolation="nearest")
    above.set(xticks=[], yticks=[], anchor="W")
    above.set_title(f"{row.n_bytes} bytes", loc="left", fontsize=11, fontweight="bold")
    below.axis("off")
    for place, (text, colour) in enumerate(_lines_below(row)):
        offset = {"xytext": (0, -2 - 14 * place), "textcoords": "offset points"}
        at = {"xycoords": "axes fraction", "va": "top", "fontsize": 10}
        below.annotate(text, (0, 1), color=colour, **at, **offset)


def _lines_below(row: Told) -> list[tuple[str, str]]:
    """What stands below a picture, as lines with their colours."""
    return [line for said in row.lines for line in _short_lines(said)]


def _short_lines(said: Line) -> list[tuple[str, str]]:
    text = f"{said.question} {said.coded}" if said.question else said.coded
    lines = [(part, COLOURS[said.right]) for part in textwrap.wrap(text, WIDTH)]
    if not said.agrees:
        lines += [(part, GREY) for part in textwrap.wrap(f"≠ {said.uncut}", WIDTH)]
    return lines
