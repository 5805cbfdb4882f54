"""replays of traces by ways of working -> matplotlib axes: latency of each way, and what the policy
took when.

matplotlib comes with the extra `demo`, and is imported when something is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from codec.link.replay import Outcome, Replay
from codec.show.plot import INK, save_figure

_COLOURS = ("#00798c", "#e07a1f", "#a3b18a", "#6a4c93", "#8d99ae")
_WIDTH, _HEIGHT, _DPI = 7.0, 4.6, 140


def draw_latencies(ax: Any, replay: Replay, shown: Sequence[Outcome], title: str) -> None:
    """Draw the share of requests that are answered after so many milliseconds (log scale), a line a
    way; the policy is the strong line, the oracle the dashed one.

    Args:
        ax: a matplotlib `Axes`.
        shown: the fixed ways that are drawn.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    shares = 100 * (np.arange(len(replay.policy.latency_ms)) + 1) / len(replay.policy.latency_ms)
    styles = [{"color": colour, "linewidth": 1.6} for colour in _COLOURS]
    lines = [(one, styles[place % len(styles)]) for place, one in enumerate(shown)]
    lines.append((replay.policy, {"color": "#d1495b", "linewidth": 3.0, "zorder": 4}))
    dashed = {"color": INK, "linewidth": 1.2, "linestyle": (0, (4, 3)), "zorder": 5}
    lines.append((replay.oracle, dashed))
    for outcome, style in lines:
        label = f"{outcome.name}: {outcome.median_ms:,.0f} ms, {outcome.mean_score:.2f} points"
        ax.plot(np.sort(outcome.latency_ms), shares, label=label, **style)
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 1.5, 2.0, 3.0, 5.0)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda ms, _: f"{ms:,g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.tick_params(axis="x", labelsize=8)
    ax.set_xlabel("milliseconds from picture to answer")
    ax.set_ylabel("requests answered, %")
    ax.set_title(title, fontsize=10)
    ax.grid(axis="both", which="major", color="#e6e6e6", linewidth=0.8)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(loc="upper left", bbox_to_anchor=(0.0, -0.16), fontsize=8, frameon=False)


def save_latencies(found: Sequence[tuple[str, Replay, Sequence[Outcome]]], out: Path) -> None:
    """Write one picture with an axis for each replay: its title, the replay and the ways shown.

    Raises:
        ValueError, OSError: as `save_figure`; or nothing to draw.
    """
    if not found:
        raise ValueError("nothing to draw")
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    size = (_WIDTH * min(2, len(found)), _HEIGHT * -(-len(found) // 2))
    figure, axes = pyplot.subplots(
        -(-len(found) // 2), min(2, len(found)), figsize=size, squeeze=False, layout="constrained"
    )
    for ax in axes.flat[len(found) :]:
        ax.set_visible(False)
    for ax, (title, replay, shown) in zip(axes.flat, found, strict=False):
        draw_latencies(ax, replay, shown, title)
    save_figure(figure, out, _DPI)
    pyplot.close(figure)
