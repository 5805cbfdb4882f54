"""`ways.json` of a bundle <-> the ways of working that a device chooses among: names, bytes, times
and scores of a sweep, all that the choice takes of it.

A bundle can come from anyone: what is read is checked before anything is sent by it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from codec.coding.container import MAX_QUALITIES
from codec.device.preprocess import MAX_SIDE
from codec.files import read_json
from codec.link.choosing import TASKS
from codec.link.policy import ALONE, Way
from codec.link.ways import FORMATS, is_number

MAX_WAYS = 1000
"""Of one task."""
DIGITS = 3
"""Behind the point, of every number that is written."""
_BLOB = re.compile(r"blob q(\d{1,2})")
_PICTURE = re.compile(rf"picture:(?:{'|'.join(FORMATS)})(?:@(\d{{1,5}}))? q(\d{{1,3}})")
_FIELDS = {field.name for field in fields(Way)}


def ways_text(ways: Mapping[str, Sequence[Way]]) -> str:
    """Ways by what is asked -> the text of `ways.json`."""
    parts = []
    for verb, some in ways.items():
        rows = ",\n".join(f"    {json.dumps(_rounded(asdict(way)))}" for way in some)
        parts.append(f"  {json.dumps(verb)}: [\n{rows}\n  ]")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def read_ways(path: Path, n_qualities: int) -> dict[str, list[Way]]:
    """The inverse of `ways_text`.

    Args:
        n_qualities: of the codec, whose blobs these are.

    Raises:
        OSError: there is no such file.
        ValueError: it is too long or no JSON, or holds something else than ways that the codec
            has; the message says what.
    """
    try:
        values = read_json(path)
        if unknown := sorted(set(values) - set(TASKS)):
            raise ValueError(f"{unknown[0][:60]!r} is none of {', '.join(TASKS)}")
        return {verb: _ways(rows, verb, n_qualities) for verb, rows in values.items()}
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _ways(rows: Any, verb: str, n_qualities: int) -> list[Way]:
    if not isinstance(rows, list) or not 1 <= len(rows) <= MAX_WAYS:
        raise ValueError(f"{verb} has a list of 1 to {MAX_WAYS} ways")
    ways = [_way(row, n_qualities) for row in rows]
    if len({way.name for way in ways}) < len(ways):
        raise ValueError(f"{verb} has a way twice")
    return ways


def _way(row: Any, n_qualities: int) -> Way:
    if not isinstance(row, dict) or set(row) != _FIELDS:
        raise ValueError(f"a way has {', '.join(sorted(_FIELDS))}")
    name = row["name"]
    if not isinstance(name, str) or not _is_name(name, n_qualities):
        raise ValueError(f"{repr(name)[:60]} is no way of this codec")
    if wrong := [key for key in row if key != "name" and not is_number(row[key])]:
        raise ValueError(f"{', '.join(sorted(wrong))} of {name}: not numbers from 0")
    way = Way(name, **{key: float(value) for key, value in row.items() if key != "name"})
    if (way.n_bytes == 0) != (name == ALONE):
        raise ValueError(f"{name} sends {way.n_bytes:g} bytes")
    return way


def _is_name(name: str, n_qualities: int) -> bool:
    """Whether a way is named so: what it names is in range."""
    if blob := _BLOB.fullmatch(name):
        return int(blob[1]) < min(n_qualities, MAX_QUALITIES)
    if picture := _PICTURE.fullmatch(name):
        return 1 <= int(picture[1] or 1) <= MAX_SIDE and int(picture[2]) <= 100
    return name == ALONE


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    return {k: v if isinstance(v, str) else round(float(v), DIGITS) for k, v in row.items()}
