"""python -m training.blip RECIPE: trains small BLIP models from scratch, a captioner and a question
answerer with one vision tower.

Standard classes of transformers with a vocabulary of whole words, each in a folder of its own that
loads by itself. Where the data has no captions there is a question answerer alone.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from codec.device.preprocess import Preprocess
from codec.model.split_tower import vision_tower
from codec.tasks import CAPTIONS, QUESTIONS
from training.backbones.blip import BlipRecipe, build_blip, make_tokenizer
from training.backbones.blip_task import BlipTask, answer_accuracy
from training.backbones.cards import write_blip
from training.backbones.see import SeeTask
from training.data.texts import TextImages, open_source
from training.engine.command import run_command
from training.engine.compiling import compile_networks
from training.engine.loop import is_first_process, train


def run(recipe: BlipRecipe, out: Path) -> dict[str, float]:
    """Train by the recipe into `out`, resuming where a run was stopped; returns the scores on the
    test split.
    """
    preprocess = Preprocess.from_dict(
        {"size": recipe.image_size, "mean": recipe.mean, "std": recipe.std}
    )
    side = recipe.image_size // recipe.patch_size if recipe.see else None
    data = TextImages(
        open_source(recipe.data, recipe.train_split, recipe.limit),
        preprocess,
        recipe.schedule.seed,
        marks_side=side,
    )
    tokenizer = make_tokenizer(data)
    tasks = tuple(
        task
        for task, on in ((CAPTIONS, data.words[0].captions), (QUESTIONS, data.words[0].questions))
        if on
    )
    torch.manual_seed(recipe.schedule.seed)
    models = build_blip(recipe, tokenizer, tasks)
    tower = vision_tower(next(iter(models.values())))
    compile_networks([tower], recipe.compile)
    see = SeeTask(tower, data, preprocess) if recipe.see else None
    if see is not None and recipe.see:
        train(see, data, recipe.see, out / "see")
    train(
        BlipTask(models, tokenizer, data, preprocess, recipe, see),
        data,
        recipe.schedule,
        out / "speak",
    )
    scores = {}
    for model in models.values():
        model.to("cpu").eval()
    test = TextImages(open_source(recipe.data, recipe.test_split, recipe.limit), preprocess)
    if QUESTIONS in models:
        with torch.compiler.set_stance("force_eager"):  # batches are of all sizes
            scores["questions answered right"] = answer_accuracy(
                models[QUESTIONS], tokenizer, test, preprocess
            )
    if is_first_process():
        write_blip(models, tokenizer, preprocess, recipe, scores, len(test), out / "final")
    return scores


if __name__ == "__main__":
    sys.exit(run_command(BlipRecipe, run, __doc__))
