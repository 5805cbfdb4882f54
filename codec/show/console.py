"""results of a command -> the terminal: tables and JSON on stdout, progress and errors on
stderr.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table

LEAST_WIDTH = 80
"""Columns that a table may always take: in a narrower terminal it would be cut, and so the terminal
wraps it.
"""
MOST_WIDTH = 10_000
"""Columns that a row may take where no terminal has to show it."""


@contextmanager
def progress(what: str, total: int | None = None) -> Iterator[Any]:
    """A progress bar on stderr, where that is a terminal; gives the function that moves it on by
    one step.
    """
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
    )

    console = Console(stderr=True)
    columns = [
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    ]
    bar = Progress(
        *(columns if total else [SpinnerColumn(), *columns[:1]]), console=console, transient=True
    )
    bar.disable = not console.is_terminal
    with bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)


def make_table(*columns: str, show_header: bool = True) -> Table:
    """A table; `>` in front of a column's name aligns it to the right."""
    table = Table(
        box=box.SIMPLE_HEAD if show_header else None, show_header=show_header, header_style="bold"
    )
    for column in columns:
        table.add_column(
            column.lstrip(">"),
            justify="right" if column.startswith(">") else "left",
            overflow="fold",
            no_wrap=column.startswith(">"),
        )
    return table


def add_row(table: Table, *cells: Any) -> None:
    """A row of anything; square brackets stay as they are."""
    table.add_row(*(escape(str(cell)) for cell in cells))


def print_table(table: Table) -> None:
    """A table to stdout; where that is no terminal, with each row on one line."""
    console = Console()
    wide = console.options.update(width=MOST_WIDTH)
    whole = 0 if console.is_terminal else Measurement.get(console, wide, table).maximum
    console.width = max(console.width, LEAST_WIDTH, whole)
    console.print(table)


def words(key: str) -> str:
    """A key of a result as words."""
    return key.replace("n_bytes", "bytes").removeprefix("n_").replace("_", " ")


def shown(value: Any) -> str:
    """A value of a result as a table's cell."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "\n".join(shown(entry) for entry in value)
    if isinstance(value, dict):
        return ", ".join(f"{words(key)} {shown(entry)}" for key, entry in value.items())
    if isinstance(value, (list, tuple)):
        return (" x " if all(isinstance(entry, int) for entry in value) else ", ").join(
            map(str, value)
        )
    if value is None or isinstance(value, bool):
        return {None: "-", True: "yes", False: "no"}[value]
    return str(value)


def megabytes(n_bytes: int) -> str:
    """A size on disk."""
    return f"{n_bytes / 1e6:.1f} MB"


def print_json(value: Any) -> None:
    """A result to stdout; paths become strings."""
    typer.echo(json.dumps(value, indent=2, default=str))


def complain(reason: str, prog: str = "codec") -> None:
    """One line on stderr: which command says it, and what is wrong."""
    typer.echo(f"{prog}: error: {reason}", err=True)


def failed(prog: str, error: BaseException) -> int:
    """Say in one line why a command ends; return its exit code, 2.

    Args:
        prog: name of the command, such as `eval.sweep`.
        error: its message is said; its type where it has none.
    """
    complain(one_line(error), prog)
    return 2


def one_line(error: BaseException) -> str:
    """An error's message without its line breaks."""
    return " ".join(str(error).split()) or type(error).__name__
