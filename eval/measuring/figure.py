"""rows of a sweep -> a figure of score against bytes, a panel for each task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from codec.show.plot import check_installed, draw_rate_score, save_figure
from eval.measuring.published import draw_published
from eval.measuring.rates import front
from eval.measuring.rows import SCORES, by_task
from eval.methods.method import baseline_of


def draw(rows: list[dict[str, Any]], out: Path, max_drop: float) -> None:
    """Draw rows into the picture file `out`, scores from `max_drop` points below the uncut one on.

    Raises:
        ValueError, OSError: matplotlib is missing, it writes no files of that ending, or the file
            cannot be written.
    """
    check_installed()
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    with plt.rc_context(
        {
            "font.size": 14,
            "axes.labelsize": 16,
            "legend.fontsize": 12,
            "xtick.labelsize": 13,
            "ytick.labelsize": 13,
        }
    ):
        groups = by_task(rows)
        figure, axes = plt.subplots(
            1, len(groups), figsize=(11 * len(groups), 6.5), layout="constrained", squeeze=False
        )
        for ax, (task, group) in zip(axes[0], groups.items(), strict=True):
            drawn = best_sizes(group)
            draw_rate_score(ax, drawn, max_drop)
            draw_intervals(ax, drawn)
            draw_published(ax, task)
            ax.set_ylabel(SCORES[task])
            ax.set_title(
                f"{group[0]['data']}, {group[0]['n_images']:,} images",
                loc="left",
                fontsize=14,
                color="#555555",
            )
        save_figure(figure, out, dpi=150)
        plt.close(figure)


def draw_intervals(ax: Any, rows: list[dict[str, Any]]) -> None:
    """Draw the 95% interval of each drop as a bar through its score, where the sweep kept it."""
    for row in rows:
        margin = row.get("drop_margin")
        if margin:
            ends = (row["score"] - margin, row["score"] + margin)
            ax.vlines(row["bytes_mean"], *ends, color="#555555", linewidth=0.9, zorder=2)


def best_sizes(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of one task, where a picture codec that was measured at several sizes of pictures has,
    under its plain name, only those that no other of its rows betters with as few bytes.
    """
    names = {row["codec"] for row in rows}
    several = {baseline_of(name) for name in names if "@" in name} - {None}
    best = {}
    for base in several:
        points = [_point(row) for row in rows if baseline_of(row["codec"]) == base]
        best[base] = {points[i] for i in front(points)}
    kept = []
    for row in rows:
        base = baseline_of(row["codec"])
        if base not in several:
            kept.append(row)
        elif _point(row) in best[base]:
            kept.append(row | {"codec": base})
    return kept


def _point(row: dict[str, Any]) -> tuple[float, float]:
    return row["bytes_mean"], row["score"]
