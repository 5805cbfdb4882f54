"""`codec bench-link`: what a replayed trace says on the terminal, as JSON and as a plot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from codec.cli.app import app as cli

NAME = "blip-tiny-scenes"
CAPTIONS, QUESTIONS = "image-to-text", "visual-question-answering"


def run(*arguments: object) -> Any:
    words = [str(argument) for argument in arguments]
    return CliRunner().invoke(cli, ["bench-link", "--codec", NAME, "--requests", "40", *words])


def test_the_table_has_policy_oracle_and_the_best_of_each_kind() -> None:
    result = run("--trace", "fixed:30000", "--task", CAPTIONS)
    assert result.exit_code == 0, result.output
    for words in ("policy", "oracle", "blob q", "picture:webp", "picture:avif", "to the oracle"):
        assert words in result.stdout
    assert QUESTIONS not in result.stdout


def test_json_has_every_way_of_every_task_and_trace(tmp_path: Path) -> None:
    trace = tmp_path / "walk.csv"
    trace.write_text("time_s,kbytes_per_s\n0,20\n5,0\n8,100\n")
    result = run("--trace", trace, "--trace", "outages:1000", "--json", "--deadline-ms", "100")
    found = json.loads(result.stdout)
    assert [(one["task"], one["trace"]["name"]) for one in found][:2] == [
        (CAPTIONS, "walk"),
        (CAPTIONS, "1 KB/s, 2 outages of 5 s in 60 s"),
    ]
    assert len(found) == 4
    policy, oracle, *fixed = found[0]["ways"]
    assert (policy["way"], oracle["way"]) == ("policy", "oracle")
    assert sum(policy["taken"].values()) == 40
    assert oracle["score_by_deadline"] >= max(one["score_by_deadline"] for one in fixed) - 0.2
    assert len(fixed) > 30


@pytest.mark.long
def test_own_stage_times_and_a_plot(tmp_path: Path) -> None:
    stages, out = tmp_path / "stages.json", tmp_path / "ways.png"
    stages.write_text('{"device_ms": {"blob": 500}}')
    result = run("--trace", "fixed:1e6", "--stages", stages, "--json", "--out", out)
    ways = {one["way"]: one for one in json.loads(result.stdout)[0]["ways"]}
    assert ways["blob q8"]["median_ms"] > 500
    with Image.open(out) as drawn:
        assert drawn.width > 1000


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--trace", "none.csv"), "none.csv"),
        (("--trace", "fixed:-1"), "rates are numbers from 0"),
        (("--trace", "fixed:1", "--task", "poems"), "no task 'poems'"),
        (("--trace", "fixed:1", "--codec", "nothing"), "no sweep of nothing"),
        (("--trace", "fixed:1", "--every-s", "0"), "above 0"),
    ],
)
def test_what_cannot_be_replayed_is_named(arguments: tuple[str, ...], reason: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert reason in result.output
    assert "Traceback" not in result.output
