"""`codec decode` and `codec truncate`: blob files -> answers, tokens, or shorter blob files, the
server's side.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar

import typer

from codec.cli.common import (
    BlobFiles,
    BlobsCodec,
    Json,
    codec_of,
    failure,
    finish,
    free_paths,
    read_blob,
    silence_libraries,
    write_whole,
)
from codec.coding.container import inspect
from codec.model import checkpoint
from codec.show.console import add_row, make_table, print_json, print_table, progress

if TYPE_CHECKING:
    from codec.model.opened import Opened
    from codec.pipeline import Server

Loaded = TypeVar("Loaded")


def decode(
    blobs: BlobFiles,
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
    name: BlobsCodec = None,
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

    options = (("--answer", answer), ("--caption", caption), ("--ask", ask))
    wanted = [option for option, on in options if on]
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
        servers = _Loaded(name, Server.from_pretrained)
    done: dict[int, dict[str, Any]] = {}  # a row or a failure, by place
    by_server: dict[int, tuple[Server, list[tuple[int, bytes]]]] = {}
    for place, file in enumerate(blobs):
        try:
            blob = read_blob(file)
            server = servers.find(blob)
            by_server.setdefault(id(server), (server, []))[1].append((place, blob))
        except (ValueError, OSError) as error:
            done[place] = failure("blob", file, error)
    paths = free_paths(blobs, out, ".npy")
    with progress("decoding", len(blobs) - len(done)) as step:
        for server, some in by_server.values():
            opened = server.each(blob for _, blob in some)
            for (place, _), result in zip(some, opened, strict=True):
                try:
                    start = {"blob": str(blobs[place]), "codec": server.codec.config.name}
                    told = _told(result.get(), answer, caption, ask or [], paths[place])
                    done[place] = start | told
                except (ValueError, OSError) as error:
                    done[place] = failure("blob", blobs[place], error)
                step()
    rows = [row for _, row in sorted(done.items()) if "error" not in row]
    failed = [row for _, row in sorted(done.items()) if "error" in row]
    if as_json:
        print_json({"blobs": rows, "failed": failed})
    elif rows:
        print_table(_table(rows, wanted))
    finish(failed)


def _told(
    opened: Opened, answer: bool, caption: bool, ask: list[str], path: Path
) -> dict[str, Any]:
    """What the JSON says of an opened blob; its tokens go into a file where nothing is asked."""
    row: dict[str, Any] = {"quality": int(opened.qualities[0])}
    if answer:
        row["answer"] = opened.labels()
    if caption:
        row["caption"] = opened.caption()
    if ask:
        answers = zip(ask, opened.answer(ask), strict=True)
        row["answers"] = [{"question": q, "answer": a} for q, a in answers]
    if not (answer or caption or ask):
        tokens = opened.tokens[0].numpy()
        write_whole(path, _as_npy(tokens))
        row |= {"tokens": str(path), "shape": list(tokens.shape)}
    return row


def _table(rows: list[dict[str, Any]], wanted: list[str]) -> Any:
    if wanted == ["--answer"]:
        table = make_table("blob", "answer", ">score", "then")
        for row in rows:
            first, *others = row["answer"]
            then = ", ".join(f"{other['label']} {other['score']:.3f}" for other in others)
            add_row(table, row["blob"], first["label"], f"{first['score']:.3f}", then)
    elif wanted:
        table = make_table("blob", "asked", "words")
        for row in rows:
            if "caption" in row:
                add_row(table, row["blob"], "caption", row["caption"])
            for reply in row.get("answers", ()):
                add_row(table, row["blob"], reply["question"], reply["answer"])
    else:
        table = make_table("blob", "tokens", ">shape")
        for row in rows:
            add_row(table, row["blob"], row["tokens"], " x ".join(map(str, row["shape"])))
    return table


def truncate(
    blobs: BlobFiles,
    max_bytes: Annotated[int, typer.Option(min=1, help="Most bytes a blob may take.")],
    out: Annotated[Path, typer.Option(help="Folder the shorter blobs are written to.")] = Path(),
    name: BlobsCodec = None,
    as_json: Json = False,
) -> None:
    """Blobs -> shorter, still whole blobs, without the pictures. A bad blob is reported and the
    others go on (exit code 2).
    """
    from codec.model import FeatureCodec

    out.mkdir(parents=True, exist_ok=True)
    with progress("loading"):
        codecs = _Loaded(name, FeatureCodec.from_pretrained)
    rows: list[dict[str, Any]] = []
    failed: list[dict[str, Any]] = []
    for file, path in zip(blobs, free_paths(blobs, out, ".blob"), strict=True):
        try:
            blob = read_blob(file)
            shorter = codecs.find(blob).truncate(blob, max_bytes)
            write_whole(path, shorter)
            rows.append(
                {
                    "blob": str(file),
                    "n_bytes": len(blob),
                    "quality": inspect(blob).quality,
                    "truncated": str(path),
                    "truncated_n_bytes": len(shorter),
                    "truncated_quality": inspect(shorter).quality,
                }
            )
        except (ValueError, OSError) as error:
            failed.append(failure("blob", file, error))
    if as_json:
        print_json({"blobs": rows, "failed": failed})
    elif rows:
        table = make_table("blob", ">bytes", ">quality", "truncated", ">bytes", ">quality")
        for row in rows:
            add_row(table, *row.values())
        print_table(table)
    finish(failed)


class _Loaded(Generic[Loaded]):
    """What a command has loaded, by codec: one thing for the named codec, or one for each shipped
    codec that wrote a blob.
    """

    def __init__(self, name: str | None, load: Callable[[str], Loaded]) -> None:
        silence_libraries()
        self._name, self._load = name, load
        self._loaded: dict[str, Loaded] = {}
        if name is not None:
            checkpoint.find_checkpoint(name)  # says so at once where there is none
            self._loaded[name] = load(name)

    def find(self, blob: bytes) -> Loaded:
        """What is loaded for a blob.

        Raises:
            BitstreamError: not a blob, or of no codec that ships.
        """
        name = codec_of(blob) if self._name is None else self._name
        if name not in self._loaded:
            self._loaded[name] = self._load(name)
        return self._loaded[name]


def _as_npy(array: Any) -> bytes:
    import numpy as np

    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()
