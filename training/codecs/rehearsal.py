"""recipe -> what its training would be: data, steps, parameters, seconds, memory. Some real steps
are made, and nothing is kept.
"""

from __future__ import annotations

import math
import tempfile
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from codec.device.command import peak_mb
from codec.model.cost import device_cost
from training.codecs.opening import open_match_data
from training.codecs.preparing import Prepared, prepare
from training.codecs.recipe import CodecRecipe
from training.data.images import Keyed
from training.engine.loop import train
from training.engine.schedule import Schedule

TIMED = 2
"""Steps of a stage that are timed; one goes before them, in which networks are compiled."""


class StageEstimate(NamedTuple):
    """A stage: its steps, seconds of the first and of a later one, and trained parameters."""

    name: str
    n_images: int
    n_steps: int
    first_s: float
    step_s: float
    n_trained: int


def rehearse(recipe: CodecRecipe) -> list[StageEstimate]:
    """Print what a training by the recipe would be, and return its stages.

    Raises:
        ValueError, OSError: as the training itself would.
    """
    made = prepare(recipe, None)
    _say_what(recipe, made)
    stages = []
    pictures = open_match_data(recipe, made.codec.config.preprocess, made.task.objective.data)
    if recipe.match.epochs:
        made.task.set_stage("match")
        stages.append(_timed("match", made.task, pictures, recipe.match))
    if recipe.answer.epochs:
        made.task.set_stage("answer")
        stages.append(_timed("answer", made.task, made.task.objective.data, recipe.answer))
    for stage in stages:
        print(
            f"stage {stage.name}: {stage.n_images:,} pictures, {stage.n_steps:,} steps of "
            f"{stage.step_s:.2f} s, {stage.n_trained:,} parameters trained; the first step took "
            f"{stage.first_s:.1f} s",
            flush=True,
        )
    total = sum(stage.first_s + (stage.n_steps - 1) * stage.step_s for stage in stages)
    print(
        f"time: about {_readable(total)} on this machine as busy as it is now, without validation, "
        "freezing and calibration"
    )
    print(f"memory: {peak_mb():,.0f} MB at most so far", end="")
    if torch.cuda.is_available():
        print(f", and {torch.cuda.max_memory_allocated() / 1e6:,.0f} MB of the GPU's", end="")
    print("; freezing keeps the latents of count_limit pictures beside it", flush=True)
    return stages


def _say_what(recipe: CodecRecipe, made: Prepared) -> None:
    config, preprocess = made.codec.config, made.codec.config.preprocess
    cost = device_cost(made.codec.encoder, preprocess.size)
    splits = (
        (recipe.train_split, made.task.objective),
        (recipe.validation_split, made.to_choose_on),
        (recipe.calibration_split, made.to_measure_on),
    )
    said = ", ".join(f"{len(objective.data):,} of {split!r}" for split, objective in splits)
    print(f"data: {recipe.data}, {preprocess.size} x {preprocess.size} pixels: {said}")
    print(
        f"codec: cut after block {config.k}; latent {config.side} x {config.side} x "
        f"{config.n_channels}; {config.n_qualities} qualities"
    )
    print(
        f"encoder: {config.encoder}, {cost.params:,} parameters, {cost.macs:,} "
        "multiply-accumulates a picture",
        flush=True,
    )


def n_steps(n_images: int, schedule: Schedule) -> int:
    """Optimizer steps of a stage in one process, as transformers' Trainer counts them."""
    n_batches = n_images // schedule.batch_size
    return math.ceil(schedule.epochs * max(1, math.ceil(n_batches / schedule.accumulate)))


def _timed(name: str, task: nn.Module, data: Keyed, schedule: Schedule) -> StageEstimate:
    """Some steps of a stage, by the loop that trains, in a folder that is removed."""
    begun: list[float] = []
    hook = task.register_forward_pre_hook(lambda *_: begun.append(time.perf_counter()))
    wanted = 2 + TIMED  # a step has ended when the next one begins
    in_epoch = n_steps(len(data), replace(schedule, epochs=1))
    short = replace(
        schedule, epochs=(wanted - 0.5) / in_epoch, report_to=(), save_steps=10**9, log_steps=0
    )
    try:
        with tempfile.TemporaryDirectory() as folder:
            train(task, data, short, Path(folder))
    finally:
        hook.remove()
    starts = begun[:: schedule.accumulate]
    durations = [later - one for one, later in pairwise(starts)]
    n_trained = sum(p.numel() for p in task.parameters() if p.requires_grad)
    return StageEstimate(
        name,
        len(data),
        n_steps(len(data), schedule),
        durations[0],
        sum(durations[1:]) / len(durations[1:]),
        n_trained,
    )


def _readable(seconds: float) -> str:
    minutes = seconds / 60
    return f"{minutes:.0f} minutes" if minutes < 120 else f"{minutes / 60:.1f} hours"
