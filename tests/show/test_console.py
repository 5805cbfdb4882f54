"""What a command says when it fails: one form for `codec`, training and eval."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from codec.show.console import failed
from eval import sweep
from training import calibrate
from training.engine.command import run_command
from training.engine.loop import LossIsNaNError


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("no such split\n  and a second line"), "no such split and a second line"),
        (OSError(), "OSError"),
        (ValueError(""), "ValueError"),
    ],
)
def test_an_error_is_one_line_and_exit_code_two(
    error: Exception, said: str, capsys: pytest.CaptureFixture[str]
):
    assert failed("eval.sweep", error) == 2
    assert capsys.readouterr() == ("", f"eval.sweep: error: {said}\n")


def test_commands_of_training_and_eval_fail_in_the_same_form(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    nowhere = str(tmp_path / "nowhere")
    assert sweep.main(["--codec", nowhere, "--data", nowhere, "--out", f"{nowhere}.jsonl"]) == 2
    assert calibrate.main([nowhere, nowhere]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("eval.sweep: error: ")
    assert second.startswith("training.calibrate: error: ")


def test_a_training_that_ends_in_nan_says_so_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    from training.codecs.recipe import CodecRecipe

    def run(recipe: CodecRecipe, out: Path) -> None:
        raise LossIsNaNError("the loss is NaN\nat step 3")

    monkeypatch.setattr(sys, "argv", ["train.py"])
    arguments = ["vit-tiny-cifar10-codec", "data=x", "--out", str(tmp_path / "out")]
    assert run_command(CodecRecipe, run, None, arguments) == 2
    assert capsys.readouterr().err == "train.py: error: the loss is NaN at step 3\n"
