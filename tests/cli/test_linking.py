"""`codec link`: what an answer takes on a small link."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from codec.cli.app import app as cli
from codec.link.frames import from_frame
from codec.link.profiles import PROFILES
from codec.model import FeatureCodec
from codec.pipeline import Device

Picture = Callable[..., Image.Image]


def run(*arguments: object) -> Any:
    return CliRunner().invoke(cli, ["link", *(str(argument) for argument in arguments)])


@pytest.fixture
def image(picture: Picture, tmp_path: Path) -> Path:
    path = tmp_path / "a.png"
    picture(0, 40, 36).save(path)
    return path


def test_the_frame_is_the_best_blob_that_fits_one_message(
    shipped: SimpleNamespace, tiny_codec: FeatureCodec, image: Path, tmp_path: Path
) -> None:
    out = tmp_path / "a.frame"
    result = run("tiny", image, "-p", "sms", "--out", out, "--json")
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    frame = out.read_bytes()
    blob = Device(tiny_codec)(image, max_bytes=140 + 5)
    assert (facts["frame"], from_frame(frame, tiny_codec.fingerprint)) == (frame.hex(), blob)
    own, webp, file = facts["ways"]
    assert own["n_bytes"] == len(frame) == len(blob) - 5
    assert own["n_frames"] == 1
    assert file["n_bytes"] == image.stat().st_size
    assert webp["way"] == "WebP 50, 32 x 32"


def test_a_quality_is_taken_as_it_is_and_cut_into_messages(
    shipped: SimpleNamespace, tiny_codec: FeatureCodec, image: Path
) -> None:
    quality = tiny_codec.qualities[-1]
    result = run("tiny", image, "-p", "lorawan-us915-sf10", "-q", quality, "--json")
    own = json.loads(result.stdout)["ways"][0]
    n_bytes = len(Device(tiny_codec)(image, quality)) - 5
    assert own["n_bytes"] == n_bytes
    assert own["n_frames"] == -(-n_bytes // 11)


def test_the_table_says_what_each_way_takes(shipped: SimpleNamespace, image: Path) -> None:
    result = run("tiny", image, "-p", "iridium-sbd")
    assert result.exit_code == 0, result.output
    for text in ("frame, quality", "WebP 50", "image file", "bytes billed", "340 bytes a message"):
        assert text in result.stdout


def test_a_loss_is_counted_where_one_is_named_and_else_said_to_be_unknown(
    shipped: SimpleNamespace, image: Path
) -> None:
    options = ("tiny", image, "-p", "lorawan-eu868-sf7")
    assert "No loss is counted" in run(*options).stdout
    shown = run(*options, "--loss", "0.2")
    assert shown.exit_code == 0, shown.output
    for text in ("1, sent 1.2", "80.0%", "20.0% of the messages get lost"):
        assert text in shown.stdout
    facts = json.loads(run(*options, "--loss", "0.2", "--json").stdout)
    own = facts["ways"][0]
    assert (facts["profile"]["loss"], own["n_sent"]) == (0.2, pytest.approx(1.25))
    assert own["arrives_at_once"] == pytest.approx(0.8)
    refused = run(*options, "--loss", "1")
    assert (refused.exit_code, "below 1" in refused.stderr) == (2, True)


def test_list_names_every_link() -> None:
    listed = json.loads(run("--list", "--json").stdout)
    assert [one["name"] for one in listed] == list(PROFILES)
    table = run("--list").stdout
    assert all(name in table for name in PROFILES)


def test_whole_answers_are_counted_never_more_than_a_day_has() -> None:
    rows = [line.split() for line in run("--list").stdout.splitlines()]
    (slowest,) = [row for row in rows if row and row[0] == "lorawan-eu868-sf12"]
    assert slowest[-1] == "10"  # 30 s / 2.79 s is 10.7


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("tiny", "IMAGE", "-p", "carrier-pigeon"), "no link profile 'carrier-pigeon'"),
        (("tiny",), "name a codec and a picture"),
        (("tiny", "nowhere.png"), "nowhere.png"),
    ],
)
def test_what_cannot_be_sent_is_one_line(
    shipped: SimpleNamespace, image: Path, arguments: tuple[str, ...], reason: str
) -> None:
    result = run(*(image if one == "IMAGE" else one for one in arguments))
    assert result.exit_code == 2
    assert reason in result.stderr
    assert len(result.stderr.splitlines()) == 1
