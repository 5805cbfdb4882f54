"""RECIPE [key=value ...] [--out DIR] -> a run: the command line of every training script."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError

from training.engine.loop import LossIsNaNError
from training.engine.recipe import read_recipe

T = TypeVar("T")


def run_command(
    kind: type[T], run: Callable[[T, Path], Any], doc: str | None, argv: Sequence[str] | None = None
) -> int:
    """Read the recipe that the command line names and call `run(recipe, out)`.

    Returns:
        The exit code: 0, or 2 after one line on stderr, where recipe, data or backbone are wrong, a
            disk is full or the loss is NaN.
    """
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipe", help="YAML file, or the name of one in training/recipes")
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="key=value",
        help="put over the recipe; dots step into sections, values are YAML",
    )
    parser.add_argument("--out", type=Path, help="default: runs/<the recipe's file name>")
    args = parser.parse_args(argv)
    try:
        recipe: Any = read_recipe(kind, args.recipe, args.overrides)
        run(recipe, args.out or Path("runs") / Path(args.recipe).stem)
    except (ValueError, OSError, SafetensorError, LossIsNaNError) as error:
        print(
            f"{parser.prog}: error: {' '.join(str(error).split()) or type(error).__name__}",
            file=sys.stderr,
        )
        return 2
    return 0
