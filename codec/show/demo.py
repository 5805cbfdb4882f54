"""bundled pictures -> blobs -> answers, the whole way, beside what the pictures cost as PNG, WebP
and JPEG.

Each picture goes alone and through real bytes: preprocessing, encoding on the device side;
decoding, tail on the server side.
"""

from __future__ import annotations

import io
import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from rich import box
from rich.table import Table

from codec.model import checkpoint
from codec.pipeline import Device, Server
from codec.show.plot import draw_rate_score, save_figure

if TYPE_CHECKING:
    from codec.model import FeatureCodec

FORMATS: dict[str, tuple[str, dict[str, Any]]] = {
    "PNG": ("PNG", {"optimize": True}),
    "WebP": ("WEBP", {"lossless": True, "method": 6, "quality": 100}),
    "JPEG": ("JPEG", {"quality": 75, "optimize": True}),
}
"""What a blob is held against: PIL's format and options. PNG and WebP are lossless."""

_GREEN, _RED, _INK, _PALE = "#2e7d32", "#c62828", "#222222", "#8a8a8a"


class Sample(NamedTuple):
    """A bundled picture and its true label."""

    path: Path
    label: str


class Sent(NamedTuple):
    """What became of one picture: labels, bytes of the blob and of each of FORMATS, and wall-clock
    times.
    """

    sample: Sample
    uncut: str
    coded: str
    n_bytes: int
    picture_n_bytes: dict[str, int]
    device_ms: float
    server_ms: float


class Point(NamedTuple):
    """One quality on the bundled pictures: mean bytes of a blob, accuracy in percent."""

    quality: int
    bytes_mean: float
    score: float


def bundled_samples(limit: int | None = None) -> list[Sample]:
    """The bundled pictures, or the first `limit` of them; a file is named <number>_<label>.png.

    Raises:
        FileNotFoundError: there are none.
    """
    folder = checkpoint.shipped_root() / "samples" / "cifar10"
    paths = sorted(folder.glob("*_*.png"))[:limit]
    if not paths:
        raise FileNotFoundError(f"no pictures in {folder}")
    return [Sample(path, path.stem.partition("_")[2]) for path in paths]


def send(
    codec: FeatureCodec, samples: Sequence[Sample], step: Callable[[], None] = lambda: None
) -> list[Sent]:
    """Send each picture alone at the codec's default quality, after one that warms up; `step` is
    called after each.

    Raises:
        ValueError: the codec answers with none of the pictures' labels.
    """
    device, server, uncut = Device(codec), Server(codec), codec.load_uncut()
    known = set(server.labels.values())
    if not known & {sample.label for sample in samples}:
        raise ValueError(
            f"{codec.config.name} has none of these pictures' labels "
            f"({', '.join(sorted(known)[:4])}, ...)"
        )
    server(device(samples[0].path), top_k=1)
    sent = []
    for sample in samples:
        picture = opened(sample.path)
        start = time.perf_counter()
        blob = device(picture)
        middle = time.perf_counter()
        coded = server(blob, top_k=1)[0]["label"]
        end = time.perf_counter()
        with torch.inference_mode():
            index = int(uncut(device.preprocess([picture])).logits.argmax())
        times = 1000 * (middle - start), 1000 * (end - middle)
        sent.append(
            Sent(sample, server.labels[index], coded, len(blob), n_bytes_as(picture), *times)
        )
        step()
    return sent


def rate_curve(codec: FeatureCodec, samples: Sequence[Sample]) -> list[Point]:
    """Bytes and accuracy of the pictures at every quality of the codec."""
    device, server = Device(codec), Server(codec)
    pictures = [opened(sample.path) for sample in samples]
    points = []
    for quality in codec.qualities:
        blobs = device(pictures, quality)
        right = [
            answer[0]["label"] == s.label
            for answer, s in zip(server(blobs, top_k=1), samples, strict=True)
        ]
        points.append(
            Point(
                quality, float(np.mean([len(blob) for blob in blobs])), 100 * float(np.mean(right))
            )
        )
    return points


def read_sweep(codec: FeatureCodec) -> list[dict[str, Any]]:
    """Rows of the sweep on the test split that lies beside the codec's checkpoint; [] where there
    is none.

    Raises:
        ValueError: the file does not hold such rows.
    """
    file = codec.folder / "sweep.jsonl"
    if not file.is_file():
        return []
    try:
        rows = [json.loads(line) for line in file.read_text().splitlines() if line.strip()]
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is not JSON lines: {error}") from error
    if not all(
        isinstance(row, dict) and row.keys() >= {"codec", "bytes_mean", "score", "score_uncut"}
        for row in rows
    ):
        raise ValueError(f"{file} does not hold rows of a sweep")
    return rows


def table(sent: Sequence[Sent]) -> Table:
    """A row a picture, then all together: accuracies, agreement, mean bytes and their ratio to the
    blob's, mean times.
    """
    shown = Table(
        box=box.SIMPLE_HEAD, header_style="bold", padding=0, show_edge=False, caption_justify="left"
    )
    shown.caption = (
        "last rows: mean bytes, median times; ≠ marks an answer that is not the uncut model's"
    )
    shown.add_column("#", justify="right", style="dim")
    for name in ("true", "uncut", "coded"):
        shown.add_column(name, no_wrap=True, min_width=11)
    for name in ("blob", *FORMATS, "device\nms", "server\nms"):
        shown.add_column(name, justify="right", no_wrap=True)
    for place, row in enumerate(sent):
        coded = (
            f"[green]{row.coded}[/]" if row.coded == row.uncut else f"[bold red]{row.coded} ≠[/]"
        )
        uncut = row.uncut if row.uncut == row.sample.label else f"[yellow]{row.uncut}[/]"
        sizes = [f"{row.picture_n_bytes[name]:,}" for name in FORMATS]
        times = f"{row.device_ms:.1f}", f"{row.server_ms:.1f}"
        shown.add_row(
            str(place), row.sample.label, uncut, coded, f"[bold]{row.n_bytes}[/]", *sizes, *times
        )
    shown.add_section()
    uncut_score, coded_score, agreement = (f"{score:.1f}%" for score in _scores(sent))
    means = [_mean_bytes(sent, name) for name in FORMATS]
    own = _mean_bytes(sent)
    medians = [
        f"{np.median([getattr(row, side) for row in sent]):.1f}"
        for side in ("device_ms", "server_ms")
    ]
    sizes = [f"{mean:,.0f}" for mean in means]
    shown.add_row(
        "", "accuracy", uncut_score, coded_score, f"{own:.1f}", *sizes, *medians, style="bold"
    )
    shown.add_row(
        "",
        "agreement",
        "",
        agreement,
        "1x",
        *(f"{mean / own:.1f}x" for mean in means),
        "",
        "",
        style="bold",
    )
    return shown


def check_out(out: Path) -> None:
    """Say before any work whether a picture can be written at `out`.

    Raises:
        ValueError: of no format matplotlib writes, or in no folder.
    """
    from matplotlib.backend_bases import FigureCanvasBase

    kinds = FigureCanvasBase.get_supported_filetypes()
    if out.suffix.lower().lstrip(".") not in kinds:
        raise ValueError(
            f"{out} does not end in a picture's format; {', '.join(sorted(kinds))} can be written"
        )
    if not out.absolute().parent.is_dir():
        raise FileNotFoundError(f"no folder {out.parent} to write {out.name} into")


def draw(
    codec: FeatureCodec,
    sent: Sequence[Sent],
    curve: Sequence[Point],
    sweep: Sequence[dict[str, Any]],
    out: Path,
) -> None:
    """Draw the pictures with answers and bytes, and the curve of the sweep, or of these pictures
    where none ships, into the file `out`.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    n_columns = 8
    n_rows = max(6, math.ceil(len(sent) / n_columns))
    with rc_context(
        {"font.family": "DejaVu Sans", "font.size": 11, "text.color": _INK, "axes.edgecolor": _PALE}
    ):
        figure = Figure(figsize=(18, 11.5), facecolor="white")
        FigureCanvasAgg(figure)
        own, png = _mean_bytes(sent), _mean_bytes(sent, "PNG")
        uncut, coded, agreement = _scores(sent)
        title = f"{_pictures(len(sent))}, {own:.0f} bytes each on average; PNG needs {png:,.0f}"
        config = codec.config
        below = (
            f"{config.name}, quality {config.default_quality} of 0-{config.n_qualities - 1}: "
            f"{coded:.1f}% right after the "
            f"trip, {uncut:.1f}% uncut; {agreement:.1f}% of the answers are the uncut model's"
            + (", the red ones are not" if agreement < 100 else "")
        )
        figure.text(0.025, 0.955, title, fontsize=27, fontweight="bold", va="center")
        figure.text(0.025, 0.908, below, fontsize=14.5, color="#555555", va="center")
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
        _draw_curve(
            figure.add_axes((0.665, 0.085, 0.315, 0.745)),
            config.name,
            curve,
            sweep,
            len(sent),
            uncut,
        )
        save_figure(figure, out, dpi=110)


def _draw_sent(ax: Any, row: Sent) -> None:
    agrees = row.coded == row.uncut
    colour = _GREEN if agrees else _RED
    ax.imshow(np.asarray(opened(row.sample.path)), interpolation="nearest")
    ax.set(xticks=[], yticks=[], anchor="NW")
    for spine in ax.spines.values():
        spine.set(color=_PALE if agrees else _RED, linewidth=0.6 if agrees else 3.5)
    below = [(row.coded, {"color": colour, "fontsize": 11, "fontweight": "bold"})]
    if not agrees:
        below.append((f"uncut: {row.uncut}", {"color": colour, "fontsize": 9.5}))
    below.append((f"{row.n_bytes} bytes", {"color": "#666666", "fontsize": 9.5}))
    for line, (text, style) in enumerate(below):
        place = {"xytext": (0, -4 - 13 * line), "textcoords": "offset points"}
        ax.annotate(
            text,
            (0, 0),
            xycoords="axes fraction",
            va="top",
            annotation_clip=False,
            **place,
            **style,
        )


def _draw_curve(
    ax: Any,
    name: str,
    curve: Sequence[Point],
    sweep: Sequence[dict[str, Any]],
    n_sent: int,
    uncut: float,
) -> None:
    if sweep:
        draw_rate_score(ax, list(sweep), max_drop=15)
        n_images = sweep[0].get("n_images")
        ax.set_title(
            f"accuracy and bytes on the {n_images:,} test images"
            if n_images
            else "accuracy and bytes",
            loc="left",
        )
        return
    ax.axhline(
        uncut,
        color="#444444",
        linestyle=(0, (5, 4)),
        linewidth=1.4,
        label=f"uncut model, these {_pictures(n_sent)}",
    )
    x, y = [point.bytes_mean for point in curve], [point.score for point in curve]
    hollow = {
        "marker": "o",
        "markersize": 10,
        "markerfacecolor": "none",
        "markeredgecolor": "#00798c",
        "markeredgewidth": 1.8,
    }
    ax.plot(x, y, linestyle="none", zorder=6, label=f"these {_pictures(n_sent)}", **hollow)
    ax.set(
        xlabel="bytes per image, header included",
        ylabel="top-1 accuracy, %",
        ylim=(-3, 103),
        xlim=(0, 1.15 * max(x)),
    )
    ax.grid(color="#e6e6e6", linewidth=0.8)
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_title(
        f"accuracy and bytes on these {_pictures(n_sent)} alone:\nno sweep of the test split ships "
        f"with {name}",
        loc="left",
    )
    ax.legend(loc="best", frameon=True, framealpha=0.9, edgecolor="none")


def opened(path: Path) -> Image.Image:
    """A picture as RGB.

    Raises:
        ValueError: it cannot be read.
    """
    try:
        with Image.open(path) as file:
            picture: Image.Image = file.convert("RGB")
    except OSError as error:
        raise ValueError(f"{path} is not a picture that can be read") from error
    return picture


def n_bytes_as(picture: Image.Image) -> dict[str, int]:
    """What a picture takes in each of `FORMATS`."""
    sizes = {}
    for name, (form, options) in FORMATS.items():
        buffer = io.BytesIO()
        picture.save(buffer, form, **options)
        sizes[name] = len(buffer.getvalue())
    return sizes


def _mean_bytes(sent: Sequence[Sent], name: str | None = None) -> float:
    """Mean bytes of the blobs, or of the pictures in one of FORMATS."""
    return float(
        np.mean([row.n_bytes if name is None else row.picture_n_bytes[name] for row in sent])
    )


def _scores(sent: Sequence[Sent]) -> tuple[float, float, float]:
    """Accuracy of the uncut model, accuracy through the codec, and agreement of the two, in
    percent.
    """
    uncut = [row.uncut == row.sample.label for row in sent]
    coded = [row.coded == row.sample.label for row in sent]
    agree = [row.uncut == row.coded for row in sent]
    return 100 * float(np.mean(uncut)), 100 * float(np.mean(coded)), 100 * float(np.mean(agree))


def _pictures(n: int) -> str:
    return "1 picture" if n == 1 else f"{n} pictures"
