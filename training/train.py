"""python -m training.train RECIPE [key=value ...]: trains a codec at the cut of a backbone, and
freezes it into a checkpoint.

The two stages of training: `training.codecs.task`. What follows them: `training.codecs.freeze` and
`training.codecs.calibration`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from codec.model import FeatureCodec
from codec.model.density import ContextPrior
from codec.model.split_tower import set_attention
from training.codecs.building import build, first_of, load_models
from training.codecs.calibration import calibrate
from training.codecs.card import write_codec_card
from training.codecs.freeze import fit_prior, freeze_codec, latents_of, spaced
from training.codecs.opening import open_match_data, open_objective
from training.codecs.recipe import CodecRecipe
from training.codecs.task import CodecTask
from training.codecs.validation import Validation
from training.engine.command import run_command
from training.engine.loop import is_first_process, train

START_STEPS = 500
"""A codec that starts from another has a prior that is new: it is fitted for so many steps, before
it tells the encoder what bits cost.
"""


def run(recipe: CodecRecipe, out: Path) -> FeatureCodec:
    """Train by the recipe into `out`, resuming where a run was stopped; the finished checkpoint is
    `out/final`.
    """
    codec, uncut = build(recipe), load_models(recipe)
    preprocess = codec.config.preprocess
    objective = open_objective(recipe, uncut, preprocess, recipe.train_split, out.parent)
    to_choose_on, to_measure_on = (
        open_objective(recipe, uncut, preprocess, split)
        for split in (recipe.validation_split, recipe.calibration_split)
    )  # now, so that what is wrong with them is said before training
    task = CodecTask(
        codec,
        ContextPrior(recipe.side, recipe.n_channels, len(recipe.rate_weights)),
        objective,
        recipe,
    )
    for module in (
        codec.synthesis,
        objective.part(codec.tail),
        objective.part(first_of(uncut)),
        task._head[0],
    ):
        module.compile(dynamic=False)
    task.measure()
    if recipe.start is not None:
        latents = latents_of(codec, objective.data, spaced(len(objective.data), recipe.count_limit))
        fit_prior(task.prior, codec, latents, START_STEPS, recipe.answer.seed)
    validation = Validation(task, to_choose_on)
    for name, value in validation.of_uncut().items():
        print(f"uncut: {name} {value:.2f}% on {len(validation.places)} held-out images", flush=True)
    if recipe.match.epochs:
        task.set_stage("match")
        pictures = open_match_data(recipe, preprocess, objective.data)
        if recipe.match.fresh_epochs is not None:  # they come again
            task.remember(out.parent / "head-tokens", pictures)
        train(task, pictures, recipe.match, out / "match")
    task.set_stage("answer")
    train(task, objective.data, recipe.answer, out / "answer", validate=validation)
    task.to("cpu")
    if not is_first_process():
        return codec
    for tail in codec.tails.values():
        set_attention(tail, "sdpa")  # as it is when loaded
    with torch.compiler.set_stance("force_eager"):  # from here on batches are of all sizes
        codec = freeze_codec(codec, task.prior, objective, recipe)
        chosen_on, held_out = (calibrate(codec, some) for some in (to_choose_on, to_measure_on))
        known = bool(to_measure_on.truth())
    good = [q for q, row in enumerate(chosen_on) if row.drop <= recipe.max_drop]
    codec = codec.with_config(
        default_quality=min(good, default=len(chosen_on) - 1), calibration=held_out
    )
    codec.save_pretrained(out / "final")
    write_codec_card(codec, recipe, out / "final", known=known)
    for q, row in enumerate(held_out):
        print(
            f"quality {q}: {row.bytes_mean:.1f} bytes, drop {row.drop:.2f} points, agreement "
            f"{row.agreement:.2f}%",
            flush=True,
        )
    return codec


if __name__ == "__main__":
    sys.exit(run_command(CodecRecipe, run, __doc__))
