"""measurements <-> JSON lines: one row for each codec or baseline at one quality; sweep writes,
plot and report read.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from codec.files import whole_file
from codec.tasks import CAPTIONS, LABELS, QUESTIONS

SCORES = {
    LABELS: "top-1 accuracy, %",
    CAPTIONS: "BLEU-4, %",
    QUESTIONS: "accuracy of answers, %",
}
"""What `score` is, by task; `eval.measuring.asked` says how each is measured."""


@dataclass(frozen=True)
class Row:
    """One codec at one quality, on one split of a data set, asked for one task; a blob that serves
    several tasks has a row for each.

    Attributes:
        codec: name of the codec or baseline, `uncut` for the uncut model.
        quality: rate index of a codec, quality setting of a picture codec, cut k of token
            baselines; None where there is none.
        task: what was asked, of `codec.tasks.TASKS`.
        data: base name of the data and its split.
        bytes_mean, bytes_p50, bytes_p95: bytes of real blobs, header included, an image; raw pixels
            for `uncut`.
        bits_estimated: mean ideal code length of the payload in bits an image, None where there is
            no entropy model.
        score, score_uncut, drop: the task's of `SCORES`, the uncut model's, and their difference,
            in points (0-100).
        agreement: share of labels, captions or answers that are the uncut model's, in percent.
        encode_ms, decode_ms: an image, in batches; see `eval.measuring.measure`.
        device_params, device_macs: parameters and multiply-accumulates for one image of the network
            on the device.
    """

    codec: str
    quality: int | None
    task: str
    data: str
    n_images: int
    bytes_mean: float
    bytes_p50: float
    bytes_p95: float
    bits_estimated: float | None
    score: float
    score_uncut: float
    drop: float
    agreement: float
    encode_ms: float
    decode_ms: float
    device_params: int
    device_macs: int


KEYS = tuple(f.name for f in fields(Row))


def write_rows(rows: list[Row], path: Path) -> None:
    """Write rows as JSON lines, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as file:
        file.write_text("".join(json.dumps(asdict(row)) + "\n" for row in rows))


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The inverse of `write_rows`, as dictionaries.

    Raises:
        ValueError: no such file, no rows in it, or a line that is not a row; the message says
            which.
    """
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"cannot read {path}: {getattr(error, 'strerror', None) or 'not a text file'}"
        ) from error
    rows = [_parsed(line, f"{path}, line {n}") for n, line in enumerate(lines, 1) if line.strip()]
    if not rows:
        raise ValueError(f"{path} holds no rows")
    return rows


def by_task(rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Rows of each task, tasks in the order in which they come."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row["task"], []).append(row)
    return groups


def _parsed(line: str, place: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"{place} is not JSON: {error.msg}") from error
    if missing := [key for key in KEYS if not isinstance(row, dict) or key not in row]:
        raise ValueError(f"{place} is not a row of eval.sweep: it lacks {', '.join(missing)}")
    numbers = [
        key for key in KEYS if key not in ("codec", "quality", "task", "data", "bits_estimated")
    ]
    if wrong := [
        key
        for key in numbers
        if isinstance(row[key], bool) or not isinstance(row[key], (int, float))
    ]:
        raise ValueError(f"{place}: {wrong[0]} is not a number")
    if row["bytes_mean"] <= 0 or not isinstance(row["codec"], str):
        raise ValueError(f"{place} has no codec or no bytes")
    if row["task"] not in SCORES:
        raise ValueError(f"{place}: task {row['task']!r} is none of {', '.join(SCORES)}")
    return dict(row)
