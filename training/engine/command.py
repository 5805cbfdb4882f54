"""RECIPE [key=value ...] [--out DIR] -> a run: the command line of every training script.

The run's folder holds its recipe, and the file `done` once it has ended: a run goes on by its own
recipe alone, and a finished one is not run again.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
import yaml
from safetensors import SafetensorError

from codec.files import whole_file
from codec.show.console import failed
from training.engine.loop import LossIsNaNError, is_first_process
from training.engine.recipe import Kind, plain_values, read_recipe

T = TypeVar("T")


def run_command(
    kind: Kind[T],
    run: Callable[[T, Path], Any],
    doc: str | None,
    argv: Sequence[str] | None = None,
    rehearse: Callable[[T], Any] | None = None,
) -> int:
    """Read the recipe that the command line names and call `run(recipe, out)`; or, with
    `--dry-run`, which is there where it can be done, `rehearse(recipe)`, which has no folder.

    Returns:
        The exit code: 0, or 2 after one line on stderr, where recipe, data or backbone are wrong,
            the folder is of another recipe, a disk is full or the loss is NaN.
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
    if rehearse is not None:
        parser.add_argument(
            "--dry-run", action="store_true", help="say what would be trained; write nothing"
        )
    args = parser.parse_intermixed_args(argv)  # overrides may stand behind --out too
    try:
        recipe: Any = read_recipe(kind, args.recipe, args.overrides)
        if rehearse is not None and args.dry_run:
            rehearse(recipe)
            return 0
        out = args.out or Path("runs") / Path(args.recipe).stem
        keep_recipe(recipe, out)
        if (out / "done").is_file():
            print(f"{out} is done: this recipe was trained to its end there")
            return 0
        run(recipe, out)
        if is_first_process():
            with whole_file(out / "done") as file:
                file.write_text("")
    except torch.OutOfMemoryError as error:
        first = str(error).split("\n")[0]
        return failed(parser.prog, MemoryError(f"a smaller batch_size may help: {first}"))
    except (ValueError, OSError, SafetensorError, LossIsNaNError) as error:
        return failed(parser.prog, error)
    return 0


def keep_recipe(recipe: Any, out: Path) -> None:
    """Write a recipe into the folder of its run, `recipe.yaml`.

    Raises:
        ValueError: the folder holds a run of another recipe, finished or with a checkpoint; the
            message names a key that differs.
    """
    path = out / "recipe.yaml"
    started = (out / "done").is_file() or any(out.glob("*/checkpoint-*"))
    if started and path.is_file():
        try:
            kept = read_recipe(type(recipe), path)
        except ValueError as error:
            raise ValueError(f"{out} holds a run of another recipe: {error}") from error
        if kept != recipe:
            before, now = plain_values(kept), plain_values(recipe)
            key = next(key for key in now if before[key] != now[key])
            raise ValueError(
                f"{out} holds a run of another recipe: its {key} is {before[key]}, not {now[key]}; "
                "give another --out"
            )
        return
    out.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as file:
        file.write_text(yaml.safe_dump(plain_values(recipe), sort_keys=False))
