"""`codec cell`: how many cameras a gateway carries."""

from __future__ import annotations

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from codec.cli.app import app as cli
from codec.cli.cells import Sent, sent_by


def run(*arguments: object) -> Any:
    return CliRunner().invoke(cli, ["cell", *(str(argument) for argument in arguments)])


def cameras(*arguments: object) -> dict[str, int]:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return {one["what"]: one["cameras"] for one in json.loads(result.stdout)["sent"]}


def test_a_gateway_carries_many_more_cameras_with_blobs_than_with_webp() -> None:
    found = cameras("blip-tiny-easyvqa", "-p", "lorawan-eu868-sf9", "--per-hour", 10)
    assert found["blip-tiny-easyvqa, quality 5"] > 10 * found["webp-lossless"]


def test_webp_is_lossless_where_that_is_smaller() -> None:
    def files(*names: str, lossless: float) -> list[Sent]:
        rows = [("tiny", 0, 9.0), *((name, 90, 100.0) for name in names)]
        rows += [("webp-lossless", None, lossless)]
        whole = [
            {"codec": name, "quality": q, "bytes_mean": n, "bytes_p95": n, "drop": 0.0}
            for name, q, n in rows
        ]
        return sent_by({"classify": whole}, "tiny", 0.5)[1:]

    assert files("webp@24", "avif", lossless=70.5) == [("webp-lossless", 71), ("avif q90", 100)]
    assert files("webp@24", lossless=170.0) == [("webp@24 q90", 100)]


def test_near_cameras_take_less_time_and_let_more_in() -> None:
    blob = ("blip-tiny-easyvqa", "--devices", 500, "--json")
    far, near = (
        json.loads(run(*blob, *more).stdout)["sent"][0]["delivered"]
        for more in ((), ("--by-distance",))
    )
    assert far < 0.97 < near


@pytest.mark.long
def test_the_device_alone_stands_beside_the_codec_that_it_rivals() -> None:
    found = cameras("vit-tiny-cifar10", "-p", "lorawan-eu868-sf10", "--per-hour", 5)
    assert found["device alone"] >= found["vit-tiny-cifar10, quality 0"]


def test_what_so_many_cameras_get_through_as_a_table() -> None:
    result = run("blip-tiny-easyvqa", "--devices", 400, "--repeats", 2, "--imperfect")
    assert result.exit_code == 0, result.output
    assert "delivered" in result.stdout
    assert "%" in result.stdout
    assert "400 cameras" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("blip-tiny-easyvqa", "-p", "sigfox"), "another kind of link"),
        (("blip-tiny-easyvqa", "--drop", -50), "no quality of blip-tiny-easyvqa"),
        (("none",), "no sweep of none"),
        (("blip-tiny-easyvqa", "--delivered", 1), "between 0 and 1"),
    ],
)
def test_what_cannot_be_said_is_one_line(arguments: tuple[object, ...], reason: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert reason in result.stderr
