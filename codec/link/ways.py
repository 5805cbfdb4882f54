"""a codec's sweep and stage times -> the ways of working that there are to choose from.

A sweep is the `sweep.jsonl` beside a shipped codec: bytes, scores and times of the codec at each
quality, of pictures as WebP and AVIF at several sizes and qualities, and of the device alone. Its
times are of the machine it was measured on; `Stages` has the user's own.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import NormalDist, median
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from codec.files import read_json
from codec.link.policy import ALONE, Way

FORMATS = ("webp", "avif")
"""Of image files that a device may send, as a sweep names them."""
MAX_SWEEP_BYTES = 16 << 20
SEGMENT_BYTES = 1448
"""Of TCP, over Ethernet."""
_NUMBERS = ("bytes_mean", "bytes_p50", "bytes_p95", "score", "encode_ms", "decode_ms")


@dataclass(frozen=True)
class Stages:
    """What the link does not decide: times of device and server, and bytes around a body.

    Attributes:
        device_ms: by "blob", "alone", and a picture's format, "webp", or format and size,
            "webp@72"; what is missing is taken from the sweep, times `device_slower`.
        server_ms: by "blob" and "picture"; what is missing is taken from the sweep.
        device_slower: how much slower the device is than the machine of the sweep.
        round_trip_ms: of the link, for a replay; a client measures its own.
        request_bytes, reply_bytes: HTTP's and TLS's bytes up, and the whole reply down.
        packet_bytes: what IP and TCP put around each segment; 20, 20 and 12 for its time stamps.
    """

    device_ms: Mapping[str, float] = field(default_factory=dict)
    server_ms: Mapping[str, float] = field(default_factory=dict)
    device_slower: float = 1.0
    round_trip_ms: float = 20.0
    request_bytes: float = 250.0
    reply_bytes: float = 400.0
    packet_bytes: float = 52.0

    def on_link(self, n_bytes: NDArray[np.float64]) -> NDArray[np.float64]:
        """A message's bytes with those of its packets, (...,): headers and body start one each."""
        return n_bytes + self.packet_bytes * (np.ceil(n_bytes / SEGMENT_BYTES) + 1)


class Measured(NamedTuple):
    """A way, and how its body's bytes spread over pictures: median and 95th percentile."""

    way: Way
    body_p50: float
    body_p95: float


def read_stages(path: Path) -> Stages:
    """Stage times of a JSON file with the names of `Stages`.

    Raises:
        OSError: no such file.
        ValueError: a name that is none of them, or a value that is no number from 0.
    """
    try:
        values = read_json(path)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    names = set(Stages.__dataclass_fields__)
    if unknown := sorted(set(values) - names):
        raise ValueError(f"{path}: {', '.join(unknown)}: none of {', '.join(sorted(names))}")
    for name, value in values.items():
        nested = name in ("device_ms", "server_ms")
        if nested != isinstance(value, dict):
            raise ValueError(f"{path}: {name} is {'an object' if nested else 'a number'}")
        known = {"device_ms": _is_device_key, "server_ms": ("blob", "picture").__contains__}
        for key, number in value.items() if nested else [(name, value)]:
            if nested and not known[name](key):
                raise ValueError(f"{path}: {name} has no {key}")
            if not is_number(number):
                raise ValueError(f"{path}: {key} is a number from 0, not {number!r}")
    return Stages(**values)


def read_sweep(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Rows of a sweep by task, in the order in which they come.

    Raises:
        OSError: no such file.
        ValueError: a line that is not a row, or no rows; the message says which.
    """
    with path.open("rb") as file:
        data = file.read(MAX_SWEEP_BYTES + 1)
    if len(data) > MAX_SWEEP_BYTES:
        raise ValueError(f"{path} has more than {MAX_SWEEP_BYTES} bytes")
    tasks: dict[str, list[dict[str, Any]]] = {}
    for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), start=1):
        if line.strip():
            row = _row(line, f"{path}, line {number}")
            tasks.setdefault(row["task"], []).append(row)
    if not tasks:
        raise ValueError(f"{path} holds no rows")
    return tasks


def ways_of(
    rows: Sequence[Mapping[str, Any]], codec: str, stages: Stages, alone: bool = True
) -> list[Measured]:
    """The ways of one task: the codec's qualities, WebP and AVIF, and the device alone.

    The sweep's times of one network are those of its rows' median: they do not depend on quality.

    Args:
        rows: of one task.
        codec: the name that its rows have.
        alone: whether the device has a model of its own, where the sweep measured one.

    Raises:
        ValueError: no row of the codec.
    """
    blobs = [row for row in rows if row["codec"] == codec]
    pictures = [row for row in rows if row["codec"].partition("@")[0] in FORMATS]
    own = [row for row in rows if row["codec"] == "device-alone" and alone]
    if not blobs:
        raise ValueError(f"no rows of {codec} in its sweep")
    encode = stages.device_slower * median(row["encode_ms"] for row in blobs)
    device_ms = stages.device_ms.get("blob", encode)
    server_ms = stages.server_ms.get("blob", median(row["decode_ms"] for row in blobs))
    found = [_sent(row, f"blob q{row['quality']}", device_ms, server_ms, stages) for row in blobs]
    for row in pictures:
        name = row["codec"]
        measured = stages.device_slower * row["encode_ms"]
        ms = stages.device_ms.get(name, stages.device_ms.get(name.partition("@")[0], measured))
        server = stages.server_ms.get("picture", median(r["decode_ms"] for r in pictures))
        found.append(_sent(row, f"picture:{name} q{row['quality']}", ms, server, stages))
    for row in own:
        ms = stages.device_ms.get("alone", stages.device_slower * row["encode_ms"])
        found.append(Measured(Way(ALONE, 0.0, 0.0, ms, 0.0, row["score"]), 0.0, 0.0))
    return found


def kind_of(name: str) -> str:
    """What a way sends, of its name: "blob", "webp", "avif" or "device alone"."""
    return name.removeprefix("picture:").partition(" q")[0].partition("@")[0]


def body_bytes(measured: Measured, n_requests: int) -> NDArray[np.float64]:
    """Bodies of so many requests, (n_requests,): a lognormal with the sweep's median and 95th
    percentile. A picture that is large as a blob is large as WebP: all ways have the same order.
    """
    shares = (np.random.default_rng(0).permutation(n_requests) + 0.5) / n_requests
    scale = math.log(max(measured.body_p95, 1.0) / max(measured.body_p50, 1.0))
    normal = np.array([NormalDist().inv_cdf(float(share)) for share in shares])
    if not measured.body_p50:
        return np.zeros(n_requests)
    return np.maximum(1.0, np.rint(measured.body_p50 * np.exp(scale * normal / 1.6449)))


def _sent(
    row: Mapping[str, Any], name: str, device_ms: float, server_ms: float, stages: Stages
) -> Measured:
    up = row["bytes_mean"] + stages.request_bytes
    way = Way(name, up, stages.reply_bytes, device_ms, server_ms, row["score"])
    return Measured(way, row["bytes_p50"], row["bytes_p95"])


def _row(line: str, place: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{place} is not JSON") from error
    if not isinstance(row, dict) or not all(isinstance(row.get(k), str) for k in ("codec", "task")):
        raise ValueError(f"{place} has no codec or no task")
    if wrong := [key for key in _NUMBERS if not is_number(row.get(key))]:
        raise ValueError(f"{place}: {', '.join(wrong)}: not numbers from 0")
    return row


def _is_device_key(key: str) -> bool:
    return key in ("blob", "alone") or key.partition("@")[0] in FORMATS


def is_number(value: Any) -> bool:
    """Whether a value of a JSON file is a finite number from 0."""
    plain = isinstance(value, (int, float)) and not isinstance(value, bool)
    return plain and math.isfinite(value) and value >= 0
