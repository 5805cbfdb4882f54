"""python -m eval.plot FILE.jsonl --out FILE.png: the rows of a sweep as one figure of score against
bytes, a panel for each task.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from codec.show.plot import draw_rate_score, save_figure
from eval.measuring.rows import SCORES, by_task, read_rows


def plot(rows: list[dict[str, Any]], out: Path, max_drop: float) -> None:
    """Draw rows into the picture file `out`.

    Raises:
        ValueError, OSError: the file's ending is no format matplotlib writes, or it cannot be
            written.
    """
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
            draw_rate_score(ax, group, max_drop)
            ax.set_ylabel(SCORES[task])
            ax.set_title(
                f"{group[0]['data']}, {group[0]['n_images']:,} images",
                loc="left",
                fontsize=14,
                color="#555555",
            )
        save_figure(figure, out, dpi=150)
        plt.close(figure)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="eval.plot", description=__doc__)
    parser.add_argument("rows", type=Path, help="file of eval.sweep")
    parser.add_argument(
        "--out", type=Path, required=True, help="picture to write: .png, .svg or .pdf"
    )
    parser.add_argument(
        "--max-drop",
        type=float,
        default=12.0,
        help="points below the uncut score that are shown; default: %(default)g",
    )
    args = parser.parse_args(argv)
    try:
        if args.max_drop <= 0:
            raise ValueError("--max-drop is above 0")
        plot(read_rows(args.rows), args.out, args.max_drop)
    except (ValueError, OSError) as error:
        print(f"eval.plot: {str(error).splitlines()[0]}", file=sys.stderr)
        return 2
    print(args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
