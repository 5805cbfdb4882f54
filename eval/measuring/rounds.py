"""folders of runs that learned together -> curves and a table of accuracy, bytes and seconds."""

from __future__ import annotations

import json
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from codec.files import read_json
from codec.show.plot import check_installed, save_figure
from eval.measuring.intervals import paired_margin
from training.engine.recipe import plain_values, read_recipe
from training.rounds.recipe import FederatedRecipe


class Run(NamedTuple):
    """The rounds of a run.

    Attributes:
        name: of its folder.
        alike: the recipe but for how changes are sent: runs that can be compared have the same.
        coded: whether changes are sent otherwise than in float32.
        accuracy: on the validation split after each round, in percent.
        n_bytes_up, n_bytes_down: of all clients, from the first round to each.
        link_s: seconds on the link, from the first round to each.
        test_accuracy: at the end, in percent; None where the run has not ended.
        right: whether each test image's answer is right, (n,) bool; None where the run has not
            ended.
    """

    name: str
    alike: str
    coded: bool
    accuracy: list[float]
    n_bytes_up: list[int]
    n_bytes_down: list[int]
    link_s: list[float]
    test_accuracy: float | None
    right: NDArray[np.bool_] | None

    def at(self, goal: float) -> int | None:
        """The first round, from 0 on, whose accuracy is at least `goal`; None for none."""
        return next((i for i, value in enumerate(self.accuracy) if value >= goal), None)


def read_run(folder: Path) -> Run:
    """The run in a folder, as far as it is.

    Raises:
        OSError, ValueError: no run is there, it has no round yet, or a file is damaged.
    """
    recipe = read_recipe(FederatedRecipe, folder / "recipe.yaml")
    lines = [json.loads(line) for line in (folder / "rounds.jsonl").read_text().splitlines()]
    if not lines:
        raise ValueError(f"{folder} has no round yet")
    values = plain_values(recipe)
    for key in ("updates", "note", "name"):
        del values[key]
    result: dict[str, Any] = {}
    if (folder / "result.json").is_file():
        result = read_json(folder / "result.json")
    return Run(
        folder.name,
        json.dumps(values, sort_keys=True),
        recipe.updates.codec != "none",
        [line["accuracy"] for line in lines],
        list(accumulate(sum(line["bytes_up"].values()) for line in lines)),
        list(accumulate(sum(line["bytes_down"].values()) for line in lines)),
        list(accumulate(line["link_s"] for line in lines)),
        result.get("test_accuracy"),
        None if "right" not in result else _bits(result["right"], result["n_images"]),
    )


def _bits(text: str, n: int) -> NDArray[np.bool_]:
    """
    Raises:
        ValueError: the text is no hexadecimal number, or has too few digits.
    """
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(text), np.uint8))
    if len(bits) < n:
        raise ValueError(f"result.json says of {len(bits)} images whether they are right, not {n}")
    return bits[:n].astype(np.bool_)


def _lost(run: Run, other: Run | None) -> str:
    """Points that a run is below another on the same test images, and half the 95% interval."""
    if other is None or run is other or run.right is None or other.right is None:
        return ""
    own, theirs = run.right.astype(np.float64), other.right.astype(np.float64)
    margin = paired_margin(own, theirs, np.arange(len(own)))
    return f"{100 * (theirs.mean() - own.mean()):.2f} ± {margin:.2f}"


def table(runs: list[Run], goal: float) -> str:
    """A row a run: its score; what it has less, in points, and how many times fewer bytes than the
    float32 run that is alike but for that; and what it took to the `goal` on the validation split.
    """
    plain = {run.alike: run for run in runs if not run.coded}
    rows = [
        "| run | rounds | test % | points less | MB up | MB down | times fewer up | down "
        f"| {goal:g}% at round | MB to it | seconds on the link to it |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for run in runs:
        other, there = plain.get(run.alike), run.at(goal)
        fewer = ["", ""]
        if other and len(other.accuracy) == len(run.accuracy):
            fewer = [
                f"{theirs[-1] / mine[-1]:.1f}"
                for mine, theirs in (
                    (run.n_bytes_up, other.n_bytes_up),
                    (run.n_bytes_down, other.n_bytes_down),
                )
            ]
        reached = ["", "", ""]
        if there is not None:
            n_bytes = run.n_bytes_up[there] + run.n_bytes_down[there]
            reached = [str(there + 1), f"{n_bytes / 1e6:.2f}", f"{run.link_s[there]:.1f}"]
        score = "" if run.test_accuracy is None else f"{run.test_accuracy:.2f}"
        ups, downs = f"{run.n_bytes_up[-1] / 1e6:.2f}", f"{run.n_bytes_down[-1] / 1e6:.2f}"
        lost = _lost(run, other)
        cells = [run.name, str(len(run.accuracy)), score, lost, ups, downs, *fewer, *reached]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def draw_rounds(runs: list[Run], out: Path, goal: float) -> None:
    """Draw accuracy against bytes and against seconds on the link into the picture file `out`.

    Raises:
        ValueError, OSError: matplotlib is missing, it writes no files of that ending, or the file
            cannot be written.
    """
    check_installed()
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    with plt.rc_context({"font.size": 13, "axes.labelsize": 15, "legend.fontsize": 11}):
        figure, axes = plt.subplots(1, 2, figsize=(16, 6.5), layout="constrained", sharey=True)
        for run in runs:
            megabytes = [
                (up + down) / 1e6 for up, down in zip(run.n_bytes_up, run.n_bytes_down, strict=True)
            ]
            for ax, x in zip(axes, (megabytes, run.link_s), strict=True):
                ax.plot(x, run.accuracy, marker="o", markersize=3, label=run.name)
        for ax, label in zip(
            axes, ("MB of all clients, both ways", "seconds on the link"), strict=True
        ):
            ax.set_xscale("log")
            ax.set_xlabel(label)
            ax.axhline(goal, color="#999999", linewidth=0.9)
            ax.grid(alpha=0.3)
        axes[0].set_ylabel("accuracy on validation, %")
        axes[0].legend()
        save_figure(figure, out, dpi=150)
        plt.close(figure)
