"""measurements <-> JSON lines: one row for each method at one quality; a sweep writes them, plot
and report read them.
"""

from __future__ import annotations

import json
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any

from codec.files import whole_file
from codec.tasks import CAPTIONS, LABELS, QUESTIONS

SCORES = {
    LABELS: "top-1 accuracy, %",
    CAPTIONS: "BLEU-4, %",
    QUESTIONS: "accuracy of answers, %",
}
"""What `score` is, by task; `eval.measuring.evaluators` says how each is measured."""


@dataclass(frozen=True)
class Row:
    """One codec at one quality, on one split of a data set, asked for one task; a blob that serves
    several tasks has a row for each.

    The fields with a default came later: files of earlier sweeps lack them.

    Attributes:
        codec: name of the codec or of another method, as `eval.methods.method` has them.
        quality: rate index of a codec, quality setting of a picture codec, cut k of plain tokens;
            None where there is none.
        task: what was asked, of `codec.tasks.TASKS`.
        data: base name of the data and its split.
        bytes_mean, bytes_p50, bytes_p95: bytes of real blobs, header included, an image; raw pixels
            for `uncut`.
        bits_estimated: mean ideal code length of the payload in bits an image, None where there is
            no entropy model.
        score, score_uncut, drop: the task's of `SCORES`, the uncut model's, and their difference,
            in points (0-100).
        agreement: share of labels, captions or answers that are the uncut model's, in percent.
        encode_ms, decode_ms: an image, in batches; see `eval.measuring.tally`.
        device_params, device_macs: parameters and multiply-accumulates for one image of the network
            on the device.
        drop_margin: half the 95% interval of the drop, in points; what interval that is,
            `eval.measuring.evaluators` says for each task.
        n_answers: how many answers the score is of, which may be several a picture.
        server_macs: multiply-accumulates for one image on the server; see
            `eval.methods.server_cost`.
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
    drop_margin: float | None = None
    n_answers: int | None = None
    server_macs: int | None = None


KEYS = tuple(f.name for f in fields(Row) if f.default is MISSING)
"""What every row has."""
LATER = {f.name: f.default for f in fields(Row) if f.default is not MISSING}
"""What earlier files lack, with what stands for it then."""
TEXTS = ("codec", "task", "data")


def write_rows(rows: list[Row], path: Path) -> None:
    """Write rows as JSON lines, whole or not at all; a later key only where it has a value."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = []
    for row in rows:
        values = asdict(row)
        kept = {k: v for k, v in values.items() if k not in LATER or v != LATER[k]}
        lines.append(json.dumps(kept) + "\n")
    with whole_file(path) as file:
        file.write_text("".join(lines))


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The inverse of `write_rows`, as dictionaries with all keys of `Row`.

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
    row = LATER | row
    for key in (*KEYS, *LATER):
        may_lack = key in LATER or key in ("quality", "bits_estimated")
        if key in TEXTS or (may_lack and row[key] is None):
            continue
        if isinstance(row[key], bool) or not isinstance(row[key], (int, float)):
            raise ValueError(f"{place}: {key} is not a number")
    if row["bytes_mean"] <= 0 or not isinstance(row["codec"], str):
        raise ValueError(f"{place} has no codec or no bytes")
    if row["task"] not in SCORES:
        raise ValueError(f"{place}: task {row['task']!r} is none of {', '.join(SCORES)}")
    return row
