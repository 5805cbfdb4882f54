"""The training scripts' command line: a wrong one is one line and exit code 2."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from training.backbone import run as train_backbone
from training.backbones.vit import BackboneRecipe
from training.codecs.recipe import CodecRecipe
from training.engine.command import run_command
from training.engine.loop import LossIsNaNError
from training.train import run as train_codec


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["no-such-recipe"], "no recipe 'no-such-recipe'"),
        (["vit-tiny-cifar10-codec-start", "k=two"], "'k' wants int"),
        (["vit-tiny-cifar10-codec-start", "k=[1"], "is not YAML"),
        (["vit-tiny-cifar10-codec-start", "k=99"], "k=99 is not an integer in 0..6"),
        (["vit-tiny-cifar10-codec-start", "side=3"], "not to a latent of side 3"),
        (["vit-tiny-cifar10-codec-start", "data=/no/such/folder"], "/no/such/folder"),
        (["vit-tiny-cifar10-codec-start", "backbone=/no/such/model"], "/no/such/model"),
    ],
)
def test_a_wrong_codec_training_is_one_line(
    arguments: list[str],
    reason: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert run_command(CodecRecipe, train_codec, None, [*arguments, "--out", str(tmp_path)]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert reason in errors[-1]
    assert "Traceback" not in "".join(errors)


def test_a_wrong_backbone_training_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["vit-tiny-cifar10-backbone", "data=/no/such/folder", "--out", str(tmp_path)]
    assert run_command(BackboneRecipe, train_backbone, None, arguments) == 2
    assert "/no/such/folder" in capsys.readouterr().err.splitlines()[-1]


def test_a_stopped_training_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def stop(recipe: Any, out: Path) -> None:
        raise LossIsNaNError(f"the loss is nan at step 7; the last checkpoint in {out} is whole")

    assert (
        run_command(
            CodecRecipe, stop, None, ["vit-tiny-cifar10-codec-start", "--out", str(tmp_path)]
        )
        == 2
    )
    (line,) = capsys.readouterr().err.splitlines()
    assert "nan at step 7" in line


def test_a_right_command_runs_its_recipe_into_the_named_folder(tmp_path: Path) -> None:
    ran: list[Any] = []
    arguments = ["vit-tiny-cifar10-codec-start", "k=2", "match.epochs=1.5", "--out", str(tmp_path)]
    assert (
        run_command(
            CodecRecipe,
            lambda recipe, out: ran.append((recipe.k, recipe.match.epochs, out)),
            None,
            arguments,
        )
        == 0
    )
    assert ran == [(2, 1.5, tmp_path)]


def command(*arguments: str, out: Path, ran: list[Any]) -> int:
    def run(recipe: Any, folder: Path) -> None:
        ran.append(recipe.k)
        (folder / "answer" / "checkpoint-5").mkdir(parents=True, exist_ok=True)

    name = "vit-tiny-cifar10-codec-start"
    return run_command(CodecRecipe, run, None, [name, "--out", str(out), *arguments])


def test_overrides_may_stand_behind_the_folder(tmp_path: Path) -> None:
    ran: list[Any] = []
    assert command("k=2", out=tmp_path, ran=ran) == 0
    assert ran == [2]


def test_a_finished_run_is_done_and_another_recipe_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[Any] = []
    assert command("k=2", out=tmp_path / "run", ran=ran) == 0
    assert command("k=2", out=tmp_path / "run", ran=ran) == 0
    assert f"{tmp_path / 'run'} is done" in capsys.readouterr().out
    assert command("k=3", out=tmp_path / "run", ran=ran) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "holds a run of another recipe: its k is 2, not 3" in line
    assert command("k=3", out=tmp_path / "other", ran=ran) == 0
    assert ran == [2, 3]


def test_a_stopped_run_goes_on_by_its_own_recipe_alone(tmp_path: Path) -> None:
    ran: list[Any] = []
    assert command("k=2", out=tmp_path, ran=ran) == 0
    (tmp_path / "done").unlink()
    assert command("k=3", out=tmp_path, ran=ran) == 2
    assert command("k=2", out=tmp_path, ran=ran) == 0
    assert ran == [2, 2]


def test_a_recipe_that_never_trained_can_be_mended(tmp_path: Path) -> None:
    def fail(recipe: Any, out: Path) -> None:
        raise ValueError("no such data")

    arguments = ["vit-tiny-cifar10-codec-start", "k=5", "--out", str(tmp_path)]
    assert run_command(CodecRecipe, fail, None, arguments) == 2
    assert command("k=2", out=tmp_path, ran=[]) == 0
