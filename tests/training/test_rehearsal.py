"""A dry run: what a training would be, from real steps of which nothing is kept."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from training.codecs import rehearsal
from training.codecs.recipe import CodecRecipe
from training.codecs.rehearsal import n_steps, rehearse
from training.codecs.task import CodecTask
from training.engine.command import run_command
from training.engine.recipe import plain_values
from training.engine.schedule import Schedule

pytestmark = pytest.mark.usefixtures("uncompiled")


@pytest.fixture
def recipe(make_recipe: Callable[..., CodecRecipe], labelled: Path) -> CodecRecipe:
    return make_recipe(labelled)


@pytest.mark.long
def test_a_dry_run_says_what_would_be_trained_and_leaves_nothing(
    recipe: CodecRecipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = tmp_path / "small.yaml", tmp_path / "runs" / "small"
    file.write_text(yaml.safe_dump(plain_values(recipe)))

    def run(recipe: Any, out: Path) -> None:
        raise AssertionError("a dry run trains nothing")

    words = [str(file), "--dry-run", "--out", str(out)]
    assert run_command(CodecRecipe, run, None, words, rehearse=rehearse) == 0
    said = capsys.readouterr().out
    assert "16 of 'train[:16]', 4 of 'train[16:20]', 4 of 'train[20:24]'" in said
    assert "latent 4 x 4 x 4; 2 qualities" in said
    assert re.search(r"encoder: student, [\d,]+ parameters, [\d,]+ multiply-accumulates", said)
    for stage in ("match", "answer"):
        assert re.search(rf"stage {stage}: 16 pictures, 4 steps of \d+\.\d\d s", said)
    assert re.search(r"time: about \d+ minutes on this machine", said)
    assert re.search(r"memory: [\d,]+ MB at most so far", said)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["small.yaml"]


@pytest.mark.long
def test_the_time_is_that_of_steps_after_the_first(
    recipe: CodecRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward, calls = CodecTask.forward, list[int]()

    def slow(self: CodecTask, *args: Any, **given: Any) -> dict[str, torch.Tensor]:
        calls.append(len(given["keys"]))
        time.sleep(0.5 if len(calls) == 1 else 0.1)
        return forward(self, *args, **given)

    monkeypatch.setattr(CodecTask, "forward", slow)
    without = replace(recipe, match=replace(recipe.match, epochs=0))
    (stage,) = rehearse(replace(without, answer=replace(recipe.answer, epochs=100)))
    assert (stage.name, stage.n_steps) == ("answer", 200)
    assert stage.first_s > 0.5
    assert 0.1 < stage.step_s < stage.first_s
    assert calls == [8] * (rehearsal.TIMED + 2)


@pytest.mark.parametrize(
    ("n_images", "schedule", "expected"),
    [
        (100, Schedule(epochs=2, batch_size=16), 12),
        (100, Schedule(epochs=1.5, batch_size=16), 9),
        (100, Schedule(epochs=2, batch_size=16, accumulate=4), 4),
        (100, Schedule(epochs=3, batch_size=100), 3),
    ],
)
def test_steps_are_counted_as_the_trainer_counts_them(
    n_images: int, schedule: Schedule, expected: int
) -> None:
    assert n_steps(n_images, schedule) == expected


def test_what_is_wrong_with_a_recipe_is_said_by_a_dry_run_too(
    recipe: CodecRecipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "small.yaml"
    file.write_text(yaml.safe_dump(plain_values(replace(recipe, data="/no/such/folder"))))
    words = [str(file), "--dry-run"]
    assert run_command(CodecRecipe, lambda *_: None, None, words, rehearse=rehearse) == 2
    assert "/no/such/folder" in capsys.readouterr().err
