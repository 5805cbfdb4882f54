"""rows of a sweep -> rate-score curves on a matplotlib axis; a figure -> its file.

matplotlib comes with the extra `demo`, and is imported when something is drawn.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from codec.files import whole_file
from codec.tasks import LABELS

INK = "#222222"
_CODEC_COLOURS = ("#d1495b", "#00798c", "#6a4c93", "#e07a1f", "#2e7d32")
_COMPARED = {
    "jpeg": ("JPEG", "#8d99ae", "o"),
    "webp": ("WebP", "#a3b18a", "s"),
    "avif": ("AVIF", "#c9a66b", "^"),
    "jxl": ("JPEG XL", "#7d9d9c", "p"),
    "png": ("PNG", "#8d99ae", "P"),
    "webp-lossless": ("WebP lossless", "#a3b18a", "X"),
    "bottleneck": ("linear bottleneck, compressai", "#6b705c", "D"),
    "tokens-fp16": ("tokens, float16", "#b8a9c9", "d"),
    "tokens-int8-zstd": ("tokens, int8 + zstd", "#b8a9c9", "v"),
    "device-alone": ("the device alone, its label", "#222222", "*"),
    "source-file": ("the source file as it is", "#8d99ae", "h"),
}
"""Label, colour and marker of what codecs are compared with; every other name is a codec."""
_FACTORISED = "factorised"
"""How the name of a codec's symbols in another entropy coder begins: factorised(<codec>)."""


def check_installed() -> None:
    """Raises ValueError where matplotlib is missing."""
    if importlib.util.find_spec("matplotlib") is None:
        raise ValueError("drawing takes matplotlib: pip install 'task-codec[demo]'")


def draw_rate_score(ax: Any, rows: Sequence[dict[str, Any]], max_drop: float | None = None) -> None:
    """Draw score against bytes an image (log scale), one line a codec, and the uncut model's score
    as a dashed line; the legend stands below the axis, where it covers no curve.

    Args:
        ax: a matplotlib `Axes`.
        rows: rows of `eval.sweep`; `codec`, `bytes_mean`, `score`, `score_uncut` and, for the axis,
            `task` are used.
        max_drop: show scores from this many points below the uncut one; None for all.

    Raises:
        ValueError: no rows.
    """
    if not rows:
        raise ValueError("no rows to draw")
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    uncut = float(rows[0]["score_uncut"])
    curves: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        if row["codec"] != "uncut":
            point = float(row["bytes_mean"]), float(row["score"])
            curves.setdefault(row["codec"], []).append(point)
    codecs = [n for n in curves if n not in _COMPARED and not n.startswith(_FACTORISED)]
    dashes = {"color": "#444444", "linestyle": (0, (5, 4)), "linewidth": 1.4, "zorder": 1}
    ax.axhline(uncut, label=f"uncut model, {uncut:.2f}", **dashes)
    for name in [*codecs, *(name for name in curves if name not in codecs)]:
        points = sorted(curves[name])
        line = {} if len(points) > 1 else {"linestyle": "none"}
        ax.plot(*zip(*points, strict=True), **_style(name, codecs) | line)
    if max_drop is not None:
        best = max(uncut, *(score for points in curves.values() for _, score in points))
        ax.set_ylim(uncut - max_drop, best + 0.5)
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda n_bytes, _: _short(n_bytes)))
    classified = rows[0].get("task", LABELS) == LABELS
    ax.set_ylabel("top-1 accuracy, %" if classified else "score, points")
    style_axis(ax)


def style_axis(ax: Any) -> None:
    """The look of an axis of scores against bytes, and its legend below it."""
    ax.set_xlabel("bytes per image, header included")
    ax.grid(axis="both", which="major", color="#e6e6e6", linewidth=0.8)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2, frameon=False)


def _short(n_bytes: float) -> str:
    return f"{n_bytes / 1000:g}k" if n_bytes >= 1000 else f"{n_bytes:g}"


def _style(name: str, codecs: list[str]) -> dict[str, Any]:
    """How a curve looks: a codec is a strong line, its symbols in another coder a thin one of the
    same colour.
    """
    if name in codecs:
        strong = {"marker": "o", "markersize": 9, "markeredgecolor": "white", "linewidth": 3.2}
        strong |= {"markeredgewidth": 1.2, "zorder": 5}
        return {"label": name, "color": _colour(name, codecs), **strong}
    if name.startswith(_FACTORISED):
        codec = name.partition("(")[2].rstrip(")") or (codecs[0] if codecs else "the codec")
        thin = {"marker": "x", "markersize": 7, "linewidth": 1.8, "linestyle": ":", "alpha": 0.6}
        colour = _colour(codec, codecs)
        return {"label": f"{codec} in compressai's coder", "color": colour, "zorder": 4, **thin}
    label, colour, marker = _COMPARED[name]
    usual = {"marker": marker, "markersize": 6, "linewidth": 1.8, "zorder": 3}
    return {"label": label, "color": colour, **usual}


def _colour(codec: str, codecs: list[str]) -> str:
    place = codecs.index(codec) if codec in codecs else 0
    return _CODEC_COLOURS[place % len(_CODEC_COLOURS)]


def save_figure(figure: Any, out: Path, dpi: int) -> None:
    """Write a matplotlib figure, whole or not at all; a PNG in 256 colours, which takes a third of
    the bytes.

    Raises:
        ValueError, OSError: the file's ending is no format matplotlib writes, or it cannot be
            written.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(out) as file:
        if out.suffix.lower() != ".png":
            figure.savefig(file, dpi=dpi)
            return
        drawn = BytesIO()
        figure.savefig(drawn, format="png", dpi=dpi)
        # by octree, which keeps what is small and bright, as a thing in a scene
        colours = Image.open(drawn).convert("RGB")
        colours.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(
            file, "PNG", optimize=True
        )
