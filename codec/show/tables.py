"""what became of pictures -> tables on the terminal.

Colours mean one thing everywhere: green is true, red is false, and no colour says that nothing
tells. The mark ≠ stands at an answer that is not the uncut model's.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich import box
from rich.table import Table
from rich.text import Text

from codec.show import demo, demo_words
from codec.show.formats import FORMATS

STYLES = {True: "green", False: "bold red", None: ""}
"""Of a text that is true, false, or of which nothing says so."""
LEGEND = "green: true, red: false, no colour: nothing says which; ≠: not the uncut model's"


def labels_table(sent: Sequence[demo.Sent]) -> Table:
    """A row a picture, then all together: accuracies, agreement, mean bytes and their ratio to the
    blob's, median times.
    """
    shown = Table(
        box=box.SIMPLE_HEAD, header_style="bold", padding=0, show_edge=False, caption_justify="left"
    )
    shown.caption = f"{LEGEND}; last rows: mean bytes, median times"
    shown.add_column("#", justify="right", style="dim")
    for name in ("true", "uncut", "coded"):
        shown.add_column(name, no_wrap=True, min_width=11)
    for name in ("blob", *FORMATS, "device\nms", "server\nms"):
        shown.add_column(name, justify="right", no_wrap=True)
    for place, row in enumerate(sent):
        mark = "" if row.coded == row.uncut else " ≠"
        shown.add_row(
            str(place),
            row.sample.label,
            Text(row.uncut, STYLES[row.uncut == row.sample.label]),
            Text(row.coded + mark, STYLES[row.coded == row.sample.label]),
            Text(str(row.n_bytes), "bold"),
            *(f"{row.picture_n_bytes[name]:,}" for name in FORMATS),
            f"{row.device_ms:.1f}",
            f"{row.server_ms:.1f}",
        )
    shown.add_section()
    whole = demo.summary(sent)
    means = [demo.mean_bytes_as(sent, name) for name in FORMATS]
    times = [[row.device_ms for row in sent], [row.server_ms for row in sent]]
    shown.add_row(
        "",
        "accuracy",
        f"{whole.uncut:.1f}%",
        f"{whole.coded:.1f}%",
        f"{whole.bytes_mean:.1f}",
        *(f"{mean:,.0f}" for mean in means),
        *(f"{np.median(of_side):.1f}" for of_side in times),
        style="bold",
    )
    ratios = [f"{mean / whole.bytes_mean:.1f}x" for mean in means]
    cells = ("", "agreement", "", f"{whole.agreement:.1f}%", "1x", *ratios, "", "")
    shown.add_row(*cells, style="bold")
    return shown


def words_table(told: Sequence[demo_words.Told]) -> Table:
    """A row a picture with all that is said of it, then all together."""
    shown = Table(
        box=box.SIMPLE_HEAD,
        header_style="bold",
        padding=(0, 1),
        show_edge=False,
        caption_justify="left",
    )
    shown.caption = f"{LEGEND}; last row: means"
    shown.add_column("#", justify="right", style="dim")
    shown.add_column("from the blob", ratio=1)
    for name in ("blob", *FORMATS):
        shown.add_column(name, justify="right", no_wrap=True)
    for place, row in enumerate(told):
        shown.add_row(
            str(place),
            Text("\n").join(_said(line) for line in row.lines),
            Text(str(row.n_bytes), "bold"),
            *(f"{row.picture_n_bytes[name]:,}" for name in FORMATS),
        )
    shown.add_section()
    blob_mean = float(np.mean([row.n_bytes for row in told]))
    means = [float(np.mean([row.picture_n_bytes[name] for row in told])) for name in FORMATS]
    shown.add_row(
        "",
        demo_words.summary(told),
        f"{blob_mean:.1f}",
        *(f"{mean:,.0f}\n{mean / blob_mean:.0f}x" for mean in means),
        style="bold",
    )
    return shown


def _said(line: demo_words.Line) -> Text:
    """A text with its question before it, and the truth and the uncut model's text behind it where
    they are others.
    """
    said = Text()
    if line.question:
        said.append(f"{line.question} ", style="dim")
    said.append(line.coded, style=STYLES[line.right])
    if line.right is False:
        said.append(f" (true: {line.true})", style="dim")
    if not line.agrees:
        said.append(f" ≠ {line.uncut}", style="dim")
    return said
