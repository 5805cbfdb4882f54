"""Ways of working, read from a sweep and a file of stage times."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from codec.link.ways import Measured, Stages, body_bytes, kind_of, read_stages, read_sweep, ways_of

TASK = "image-classification"


def row(codec: str, quality: int | None, **changes: Any) -> dict[str, Any]:
    values = {"bytes_mean": 50.0, "bytes_p50": 40.0, "bytes_p95": 90.0, "score": 80.0}
    values |= {"encode_ms": 2.0, "decode_ms": 5.0}
    return {"codec": codec, "quality": quality, "task": TASK} | values | changes


ROWS = [
    row("mine", 0),
    row("mine", 1, encode_ms=3.0, score=82.0),
    row("mine", 2, encode_ms=100.0),
    row("webp@24", 50, encode_ms=1.0, decode_ms=7.0),
    row("avif", 30, encode_ms=9.0),
    row("jpeg", 30),
    row("device-alone", None, encode_ms=4.0, score=70.0),
]


def by_name(stages: Stages, alone: bool = True) -> dict[str, Measured]:
    return {one.way.name: one for one in ways_of(ROWS, "mine", stages, alone)}


def test_ways_are_blobs_webp_avif_and_the_device_alone() -> None:
    ways = by_name(Stages())
    pictures = ["picture:webp@24 q50", "picture:avif q30"]
    assert list(ways) == ["blob q0", "blob q1", "blob q2", *pictures, "device alone"]
    assert "device alone" not in by_name(Stages(), alone=False)
    blob = ways["blob q1"].way
    assert (blob.n_bytes_up, blob.n_bytes_down) == (50 + 250, 400)
    assert (blob.device_ms, blob.server_ms, blob.score) == (3.0, 5.0, 82.0)  # medians of the blobs'
    assert ways["device alone"].way.n_bytes == 0
    assert [kind_of(name) for name in ways][2:] == ["blob", "webp", "avif", "device alone"]


def test_own_times_replace_those_of_the_sweep() -> None:
    own = Stages({"blob": 20.0, "webp": 3.0, "alone": 30.0}, {"picture": 1.0}, 10.0)
    ways = by_name(own)
    assert ways["blob q0"].way.device_ms == 20
    assert ways["picture:webp@24 q50"].way.device_ms == 3
    assert ways["picture:avif q30"].way.device_ms == 90
    assert ways["picture:avif q30"].way.server_ms == 1
    assert ways["device alone"].way.device_ms == 30
    assert by_name(Stages({"webp@24": 8.0, "webp": 3.0}))["picture:webp@24 q50"].way.device_ms == 8


def test_bodies_have_the_sweeps_median_and_95th_percentile() -> None:
    measured = by_name(Stages())["blob q0"]
    bodies = body_bytes(measured, 2001)
    assert np.median(bodies) == 40
    assert np.percentile(bodies, 95) == pytest.approx(90, abs=1)
    assert np.array_equal(bodies, body_bytes(measured, 2001))
    assert not body_bytes(by_name(Stages())["device alone"], 3).any()


def test_stage_times_are_read_and_wrong_ones_named(tmp_path: Path) -> None:
    path = tmp_path / "stages.json"
    path.write_text('{"device_ms": {"blob": 9.5}, "round_trip_ms": 80}')
    assert read_stages(path) == Stages({"blob": 9.5}, round_trip_ms=80)
    for text, reason in (
        ('{"blob": 1}', "blob: none of"),
        ('{"device_ms": 1}', "device_ms is an object"),
        ('{"device_ms": {"blob": -1}}', "blob is a number from 0"),
        ('{"device_ms": {"blobs": 1}}', "blobs"),
        ('{"round_trip_ms": true}', "round_trip_ms is a number"),
        ("[]", "stages.json"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=reason):
            read_stages(path)


def test_a_sweep_is_read_by_task_and_a_wrong_line_named(tmp_path: Path) -> None:
    path = tmp_path / "sweep.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in [*ROWS, {**ROWS[0], "task": "b"}]))
    assert {task: len(rows) for task, rows in read_sweep(path).items()} == {TASK: 7, "b": 1}
    wrong = ("{", "no JSON"), ("[1]", "no codec"), (json.dumps({**ROWS[0], "score": None}), "score")
    for line, reason in wrong:
        path.write_text(json.dumps(ROWS[0]) + "\n" + line)
        with pytest.raises(ValueError, match="line 2.*" + reason.removeprefix("no ")):
            read_sweep(path)
    path.write_text("")
    with pytest.raises(ValueError, match="no rows"):
        read_sweep(path)
    with pytest.raises(ValueError, match="no rows of other"):
        ways_of(ROWS, "other", Stages())
