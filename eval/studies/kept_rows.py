"""a study's rows <-> a file of JSON lines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from codec.files import whole_file

Row = TypeVar("Row")


def write_rows(rows: Sequence[Any], path: Path) -> None:
    """Write dataclasses as JSON lines, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as file:
        file.write_text("".join(json.dumps(asdict(row)) + "\n" for row in rows))


def read_rows(kind: type[Row], path: Path) -> list[Row]:
    """The inverse of `write_rows`, for rows of one kind.

    Raises:
        ValueError: no such file, or it holds no such rows.
    """
    try:
        lines = [line for line in path.read_text().splitlines() if line.strip()]
        rows = [kind(**json.loads(line)) for line in lines]
    except (OSError, TypeError, ValueError) as error:
        raise ValueError(f"{path} holds no rows of kind {kind.__name__}: {error}") from error
    if not rows:
        raise ValueError(f"{path} holds no rows of kind {kind.__name__}: it is empty")
    return rows
