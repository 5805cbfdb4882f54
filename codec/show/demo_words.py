"""bundled pictures -> blobs -> captions and answers, the whole way, beside what the uncut models
say and what PNG, WebP and JPEG take.
"""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from rich import box
from rich.table import Table
from rich.text import Text

from codec.model import checkpoint
from codec.pipeline import Device, Server
from codec.show.demo import FORMATS, n_bytes_as, opened
from codec.show.plot import save_figure
from codec.tasks import CAPTIONS, QUESTIONS
from codec.tasks import generate as text

if TYPE_CHECKING:
    from codec.model import FeatureCodec

_GREEN, _RED = "#2e7d32", "#c62828"


class Asked(NamedTuple):
    """A bundled picture, and questions with their answers."""

    path: Path
    questions: tuple[tuple[str, str], ...]


class Told(NamedTuple):
    """What became of one picture: texts of the uncut models and from the blob (a caption, if any,
    then the answers), and bytes.
    """

    asked: Asked
    uncut: tuple[str, ...]
    coded: tuple[str, ...]
    n_bytes: int
    picture_n_bytes: dict[str, int]

    @property
    def lines(self) -> list[tuple[str, str, str, str | None]]:
        """For each text its question ("" for the caption), what blob and uncut model say, and the
        truth where it is known.
        """
        asked = [("", None)] * (len(self.coded) - len(self.asked.questions)) + list(
            self.asked.questions
        )
        return [
            (q, coded, uncut, true)
            for (q, true), coded, uncut in zip(asked, self.coded, self.uncut, strict=True)
        ]


def bundled_questions(codec: FeatureCodec, limit: int | None = None) -> list[Asked]:
    """The pictures that ship for a codec, or the first `limit` of them, from `samples/<its
    name>/samples.json`.

    Raises:
        FileNotFoundError: none ship for it.
    """
    folder = checkpoint.shipped_root() / "samples" / codec.config.name
    file = folder / "samples.json"
    if not file.is_file():
        raise FileNotFoundError(
            f"no sample pictures ship for {codec.config.name}: there is no {file}"
        )
    rows = json.loads(file.read_text())[:limit]
    return [Asked(folder / row["file"], tuple((q, a) for q, a in row["questions"])) for row in rows]


@torch.inference_mode()
def tell(
    codec: FeatureCodec, samples: Sequence[Asked], step: Callable[[], None] = lambda: None
) -> list[Told]:
    """Send each picture alone at the codec's default quality; ask the blob and the uncut models the
    same; `step` is called after each.
    """
    device, server = Device(codec), Server(codec)
    uncut = {
        task: (codec.load_uncut(task), codec.load_tokenizer(task)) for task in codec.config.tasks
    }
    told = []
    for sample in samples:
        picture = opened(sample.path)
        blob = device(picture)
        x, questions = device.preprocess([picture]), [question for question, _ in sample.questions]
        coded, plain = [], []
        if CAPTIONS in uncut:
            model, tokenizer = uncut[CAPTIONS]
            coded.append(server.caption(blob))
            plain += text.caption(
                model, tokenizer, x, text.checked_limits(model, None, 1, text.CAPTION_TOKENS)
            )
        if QUESTIONS in uncut and questions:
            model, tokenizer = uncut[QUESTIONS]
            coded += server.answer(blob, questions)
            ids = [text.question_ids(model, tokenizer, question) for question in questions]
            limits = text.checked_limits(model, None, 1, text.ANSWER_TOKENS)
            plain += text.answer(model, tokenizer, x.expand(len(ids), -1, -1, -1), ids, limits)
        told.append(Told(sample, tuple(plain), tuple(coded), len(blob), n_bytes_as(picture)))
        step()
    return told


def words_table(told: Sequence[Told]) -> Table:
    """A row a picture with all that is said of it, then all together."""
    shown = Table(
        box=box.SIMPLE_HEAD,
        header_style="bold",
        padding=(0, 1),
        show_edge=False,
        caption_justify="left",
    )
    shown.caption = (
        "last row: means; ≠ marks a text that is not the uncut model's, yellow one that is not true"
    )
    shown.add_column("#", justify="right", style="dim")
    shown.add_column("from the blob", ratio=1)
    for name in ("blob", *FORMATS):
        shown.add_column(name, justify="right", no_wrap=True)
    for place, row in enumerate(told):
        said = Text("\n").join(_line(*line) for line in row.lines)
        shown.add_row(
            str(place),
            said,
            f"[bold]{row.n_bytes}[/]",
            *(f"{row.picture_n_bytes[name]:,}" for name in FORMATS),
        )
    shown.add_section()
    own = float(np.mean([row.n_bytes for row in told]))
    means = [float(np.mean([row.picture_n_bytes[name] for row in told])) for name in FORMATS]
    shown.add_row(
        "",
        summary(told),
        f"{own:.1f}",
        *(f"{mean:,.0f}\n{mean / own:.0f}x" for mean in means),
        style="bold",
    )
    return shown


def summary(told: Sequence[Told]) -> str:
    """How many answers are right, and how many texts are the uncut models'."""
    lines = [line for row in told for line in row.lines]
    same = sum(coded == uncut for _, coded, uncut, _ in lines)
    parts = [f"{same} of {len(lines)} texts are the uncut model's"]
    if known := [
        (coded == true, uncut == true) for _, coded, uncut, true in lines if true is not None
    ]:
        own, plain = (sum(column) for column in zip(*known, strict=True))
        parts.insert(0, f"{own} of {len(known)} answers right ({plain} uncut)")
    return "; ".join(parts)


def draw_words(codec: FeatureCodec, told: Sequence[Told], out: Path) -> None:
    """Draw the pictures with what the blobs say of them into the file `out`."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    n_columns = min(4, len(told))
    n_rows = math.ceil(len(told) / n_columns)
    longest = max(sum(len(lines) for lines, _ in _wrapped(row)) for row in told)
    height = 3.2 + 0.205 * longest
    with rc_context({"font.family": "DejaVu Sans", "font.size": 11}):
        whole = 1.5 + n_rows * height  # inches
        figure = Figure(figsize=(4.4 * n_columns, whole), facecolor="white")
        FigureCanvasAgg(figure)
        own, png = (
            float(np.mean(sizes))
            for sizes in zip(
                *((row.n_bytes, row.picture_n_bytes["PNG"]) for row in told), strict=True
            )
        )
        title = f"{codec.config.name}: {own:.0f} bytes each on average; PNG needs {png:,.0f}"
        figure.text(0.02, 1 - 0.45 / whole, title, fontsize=18, fontweight="bold", va="center")
        figure.text(
            0.02, 1 - 0.85 / whole, summary(told), fontsize=12, color="#555555", va="center"
        )
        grid = figure.add_gridspec(
            n_rows, n_columns, left=0.02, right=0.99, top=1 - 1.4 / whole, bottom=0.01
        )
        for place, row in enumerate(told):
            cell = grid[place // n_columns, place % n_columns].subgridspec(
                2, 1, height_ratios=(3.0, height - 3.0), hspace=0.02
            )
            _draw_told(figure.add_subplot(cell[0]), figure.add_subplot(cell[1]), row)
        save_figure(figure, out, dpi=90)


def _draw_told(above: Any, below: Any, row: Told) -> None:
    above.imshow(np.asarray(opened(row.asked.path)), interpolation="nearest")
    above.set(xticks=[], yticks=[], anchor="W")
    above.set_title(f"{row.n_bytes} bytes", loc="left", fontsize=11, fontweight="bold")
    below.axis("off")
    place = 0
    for lines, agrees in _wrapped(row):
        for line in lines:
            style = {"xytext": (0, -2 - 14 * place), "textcoords": "offset points"}
            below.annotate(
                line,
                (0, 1),
                xycoords="axes fraction",
                va="top",
                color=_GREEN if agrees else _RED,
                fontsize=10,
                **style,
            )
            place += 1


def _wrapped(row: Told) -> list[tuple[list[str], bool]]:
    """What is said of a picture in short lines, and whether it is what the uncut model says."""
    found = []
    for question, coded, uncut, _ in row.lines:
        said = f"{question} {coded}" if question else coded
        found.append(
            (
                textwrap.wrap(said + ("" if coded == uncut else f"  (uncut: {uncut})"), 50),
                coded == uncut,
            )
        )
    return found


def _line(question: str, coded: str, uncut: str, true: str | None) -> Text:
    line = Text(f"{question} " if question else "", style="dim")
    line.append(coded, style="green" if coded == uncut else "bold red")
    if true is not None and coded != true:
        line.append(f" (true: {true})", style="yellow")
    if coded != uncut:
        line.append(f" ≠ {uncut}", style="red")
    return line
