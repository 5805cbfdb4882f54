"""rows of a sweep -> rate-score curves on a matplotlib axis; a figure -> its file."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from codec.files import whole_file

_OURS = ("#d1495b", "#00798c", "#6a4c93", "#e07a1f", "#2e7d32")
_BASELINES = {
    "jpeg": ("JPEG", "#8d99ae", "o"),
    "webp": ("WebP", "#a3b18a", "s"),
    "avif": ("AVIF", "#c9a66b", "^"),
    "png": ("PNG", "#8d99ae", "P"),
    "webp-lossless": ("WebP lossless", "#a3b18a", "X"),
    "bottleneck": ("linear bottleneck, compressai", "#6b705c", "D"),
    "tokens-fp16": ("tokens, float16", "#b8a9c9", "d"),
    "tokens-int8-zstd": ("tokens, int8 + zstd", "#b8a9c9", "v"),
}
"""Label, colour and marker of what codecs are held against; every other name is a codec."""


def draw_rate_score(ax: Any, rows: Sequence[dict[str, Any]], max_drop: float | None = None) -> None:
    """Draw score against bytes an image (log scale), one line a codec, and the uncut model's score
    as a dashed line.

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
            curves.setdefault(row["codec"], []).append(
                (float(row["bytes_mean"]), float(row["score"]))
            )
    own = [name for name in curves if name not in _BASELINES and not name.startswith("factorised")]
    ax.axhline(
        uncut,
        color="#444444",
        linestyle=(0, (5, 4)),
        linewidth=1.4,
        zorder=1,
        label=f"uncut model, {uncut:.2f}",
    )
    for name in [*own, *(name for name in curves if name not in own)]:
        points = sorted(curves[name])
        line = {} if len(points) > 1 else {"linestyle": "none"}
        ax.plot(*zip(*points, strict=True), **_style(name, own) | line)
    if max_drop is not None:
        ax.set_ylim(
            uncut - max_drop,
            max(uncut, *(score for points in curves.values() for _, score in points)) + 0.5,
        )
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.xaxis.set_major_formatter(
        FuncFormatter(
            lambda n_bytes, _: f"{n_bytes / 1000:g}k" if n_bytes >= 1000 else f"{n_bytes:g}"
        )
    )
    ax.set_xlabel("bytes per image, header included")
    classified = rows[0].get("task", "image-classification") == "image-classification"
    ax.set_ylabel("top-1 accuracy, %" if classified else "score, points")
    ax.grid(axis="both", which="major", color="#e6e6e6", linewidth=0.8)
    ax.set_axisbelow(True)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    ax.legend(loc="lower right", frameon=True, framealpha=0.9, edgecolor="none")


def _style(name: str, own: list[str]) -> dict[str, Any]:
    if name in own:
        colour = _OURS[own.index(name) % len(_OURS)]
        strong = {
            "linewidth": 3.2,
            "markersize": 9,
            "marker": "o",
            "markeredgecolor": "white",
            "markeredgewidth": 1.2,
            "zorder": 5,
        }
        return {"label": name, "color": colour, **strong}
    if name.startswith("factorised"):
        of = name.partition("(")[2].rstrip(")") or own[0] if own else ""
        colour = _OURS[own.index(of) % len(_OURS)] if of in own else _OURS[0]
        thin = {
            "linewidth": 1.8,
            "markersize": 7,
            "marker": "x",
            "linestyle": ":",
            "alpha": 0.6,
            "zorder": 4,
        }
        return {"label": f"{of or 'the codec'} in compressai's coder", "color": colour, **thin}
    label, colour, marker = _BASELINES[name]
    return {
        "label": label,
        "color": colour,
        "marker": marker,
        "markersize": 6,
        "linewidth": 1.8,
        "zorder": 3,
    }


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
