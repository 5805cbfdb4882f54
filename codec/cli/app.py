"""the `codec` command: pictures -> blob files -> answers or tokens, and what there is to know about
codecs and blobs.

What is asked for goes to stdout, as tables or as JSON; errors and progress go to stderr. Torch is
imported inside the commands that need it, so that `codec --help` and `codec list` are quick.
"""

from __future__ import annotations

import io
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperGroup

import codec
from codec.cli import bundles
from codec.coding.container import HEADER_BYTES, MAX_BLOB_BYTES, BitstreamError, inspect, is_of
from codec.files import whole_file
from codec.model import checkpoint
from codec.model.facts import details, summary
from codec.show.console import (
    add_row,
    complain,
    make_table,
    megabytes,
    one_line,
    print_json,
    progress,
    shown,
    words,
)

if TYPE_CHECKING:
    from codec.model import FeatureCodec


class _OneLineErrors(TyperGroup):
    """Turns what goes wrong into one line on stderr and exit code 2, and Ctrl-C into a quiet
    130.
    """

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # `codec list | head`: typer's business
            raise
        except (ValueError, OSError) as error:
            complain(one_line(error))
            raise typer.Exit(2) from error
        except KeyboardInterrupt as stop:
            raise typer.Exit(130) from stop


app = typer.Typer(
    cls=_OneLineErrors,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Quality = Annotated[
    int | None,
    typer.Option("--quality", "-q", help="Rate index, 0 = smallest. Default: the codec's."),
]


def main() -> None:
    """Entry point of the `codec` command."""
    try:
        app()
    except KeyboardInterrupt:  # outside of a command
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


@app.command("list")
def list_codecs(as_json: Json = False) -> None:
    """The codecs that ship with the library."""
    rows = [summary(checkpoint.shipped_root() / name) for name in checkpoint.shipped_names()]
    if as_json:
        print_json(rows)
        return
    if not rows:
        typer.echo("no codec ships with this installation")
        return
    short = {
        "image-classification": "labels",
        "image-to-text": "captions",
        "visual-question-answering": "answers",
    }
    table = make_table("codec", "serves", ">cut", ">qualities", ">device", ">disk")
    for row in rows:
        device = "?" if row["device_params"] is None else f"{row['device_params'] / 1e6:.2f} M"
        serves = ", ".join(short[task] for task in row["task"].split(", "))
        add_row(
            table,
            row["name"],
            serves,
            row["k"],
            row["n_qualities"],
            device,
            megabytes(row["n_bytes"]),
        )
    Console().print(table)


@app.command()
def info(
    what: Annotated[
        str, typer.Argument(metavar="NAME|BLOB", help="A codec's name or folder, or a blob file.")
    ],
    as_json: Json = False,
) -> None:
    """What there is to know about a codec or about a blob."""
    file = Path(what)
    facts = _blob_facts(file) if file.is_file() or file.suffix == ".blob" else _codec_facts(what)
    if as_json:
        print_json(facts)
    else:
        table = make_table("", "", show_header=False)
        for key, value in facts.items():
            add_row(table, words(key), shown(value))
        Console().print(table)
    if facts.get("whole") is False:
        raise BitstreamError(
            f"{what}: the blob is damaged: its checksum does not match, or it is of another codec"
        )


@app.command()
def encode(
    name: Annotated[str, typer.Argument(help="A codec's name or folder.")],
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Pictures.")],
    out: Annotated[Path, typer.Option(help="Folder the blobs are written to.")] = Path(),
    quality: Quality = None,
    max_bytes: Annotated[
        int | None,
        typer.Option(min=1, help="Instead of a quality: the best one whose blob fits, by picture."),
    ] = None,
    target_drop: Annotated[
        float | None, typer.Option(help="Instead of a quality: points of score that may be lost.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Pictures -> blobs, one file <stem>.blob each. A bad picture is reported and the others go on
    (exit code 2).
    """
    from codec.pipeline import Device

    with progress("loading"):
        device = Device(_load(name))
    of = device.codec.config
    if quality is not None and quality not in device.codec.qualities:
        raise ValueError(f"quality {quality} is not one of {of.name}'s 0..{of.n_qualities - 1}")
    if sum(value is not None for value in (quality, max_bytes, target_drop)) > 1:
        raise ValueError(
            "--quality, --max-bytes and --target-drop each set the rate: give one of them"
        )
    if target_drop is not None:
        quality = device.codec.quality_for(target_drop)
    out.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    failed: list[dict[str, str]] = []
    with progress("encoding", len(images)) as step:
        for image, path in zip(images, _free_paths(images, out, ".blob"), strict=True):
            try:
                blob = device(image, quality, max_bytes=max_bytes)
                _write_whole(path, blob)
                n_before = image.stat().st_size
                row = {
                    "image": str(image),
                    "blob": str(path),
                    "quality": inspect(blob).quality,
                    "n_bytes": len(blob),
                }
                rows.append(row | {"image_n_bytes": n_before, "ratio": n_before / len(blob)})
            except (ValueError, OSError) as error:
                failed.append(_failure("image", image, error))
            step()
    if as_json:
        print_json({"codec": of.name, "blobs": rows, "failed": failed})
    elif rows:
        table = make_table("image", "blob", ">quality", ">bytes", ">file", ">ratio")
        for row in rows:
            add_row(
                table,
                row["image"],
                row["blob"],
                row["quality"],
                row["n_bytes"],
                f"{row['image_n_bytes']:,}",
                f"{row['ratio']:.1f}",
            )
        Console().print(table)
    _finish(failed)


@app.command()
def decode(
    blobs: Annotated[list[Path], typer.Argument(metavar="BLOB...", help="Blob files.")],
    answer: Annotated[
        bool, typer.Option("--answer", help="Print the labels, instead of writing tokens.")
    ] = False,
    caption: Annotated[
        bool, typer.Option("--caption", help="Print a caption, instead of writing tokens.")
    ] = False,
    ask: Annotated[
        list[str] | None,
        typer.Option(metavar="QUESTION", help="Print the answer to a question; can be repeated."),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option("--codec", help="Codec's name or folder. Default: found by the fingerprint."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder the tokens are written to. Default: beside each blob."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Blobs -> labels, captions, answers; or tokens as <stem>.npy, float32 (N, D). A bad blob is
    reported, others go on (exit code 2).
    """
    from codec.pipeline import Server

    wanted = [
        option
        for option, on in (("--answer", answer), ("--caption", caption), ("--ask", ask))
        if on
    ]
    if wanted and out is not None:
        raise ValueError(f"--out is where tokens are written; {wanted[0]} writes none")
    if answer and len(wanted) > 1:
        raise ValueError(
            f"--answer is for codecs that classify, {wanted[1]} for those that write: give one of "
            "them"
        )
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    with progress("loading"):
        codecs = _Codecs(name)
    rows: list[dict[str, Any]] = []
    failed: list[dict[str, str]] = []
    with progress("decoding", len(blobs)) as step:
        for file, path in zip(blobs, _free_paths(blobs, out, ".npy"), strict=True):
            try:
                blob = _read_blob(file)
                of = codecs.find(blob)
                row: dict[str, Any] = {
                    "blob": str(file),
                    "codec": of.config.name,
                    "quality": inspect(blob).quality,
                }
                server = Server(of)
                if answer:
                    row["answer"] = server(blob)
                if caption:
                    row["caption"] = server.caption(blob)
                if ask:
                    row["answers"] = [
                        {"question": q, "answer": a}
                        for q, a in zip(ask, server.answer(blob, ask), strict=True)
                    ]
                if not wanted:
                    tokens = of.decode(blob)[0].numpy()
                    _write_whole(path, _as_npy(tokens))
                    row |= {"tokens": str(path), "shape": list(tokens.shape)}
                rows.append(row)
            except (ValueError, OSError) as error:
                failed.append(_failure("blob", file, error))
            step()
    if as_json:
        print_json({"blobs": rows, "failed": failed})
    elif rows:
        headings = (
            ("blob", "answer", ">score", "then")
            if answer
            else ("blob", "asked", "words")
            if wanted
            else ("blob", "tokens", ">shape")
        )
        table = make_table(*headings)
        for row in rows:
            if answer:
                first, *others = row["answer"]
                then = ", ".join(f"{other['label']} {other['score']:.3f}" for other in others)
                add_row(table, row["blob"], first["label"], f"{first['score']:.3f}", then)
            if caption:
                add_row(table, row["blob"], "caption", row["caption"])
            for reply in row.get("answers", ()):
                add_row(table, row["blob"], reply["question"], reply["answer"])
            if not wanted:
                add_row(table, row["blob"], row["tokens"], " x ".join(map(str, row["shape"])))
        Console().print(table)
    _finish(failed)


@app.command()
def truncate(
    blobs: Annotated[list[Path], typer.Argument(metavar="BLOB...", help="Blob files.")],
    max_bytes: Annotated[int, typer.Option(min=1, help="Most bytes a blob may take.")],
    out: Annotated[Path, typer.Option(help="Folder the shorter blobs are written to.")] = Path(),
    name: Annotated[
        str | None,
        typer.Option("--codec", help="Codec's name or folder. Default: found by the fingerprint."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Blobs -> shorter, still whole blobs, without the pictures. A bad blob is reported and the
    others go on (exit code 2).
    """
    out.mkdir(parents=True, exist_ok=True)
    with progress("loading"):
        codecs = _Codecs(name)
    rows: list[dict[str, Any]] = []
    failed: list[dict[str, str]] = []
    for file, path in zip(blobs, _free_paths(blobs, out, ".blob"), strict=True):
        try:
            blob = _read_blob(file)
            shorter = codecs.find(blob).truncate(blob, max_bytes)
            _write_whole(path, shorter)
            row = {"blob": str(file), "n_bytes": len(blob), "quality": inspect(blob).quality}
            rows.append(
                row
                | {
                    "truncated": str(path),
                    "truncated_n_bytes": len(shorter),
                    "truncated_quality": inspect(shorter).quality,
                }
            )
        except (ValueError, OSError) as error:
            failed.append(_failure("blob", file, error))
    if as_json:
        print_json({"blobs": rows, "failed": failed})
    elif rows:
        table = make_table("blob", ">bytes", ">quality", "truncated", ">bytes", ">quality")
        for row in rows:
            add_row(table, *row.values())
        Console().print(table)
    _finish(failed)


@app.command()
def demo(
    out: Annotated[
        Path, typer.Option(help="Picture that is written; each further codec's beside it.")
    ] = Path("demo.png"),
    name: Annotated[
        str | None,
        typer.Option("--codec", help="A codec's name or folder; default: all that ship."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Take the first so many pictures only.")
    ] = None,
) -> None:
    """Send the bundled pictures through each codec: answers, times, bytes beside PNG, WebP and
    JPEG, and a picture of it all.
    """
    from codec.show import demo as show

    show.check_out(out)
    for place, each in enumerate([name] if name is not None else checkpoint.shipped_names()):
        with progress("loading"):
            of = _load(each)
        if place:
            typer.echo()
        if "image-classification" in of.config.tasks:
            _demo_classes(of, out, limit)
        else:
            _demo_words(
                of,
                out if name is not None else out.with_stem(f"{out.stem}-{of.config.name}"),
                limit,
            )


def _demo_classes(of: FeatureCodec, out: Path, limit: int | None) -> None:
    from codec.show import demo as show

    samples = show.bundled_samples(limit)
    with progress("sending", len(samples)) as step:
        sent = show.send(of, samples, step)
    Console().print(show.table(sent))
    with progress("drawing"):
        sweep = show.read_sweep(of)
        curve = [] if sweep else show.rate_curve(of, samples)
        show.draw(of, sent, curve, sweep, out)
    if not sweep:
        typer.echo(
            f"no sweep of the test split ships with {of.config.name}: the curve is of these "
            f"{len(sent)} images alone"
        )
    typer.echo(str(out))


def _demo_words(of: FeatureCodec, out: Path, limit: int | None) -> None:
    from codec.show import demo_words as show

    samples = show.bundled_questions(of, limit)
    with progress("sending", len(samples)) as step:
        told = show.tell(of, samples, step)
    Console().print(show.words_table(told))
    with progress("drawing"):
        show.draw_words(of, told, out)
    typer.echo(str(out))


for _command in (bundles.export, bundles.lint, bundles.verify):
    app.command()(_command)


class _Codecs:
    """The codecs a blob can be of: the named one, or the shipped ones, each loaded when first
    needed.
    """

    def __init__(self, name: str | None) -> None:
        self.names = checkpoint.shipped_names() if name is None else [name]
        self.named = name is not None
        self.loaded: dict[str, FeatureCodec] = {name: _load(name)} if name is not None else {}

    def find(self, blob: bytes) -> FeatureCodec:
        """The codec that wrote a blob, or the one whose fingerprint starts alike where none fits
        whole.

        Raises:
            BitstreamError: not a blob, or of no codec that ships.
        """
        start = inspect(blob).fingerprint
        alike = None
        for name in self.names:
            if name not in self.loaded:
                self.loaded[name] = _load(name)
            of = self.loaded[name]
            if self.named or is_of(blob, of.fingerprint):
                return of
            if of.fingerprint[:2].hex() == start:
                alike = of
        if alike is None:
            raise BitstreamError(
                f"no shipped codec has a fingerprint that starts with {start}: name the codec with "
                "--codec"
            )
        return alike


def _blob_facts(file: Path) -> dict[str, Any]:
    blob = _read_blob(file)
    read = inspect(blob)
    facts: dict[str, Any] = {
        "blob": str(file),
        "version": read.version,
        "quality": read.quality,
        "fingerprint": read.fingerprint,
    }
    facts |= {
        "payload_n_bytes": len(read.payload),
        "header_n_bytes": HEADER_BYTES,
        "n_bytes": len(blob),
    }
    try:
        with progress("loading"):
            of = _Codecs(None).find(blob)
    except BitstreamError:
        return facts | {"codec": None, "whole": None}
    facts |= {"codec": of.config.name, "whole": is_of(blob, of.fingerprint)}
    if facts["whole"] and of.config.layers:
        facts["can_be_cut_to"] = [{"quality": q, "n_bytes": n} for q, n in of.cuts(blob).items()]
    return facts


def _codec_facts(name: str) -> dict[str, Any]:
    folder = checkpoint.find_checkpoint(name)
    with progress("loading"):
        fingerprint = _load(name).fingerprint.hex()
    return summary(folder) | {"fingerprint": fingerprint} | details(folder)


def _load(name: str) -> FeatureCodec:
    """`FeatureCodec.from_pretrained`, without the warnings of the libraries below."""
    warnings.simplefilter("ignore")
    checkpoint.find_checkpoint(name)  # says so at once where there is none
    from codec.model import FeatureCodec

    return FeatureCodec.from_pretrained(name)


def _read_blob(file: Path) -> bytes:
    if not file.is_file():
        raise FileNotFoundError(f"no blob at {file}")
    with file.open("rb") as opened:
        return opened.read(MAX_BLOB_BYTES + 1)


def _as_npy(array: Any) -> bytes:
    import numpy as np

    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _write_whole(path: Path, data: bytes) -> None:
    with whole_file(path) as file:
        file.write_bytes(data)


def _free_paths(inputs: Sequence[Path], out: Path | None, suffix: str) -> list[Path]:
    """A path for each input, in `out` or beside it: <stem><suffix>, or <stem>-<n><suffix> where
    another input has that.
    """
    taken = {os.path.abspath(path).casefold() for path in inputs}
    paths = []
    for file in inputs:
        folder = file.parent if out is None else out
        path, n = folder / f"{file.stem}{suffix}", 0
        while os.path.abspath(path).casefold() in taken:
            n += 1
            path = folder / f"{file.stem}-{n}{suffix}"
        taken.add(os.path.abspath(path).casefold())
        paths.append(path)
    return paths


def _failure(kind: str, path: Path, error: Exception) -> dict[str, str]:
    reason = one_line(error)
    return {kind: str(path), "error": reason if str(path) in reason else f"{path}: {reason}"}


def _finish(failed: list[dict[str, str]]) -> None:
    for failure in failed:
        complain(failure["error"])
    if failed:
        raise typer.Exit(2)


if __name__ == "__main__":
    main()
