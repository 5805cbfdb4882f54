"""python -m training.train RECIPE [key=value ...]: trains a codec at the cut of a backbone, and
freezes it into a checkpoint. `--dry-run` says what would be trained, how long it would take and in
what memory, after some real steps, and leaves nothing behind.

The two stages of training: `training.codecs.task`. What follows them: `training.codecs.freeze` and
`training.codecs.calibration`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from codec.model import FeatureCodec
from training.codecs.ending import fit_first, write_final
from training.codecs.opening import open_match_data
from training.codecs.preparing import prepare
from training.codecs.recipe import CodecRecipe
from training.codecs.rehearsal import rehearse
from training.engine.card import command_line
from training.engine.command import run_command
from training.engine.loop import is_first_process, train


def run(recipe: CodecRecipe, out: Path) -> FeatureCodec:
    """Train by the recipe into `out`, resuming where a run was stopped; the finished checkpoint is
    `out/final`.
    """
    made = prepare(recipe, out.parent)
    codec, task, validation = made.codec, made.task, made.validation
    objective, preprocess = task.objective, codec.config.preprocess
    if recipe.start is not None:
        fit_first(made)
    for name, value in validation.of_uncut().items():
        print(f"uncut: {name} {value:.2f}% on {len(validation.places)} held-out images", flush=True)
    if recipe.match.epochs:
        task.set_stage("match")
        pictures = open_match_data(recipe, preprocess, objective.data)
        if recipe.match.fresh_epochs is not None:  # they come again
            task.remember(out.parent, pictures)
        train(task, pictures, recipe.match, out / "match")
    task.set_stage("answer")
    if recipe.answer.fresh_epochs is not None:
        task.remember(out.parent, objective.data)
    train(task, objective.data, recipe.answer, out / "answer", validate=validation)
    task.to("cpu")
    if not is_first_process():
        return codec
    return write_final(made, command_line("train", recipe), out / "final")


if __name__ == "__main__":
    sys.exit(run_command(CodecRecipe, run, __doc__, rehearse=rehearse))
