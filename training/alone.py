"""python -m training.alone RECIPE [key=value ...]: trains a classifier of a codec's encoder's cost,
for a device that answers alone.

The recipe is a codec's: the same pictures, target and encoder. Its stage `answer` is the schedule,
and `start` names the codec whose encoder the classifier starts from. `eval.sweep` holds the codec
against it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch

from codec.model.alone import DeviceAlone, save_alone
from codec.tasks import LABELS
from training.codecs.alone import AloneTask, build_alone
from training.codecs.building import load_models
from training.codecs.features import frozen_features
from training.codecs.opening import open_objective
from training.codecs.recipe import CodecRecipe
from training.data.images import Images
from training.data.scoring import percent, right
from training.engine.card import command_line, recipe_text, score_table
from training.engine.command import run_command
from training.engine.compiling import compile_networks
from training.engine.loop import is_first_process, train


def run(recipe: CodecRecipe, out: Path) -> DeviceAlone:
    """Train by the recipe into `out`, resuming where a run was stopped; the classifier is in
    `out/final`.

    Raises:
        ValueError: the codec does not classify.
    """
    uncut = load_models(recipe)
    if tuple(uncut) != (LABELS,):
        raise ValueError(f"the device alone answers with a label; the codec is for {recipe.task}")
    preprocess = recipe.preprocess()
    classifier: Any = uncut[LABELS]
    alone = build_alone(recipe, int(classifier.config.num_labels))
    objective = open_objective(recipe, uncut, preprocess, recipe.train_split, out.parent)
    kept = objective.data if recipe.answer.fresh_epochs is not None else None
    frozen = (
        frozen_features(alone.layers, recipe, preprocess, kept, out.parent)
        if recipe.frozen_stages
        else None
    )
    task = AloneTask(alone, preprocess, objective, frozen)
    compile_networks([uncut[LABELS]], recipe.compile)
    train(task, objective.data, recipe.answer, out / "answer")
    task.to("cpu")
    if not is_first_process():
        return alone
    with torch.compiler.set_stance("force_eager"):  # from here on batches are of all sizes
        held_out = Images(recipe.data, recipe.calibration_split, preprocess, recipe.limit)
        score = percent(right(alone, held_out, preprocess))
    save_alone(alone, out / "final")
    card = f"""# {recipe.name}, the device alone

A classifier with the encoder of `{recipe.name}` and a linear head: what a device of that cost
answers without a server. Trained by `{command_line("alone", recipe)}` with the recipe below.

"""
    table = score_table("accuracy", recipe.calibration_split, len(held_out), {"device": score})
    (out / "final" / "README.md").write_text(card + table + recipe_text(recipe))
    print(f"device alone: {score:.2f}% of {len(held_out):,} images", flush=True)
    return alone


if __name__ == "__main__":
    sys.exit(run_command(CodecRecipe, run, __doc__))
