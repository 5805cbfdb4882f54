"""`codec serve --ray`: codecs -> copies of the server on this machine, behind Ray's proxy."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from codec.model.checkpoint import find_checkpoint

ALONE = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # Ray's own ports at 127.0.0.1, on Linux too
    "RAY_USAGE_STATS_ENABLED": "0",  # Ray tells its makers nothing
}
"""Variables for a Ray of this machine alone; Ray reads them when it is imported."""


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
    os.environ.update(ALONE)
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
