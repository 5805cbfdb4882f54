"""`ways.json`: written and read alike, and refused by reason where it comes from somebody else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from codec.link.policy import Way
from codec.link.ways_file import MAX_WAYS, read_ways, ways_text

WAYS = {
    "classify": [
        Way("blob q15", 258.337, 400, device_ms=1.087, server_ms=3.193, score=85.63),
        Way("picture:webp@24 q50", 900, 400, device_ms=1, server_ms=1, score=80.0),
        Way("picture:avif q100", 900, 400, device_ms=1, server_ms=1, score=80.0),
        Way("device alone", 0, 0, device_ms=1, server_ms=0, score=87.0),
    ],
    "answer": [Way("blob q0", 258, 400, device_ms=1, server_ms=3, score=85)],
}


def test_ways_come_back_as_they_were(tmp_path: Path) -> None:
    (tmp_path / "ways.json").write_text(ways_text(WAYS))
    assert read_ways(tmp_path / "ways.json", 16) == WAYS
    long = {"classify": [Way("blob q0", 1 / 3, 2 / 3, 1e-9, 0, 85.22999999999999)]}
    (tmp_path / "ways.json").write_text(ways_text(long))
    (found,) = read_ways(tmp_path / "ways.json", 16)["classify"]
    assert found == Way("blob q0", 0.333, 0.667, 0, 0, 85.23)


def first(**changes: Any) -> Callable[[Any], None]:
    """A change of the first way."""
    return lambda values: values["classify"][0].update(changes)


def named(name: Any) -> tuple[Callable[[Any], None], str]:
    return first(name=name), "no way of this codec"


WRONG: dict[str, tuple[Callable[[Any], None], str]] = {
    "a blob of a quality that the codec lacks": named("blob q16"),
    "a blob of no quality": named("blob qx"),
    "a picture of 10^9 pixels": named("picture:webp@1000000000 q50"),
    "a picture of a side beyond the largest": named("picture:webp@4097 q50"),
    "a picture of no pixels": named("picture:webp@0 q50"),
    "a picture of quality 101": named("picture:webp@24 q101"),
    "a picture in another format": named("picture:tiff@24 q50"),
    "a name that is a list": named(["blob q1"]),
    "a way twice": (first(name="device alone", n_bytes_up=0, n_bytes_down=0), "a way twice"),
    "a blob of no bytes": (first(n_bytes_up=0, n_bytes_down=0), "sends 0 bytes"),
    "a device alone that sends": (lambda v: v["classify"][3].update(n_bytes_up=9), "sends 9 byt"),
    "a negative time": (first(device_ms=-1), "device_ms of blob q15: not numbers from 0"),
    "a score in words": (first(score="1"), "score of blob q15: not numbers from 0"),
    "a score that is true": (first(score=True), "not numbers from 0"),
    "one thing more": (first(more=1), "a way has device_ms, "),
    "one thing less": (lambda v: v["classify"][0].pop("score"), "a way has device_ms, "),
    "a way that is a number": (lambda v: v["classify"].append(1), "a way has device_ms, "),
    "no ways": (lambda v: v["classify"].clear(), "a list of 1 to 1000 ways"),
    "too many ways": (lambda v: v["classify"].extend([1] * MAX_WAYS), "a list of 1 to 1000 ways"),
    "ways that are an object": (lambda v: v.update(classify={}), "a list of 1 to 1000 ways"),
    "something else to ask": (lambda v: v.update(sing=[]), "'sing' is none of classify, caption"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_refused_by_reason(name: str, tmp_path: Path) -> None:
    change, reason = WRONG[name]
    values = json.loads(ways_text(WAYS))
    change(values)
    (tmp_path / "ways.json").write_text(json.dumps(values))
    with pytest.raises(ValueError, match=reason) as caught:
        read_ways(tmp_path / "ways.json", 16)
    assert "ways.json" in str(caught.value)
    assert len(str(caught.value)) < 300 + len(str(tmp_path))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "ways.json"),
        ("[]", "not an object"),
        ('{"classify": NaN}', "NaN"),
        (" " * (1 << 21), "more than 1048576 bytes"),
    ],
)
def test_a_text_that_is_none_is_refused(text: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "ways.json").write_text(text)
    with pytest.raises(ValueError, match=reason):
        read_ways(tmp_path / "ways.json", 16)
