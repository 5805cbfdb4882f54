"""what was counted of several codecs -> the bytes that each needs for the same drop: resampled
together, kept as rows.

Bytes are interpolated on each codec's rate-drop curve (`eval.measuring.rates.rate_at`). Intervals
are 95%, from 1,000 resamplings of the test images, paired: every codec answers the same resampled
images, and so does the uncut model.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eval.measuring.intervals import resamplings
from eval.measuring.rates import rate_at
from eval.studies.counting import Counted


@dataclass(frozen=True)
class Compared:
    """A row: what a codec needs, beside the first one of its table.

    Attributes:
        name: what is different about it.
        command: the training that made it.
        n_images: test images.
        device_macs: multiply-accumulates of the network on the device, for one image.
        drop: the points at which bytes are compared.
        n_bytes, low, high: mean bytes of a blob at that drop, and their 95% interval.
        ratio, ratio_low, ratio_high: these over the bytes of the first codec at the same drop,
            resampled together.
        bound: "<=" or ">" where all its qualities lie on one side of that drop.
        curve: (mean bytes, drop) of each quality.
    """

    name: str
    command: str
    n_images: int
    device_macs: int
    drop: float
    n_bytes: float
    low: float
    high: float
    ratio: float
    ratio_low: float
    ratio_high: float
    bound: str
    curve: list[tuple[float, float]]


def compare(
    counted: dict[str, Counted], commands: dict[str, str], drop: float, seed: int = 0
) -> list[Compared]:
    """Rows of what was counted; the first codec is the one that the others are held against.

    A codec of a single quality has no curve: the two are compared at its own drop.
    """
    first = next(iter(counted.values()))
    n = len(first.uncut)
    weights = np.vstack([np.ones(n), resamplings(n, seed)]) / n
    firsts = _curves(first, weights)
    made = []
    for name, some in counted.items():
        curves = _curves(some, weights)
        at = [drop if len(curve) > 1 else curve[0][1] for curve in curves]
        needed, full = (
            np.array([rate_at(c, d).n_bytes for c, d in zip(own, at, strict=True)])
            for own in (curves, firsts)
        )
        row = Compared(
            name=name,
            command=commands[name],
            n_images=n,
            device_macs=some.device_macs,
            drop=at[0],
            n_bytes=float(needed[0]),
            low=float(np.percentile(needed[1:], 2.5)),
            high=float(np.percentile(needed[1:], 97.5)),
            ratio=float(needed[0] / full[0]),
            ratio_low=float(np.percentile(needed[1:] / full[1:], 2.5)),
            ratio_high=float(np.percentile(needed[1:] / full[1:], 97.5)),
            bound=rate_at(curves[0], at[0]).bound if len(curves[0]) > 1 else "",
            curve=curves[0],
        )
        made.append(row)
    return made


def _curves(counted: Counted, weights: NDArray[np.float64]) -> list[list[tuple[float, float]]]:
    """The curve of a codec, mean bytes and drop by quality, with images weighted (R, n) in each of
    the R ways.
    """
    drops = 100 * (weights @ counted.uncut[:, None] - weights @ counted.right.T)
    n_bytes = weights @ counted.n_bytes.T
    return [
        [(float(b), float(d)) for b, d in zip(*rows, strict=True)]
        for rows in zip(n_bytes, drops, strict=True)
    ]


def arguments(
    prog: str, doc: str | None, overrides: str, drop: float, shipped: Path | None
) -> argparse.ArgumentParser:
    """The command line that comparisons share; `shipped` is their file of rows, where one ships,
    `overrides` says what the recipe's are put over.
    """
    name = prog.rpartition(".")[2]
    own = f"{name}.jsonl"
    parser = argparse.ArgumentParser(
        prog=prog, description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help=f"put over the recipe in {overrides}"
    )
    parser.add_argument(
        "--train", metavar="RECIPE", help="train and measure anew, instead of reading --rows"
    )
    parser.add_argument(
        "--runs",
        type=Path,
        default=Path("runs") / name,
        help="folder of the trainings; default: %(default)s",
    )
    parser.add_argument(
        "--split", default="test", help="images that are measured; default: %(default)s"
    )
    parser.add_argument("--limit", type=int, help="the first so many of them only")
    parser.add_argument(
        "--drop",
        type=float,
        default=drop,
        help="points at which bytes are compared; default: %(default)g",
    )
    parser.add_argument(
        "--rows",
        type=Path,
        default=shipped or Path(own),
        help="file of JSON lines, written with --train; default: "
        + ("the shipped one" if shipped else own),
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path(f"{name}.png"),
        help="picture to draw; default: %(default)s",
    )
    return parser


def print_curves(rows: Sequence[Compared]) -> None:
    """Print the command that made each row, and its bytes and drops by quality."""
    for row in rows:
        curve = ", ".join(f"{n_bytes:.1f} {drop:+.2f}" for n_bytes, drop in row.curve)
        print(f"{row.name}: {row.command}\n    bytes and drop: {curve}")
