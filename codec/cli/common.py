"""what the verbs share: their options, reading and writing files, the codec of a blob, failures."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from codec.coding.container import MAX_BLOB_BYTES, BitstreamError, inspect, is_of
from codec.device.sources import pictures_in
from codec.files import whole_file
from codec.model import checkpoint
from codec.show.console import complain, one_line

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
CodecName = Annotated[str, typer.Argument(help="A codec's name, or ./FOLDER.")]
BlobFiles = Annotated[list[Path], typer.Argument(metavar="BLOB...", help="Blob files.")]
BlobsCodec = Annotated[
    str | None,
    typer.Option("--codec", help="Codec's name, or ./FOLDER. Default: found by the fingerprint."),
]

DeadlineMs = Annotated[float | None, typer.Option(min=0.0, help="When an answer has to be there.")]
Tolerance = Annotated[
    float, typer.Option(min=0.0, help="Points of score that may be given up for speed.")
]
MsPerByte = Annotated[
    float, typer.Option(min=0.0, help="Milliseconds worth waiting to save a byte.")
]


def silence_libraries() -> None:
    """Keep the warnings of the libraries below off stderr."""
    warnings.simplefilter("ignore")


def codec_of(blob: bytes) -> str:
    """The name of the shipped codec that wrote a blob; of a damaged blob, the one whose fingerprint
    starts alike.

    Raises:
        BitstreamError: not a blob, or of no codec that ships.
    """
    start = inspect(blob).fingerprint
    fingerprints = checkpoint.shipped_fingerprints()
    alike = [name for name, whole in fingerprints.items() if whole[:2].hex() == start]
    for name in [name for name in alike if is_of(blob, fingerprints[name])] + alike:
        return name
    raise BitstreamError(
        f"no shipped codec has a fingerprint that starts with {start}: name the codec with --codec"
    )


def read_blob(file: Path) -> bytes:
    """The bytes of a blob file, of one that is too long only the first.

    Raises:
        FileNotFoundError: there is none.
    """
    if not file.is_file():
        raise FileNotFoundError(f"no blob at {file}")
    with file.open("rb") as opened:
        return opened.read(MAX_BLOB_BYTES + 1)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file, whole or not at all."""
    with whole_file(path) as file:
        file.write_bytes(data)


def free_paths(inputs: Sequence[Path], out: Path | None, suffix: str) -> list[Path]:
    """A path for each input, in `out` or beside it: <stem><suffix>, or <stem>-<n><suffix> where
    another file of the command has that name.
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


def listed(images: Sequence[Path]) -> tuple[list[Path], list[dict[str, Any]]]:
    """Pictures and folders of them -> the pictures, and what the JSON says of folders without
    any.
    """
    paths: list[Path] = []
    failed = []
    for image in images:
        try:
            paths += pictures_in(image) if image.is_dir() else [image]
        except FileNotFoundError as error:
            failed.append(failure("image", image, error))
    return paths, failed


def failure(kind: str, path: Path, error: Exception) -> dict[str, Any]:
    """What the JSON says of an input that failed; `kind` is its key."""
    reason = one_line(error)
    return {kind: str(path), "error": reason if str(path) in reason else f"{path}: {reason}"}


def finish(failed: Sequence[dict[str, Any]]) -> None:
    """Name each failure on stderr; exit code 2 where there is one."""
    for one in failed:
        complain(one["error"])
    if failed:
        raise typer.Exit(2)
