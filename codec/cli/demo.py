"""`codec demo`: the bundled pictures through each codec, as tables and as pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from codec.cli.common import silence_libraries
from codec.model import checkpoint
from codec.show.console import print_table, progress
from codec.tasks import LABELS

if TYPE_CHECKING:
    from codec.model import FeatureCodec

MAIN = "vit-tiny-cifar10"
"""The codec that comes last, so that its result is what stands at the end."""


def demo(
    out: Annotated[
        Path, typer.Option(help="Picture that is written; each further codec's beside it.")
    ] = Path("demo.png"),
    name: Annotated[
        str | None,
        typer.Option("--codec", help="A codec's name, or ./FOLDER; default: all that ship."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Take the first so many pictures only.")
    ] = None,
) -> None:
    """Send the bundled pictures through each codec: answers, times, bytes beside PNG, WebP and
    JPEG, and a picture of it all.
    """
    from codec.show.drawing import check_out

    check_out(out)
    silence_libraries()
    shipped = sorted(checkpoint.shipped_names(), key=lambda shipped: shipped == MAIN)
    names = _whole(shipped) if name is None else [name]
    for place, one in enumerate(names):
        checkpoint.find_checkpoint(one)  # says so at once where there is none
        from codec.model import FeatureCodec

        with progress("loading"):
            codec = FeatureCodec.from_pretrained(one)
        if place:
            typer.echo()
        last = place == len(names) - 1
        file = out if last else out.with_stem(f"{out.stem}-{codec.config.name}")
        show = _show_labels if LABELS in codec.config.tasks else _show_words
        show(codec, file, limit)
        typer.echo(str(file))


def _whole(names: list[str]) -> list[str]:
    """The codecs whose backbone is here too; of the others it is said that they are left out."""
    from codec.model.backbone import SHIPPED
    from codec.model.facts import summary

    kept, root = [], checkpoint.shipped_root()
    for name in names:
        backbone = summary(root / name)["backbone"]
        if backbone.startswith(SHIPPED) and not (root / backbone).is_dir():
            typer.echo(f"{name} is left out: only a checkout has its backbone, {backbone}")
        else:
            kept.append(name)
    return kept


def _show_labels(codec: FeatureCodec, out: Path, limit: int | None) -> None:
    from codec.show import demo as show
    from codec.show.drawing import draw_labels
    from codec.show.tables import labels_table

    samples = show.bundled_samples(codec, limit)
    with progress("sending", len(samples)) as step:
        sent = show.send(codec, samples, step)
    print_table(labels_table(sent))
    with progress("drawing"):
        sweep = show.read_sweep(codec)
        curve = [] if sweep else show.rate_curve(codec, samples)
        draw_labels(codec, sent, curve, sweep, out)
    if not sweep:
        typer.echo(
            f"no sweep of the test split ships with {codec.config.name}: the curve is of these "
            f"{len(sent)} pictures alone"
        )


def _show_words(codec: FeatureCodec, out: Path, limit: int | None) -> None:
    from codec.show import demo_words as show
    from codec.show.drawing_words import draw_words
    from codec.show.tables import words_table

    samples = show.bundled_questions(codec, limit)
    with progress("sending", len(samples)) as step:
        told = show.tell(codec, samples, step)
    print_table(words_table(told))
    with progress("drawing"):
        draw_words(codec, told, out)
