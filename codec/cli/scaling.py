"""`codec serve --ray`: codecs -> copies of the server on this machine, behind Ray's proxy."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from codec.model.checkpoint import find_checkpoint


def serve_copies(
    names: Sequence[str],
    config: Path | None,
    http: Mapping[str, Any],
    state: Path | None,
    token_file: Path | None,
    asked: Mapping[str, Any],
) -> None:
    """Serve until Ctrl-C.

    Args:
        names: codecs.
        config: of Ray Serve; None for the shipped one.
        http: members of its `http_options`.
        state: file of the replies; None for one that ends with the command.
        token_file: of the devices that may ask.
        asked: further members of `codec.serve.cluster.Arguments`.

    Raises:
        ValueError: Ray is missing, or the config is none of this server's.
        OSError: a codec or file is not there, or the server cannot start.
    """
    try:
        from codec.serve.cluster import Arguments
        from codec.serve.deploying import SHIPPED, merged, run
    except ImportError as error:
        raise ValueError(f"{error.name} is missing: pip install 'task-codec[ray]'") from error
    folders = [find_checkpoint(name) for name in names]  # a copy may start in another folder
    with tempfile.TemporaryDirectory() as own:
        arguments = Arguments(
            codecs=[str(folder.absolute()) for folder in folders],
            state=str((state or Path(own) / "replies.sqlite").absolute()),
            token_file=None if token_file is None else str(token_file.absolute()),
            **asked,
        )
        run(merged(config or SHIPPED, arguments, http))
