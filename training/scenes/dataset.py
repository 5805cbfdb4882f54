"""split, size, seed -> pictures with captions, questions and the facts behind them; nothing is
stored.

    python -m training.scenes --split train --n 24 --out sheet.png
    python -m training.scenes --split test --n 500 --out scenes/test.parquet

A picture is 96 x 96 pixels with one to five things on a natural-looking ground, and with sensor
noise: hard to compress, easy to judge. The same split, index and seed give the same pixels and the
same words on every machine. The rules of the generator: docs/scenes.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from codec.show.console import failed
from training.scenes.file import write_parquet
from training.scenes.layout import SPLITS, Scene, Thing, draw_scene
from training.scenes.pixels import render
from training.scenes.questions import Question, questions
from training.scenes.sheet import contact_sheet
from training.scenes.text import captions

__all__ = ["Question", "Sample", "Scene", "Scenes", "Thing"]


class Sample(NamedTuple):
    """`image` (96, 96, 3) uint8 RGB, five `captions`, ten `questions` with their answers, and the
    `scene` that they are about.
    """

    image: npt.NDArray[np.uint8]
    captions: tuple[str, ...]
    questions: tuple[Question, ...]
    scene: Scene


class Scenes:
    """`size` scenes of a split, drawn when asked for; a larger size begins with the same ones. It
    needs no torch.

    Args:
        split: "train", "validation" or "test".
        size: how many.
        seed: another seed gives other scenes.

    Raises:
        ValueError: no such split, or a size below 1.
    """

    def __init__(self, split: str, size: int, seed: int = 0) -> None:
        if split not in SPLITS:
            raise ValueError(f"no split {split!r}: there are {', '.join(SPLITS)}")
        if size < 1:
            raise ValueError(f"a data set of {size} scenes is empty: size is at least 1")
        self.split, self.size, self.seed = split, size, seed

    def __len__(self) -> int:
        return self.size

    def scene(self, index: int) -> Scene:
        """The facts alone, without pixels and words: a tenth of a millisecond.

        Raises:
            IndexError: outside the data set.
        """
        if not -self.size <= index < self.size:
            raise IndexError(f"scene {index} of {self.size}")
        return draw_scene(self.split, index % self.size, self.seed)

    def __getitem__(self, index: int) -> Sample:
        scene = self.scene(index)
        return Sample(render(scene), captions(scene), questions(scene), scene)

    def __iter__(self) -> Iterator[Sample]:
        return (self[index] for index in range(self.size))


def main(argv: Sequence[str] | None = None) -> int:
    """Draw a contact sheet, or write a data set; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="training.scenes",
        description="Draws scenes with their captions and questions on a contact sheet, "
        "or writes a data set.",
    )
    parser.add_argument(
        "--split", default="train", help=f"{', '.join(SPLITS)}; default: %(default)s"
    )
    parser.add_argument("--n", type=int, default=24, help="how many scenes; default: %(default)d")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)d")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("sheet.png"),
        help="a picture, or a .parquet file; default: %(default)s",
    )
    args = parser.parse_args(argv)
    try:
        rows = ((s.image, s.captions, s.questions) for s in Scenes(args.split, args.n, args.seed))
        if args.out.suffix == ".parquet":
            write_parquet(rows, args.out)
        else:
            contact_sheet(list(rows)).save(args.out)
    except (ValueError, OSError) as error:
        return failed(parser.prog, error)
    return 0
