"""The keys of a stage: batches that make one step, precision, and loggers by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from codec.device.preprocess import Preprocess
from training.codecs.recipe import CodecRecipe
from training.data.images import Images
from training.engine import schedule as schedules
from training.engine.loop import train
from training.engine.recipe import read_recipe
from training.engine.schedule import Schedule

ONE = Schedule(epochs=1, batch_size=16, lr=1e-2, precision="fp32", save_steps=99)


class Fit(torch.nn.Module):
    """A linear map of mean colours; its loss is a mean over the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.batches = torch.nn.Parameter(torch.ones(3)), list[int]()
        self.dtypes = set[torch.dtype]()

    def forward(
        self, pixels: torch.Tensor, labels: torch.Tensor, keys: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        self.batches.append(len(keys))
        colours = pixels.float().mean((2, 3)) / 255
        self.dtypes.add((colours @ torch.ones(3, 3)).dtype)
        return {"loss": (colours @ self.weight - labels).square().mean()}


def trained(pictures: Path, out: Path, schedule: Schedule) -> Fit:
    module = Fit()
    train(module, Images(str(pictures), "train", Preprocess(32)), schedule, out)
    return module


def test_two_batches_of_half_the_size_make_the_same_step(pictures: Path, tmp_path: Path) -> None:
    whole = trained(pictures, tmp_path / "whole", ONE)
    halves = trained(pictures, tmp_path / "halves", replace(ONE, batch_size=8, accumulate=2))
    assert (whole.batches, halves.batches) == ([16] * 3, [8] * 6)
    torch.testing.assert_close(halves.weight, whole.weight)
    assert not torch.equal(whole.weight, torch.ones(3))


def test_rounds_of_qualities_hold_in_each_of_the_batches_of_a_step(
    make_recipe: Callable[..., CodecRecipe], pictures: Path
) -> None:
    stage = replace(ONE, batch_size=3, accumulate=2)  # six make rounds of two, and three do not
    with pytest.raises(ValueError, match="a batch of 3 is not made of rounds of 2 samples"):
        make_recipe(pictures, answer=stage)


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)]
)
def test_a_stage_computes_in_its_precision(
    precision: Any, dtype: torch.dtype, pictures: Path, tmp_path: Path
) -> None:
    stage = replace(ONE, precision=precision)
    assert trained(pictures, tmp_path, stage).dtypes == {dtype}
    with stage.autocast("cpu"):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_half_precision_without_a_gpu_is_refused(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="precision fp16 takes a GPU, and there is none"):
        trained(pictures, tmp_path, replace(ONE, precision="fp16"))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            "answer.bf16=true",
            r"'answer.bf16' is no longer; it is now precision: bf16, fp16 or fp32",
        ),
        ("answer.precision=fp8", "'answer.precision' is one of bf16, fp16, fp32, not 'fp8'"),
        ("answer.accumulate=0", "accumulate is 1 or more, not 0"),
        ("answer.report_to=[paper]", "report_to: no logger 'paper'; known are none, azure_ml, "),
    ],
)
def test_a_wrong_key_says_what_is_right(change: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        read_recipe(CodecRecipe, "vit-tiny-cifar10-codec-start", [change])


def test_no_logger_writes_no_logs_and_the_usual_one_does(pictures: Path, tmp_path: Path) -> None:
    trained(pictures, tmp_path / "none", replace(ONE, report_to=("none",)))
    trained(pictures, tmp_path / "usual", ONE)
    assert not list((tmp_path / "none").rglob("events*"))
    assert list((tmp_path / "usual").rglob("events*"))


def test_a_logger_that_is_not_installed_is_said_before_training(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedules, "get_available_reporting_integrations", lambda: ["tensorboard"])
    with pytest.raises(ValueError, match="logger 'wandb' is not installed"):
        trained(pictures, tmp_path, replace(ONE, report_to=("tensorboard", "wandb")))
