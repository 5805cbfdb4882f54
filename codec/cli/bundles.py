"""`codec export`, `codec lint` and `codec verify`: make and check what runs on a device."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from codec.bundle.targets import TARGETS, find_target
from codec.cli.common import CodecName, Json, silence_libraries
from codec.model import checkpoint
from codec.show.console import (
    add_row,
    complain,
    make_table,
    megabytes,
    print_json,
    print_table,
    progress,
)

if TYPE_CHECKING:
    from codec.bundle.verify import Verified

TargetName = Annotated[
    str, typer.Option("--target", metavar="TARGET", help=f"One of: {', '.join(TARGETS)}.")
]


def export(
    name: CodecName,
    target: TargetName,
    out: Annotated[Path, typer.Option(help="Folder the bundle is written to: new, or empty.")],
    batch: Annotated[int, typer.Option(min=1, help="Pictures a run of the network takes.")] = 1,
    as_json: Json = False,
) -> None:
    """A codec's device side as a folder that needs no torch: ONNX encoder, integer tables, a
    runtime in one file.
    """
    find_target(target)
    silence_libraries()
    checkpoint.find_checkpoint(name)
    with progress("exporting"):
        from codec.bundle.export import export_bundle
        from codec.model import FeatureCodec

        export_bundle(FeatureCodec.from_pretrained(name), out, target, batch)
    files = {file.name: file.stat().st_size for file in sorted(out.iterdir())}
    if as_json:
        print_json({"bundle": out, "target": target, "files": files})
        return
    table = make_table("file", ">size")
    for file, n_bytes in files.items():
        add_row(table, out / file, megabytes(n_bytes) if n_bytes > 1e5 else f"{n_bytes:,} B")
    print_table(table)


def lint(
    file: Annotated[Path, typer.Argument(help="An ONNX file.")],
    target: TargetName,
    as_json: Json = False,
) -> None:
    """What a target's TensorRT would refuse, or silently get wrong, of an ONNX file. Exit code 1
    where there is something.
    """
    find_target(target)
    from codec.bundle.export import check_installed
    from codec.bundle.lint import alike, lint_file

    check_installed()
    findings = lint_file(file, target)
    if as_json:
        print_json([finding._asdict() for finding in findings])
    elif findings:
        table = make_table("node", ">nodes", "", "what", "mend")
        for (node, *rest), n in alike(findings):
            add_row(table, node if n == 1 else f"{node}, ...", n, *rest)
        print_table(table)
    else:
        typer.echo(f"{file}: nothing found for {TARGETS[target].device}")
    if findings:
        raise typer.Exit(1)


def verify(
    bundle: Annotated[Path, typer.Argument(help="Folder that `codec export` wrote.")],
    data: Annotated[
        str,
        typer.Option(
            metavar="PATH",
            help="Pictures, with labels or questions: folder, parquet files, hub id.",
        ),
    ],
    split: Annotated[str, typer.Option(help="Split of the data set.")] = "test",
    limit: Annotated[int, typer.Option(min=1, help="Take the first so many pictures.")] = 500,
    name: Annotated[
        str | None,
        typer.Option("--codec", help="Codec's name, or ./FOLDER. Default: the bundle's name."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Symbols, answers and task score of a bundle against PyTorch. Exit code 1 where it is below
    the floors.
    """
    from codec.bundle.pictures import read_labelled
    from codec.device.bundle import read_manifest
    from codec.tasks.dataset import find_columns, load_rows

    silence_libraries()
    exported = read_manifest(str(bundle))["name"]
    _check_checkpoint(exported, name)
    find_columns(load_rows(data, split, 1))  # says so at once where there is no such split
    with progress("verifying"):
        from codec.bundle import verify as check
        from codec.model import FeatureCodec
        from codec.pipeline import Server

        codec = FeatureCodec.from_pretrained(name or exported)
        pictures = read_labelled(data, split, limit, Server(codec).labels)
        found = check.verify(bundle, codec, pictures)
    if as_json:
        answers = {task: some._asdict() for task, some in found.answers.items()}
        print_json(found._asdict() | {"answers": answers, "holds": found.holds})
    else:
        _print_verified(found, codec.config.tasks)
    if not found.holds:
        floors = f"{check.LEAST_AGREEMENT}% of symbols, {check.MOST_CHANGE} points of score"
        complain(
            f"below the floors: {floors}, or, without a score and of the device alone, "
            f"{check.MOST_CHANGED}% of answers changed; or its ways are not the sweep's"
        )
        raise typer.Exit(1)


def _check_checkpoint(exported: str, name: str | None) -> None:
    """Say before any work that a bundle's codec is not there, and how to name it."""
    try:
        checkpoint.find_checkpoint(name or exported)
    except FileNotFoundError as error:
        if name is not None:
            raise
        raise FileNotFoundError(
            f"the bundle is of a codec {exported!r}, which is none of the shipped ones: name its "
            f"checkpoint's folder with --codec ({error})"
        ) from error


def _print_verified(found: Verified, tasks: tuple[str, ...]) -> None:
    table = make_table("", ">", show_header=False)
    add_row(table, "images", found.n_images)
    add_row(table, "symbols", f"{found.n_symbols:,}")
    add_row(table, "as PyTorch's", f"{found.agreement:.5f}%")
    add_row(table, "at the worst quality", f"{found.least_agreement:.5f}%")
    for task in tasks:
        some = found.answers.get(task)
        if some is None:
            add_row(table, task, "no questions in the data")
            continue
        add_row(table, task, f"{some.n_answers:,} answers")
        add_row(table, "  changed, at the worst quality", f"{some.changed:.2f}%")
        if some.score is not None:
            add_row(table, "  right, PyTorch", f"{some.score:.2f}%")
            add_row(table, "  right, bundle", f"{some.bundle_score:.2f}%")
            add_row(table, "  largest change at any quality", f"{some.score_change:+.2f} points")
    if found.ways is not None:
        add_row(table, "ways", "the sweep's" if found.ways else "other ones than the sweep's")
    if found.alone is not None:
        add_row(table, "labels of the device alone, as PyTorch's", f"{found.alone:.2f}%")
    print_table(table)
