"""python -m training.train RECIPE [key=value ...]: trains a codec at the cut of a backbone, and
freezes it into a checkpoint. `--dry-run` says what would be trained, how long it would take and in
what memory, after some real steps, and leaves nothing behind.

The two stages of training: `training.codecs.task`. What follows them: `training.codecs.freeze` and
`training.codecs.calibration`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from codec.model import FeatureCodec
from codec.model.split_tower import set_attention
from training.codecs.calibration import calibrate
from training.codecs.card import write_codec_card
from training.codecs.freeze import fit_prior, freeze_codec, latents_of, spaced
from training.codecs.opening import open_match_data
from training.codecs.preparing import prepare
from training.codecs.recipe import CodecRecipe
from training.codecs.rehearsal import rehearse
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
    made = prepare(recipe, out.parent)
    codec, task, validation = made.codec, made.task, made.validation
    objective, preprocess = task.objective, codec.config.preprocess
    if recipe.start is not None:
        latents = latents_of(codec, objective.data, spaced(len(objective.data), recipe.count_limit))
        fit_prior(task.prior, codec, latents, START_STEPS, recipe.answer.seed)
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
        chosen_on, held_out = (
            calibrate(codec, some) for some in (made.to_choose_on, made.to_measure_on)
        )
        known = bool(made.to_measure_on.truth())
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
    sys.exit(run_command(CodecRecipe, run, __doc__, rehearse=rehearse))
