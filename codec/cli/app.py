"""the `codec` command: pictures -> blob files -> answers or tokens, and what there is to know about
codecs and blobs.

Here are the application, its errors and its exit codes; each group of verbs has a file of its own.
Results go to stdout, as tables or as JSON; errors and progress go to stderr. The verbs import torch
when they need it, so that `codec --help` and `codec list` are quick.
"""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import codec
from codec.cli import (
    benching,
    bundles,
    cells,
    decoding,
    demo,
    encoding,
    linking,
    listing,
    sending,
    serving,
)
from codec.show.console import failed


class _OneLineErrors(TyperGroup):
    """Turns what goes wrong into one line on stderr and exit code 2, and Ctrl-C into a quiet
    130.
    """

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # `codec list | head`: typer handles it
            raise
        except (ValueError, OSError) as error:
            raise typer.Exit(failed("codec", error)) from error
        except KeyboardInterrupt as stop:
            raise typer.Exit(130) from stop


app = typer.Typer(
    cls=_OneLineErrors,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def main() -> None:
    """Entry point of the `codec` command."""
    try:
        app()
    except KeyboardInterrupt:  # outside of a verb
        sys.exit(130)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"codec {codec.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Sends what a model needs instead of what a person sees: a picture becomes a few dozen
    bytes.
    """


app.command("list")(listing.list_codecs)
for _verb in (
    listing.info,
    encoding.encode,
    decoding.decode,
    decoding.truncate,
    linking.link,
    cells.cell,
    serving.serve,
    sending.send,
    sending.watch,
    benching.bench_link,
    demo.demo,
    bundles.export,
    bundles.lint,
    bundles.verify,
):
    app.command()(_verb)


if __name__ == "__main__":
    main()
