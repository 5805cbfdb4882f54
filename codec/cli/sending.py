"""`codec send` and `codec watch`: pictures -> blobs -> a server -> answers."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from codec.cli.common import (
    DeadlineMs,
    Json,
    MsPerByte,
    Tolerance,
    failure,
    finish,
    listed,
    silence_libraries,
)
from codec.cli.encoding import Quality
from codec.link.policy import TOLERANCE
from codec.show.console import (
    add_row,
    complain,
    make_table,
    one_line,
    print_json,
    print_table,
    progress,
)

if TYPE_CHECKING:
    from codec.link.watch import Seen


def send(
    url: Annotated[str, typer.Argument(help="The server, http://host:port, or mqtt://user@host.")],
    name: Annotated[str, typer.Argument(help="A bundle's folder, or a codec's name, or ./FOLDER.")],
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGE...", help="Pictures, and folders of pictures.")
    ],
    ask: Annotated[list[str] | None, typer.Option(help="A question; repeated for more.")] = None,
    quality: Quality = None,
    max_bytes: Annotated[int | None, typer.Option(min=1, help="The most bytes of a body.")] = None,
    deadline_ms: DeadlineMs = None,
    tolerance: Tolerance = TOLERANCE,
    ms_per_byte: MsPerByte = 0.0,
    token_file: Annotated[Path | None, typer.Option(help="Its token or password.")] = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds until a reply.")] = 30.0,
    as_json: Json = False,
) -> None:
    """Encode pictures here and have a server answer. A bad picture is reported and the others go on
    (exit code 2).
    """
    silence_libraries()
    images, failed = listed(images)
    token = None if token_file is None else _token(token_file)
    from codec.link.client import SplitClient

    with progress("loading"):
        client = SplitClient(
            url,
            name,
            token,
            deadline_ms,
            timeout_s=timeout,
            tolerance=tolerance,
            ms_per_byte=ms_per_byte,
        )
    rows: list[tuple[Path, Any]] = []
    with progress("sending", len(images)) as step:
        for path in images:
            try:
                rows.append((path, client(path, ask or (), quality=quality, max_bytes=max_bytes)))
            except (ValueError, OSError) as error:
                failed.append(failure("image", path, error))
            step()
    client.close()
    if as_json:
        print_json(
            {"answers": [{"image": str(path)} | asdict(one) for path, one in rows]}
            | {"failed": failed}
        )
    elif rows:
        table = make_table("image", "answer", "way", ">body", ">bytes up", ">bytes down", ">ms")
        for path, one in rows:
            way = f"{one.way}, provisional" if one.provisional else one.way
            cells = (way, one.n_body_bytes, one.n_bytes_up, one.n_bytes_down)
            ms = f"{sum(one.stages_ms.values()):.1f}"
            add_row(table, path, _text(one.answer), *cells, ms)
        print_table(table)
    for why in dict.fromkeys(one.why for _, one in rows if one.provisional):
        complain(f"answered by the device alone: {one_line(why)}")
    finish(failed)


def _token(file: Path) -> str:
    """The token, or a broker's password, in a device's file.

    Raises:
        ValueError: the file holds more than that, as a server's does.
    """
    words = file.read_text().split()
    if len(words) != 1:
        raise ValueError(
            f"{file} holds {len(words)} words: a device's file holds its token alone; the lines "
            "`device-id token` are the server's"
        )
    return words[0]


def watch(
    folder: Annotated[Path, typer.Argument(help="Folder that pictures come into.")],
    server: Annotated[str, typer.Option(help="The server, http://host:port, or mqtt://user@host.")],
    codec: Annotated[str, typer.Option(help="A bundle's folder, or a codec's name, or ./FOLDER.")],
    ask: Annotated[list[str] | None, typer.Option(help="A question; repeated for more.")] = None,
    token_file: Annotated[Path | None, typer.Option(help="Its token or password.")] = None,
    once: Annotated[
        bool, typer.Option("--once", help="End when all that is there is answered.")
    ] = False,
    every: Annotated[float, typer.Option(min=0.05, help="Seconds between two looks.")] = 0.5,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds until a reply.")] = 30.0,
) -> None:
    """Answer every new picture of a folder, in order, until Ctrl-C: a line of JSON each.

    What is encoded waits in the folder's .codec-watch.sqlite until it is answered: nothing is lost
    while the server is away, and nothing is run twice. Meanwhile a bundle with a classifier of its
    own gives provisional answers, which the server's replace.
    """
    silence_libraries()
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}")
    token = None if token_file is None else _token(token_file)
    from codec.link.client import SplitClient
    from codec.link.http import UnansweredError
    from codec.link.watch import Watch

    with progress("loading"):
        watched = Watch(folder, SplitClient(server, codec, token, timeout_s=timeout), ask or ())
    waited, next_s, lost = 0.0, 0.0, None
    while True:
        again = watched.n_unsettled
        _lines(watched.look())
        if time.monotonic() >= next_s:
            try:
                _lines(watched.send())
                waited, lost = 0.0, None
            except ValueError as error:
                lost = error
                if not waited and not once:
                    complain(f"{one_line(error)}; {watched.outbox.n_waiting} pictures wait")
                asked = error.retry_after_s if isinstance(error, UnansweredError) else 0.0
                waited = min(max(2 * waited + every, asked), 60.0)
                next_s = time.monotonic() + waited
        if isinstance(lost, UnansweredError):
            _lines(watched.by_itself(lost))
        if once and not again and not watched.n_unsettled:
            if lost is not None:
                raise lost
            return
        time.sleep(every)


def _lines(some: Iterable[Seen]) -> None:
    """Print a line of JSON for each."""
    for seen in some:
        print(json.dumps(seen._asdict()), flush=True)


def _text(answer: Any) -> str:
    """An answer in one line."""
    if isinstance(answer, str):
        return answer
    first = answer[0] if answer else ""
    return str(first["label"]) if isinstance(first, dict) else "; ".join(answer)
