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
