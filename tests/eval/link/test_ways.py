"""How near the policy comes to the best fixed way: the table and its aims."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from codec.link.policy import Way
from codec.link.replay import Setting, replay
from codec.link.traces import fixed
from codec.link.ways import Measured, Stages
from eval.link import ways as studied

WAYS = [
    Measured(Way("blob q1", 290, 400, 40, 5, 90.0), 40, 60),
    Measured(Way("picture:webp q50", 1250, 400, 4, 6, 90.0), 1000, 1500),
    Measured(Way("blob q0", 260, 400, 1, 5, 80.0), 10, 10),
]


def test_an_aim_that_is_missed_is_named() -> None:
    found = replay(fixed(5e3), WAYS, Stages(), Setting(100))
    assert studied.missed(found) == []
    slow = replace(found, policy=found.fixed[1])
    assert studied.missed(slow) == ["median", "95%", "regret"]
    poor = replace(found, policy=found.fixed[2])
    assert studied.missed(poor) == ["score"]


def test_only_ways_near_the_best_score_are_compared_with() -> None:
    found = replay(fixed(5e3), WAYS, Stages(), Setting(100))
    assert studied.least_p95(found) == found.fixed[0].p95_ms  # not the quick one of 80 points
    assert found.best_fixed.name == "blob q1"


def test_the_shipped_codecs_reach_all_aims(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--codec", "blip-tiny-easyvqa", "--requests", "60"]
    assert studied.main([*arguments, "--trace", "fixed:2000"]) == 0
    text = capsys.readouterr().out
    assert "15 of 15 links reach all aims" in text
    assert "| fixed 2 KB/s |" in text
    assert "| fixed 10,000 KB/s |" in text


def test_own_stage_times_change_the_ways(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "stages.json"
    path.write_text(json.dumps({"device_ms": {"blob": 5000, "webp": 1}}))
    arguments = ["--codec", "vit-tiny-cifar10", "--requests", "20", "--tolerance", "3"]
    assert studied.main([*arguments, "--stages", str(path), "--no-alone"]) == 0
    assert "| picture:webp q80 |" in capsys.readouterr().out
    assert studied.main(["--stages", str(tmp_path / "none.json")]) == 2
