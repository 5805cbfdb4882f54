"""recipe -> all that a codec's training begins with: networks, splits, objectives."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from torch import nn

from codec.model import FeatureCodec
from codec.model.density import ContextPrior
from training.codecs.building import build, first_of, load_models
from training.codecs.objective import Objective
from training.codecs.opening import open_objective
from training.codecs.recipe import CodecRecipe
from training.codecs.task import CodecTask
from training.codecs.validation import Validation
from training.engine.compiling import compile_networks


class Prepared(NamedTuple):
    """What is trained, and on what.

    Attributes:
        codec: untrained, or as the recipe's `start` has it.
        uncut: the models it is held against, by task.
        task: the codec in training, on the training split.
        to_choose_on, to_measure_on: the validation split and the calibration split.
        validation: what each epoch is held against.
    """

    codec: FeatureCodec
    uncut: dict[str, nn.Module]
    task: CodecTask
    to_choose_on: Objective
    to_measure_on: Objective
    validation: Validation


def prepare(recipe: CodecRecipe, runs: Path | None) -> Prepared:
    """Open all that a recipe names, so that what is wrong with it is said before training.

    Args:
        runs: where the uncut model's answers are remembered; None for nowhere.

    Raises:
        ValueError, OSError: data, backbone or start are not there or do not fit, or a logger is
            not installed.
    """
    for stage in (recipe.match, recipe.answer):
        stage.check_loggers()
    codec, uncut = build(recipe), load_models(recipe)
    preprocess = codec.config.preprocess
    objective = open_objective(recipe, uncut, preprocess, recipe.train_split, runs)
    to_choose_on, to_measure_on = (
        open_objective(recipe, uncut, preprocess, split)
        for split in (recipe.validation_split, recipe.calibration_split)
    )
    prior = ContextPrior(recipe.side, recipe.n_channels, len(recipe.rate_weights))
    task = CodecTask(codec, prior, objective, recipe)
    parts = objective.part(codec.tail), objective.part(first_of(uncut)), task._head[0]
    compile_networks([codec.synthesis, *parts], recipe.compile)
    task.measure()
    validation = Validation(task, to_choose_on)
    return Prepared(codec, uncut, task, to_choose_on, to_measure_on, validation)
